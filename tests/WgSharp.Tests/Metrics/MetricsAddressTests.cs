using WgSharp.Metrics;

namespace WgSharp.Tests.Metrics;

public class MetricsAddressTests
{
    [Theory]
    [InlineData("127.0.0.1:9586")]
    [InlineData("127.7.7.7:1")]
    [InlineData("[::1]:9586")]
    [InlineData("unix:/run/wgsharp/wg0.metrics")]
    public void Loopback_and_unix_sockets_are_taken(string text)
    {
        Assert.True(MetricsAddress.TryParse(text, out MetricsAddress? address, out _));
        Assert.Equal(text, address.ToString());
    }

    [Theory]
    [InlineData("0.0.0.0:9586", "not a loopback address")]
    [InlineData("[::]:9586", "not a loopback address")]
    [InlineData("192.0.2.1:9586", "a proxy in front")]
    [InlineData("[2001:db8::1]:9586", "not a loopback address")]
    [InlineData("9586", "is not an address")]
    [InlineData(":9586", "is not an address")]
    [InlineData("localhost:9586", "is not an address")]
    [InlineData("127.0.0.1", "is not an address")]
    [InlineData("127.0.0.1:0", "is not an address")]
    [InlineData("127.1:9586", "is not an address")]
    [InlineData("::1", "is not an address")]
    [InlineData("127.0.0.1:99999", "is not an address")]
    [InlineData("unix:relative", "begins with /")]
    [InlineData("unix:/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890", "107 bytes")]
    public void Everything_else_is_refused_in_a_sentence(string text, string part)
    {
        Assert.False(MetricsAddress.TryParse(text, out _, out string reason));
        Assert.Contains(part, reason, StringComparison.Ordinal);
    }
}
