using System.Security.Cryptography;
using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Control;

/// <summary>What a control loop takes over from its predecessor, and when it writes down what its successor needs.</summary>
public sealed class ControlLoopMemoryTests : IDisposable
{
    private readonly FakeStore _store = new();
    private readonly Device _device = new(RandomNumberGenerator.Fill) { TakesNotes = true };
    private readonly FakeTun _tun = new();
    private readonly LoopUdp _udp = new(EndpointOf(1));
    private readonly FakeWaiter _waiter;
    private readonly ControlLoop _loop;
    private Moment _moment = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

    public ControlLoopMemoryTests()
    {
        _waiter = new FakeWaiter(() => Readiness.None, () => _moment);
        var io = new TunnelIo(_tun, _udp, () => _moment, _ => _waiter, RandomNumberGenerator.Fill);
        var link = new TunnelLink(_device, _waiter);
        var staged = new StagedSender(io, link, new RunSender(io.Udp, link, NullLogger.Instance));
        _loop = new ControlLoop(
            io,
            _device,
            link,
            _waiter,
            new HandshakeQueue(new Random(1).NextBytes),
            staged,
            NullLogger.Instance,
            new ConfigurationKeeper(_device, _store, NullLogger.Instance));
    }

    public void Dispose()
    {
        _device.Dispose();
        _tun.Dispose();
        _waiter.Dispose();
    }

    [Fact]
    public void It_begins_with_what_there_is_and_goes_on_with_every_configuration()
    {
        Assert.True(_loop.Configure(OnePeer(), _moment));
        Assert.Equal(0, _store.Length);

        Assert.Equal((1, 0), _loop.Restore(null, _moment));
        Assert.Equal(1ul, _store.Saved().Generation);
        Assert.Equal(1, _store.Saved().Steps.Sum(step => step.Peers.Count));

        Assert.True(_loop.Configure(new DeviceConfiguration { Fwmark = 7 }, _moment));
        Assert.Equal(7u, _store.Saved().Steps[^1].Fwmark);
    }

    [Fact]
    public void What_a_predecessor_has_left_is_taken_over_and_its_numbers_count_on()
    {
        var former = new FakeStore();
        using var predecessor = new Device(RandomNumberGenerator.Fill) { TakesNotes = true };
        predecessor.Apply(OnePeer(), _moment);
        new ConfigurationKeeper(predecessor, former, NullLogger.Instance).Begin(7);

        using SavedConfiguration saved = former.Saved();
        Assert.Equal((1, 0), _loop.Restore(saved, _moment));
        Assert.Equal(8ul, _store.Saved().Generation);
        Assert.Equal(EndpointOf(2), _device.Peers.Single().Endpoint!.Remote);
    }

    [Fact]
    public void A_port_that_nobody_asked_for_is_written_when_the_link_comes_up()
    {
        _udp.Opens = port => port == 0 ? (ushort)40_000 : port;
        _loop.Restore(null, _moment);
        _loop.LinkChanged(up: true, 1420, _moment);
        Assert.Equal((ushort)40_000, _store.Saved().Steps[^1].ListenPort);
    }

    [Fact]
    public void A_port_that_is_had_only_later_is_written_then()
    {
        _udp.Opens = _ => throw new IOException("Address already in use", 98);
        _loop.Restore(null, _moment);
        _loop.LinkChanged(up: true, 1420, _moment);
        Assert.True(_loop.NextDeadline() <= _moment.Now + TimeSpan.FromSeconds(5));
        _udp.Opens = _ => 40_000;
        _moment = _moment with { Now = _loop.NextDeadline() };
        _loop.TakeTurn();
        Assert.Equal((ushort)40_000, _store.Saved().Steps[^1].ListenPort);
    }

    [Fact]
    public void The_port_that_a_configuration_leaves_to_the_system_is_written_too()
    {
        _udp.Opens = port => port == 0 ? (ushort)40_001 : port;
        _loop.Restore(null, _moment);
        _loop.LinkChanged(up: true, 1420, _moment);
        _udp.Opens = port => port == 0 ? (ushort)40_002 : port;
        Assert.True(_loop.Configure(new DeviceConfiguration { ListenPort = 0 }, _moment));
        Assert.Equal((ushort)40_002, _store.Saved().Steps[^1].ListenPort);
    }

    [Fact]
    public void What_routers_say_wakes_it_when_it_may_be_taken_again()
    {
        _loop.LinkChanged(up: true, 1420, _moment);
        _udp.HasPathReports = true;
        Assert.True(_loop.NextDeadline() <= _moment.Now);
        _loop.TakeTurn();
        Instant next = _loop.NextDeadline();
        Assert.InRange(next.Nanoseconds - _moment.Now.Nanoseconds, 1, 1_000_000_000);
        _udp.HasPathReports = false;
        Assert.Equal(Instant.Never, _loop.NextDeadline());
    }

    [Fact]
    public void Of_a_peer_that_moves_it_writes_at_the_end_of_a_turn_then_when_it_is_time_and_at_the_end_at_once()
    {
        _loop.Configure(OnePeer(), _moment);
        _loop.Restore(null, _moment);
        _loop.LinkChanged(up: true, 1420, _moment);
        Peer peer = _device.Peers.Single();

        Move(peer, EndpointOf(3));
        _loop.TakeTurn();
        Assert.Equal(EndpointOf(3), LastWritten());

        Move(peer, EndpointOf(4));
        _loop.TakeTurn();
        Assert.Equal(EndpointOf(3), LastWritten());
        Assert.Equal(_moment.Now + TimeSpan.FromMilliseconds(100), _loop.NextDeadline());
        _moment = _moment with { Now = _loop.NextDeadline() };
        _loop.TakeTurn();
        Assert.Equal(EndpointOf(4), LastWritten());

        Move(peer, EndpointOf(5));
        _loop.TakeTurn();
        Assert.Equal(EndpointOf(4), LastWritten());
        _loop.Stop();
        _loop.Run();
        Assert.Equal(EndpointOf(5), LastWritten());
    }

    private static InetEndpoint EndpointOf(ushort port) => new(TunnelPair.Address("192.0.2.1"), port);

    private static DeviceConfiguration OnePeer()
    {
        var configuration = new DeviceConfiguration();
        configuration.Peers.Add(new PeerConfiguration { PublicKey = new PublicKey(RandomNumberGenerator.GetBytes(PublicKey.Size)), Endpoint = EndpointOf(2) });
        return configuration;
    }

    private void Move(Peer peer, InetEndpoint to)
    {
        peer.Learn(to, InetAddress.None, 0);
        _device.QueueWork(peer, PeerWork.Moved);
    }

    private InetEndpoint? LastWritten() => _store.Saved().Steps.SelectMany(step => step.Peers).Last(peer => peer.Endpoint is not null).Endpoint;
}
