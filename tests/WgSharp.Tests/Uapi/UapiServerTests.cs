using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Crypto;
using WgSharp.Protocol;
using static WgSharp.Tests.UapiRequests;

namespace WgSharp.Tests;

public sealed class UapiServerTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly UapiSocket _socket;
    private readonly List<(ushort? Port, int Peers)> _applied = [];
    private UapiServer? _server;
    private Func<DeviceConfiguration, Exception?> _onConfigure = _ => null;
    private DeviceSnapshot _device = new(null, 51820, 0, []);
    private readonly ManualTime _time = new();
    private TimeSpan _timeout = TimeSpan.FromMinutes(5);

    public UapiServerTests() => _socket = UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero);

    public void Dispose()
    {
        _server?.Dispose();
        _socket.Dispose();
        _directory.Dispose();
    }

    [Fact]
    public async Task A_set_is_applied_before_it_is_answered()
    {
        using UapiClient client = Connect();

        Assert.Equal("errno=0\n\n", await client.AskAsync($"set=1\nlisten_port=7\npublic_key={KeyA}\n\n"));

        Assert.Equal([((ushort?)7, 1)], _applied);
    }

    [Fact]
    public async Task A_get_shows_the_device()
    {
        using UapiClient client = Connect();

        Assert.Equal("listen_port=51820\nerrno=0\n\n", await client.AskAsync("get=1\n\n"));
    }

    [Fact]
    public async Task One_connection_carries_any_number_of_operations()
    {
        using UapiClient client = Connect();
        for (int i = 1; i <= 200; i++)
        {
            Assert.Equal("errno=0\n\n", await client.AskAsync($"set=1\nlisten_port={i}\n\n"));
            Assert.Equal("listen_port=51820\nerrno=0\n\n", await client.AskAsync("get=1\n\n"));
        }

        Assert.Equal(200, _applied.Count);
    }

    [Fact]
    public async Task Pipelined_operations_are_answered_in_order()
    {
        using UapiClient client = Connect();
        await client.SendAsync("set=1\nlisten_port=1\n\nget=1\n\nset=1\nbad\n\nset=1\nlisten_port=2\n\nget=1\nx=1\n\n");
        client.Socket.Shutdown(SocketShutdown.Send);

        Assert.Equal("errno=0\n\nlisten_port=51820\nerrno=0\n\nerrno=-71\n\nerrno=0\n\nerrno=22\n\n", await client.ReceiveAllAsync());
        Assert.Equal([(ushort?)1, (ushort?)2], _applied.Select(applied => applied.Port));
    }

    [Fact]
    public async Task The_end_of_the_stream_applies_the_operation()
    {
        using UapiClient client = Connect();
        await client.SendAsync("set=1\nlisten_port=7\n");
        client.Socket.Shutdown(SocketShutdown.Send);

        Assert.Equal("errno=0\n\n", await client.ReceiveAllAsync());
        Assert.Single(_applied);
    }

    [Fact]
    public async Task A_client_that_leaves_without_waiting_is_served_all_the_same()
    {
        var applied = new TaskCompletionSource();
        _onConfigure = _ =>
        {
            applied.SetResult();
            return null;
        };
        using (UapiClient client = Connect())
        {
            await client.SendAsync("set=1\nlisten_port=7\n");
        }

        await applied.Task;
    }

    [Fact]
    public async Task A_bad_last_line_changes_nothing()
    {
        using UapiClient client = Connect();

        Assert.Equal("errno=-22\n\n", await client.AskAsync($"set=1\nlisten_port=7\npublic_key={KeyA}\nallowed_ip=10.0.0.0/8\nallowed_ip=10.0.0.0/99\n\n"));

        Assert.Empty(_applied);
    }

    [Fact]
    public async Task A_request_that_is_wrong_from_the_start_is_taken_whole_before_it_is_answered()
    {
        using UapiClient client = Connect();
        var text = new StringBuilder("set=1\nbad=1\n");
        for (int i = 0; i < 100_000; i++)
        {
            text.Append("allowed_ip=10.0.0.0/8\n");
        }

        Assert.Equal("errno=-22\n\n", await client.AskAsync(text.Append('\n').ToString()));
        Assert.Equal("listen_port=51820\nerrno=0\n\n", await client.AskAsync("get=1\n\n"));
    }

    [Theory]
    [InlineData(98)]
    [InlineData(13)]
    public async Task The_errno_of_a_port_that_cannot_be_opened_comes_back_negative(int errno)
    {
        _onConfigure = _ => new IOException("in use", errno);
        using UapiClient client = Connect();

        Assert.Equal($"errno=-{errno}\n\n", await client.AskAsync("set=1\nlisten_port=53\n\n"));
    }

    [Fact]
    public async Task A_failure_without_an_errno_is_an_input_output_error()
    {
        _onConfigure = _ => new IOException("no number");
        using UapiClient client = Connect();

        Assert.Equal("errno=-5\n\n", await client.AskAsync("set=1\n\n"));
    }

    [Fact]
    public async Task A_configuration_that_is_too_much_is_out_of_memory()
    {
        _onConfigure = _ => new ConfigurationException("too many peers");
        using UapiClient client = Connect();

        Assert.Equal("errno=-12\n\n", await client.AskAsync("set=1\n\n"));
    }

    [Fact]
    public async Task Connecting_and_leaving_disturbs_nobody()
    {
        for (int i = 0; i < 1000; i++)
        {
            Connect().Dispose();
        }

        using UapiClient client = Connect();
        Assert.Equal("listen_port=51820\nerrno=0\n\n", await client.AskAsync("get=1\n\n"));
        Assert.Empty(_applied);
    }

    [Fact]
    public async Task Sixty_four_clients_with_half_a_request_each_hold_up_nobody()
    {
        UapiClient[] clients = Enumerable.Range(0, 64).Select(_ => Connect()).ToArray();
        foreach (UapiClient client in clients)
        {
            await client.SendAsync("set=1\nlisten_");
        }

        using (UapiClient other = Connect())
        {
            Assert.Equal("listen_port=51820\nerrno=0\n\n", await other.AskAsync("get=1\n\n"));
        }

        string[] answers = await Task.WhenAll(clients.Select(client => client.AskAsync("port=9\n\n")));
        Assert.All(answers, answer => Assert.Equal("errno=0\n\n", answer));
        Assert.Equal(64, _applied.Count);
        foreach (UapiClient client in clients)
        {
            client.Dispose();
        }
    }

    [Fact]
    public async Task Connections_beyond_the_limit_wait_for_their_turn()
    {
        UapiClient[] idle = Enumerable.Range(0, UapiServer.MaxConnections).Select(_ => Connect()).ToArray();
        foreach (UapiClient client in idle)
        {
            Assert.Equal("errno=0\n\n", await client.AskAsync("set=1\n\n"));
        }

        using UapiClient late = Connect();
        Task<string> answer = late.AskAsync("get=1\n\n");
        foreach (UapiClient client in idle)
        {
            client.Dispose();
        }

        Assert.Equal("listen_port=51820\nerrno=0\n\n", await answer);
    }

    [Fact]
    public async Task A_request_that_stays_unfinished_times_out_and_changes_nothing()
    {
        using UapiClient client = Connect();
        await client.SendAsync($"set=1\nprivate_key={KeyA}\n");
        await WaitUntilReadAsync();
        _time.Now += _timeout;
        await WaitUntilReadAsync();

        Assert.Equal("errno=-110\n\n", await client.ReceiveAllAsync());
        Assert.Empty(_applied);
    }

    [Fact]
    public async Task A_request_that_trickles_in_times_out_as_well()
    {
        _timeout = TimeSpan.FromSeconds(30);
        using UapiClient client = Connect();
        await client.SendAsync("set=1\n");
        await WaitUntilReadAsync();
        _time.Now += TimeSpan.FromSeconds(20);
        await client.SendAsync("fwmark=1\n");
        await WaitUntilReadAsync();
        _time.Now += TimeSpan.FromSeconds(20);

        // A server that counts from the last byte would apply it.
        Assert.Equal("errno=-110\n\n", await client.AskAsync("fwmark=1\n\n"));
        Assert.Empty(_applied);
    }

    [Fact]
    public async Task Between_two_requests_a_client_may_take_all_the_time_it_wants()
    {
        using UapiClient client = Connect();
        Assert.Equal("errno=0\n\n", await client.AskAsync("set=1\n\n"));
        await WaitUntilReadAsync();
        _time.Now += TimeSpan.FromDays(1);
        await WaitUntilReadAsync();

        Assert.Equal("errno=0\n\n", await client.AskAsync("set=1\n\n"));
    }

    [Fact]
    public async Task Four_clients_that_do_not_read_their_answers_hold_up_a_fifth_only_for_its_answer_to_get()
    {
        _device = Large(1, 130_561);
        UapiClient[] slow = Enumerable.Range(0, 4).Select(_ => Connect()).ToArray();
        foreach (UapiClient client in slow)
        {
            await client.SendAsync("get=1\n\n");
        }

        await WaitUntilReadAsync();
        _device = new(null, 51820, 0, []);
        using UapiClient fifth = Connect();
        Task<string> answer = fifth.AskAsync("get=1\n\n");
        await WaitUntilReadAsync();
        Assert.False(answer.IsCompleted);
        slow[0].Dispose();

        Assert.Equal("listen_port=51820\nerrno=0\n\n", await answer);
        foreach (UapiClient client in slow)
        {
            client.Dispose();
        }
    }

    [Fact]
    public async Task A_client_that_does_not_read_its_answer_is_dropped()
    {
        _device = Large(1, 130_561);
        using UapiClient client = Connect();
        await client.SendAsync("get=1\n\n");

        // Until there is no room for more: before that, each piece has a time of its own.
        int waiting;
        do
        {
            waiting = client.Socket.Available;
            await WaitUntilReadAsync();
        }
        while (client.Socket.Available != waiting || waiting == 0);
        _time.Now += _timeout;
        await WaitUntilReadAsync();
        Assert.DoesNotContain("errno=0", await client.ReceiveAllAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_get_of_130561_allowed_ips_arrives_whole()
    {
        _device = Large(1, 130_561);
        using UapiClient client = Connect();
        await client.SendAsync("get=1\n\n");
        client.Socket.Shutdown(SocketShutdown.Send);

        string text = await client.ReceiveAllAsync();

        Assert.Equal(130_561, text.Split("\nallowed_ip=").Length - 1);
        Assert.EndsWith("\nerrno=0\n\n", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Twenty_five_thousand_peers_are_set_and_shown()
    {
        int peers = 0;
        _onConfigure = configuration =>
        {
            peers = configuration.Peers.Count;
            return null;
        };
        _device = Large(25_000, 2);
        using UapiClient client = Connect();
        var text = new StringBuilder("set=1\nreplace_peers=true\n");
        for (int i = 0; i < 25_000; i++)
        {
            text.Append("public_key=").Append(i.ToString("x64")).Append("\nreplace_allowed_ips=true\nallowed_ip=10.0.0.1/32\nallowed_ip=fd00::1/128\n");
        }

        Assert.Equal("errno=0\n\n", await client.AskAsync(text.Append('\n').ToString()));
        Assert.Equal(25_000, peers);

        await client.SendAsync("get=1\n\n");
        client.Socket.Shutdown(SocketShutdown.Send);
        Assert.Equal(25_000, (await client.ReceiveAllAsync()).Split("public_key=").Length - 1);
    }

    [Fact]
    public async Task Stopping_the_server_ends_every_connection()
    {
        using UapiClient idle = Connect();
        using UapiClient half = Connect();
        Assert.Equal("errno=0\n\n", await idle.AskAsync("set=1\n\n"));
        Assert.Equal("errno=0\n\n", await half.AskAsync("set=1\n\n"));
        await half.SendAsync("set=1\n");

        _server!.Dispose();

        Assert.Equal(string.Empty, await idle.ReceiveAllAsync());
        Assert.Equal(string.Empty, await half.ReceiveAllAsync());
        Assert.True(_server.Completion.IsCompletedSuccessfully);
    }

    private UapiClient Connect()
    {
        _server ??= new UapiServer(_socket.Listener, new UapiOperations(Configure, () => _device, _ => true, _timeout, _time), NullLogger.Instance);
        return new UapiClient(_socket.Path!);
    }

    /// <summary>Whatever was sent before has been looked at: the server goes round its connections, and has been at each of them when it answers a second time.</summary>
    private async Task WaitUntilReadAsync()
    {
        using UapiClient other = Connect();
        Assert.Equal("errno=-71\n\n", await other.AskAsync("set=1\nx\n\n"));
        Assert.Equal("errno=-71\n\n", await other.AskAsync("set=1\nx\n\n"));
    }

    private void Configure(DeviceConfiguration configuration)
    {
        if (_onConfigure(configuration) is { } failure)
        {
            throw failure;
        }

        lock (_applied)
        {
            _applied.Add((configuration.ListenPort, configuration.Peers.Count));
        }
    }

    private static DeviceSnapshot Large(int peers, int allowedIps) => new(null, 0, 0, Enumerable.Range(0, peers).Select(i => new PeerSnapshot(
        new PublicKey(Convert.FromHexString(i.ToString("x64"))),
        null,
        null,
        default,
        0,
        0,
        0,
        Enumerable.Range(0, allowedIps).Select(n => IpPrefix.Of(new InetAddress([10, (byte)(n >> 16), (byte)(n >> 8), (byte)n]), 32)).ToArray())).ToArray());
}
