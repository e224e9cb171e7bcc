using System.Net;
using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Metrics;
using WgSharp.Protocol;
using WgSharp.Status;
using WgSharp.Tests.Status;

namespace WgSharp.Tests.Metrics;

public sealed class MetricsServerTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly ManualTime _time = new();
    private readonly MetricsAddress _address;
    private int _plainPeers = 3;
    private int _mostPeers = 1000;
    private bool _hasRoom = true;
    private MetricsServer? _server;

    public MetricsServerTests()
    {
        Assert.True(MetricsAddress.TryParse("unix:" + Path.Combine(_directory.Path, "m"), out MetricsAddress? address, out _));
        _address = address;
    }

    public void Dispose()
    {
        _server?.Dispose();
        _directory.Dispose();
    }

    [Fact]
    public async Task Metrics_are_served()
    {
        string answer = await AskAsync("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");

        Assert.StartsWith("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nConnection: close\r\n\r\n# HELP wgsharp_info ", answer, StringComparison.Ordinal);
        Assert.EndsWith("\n", answer, StringComparison.Ordinal);
        Assert.Equal(5, answer.Split("\nwgsharp_peer_received_bytes_total{").Length - 1);
        Assert.Contains("\nwgsharp_peers_with_session{interface=\"wg0\"} 4\n", answer, StringComparison.Ordinal);
        Assert.Contains("\nwgsharp_peers_in_trouble{interface=\"wg0\"} 1\n", answer, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("HEAD /metrics HTTP/1.1\r\n\r\n", "200 OK")]
    [InlineData("GET / HTTP/1.1\r\n\r\n", "404 Not Found")]
    [InlineData("PUT /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed")]
    [InlineData("\0\u0001\u0002\n\n", "400 Bad Request")]
    [InlineData("GET /metrics HTTP/3.7\r\n\r\n", "505 HTTP Version Not Supported")]
    public async Task Other_requests_are_answered_too(string request, string status)
    {
        string answer = await AskAsync(request);

        Assert.StartsWith($"HTTP/1.1 {status}\r\n", answer, StringComparison.Ordinal);
        Assert.DoesNotContain("wgsharp_", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_request_that_does_not_end_is_answered_when_it_is_too_long()
    {
        using Socket client = Connect();
        await client.SendAsync(Encoding.ASCII.GetBytes("GET /" + new string('a', HttpRequest.MaxLength - 5)));

        Assert.StartsWith("HTTP/1.1 431 ", await ReceiveAsync(client), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(2, true, 2)]
    [InlineData(0, true, 0)]
    [InlineData(1000, false, 0)]
    public async Task No_more_peers_are_told_of_than_are_wanted_or_fit_into_memory(int most, bool hasRoom, int told)
    {
        _mostPeers = most;
        _hasRoom = hasRoom;

        string answer = await AskAsync("GET /metrics HTTP/1.1\r\n\r\n");

        Assert.Equal(told, answer.Split("\nwgsharp_peer_received_bytes_total{").Length - 1);
        Assert.Contains($"\nwgsharp_peers_omitted{{interface=\"wg0\"}} {5 - told}\n", answer, StringComparison.Ordinal);
        Assert.Contains("\nwgsharp_peers_with_session{interface=\"wg0\"} 4\n", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_a_hundred_that_say_nothing_none_keeps_others_away()
    {
        Socket[] silent = [.. Enumerable.Range(0, 100).Select(_ => Connect())];

        Assert.StartsWith("HTTP/1.1 200 OK", await AskAsync("GET /metrics HTTP/1.1\r\n\r\n"), StringComparison.Ordinal);
        foreach (Socket client in silent)
        {
            client.Dispose();
        }
    }

    [Fact]
    public async Task Two_that_do_not_read_are_dropped_when_their_time_is_over_and_others_told_to_come_again()
    {
        _plainPeers = 20_000;
        _mostPeers = 100_000;
        Socket[] slow = [Connect(), Connect()];
        foreach (Socket client in slow)
        {
            await client.SendAsync("GET /metrics HTTP/1.1\r\n\r\n"u8.ToArray());
            Assert.Equal(1, await client.ReceiveAsync(new byte[1]));
        }

        Assert.StartsWith("HTTP/1.1 503 ", await AskAsync("GET /metrics HTTP/1.1\r\n\r\n"), StringComparison.Ordinal);
        _time.Now += MetricsConnection.Timeout;
        string answer;
        do
        {
            // The server looks at the time whenever it is woken.
            answer = await AskAsync("GET /metrics HTTP/1.1\r\n\r\n");
        }
        while (answer.StartsWith("HTTP/1.1 503 ", StringComparison.Ordinal));

        Assert.StartsWith("HTTP/1.1 200 ", answer, StringComparison.Ordinal);
        Assert.Equal(20_002, answer.Split("\nwgsharp_peer_received_bytes_total{").Length - 1);
        foreach (Socket client in slow)
        {
            client.Dispose();
        }
    }

    [Fact]
    public void A_loopback_address_that_is_taken_is_a_sentence()
    {
        using var other = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        other.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        other.Listen();
        Assert.True(MetricsAddress.TryParse(other.LocalEndPoint!.ToString()!, out MetricsAddress? taken, out _));

        Assert.Contains("EADDRINUSE", Assert.Throws<IOException>(() => new MetricsServer(taken, Operations(), NullLogger.Instance)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_directory_that_is_missing_is_a_sentence()
    {
        Assert.True(MetricsAddress.TryParse("unix:" + Path.Combine(_directory.Path, "no", "m"), out MetricsAddress? nowhere, out _));

        Assert.Contains("there is no directory", Assert.Throws<IOException>(() => new MetricsServer(nowhere, Operations(), NullLogger.Instance)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_a_daemon_that_was_killed_has_left_is_replaced_and_one_that_lives_is_not()
    {
        using (var left = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            left.Bind(_address.EndPoint);
        }

        Assert.StartsWith("HTTP/1.1 200 ", await AskAsync("GET /metrics HTTP/1.1\r\n\r\n"), StringComparison.Ordinal);
        Assert.Throws<IOException>(() => new MetricsServer(_address, Operations(), NullLogger.Instance));
        Assert.StartsWith("HTTP/1.1 200 ", await AskAsync("GET /metrics HTTP/1.1\r\n\r\n"), StringComparison.Ordinal);
        _server!.Dispose();
        Assert.False(File.Exists(_address.Path));
    }

    private MetricsOperations Operations() => new(
        new StatusSource(
            () =>
            {
                InterfaceStatus status = StatusExample.Interface(_plainPeers);
                status.Peers = [];
                return status;
            },
            (_, _, described) =>
            {
                foreach (PeerStatus peer in StatusExample.Interface(_plainPeers).Peers)
                {
                    described.Add(peer);
                }

                return false;
            }),
        _mostPeers,
        _ => _hasRoom,
        _time);

    private Socket Connect()
    {
        _server ??= new MetricsServer(_address, Operations(), NullLogger.Instance);
        var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        client.Connect(_address.EndPoint);
        return client;
    }

    private async Task<string> AskAsync(string request)
    {
        using Socket client = Connect();
        await client.SendAsync(Encoding.Latin1.GetBytes(request));
        return await ReceiveAsync(client);
    }

    private static async Task<string> ReceiveAsync(Socket client)
    {
        using var text = new MemoryStream();
        byte[] buffer = new byte[65536];
        int received;
        while ((received = await client.ReceiveAsync(buffer)) > 0)
        {
            text.Write(buffer, 0, received);
        }

        return Encoding.UTF8.GetString(text.ToArray());
    }
}
