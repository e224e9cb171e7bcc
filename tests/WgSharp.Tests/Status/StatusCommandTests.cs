using WgSharp.Commands;

namespace WgSharp.Tests.Status;

public class StatusCommandTests
{
    [Theory]
    [InlineData("handshake, rate, trouble and config", "status", "--sort", "astrology")]
    [InlineData("from 0.1 to 86400 seconds", "status", "--watch", "0")]
    [InlineData("is not a number of seconds", "status", "wg0", "--watch", "often")]
    [InlineData("--top", "status", "--top", "-1")]
    [InlineData("--top", "status", "--top", "many")]
    [InlineData("There is no option --nonsense", "status", "--nonsense")]
    [InlineData("wg1", "status", "wg0", "wg1")]
    [InlineData("--peers", "metrics", "--peers", "many")]
    [InlineData("There is no option -x", "metrics", "-x")]
    public void Bad_usage_is_explained(string explanation, params string[] arguments) =>
        Assert.Contains(explanation, Assert.Throws<SettingsException>(() => CommandTable.Run(arguments)).Message, StringComparison.Ordinal);

    [Fact]
    public void What_is_not_there_is_said_by_either_command()
    {
        foreach (string command in (string[])["status", "metrics"])
        {
            Assert.Equal("There is no interface wgnone.", Assert.Throws<IOException>(() => CommandTable.Run([command, "wgnone"])).Message);
        }
    }
}
