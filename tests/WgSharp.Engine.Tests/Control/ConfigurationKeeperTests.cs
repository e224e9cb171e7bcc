using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Control;

/// <summary>When what a successor needs is written down, and what becomes of it where that fails.</summary>
public sealed class ConfigurationKeeperTests : IDisposable
{
    private static readonly Moment Start = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

    private readonly FakeStore _store = new();
    private readonly Device _device = new(new Random(1).NextBytes) { TakesNotes = true };
    private readonly ConfigurationKeeper _keeper;

    public ConfigurationKeeperTests()
    {
        _keeper = new ConfigurationKeeper(_device, _store, NullLogger.Instance);
        _keeper.Begin(5);
    }

    public void Dispose() => _device.Dispose();

    [Fact]
    public void What_was_configured_is_there_when_it_was_noted()
    {
        Configure(new DeviceConfiguration { Fwmark = 7 });

        Assert.Equal(7u, _store.Saved().Steps[^1].Fwmark);
        Assert.Equal(5ul, _store.Saved().Generation);
        Assert.Equal(Instant.Never, _keeper.WritesAt);
    }

    [Fact]
    public void Of_peers_that_move_it_writes_every_tenth_of_a_second_at_most_and_without_waiting_at_first()
    {
        Peer[] peers = AddPeers(3);
        Move(peers[0], 1);
        Assert.True(_keeper.WritesAt <= Start.Now);
        _keeper.WriteNotes(Start.Now);
        Assert.Equal(1, EndpointsWritten());
        Assert.Equal(Instant.Never, _keeper.WritesAt);

        Move(peers[0], 2);
        Move(peers[1], 2);
        Move(peers[1], 3);
        Assert.Equal(Start.Now + TimeSpan.FromMilliseconds(100), _keeper.WritesAt);
        _keeper.WriteNotes(Start.Now + TimeSpan.FromMilliseconds(99));
        Assert.Equal(1, EndpointsWritten());
        _keeper.WriteNotes(Start.Now + TimeSpan.FromMilliseconds(100));

        // Two peers, however often they moved.
        Assert.Equal(3, EndpointsWritten());
        Assert.Equal((ushort)3, _store.Saved().Steps[^1].Peers[^1].Endpoint!.Value.Port);
    }

    [Fact]
    public void At_the_end_nobody_waits()
    {
        Peer[] peers = AddPeers(1);
        Move(peers[0], 1);
        _keeper.WriteNotes(Start.Now);
        Move(peers[0], 2);

        _keeper.WriteNotes(Start.Now, atOnce: true);

        Assert.Equal(2, EndpointsWritten());
    }

    [Fact]
    public void What_a_change_costs_does_not_depend_on_how_many_peers_there_are()
    {
        Peer[] peers = AddPeers(3000);
        long before = _store.Length;
        Move(peers[7], 1);
        _keeper.WriteNotes(Start.Now);

        Assert.InRange(_store.Length - before, 1, 500);
    }

    [Fact]
    public void A_log_that_has_doubled_begins_anew_with_a_greater_number()
    {
        AddPeers(10);
        for (int i = 0; i < 10_000; i++)
        {
            Configure(new DeviceConfiguration { Fwmark = (uint)i });
            Assert.InRange(_store.Length, 1, 80 * 1024);
        }

        using SavedConfiguration saved = _store.Saved();
        Assert.InRange(saved.Generation, 7ul, 20ul);
        Assert.Equal(10, saved.Steps.Sum(step => step.Peers.Count));
        Assert.Equal(9999u, saved.Steps[^1].Fwmark);
    }

    [Fact]
    public void Where_it_cannot_be_written_nothing_is_left_that_is_no_longer_true()
    {
        Peer[] peers = AddPeers(1);
        _store.Refuses = true;
        Configure(new DeviceConfiguration { Fwmark = 7 });
        Assert.True(_store.IsAbandoned);

        _store.Refuses = false;
        long length = _store.Length;
        Configure(new DeviceConfiguration { Fwmark = 8 });
        Move(peers[0], 1);
        _keeper.WriteNotes(Start.Now);

        Assert.Equal(length, _store.Length);
        Assert.Equal(Instant.Never, _keeper.WritesAt);
    }

    [Fact]
    public void A_port_that_nobody_asked_for_is_written_once()
    {
        _device.SetListenPort(40_000);
        _keeper.NotePort();
        long length = _store.Length;
        _keeper.NotePort();

        Assert.Equal(length, _store.Length);
        Assert.Equal((ushort)40_000, _store.Saved().Steps[^1].ListenPort);
    }

    private Peer[] AddPeers(int count)
    {
        var configuration = new DeviceConfiguration();
        for (int i = 0; i < count; i++)
        {
            byte[] key = new byte[32];
            BitConverter.TryWriteBytes(key, i + 1);
            configuration.Peers.Add(new PeerConfiguration { PublicKey = new Crypto.PublicKey(key) });
        }

        Configure(configuration);
        _device.LinkUp(Start);
        return [.. _device.Peers];
    }

    private void Configure(DeviceConfiguration configuration)
    {
        _device.Apply(configuration, Start);
        _keeper.NoteConfigured(configuration);
    }

    private void Move(Peer peer, ushort port)
    {
        peer.Learn(new InetEndpoint(new InetAddress([192, 0, 2, 1]), port), InetAddress.None, 0);
        _device.QueueWork(peer, PeerWork.Moved);
        Assert.False(_device.TryTakeWork(Start, out _, out _));
    }

    private int EndpointsWritten() => _store.Saved().Steps.Sum(step => step.Peers.Count(peer => peer.Endpoint is not null));
}
