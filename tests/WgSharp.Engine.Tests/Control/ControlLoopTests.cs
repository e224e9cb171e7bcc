using System.Security.Cryptography;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Control;

/// <summary>The control loop turn by turn: too much of one kind of work, and everybody else; what a person asks for.</summary>
public sealed class ControlLoopTests : ControlLoopFixture
{
    [Fact]
    public void The_loop_sleeps_only_when_nothing_is_left_and_takes_the_link_down_when_it_ends()
    {
        _udp.Cost = TimeSpan.FromMilliseconds(5);
        Assert.All(_hub.Peers, peer => _hub.QueueWork(peer, PeerWork.Handshake));
        var sentBefore = new List<int>();
        _whileAsleep = () =>
        {
            sentBefore.Add(_udp.Sent.Count);
            if (sentBefore.Count == 3)
            {
                _loop.Stop();
            }

            return Readiness.Woken;
        };
        _loop.Run();
        Assert.Equal([Peers, Peers, Peers], sentBefore);
        Assert.False(_hub.LinkIsUp);
    }

    [Fact]
    public async Task Packets_staged_for_a_slow_socket_delay_nothing_by_more_than_50_ms()
    {
        Establish();
        _udp.Cost = TimeSpan.FromMilliseconds(5);
        Peer[] staging = [.. _hub.Peers.Take(Peers - 2)];
        Peer idle = _hub.Peers.ElementAt(Peers - 2);
        TimeSpan longest = TimeSpan.Zero;
        for (int round = 0; round < 20; round++)
        {
            // More than the socket takes, of sizes that do not join.
            foreach (Peer peer in staging)
            {
                for (int i = 0; i < 128; i++)
                {
                    peer.Staged.Add(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100 + (i * 17 % 1000)));
                }

                _hub.QueueWork(peer, PeerWork.Staged);
            }

            _loop.TakeTurn();
            Instant asked = _moment.Now;
            Instant? answered = null;
            Task person = Background(() => _loop.Mailbox.Invoke(_ => answered = _moment.Now));
            SpinWait.SpinUntil(() => !_loop.Mailbox.IsEmpty);
            Receive(InitiationOf(Peers - 1), Peers - 1);
            _udp.Sent.Clear();
            idle.Staged.Add(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 10));
            _hub.QueueWork(idle, PeerWork.Staged);
            while (answered is null || !_udp.Sent.Any(sent => sent.Type == MessageType.HandshakeResponse))
            {
                Assert.True(_moment.Now - asked <= TimeSpan.FromMilliseconds(200), "nobody was served");
                Assert.True(_loop.TakeTurn());
            }

            TimeSpan response = _udp.Sent.First(sent => sent.Type == MessageType.HandshakeResponse).At - asked;
            TimeSpan answer = answered.Value - asked;
            await person;
            longest = new[] { longest, response, answer }.Max();
            _moment = _moment with { Now = _moment.Now + TimeSpan.FromSeconds(1) };
        }

        Assert.InRange(longest, TimeSpan.Zero, TimeSpan.FromMilliseconds(50));
    }

    [Fact]
    public void Ten_thousand_keepalives_at_once_are_sent_in_turns_with_everything_else()
    {
        _udp.Cost = TimeSpan.FromMilliseconds(1);
        var many = new DeviceConfiguration();
        for (int i = 0; i < 10_000; i++)
        {
            byte[] key = RandomNumberGenerator.GetBytes(PublicKey.Size);
            many.Peers.Add(new PeerConfiguration
            {
                PublicKey = new PublicKey(key),
                Endpoint = new InetEndpoint(TunnelPair.Address($"198.51.{i / 250}.{i % 250}"), 51820),
                PersistentKeepaliveInterval = 25,
            });
        }

        _loop.Configure(many, _moment);

        // All of them are due, although they were spread: as after a minute in which the machine did something else.
        _moment = _moment with { Now = _moment.Now + TimeSpan.FromSeconds(10) };
        Instant longestTurn = default;
        int turns = 0;
        for (; _udp.Sent.Count < 10_000; turns++)
        {
            Instant before = _moment.Now;
            Assert.True(_loop.TakeTurn());
            longestTurn = new Instant(Math.Max(longestTurn.Nanoseconds, _moment.Now.Nanoseconds - before.Nanoseconds));
        }

        Assert.InRange(longestTurn.Nanoseconds, 1, 10_000_000);
        Assert.InRange(turns, 1000, 4000);
        Assert.Equal(10_000, _udp.Sent.Count(sent => sent.Type == MessageType.HandshakeInitiation));
    }

    [Fact]
    public void Of_strangers_nothing_is_told_until_there_was_one()
    {
        TunnelStatus before = _loop.Describe(_moment.Now);
        Assert.Equal((0, null, null, null), (before.StrangerCount, before.StrangerKey, before.StrangerSource, before.StrangerAge));

        var configuration = new DeviceConfiguration();
        configuration.Peers.Add(new PeerConfiguration { PublicKey = _hub.Peers.First().PublicKey, Remove = true });
        byte[] initiation = InitiationOf(0);
        Assert.True(_loop.Configure(configuration, _moment));
        Receive(initiation, 0);
        _loop.TakeTurn();
        TunnelStatus after = _loop.Describe(_moment.Now + TimeSpan.FromSeconds(3));
        Assert.Equal((1, EndpointOf(0), TimeSpan.FromSeconds(3)), (after.StrangerCount, after.StrangerSource!.Value, after.StrangerAge!.Value));
        Assert.NotNull(after.StrangerKey);
    }

    [Fact]
    public void From_which_size_on_a_peers_path_refuses_segments_is_told_of_that_peer()
    {
        _link.Refusals.Refuse(EndpointOf(1), 1400, _moment.Now);
        var described = new List<PeerStatus>();
        Assert.True(_loop.DescribePeers(new PeerCursor(), 3, 1, _moment.Now, described));
        Assert.Equal([0, 1400, 0], described.Select(peer => peer.UnsegmentedFrom));
    }

    [Fact]
    public void A_link_that_is_up_already_opens_no_port_again()
    {
        _udp.OpenedAt.Clear();
        Assert.True(_loop.LinkChanged(up: true, 1400, _moment));
        Assert.Empty(_udp.OpenedAt);
        Assert.False(_loop.LinkChanged(up: false, 1400, _moment));
        Assert.True(_loop.LinkChanged(up: true, 1400, _moment));
        Assert.Single(_udp.OpenedAt);
    }

    [Fact]
    public void A_port_that_is_taken_when_the_link_comes_up_is_asked_for_every_five_seconds_until_it_is_free_or_the_link_down()
    {
        _loop.LinkChanged(up: false, 1420, _moment);
        _udp.OpenedAt.Clear();
        _udp.IsTaken = true;
        Instant up = _moment.Now;
        _loop.LinkChanged(up: true, 1420, _moment);
        RunOver(waits: 3);
        _udp.IsTaken = false;
        RunOver(waits: 3);
        Assert.Equal([0, 5, 10, 15, 20], _udp.OpenedAt.Select(at => (int)(at - up).TotalSeconds));

        _loop.LinkChanged(up: false, 1420, _moment);
        _udp.IsTaken = true;
        _loop.LinkChanged(up: true, 1420, _moment);
        _loop.LinkChanged(up: false, 1420, _moment);
        _udp.OpenedAt.Clear();
        RunOver(waits: 3);
        Assert.Empty(_udp.OpenedAt);
    }
}
