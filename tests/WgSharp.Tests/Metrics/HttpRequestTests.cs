using System.Text;
using WgSharp.Metrics;

namespace WgSharp.Tests.Metrics;

public class HttpRequestTests
{
    [Theory]
    [InlineData("GET /metrics HTTP/1.1\r\nHost: localhost:9586\r\nAccept: text/plain;version=0.0.4\r\n\r\n", "Metrics")]
    [InlineData("GET /metrics HTTP/1.0\r\n\r\n", "Metrics")]
    [InlineData("GET /metrics?x=1&y HTTP/1.1\n\n", "Metrics")]
    [InlineData("HEAD /metrics HTTP/1.1\r\n\r\n", "Head")]
    [InlineData("GET / HTTP/1.1\r\n\r\n", "NotFound")]
    [InlineData("GET /metrics/ HTTP/1.1\r\n\r\n", "NotFound")]
    [InlineData("GET /../metrics HTTP/1.1\r\n\r\n", "NotFound")]
    [InlineData("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "MethodNotAllowed")]
    [InlineData("GET /metrics HTTP/2.0\r\n\r\n", "VersionNotSupported")]
    [InlineData("GET /metrics HTTP/1.1\r\nHost: a", "Incomplete")]
    [InlineData("", "Incomplete")]
    [InlineData("GET", "Incomplete")]
    [InlineData("GET /metrics\r\n\r\n", "BadRequest")]
    [InlineData("\r\n\r\n", "BadRequest")]
    [InlineData("GET  HTTP/1.1\r\n\r\n", "BadRequest")]
    [InlineData("G(T /metrics HTTP/1.1\r\n\r\n", "BadRequest")]
    [InlineData("GET /met rics HTTP/1.1\r\n\r\n", "BadRequest")]
    [InlineData("GET /metrics HTTP/1.1\r\nno field\r\n\r\n", "BadRequest")]
    [InlineData("GET /metrics HTTP/1.1\r\n: empty\r\n\r\n", "BadRequest")]
    [InlineData("GET /metrics HTTP/1.1\r\n folded: x\r\n\r\n", "BadRequest")]
    [InlineData("GET /metrics HTTP/1.1\r\nHost: a\0b\r\n\r\n", "BadRequest")]
    public void A_request_is_judged_by_its_line_and_the_form_of_its_fields(string request, string verdict) =>
        Assert.Equal(verdict, HttpRequest.Judge(Encoding.Latin1.GetBytes(request), ended: false).ToString());

    [Fact]
    public void Every_part_of_a_request_is_waited_for()
    {
        byte[] request = Encoding.ASCII.GetBytes("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for (int length = 0; length < request.Length; length++)
        {
            Assert.Equal(HttpVerdict.Incomplete, HttpRequest.Judge(request.AsSpan(0, length), ended: false));
            Assert.Equal(HttpVerdict.BadRequest, HttpRequest.Judge(request.AsSpan(0, length), ended: true));
        }
    }

    [Theory]
    [InlineData("GET /")]
    [InlineData("GET /metrics HTTP/1.1\r\nX: ")]
    public void What_does_not_end_is_too_long(string begin)
    {
        byte[] request = [.. Encoding.ASCII.GetBytes(begin), .. Enumerable.Repeat((byte)'a', HttpRequest.MaxLength)];

        Assert.Equal(HttpVerdict.Incomplete, HttpRequest.Judge(request.AsSpan(0, HttpRequest.MaxLength - 1), ended: false));
        Assert.Equal(HttpVerdict.TooLong, HttpRequest.Judge(request.AsSpan(0, HttpRequest.MaxLength), ended: false));
    }

    [Fact]
    public void Nonsense_is_never_metrics()
    {
        var random = new Random(1);
        byte[] good = Encoding.ASCII.GetBytes("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        for (int i = 0; i < 100_000; i++)
        {
            byte[] junk = new byte[random.Next(200)];
            random.NextBytes(junk);
            HttpVerdict verdict = HttpRequest.Judge(junk, ended: random.Next(2) == 0);
            Assert.DoesNotContain(verdict, (HttpVerdict[])[HttpVerdict.Metrics, HttpVerdict.Head]);

            // One byte of the request line is another one.
            byte[] wrong = [.. good];
            int at = random.Next("GET /metrics HTTP/1.1".Length);
            wrong[at] ^= (byte)random.Next(1, 256);
            Assert.True(HttpRequest.Judge(wrong, ended: false) != HttpVerdict.Metrics || wrong[at] is (byte)'0' or (byte)'?', Encoding.Latin1.GetString(wrong));
        }
    }
}
