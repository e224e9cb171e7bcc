using System.Net.Sockets;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Protocol;
using WgSharp.Status;

namespace WgSharp.Tests.Status;

/// <summary>The operation on a socket like the daemon's, with a device of ten thousand peers behind it.</summary>
public sealed class StatusAnswerTests : IDisposable
{
    private const int Portion = 128;

    private readonly TemporaryDirectory _directory = new();
    private readonly UapiSocket _socket;
    private readonly List<PeerStatus> _peers = [.. StatusExample.Interface(9_998).Peers];
    private UapiServer? _server;
    private readonly ConditionalWeakTable<PeerCursor, StrongBox<int>> _walks = [];
    private int _portions;

    public StatusAnswerTests() => _socket = UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero);

    public void Dispose()
    {
        _server?.Dispose();
        _socket.Dispose();
        _directory.Dispose();
    }

    [Fact]
    public void Ten_thousand_peers_arrive()
    {
        Serve();

        InterfaceStatus heard = StatusClient.Ask(_directory.Path, "wgt0");

        Assert.Equal("wg0", heard.Name);
        Assert.Equal(_peers.Select(peer => peer.PublicKey), heard.Peers.Select(peer => peer.PublicKey));
        Assert.Equal((_peers.Count + Portion - 1) / Portion, _portions);
    }

    [Fact]
    public async Task A_client_that_does_not_read_has_the_control_loop_asked_no_further()
    {
        Serve();
        using UapiClient slow = new(_socket.Path!);
        await slow.SendAsync("status=1\n\n");

        // Until nothing more comes: the server has gone round twice, and has found no room.
        int waiting;
        do
        {
            waiting = slow.Socket.Available;
            using UapiClient other = new(_socket.Path!);
            Assert.Equal("errno=0\n\n", await other.AskAsync("get=1\n\n"));
            Assert.Equal("errno=0\n\n", await other.AskAsync("get=1\n\n"));
        }
        while (slow.Socket.Available != waiting || waiting == 0);

        Assert.InRange(_portions, 1, _peers.Count / Portion / 2);
        slow.Socket.Shutdown(SocketShutdown.Send);
        Assert.EndsWith("\nerrno=0\n\n", await slow.ReceiveAllAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Clients_that_do_not_read_keep_only_others_of_their_kind_waiting()
    {
        Serve();
        UapiClient[] slow = [.. Enumerable.Range(0, 20).Select(_ => new UapiClient(_socket.Path!))];
        foreach (UapiClient client in slow)
        {
            await client.SendAsync("status=1\n\n");
        }

        using UapiClient other = new(_socket.Path!);
        using UapiClient third = new(_socket.Path!);
        Assert.Equal("errno=0\n\n", await other.AskAsync("get=1\n\n"));
        Task<string> late = other.AskAsync("status=1\n\n");
        foreach (UapiClient client in slow[..12])
        {
            // Those that came before have the place that becomes free.
            client.Dispose();
            Assert.Equal("errno=0\n\n", await third.AskAsync("get=1\n\n"));
            Assert.False(late.IsCompleted);
        }

        foreach (UapiClient client in slow[12..])
        {
            client.Dispose();
        }

        Assert.EndsWith("errno=0\n\n", await late, StringComparison.Ordinal);
    }

    [Fact]
    public void A_daemon_without_the_operation_is_told_of_in_a_sentence()
    {
        Serve(knowsStatus: false);

        Assert.Contains("older wgsharp", Assert.Throws<IOException>(() => StatusClient.Ask(_directory.Path, "wgt0")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_operation_has_no_parameters()
    {
        Serve();
        using UapiClient client = new(_socket.Path!);

        Assert.Equal("errno=22\n\n", await client.AskAsync("status=1\npeer=1\n\n"));
        Assert.Equal("errno=22\n\n", await client.AskAsync("status=2\n\n"));
        Assert.Equal("errno=0\n\n", await client.AskAsync("get=1\n\n"));
    }

    [Fact]
    public void Interfaces_are_found_by_their_sockets()
    {
        Serve();
        File.WriteAllText(Path.Combine(_directory.Path, "wgt1.sock"), string.Empty);
        File.WriteAllText(Path.Combine(_directory.Path, ".wgt2.77.sock"), string.Empty);
        var refusals = new List<string>();

        Assert.Equal("wg0", Assert.Single(StatusCommand.Ask(_directory.Path, null, refusals)).Name);
        Assert.StartsWith("wgt1: ", Assert.Single(refusals), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("lo", "no WireGuard interface")]
    [InlineData("wgnone", "There is no interface wgnone")]
    public void What_is_not_there_is_a_sentence(string name, string part) =>
        Assert.Contains(part, Assert.Throws<IOException>(() => StatusClient.Ask(_directory.Path, name)).Message, StringComparison.Ordinal);

    private void Serve(bool knowsStatus = true) => _server = new UapiServer(
        _socket.Listener,
        new UapiOperations(_ => { }, () => new DeviceSnapshot(null, 0, 0, []), _ => true, TimeSpan.FromMinutes(5), new ManualTime())
        {
            Status = knowsStatus ? new StatusSource(Describe, DescribePeers) : null,
        },
        NullLogger.Instance);

    private InterfaceStatus Describe()
    {
        InterfaceStatus status = StatusExample.Interface();
        status.Tunnel.PeerCount = _peers.Count;
        return status;
    }

    private bool DescribePeers(PeerCursor cursor, int mostAllowedIps, ICollection<PeerStatus> described)
    {
        _portions++;
        int from = Portion * _walks.GetOrCreateValue(cursor).Value++;
        foreach (PeerStatus peer in _peers.Skip(from).Take(Portion))
        {
            described.Add(peer);
        }

        return from + Portion < _peers.Count;
    }
}
