using System.Buffers.Binary;
using System.Net;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Control;

/// <summary>A hub's control loop, turn by turn on virtual time that only its socket spends: too much of one kind of work, and everybody else.</summary>
public sealed class ControlLoopTests : IDisposable
{
    private const int Peers = 40;

    private readonly Device _hub = new(RandomNumberGenerator.Fill);
    private readonly List<Device> _remotes = [];
    private readonly HandshakeQueue _handshakes = new(new Random(1).NextBytes);
    private readonly HandshakeScreen _screen;
    private readonly PacketBatch _received = InboundPath.CreateBatch();
    private readonly SlowUdp _udp;
    private readonly FakeTun _tun = new();
    private readonly FakeWaiter _waiter;
    private readonly ControlLoop _loop;
    private readonly TunnelLink _link;
    private readonly PrivateKey _key = TunnelPair.NewKey();
    private Func<Readiness> _whileAsleep = () => Readiness.None;
    private Moment _moment = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

    public ControlLoopTests()
    {
        _udp = new SlowUdp(this);
        _waiter = new FakeWaiter(() => _whileAsleep(), () => _moment);
        var io = new TunnelIo(_tun, _udp, () => _moment, _ => _waiter, RandomNumberGenerator.Fill);
        _link = new TunnelLink(_hub, _waiter);
        _screen = new HandshakeScreen(_hub, _handshakes, _link);
        var staged = new StagedSender(io, _link, new RunSender(io.Udp, _link, NullLogger.Instance));
        _loop = new ControlLoop(io, _hub, _link, _waiter, _handshakes, staged, NullLogger.Instance);
        var configuration = new DeviceConfiguration { PrivateKey = new PrivateKey(_key.Span), ListenPort = 51820 };
        for (int i = 0; i < Peers; i++)
        {
            configuration.Peers.Add(AddRemote(i));
        }

        _loop.Configure(configuration, _moment);
        _loop.LinkChanged(up: true, 1420, _moment);
    }

    public void Dispose()
    {
        _hub.Dispose();
        _remotes.ForEach(remote => remote.Dispose());
        _key.Dispose();
        _tun.Dispose();
    }

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
    public void Whoever_floods_with_the_public_key_gets_cookies_and_the_others_a_session_at_once()
    {
        byte[] flood = Forged(random: 1);
        InetEndpoint stranger = new(TunnelPair.Address("198.51.100.66"), 4711);
        for (int round = 0; round < 50; round++)
        {
            for (int i = 0; i < 1000; i++)
            {
                Receive(flood, stranger);
            }

            if (round == 40)
            {
                Receive(InitiationOf(0), 0);
            }

            _loop.TakeTurn();
            _moment = _moment with { Now = _moment.Now + TimeSpan.FromMilliseconds(1) };
        }

        Assert.Contains(_udp.Sent, sent => sent.Type == MessageType.CookieReply && sent.To == stranger);
        Assert.Contains(_udp.Sent, sent => sent.Type == MessageType.HandshakeResponse && sent.To == EndpointOf(0));
        Assert.DoesNotContain(_udp.Sent, sent => sent.Type == MessageType.CookieReply && sent.To == EndpointOf(0));

        // 50 ms are five windows of 64.
        Assert.InRange(_udp.Sent.Count(sent => sent.Type == MessageType.CookieReply), 64, 6 * 64);
    }

    [Fact]
    public void Whoever_waits_for_a_cookie_wakes_the_loop_when_the_next_ones_are_due()
    {
        for (int i = 0; i < 3000; i++)
        {
            Receive(Forged(i), new InetEndpoint(TunnelPair.Address($"198.51.{i / 250}.{i % 250}"), 4711));
        }

        for (int windows = 1; windows <= 3; windows++)
        {
            _loop.TakeTurn();
            Assert.Equal(64 * windows, _udp.Sent.Count(sent => sent.Type == MessageType.CookieReply));
            Assert.False(_handshakes.IsEmpty);
            Instant next = _moment.Now + TimeSpan.FromMilliseconds(10);
            Assert.Equal(next, _loop.NextDeadline());
            _moment = _moment with { Now = next };
        }
    }

    [Fact]
    public void Handshakes_that_need_no_cookie_use_up_no_cookies()
    {
        // More than there are cookies for in a window, and too few to be a load.
        for (int i = 0; i < 100; i++)
        {
            Receive(Forged(i), new InetEndpoint(TunnelPair.Address($"198.51.100.{i}"), 4711));
        }

        Receive(InitiationOf(0), 0);
        while (_loop.TakeTurn())
        {
            // No time passes.
        }

        Assert.Equal([MessageType.HandshakeResponse], _udp.Sent.Select(sent => sent.Type));
    }

    [Fact]
    public void Strangers_without_the_public_key_are_no_load_and_take_no_place()
    {
        byte[] junk = Forged(random: 2);
        junk[^20] ^= 1;
        for (int i = 0; i < 100_000; i++)
        {
            Receive(junk, new InetEndpoint(TunnelPair.Address("198.51.100.66"), (ushort)i));
        }

        Assert.True(_handshakes.IsEmpty);
        Assert.False(_handshakes.IsUnderLoad(_handshakes.HashOf(new InetEndpoint(TunnelPair.Address("198.51.100.66"), 0)), _moment.Now));
        Receive(InitiationOf(0), 0);
        _loop.TakeTurn();
        Assert.Equal([MessageType.HandshakeResponse], _udp.Sent.Select(sent => sent.Type));
    }

    [Fact]
    public void Answers_from_all_of_a_hubs_peers_at_once_are_taken_without_a_cookie()
    {
        foreach (Peer peer in _hub.Peers)
        {
            _hub.QueueWork(peer, PeerWork.Handshake);
        }

        RunTurns();
        List<byte[]> responses = [.. _udp.Sent.Where(sent => sent.Type == MessageType.HandshakeInitiation).Select(Answer)];
        Assert.Equal(Peers, responses.Count);
        _udp.Sent.Clear();

        // And a flood by somebody who knows the public key, so that the queue is a load as a whole.
        for (int i = 0; i < 3000; i++)
        {
            Receive(Forged(i), new InetEndpoint(TunnelPair.Address($"198.51.{i / 250}.{i % 250}"), 4711));
        }

        for (int i = 0; i < Peers; i++)
        {
            Receive(responses[i], i);
        }

        RunTurns();
        Assert.All(_hub.Peers, peer => Assert.NotNull(peer.Keypairs.Current));
        Assert.DoesNotContain(_udp.Sent, sent => sent.Type == MessageType.CookieReply && Enumerable.Range(0, Peers).Any(i => sent.To == EndpointOf(i)));
        Assert.Contains(_udp.Sent, sent => sent.Type == MessageType.CookieReply);
    }

    [Fact]
    public void A_session_that_we_began_is_confirmed_at_once_by_what_is_staged_or_else_by_a_keepalive()
    {
        Peer[] peers = [.. _hub.Peers.Take(2)];
        Assert.All(peers, peer => _hub.QueueWork(peer, PeerWork.Handshake));
        peers[1].Staged.Add(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100));
        _loop.TakeTurn();
        List<Sent> initiations = [.. _udp.Sent];
        Assert.All(initiations, sent => Assert.Equal(MessageType.HandshakeInitiation, sent.Type));
        _udp.Sent.Clear();
        Assert.All(initiations, initiation => Receive(Answer(initiation), initiation.To));
        _loop.TakeTurn();
        Assert.Equal(
            [(EndpointOf(0), MessageSize.Keepalive), (EndpointOf(1), 128 + MessageSize.Keepalive)],
            _udp.Sent.Where(sent => sent.Type == MessageType.TransportData).Select(sent => (sent.To, sent.Bytes.Length)));
    }

    [Fact]
    public void A_handshake_message_whose_source_is_refused_leaves_without_it_and_counts_once()
    {
        Peer peer = _hub.Peers.First();
        peer.Learn(EndpointOf(0), TunnelPair.Address("192.0.2.9"), 3);
        _udp.RefusesSources = true;
        _hub.QueueWork(peer, PeerWork.Handshake);
        _loop.TakeTurn();
        Assert.Equal([MessageType.HandshakeInitiation], _udp.Sent.Select(sent => sent.Type));
        Assert.True(peer.Endpoint!.Source.IsNone);
        Assert.Equal(MessageSize.HandshakeInitiation, _hub.Snapshot().Peers[0].TxBytes);
    }

    [Fact]
    public void A_handshake_message_that_was_lost_counts_no_bytes()
    {
        _udp.LosesHandshakes = true;
        _hub.QueueWork(_hub.Peers.First(), PeerWork.Handshake);
        _loop.TakeTurn();
        Assert.Single(_udp.Sent);
        Assert.Equal(0, _hub.Snapshot().Peers[0].TxBytes);
    }

    [Fact]
    public void Whoever_asks_for_a_session_and_has_staged_something_gets_one_initiation()
    {
        Peer peer = _hub.Peers.First();
        peer.Staged.Add(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100));
        _hub.QueueWork(peer, PeerWork.Handshake | PeerWork.Staged);
        _loop.TakeTurn();
        Assert.Equal([MessageType.HandshakeInitiation], _udp.Sent.Select(sent => sent.Type));
    }

    [Fact]
    public void Where_nobody_answers_an_initiation_is_repeated_nineteen_times_and_so_often_again_once_somebody_asks()
    {
        Peer peer = _hub.Peers.First();
        _hub.QueueWork(peer, PeerWork.Handshake);
        RunOver(waits: 60);
        Assert.Equal(1 + 19, _udp.Sent.Count);

        _udp.Sent.Clear();
        _hub.QueueWork(peer, PeerWork.Handshake);
        RunOver(waits: 8);
        Assert.Equal(1 + 8, _udp.Sent.Count);
        _hub.QueueWork(peer, PeerWork.Handshake);
        RunOver(waits: 60);
        Assert.Equal(1 + 8 + 19, _udp.Sent.Count);
        Assert.All(_udp.Sent, sent => Assert.Equal((MessageType.HandshakeInitiation, EndpointOf(0)), (sent.Type, sent.To)));
    }

    [Fact]
    public void A_handshake_message_that_waits_when_the_link_goes_down_is_not_answered_when_it_is_up_again()
    {
        Receive(InitiationOf(0), 0);
        Assert.False(_handshakes.IsEmpty);
        _loop.LinkChanged(up: false, 1420, _moment);
        _loop.LinkChanged(up: true, 1420, _moment);
        _loop.TakeTurn();
        Assert.Empty(_udp.Sent);
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

    /// <summary>Turns, and between them the time goes to when the loop would wake up by itself, if it would.</summary>
    private void RunOver(int waits)
    {
        for (int i = 0; i < waits; i++)
        {
            while (_loop.TakeTurn())
            {
                // Until the loop would sleep.
            }

            if (_loop.NextDeadline() is var wakes && wakes != Instant.Never)
            {
                _moment = _moment with { Now = wakes };
            }
        }

        _loop.TakeTurn();
    }

    /// <summary>Turns until nothing is left but what waits for the next window of cookies.</summary>
    private void RunTurns()
    {
        for (int i = 0; i < 200; i++)
        {
            _loop.TakeTurn();
            _moment = _moment with { Now = _moment.Now + TimeSpan.FromMilliseconds(1) };
        }
    }

    private void Establish()
    {
        foreach (Peer peer in _hub.Peers.Take(Peers - 1))
        {
            _hub.QueueWork(peer, PeerWork.Handshake);
        }

        RunTurns();
        foreach (Sent initiation in _udp.Sent.ToArray())
        {
            Receive(Answer(initiation), initiation.To);
        }

        RunTurns();
        Assert.All(_hub.Peers.Take(Peers - 1), peer => Assert.NotNull(peer.Keypairs.Current));
        _udp.Sent.Clear();
    }

    private byte[] Answer(Sent initiation)
    {
        byte[] reply = new byte[MessageSize.HandshakeInitiation];
        int remote = initiation.To.Port - 20000;
        HandshakeResult answered = _remotes[remote].Handle(initiation.Bytes, new HandshakeOrigin(Hub), underLoad: false, _moment, reply);
        Assert.Equal(HandshakeOutcome.Respond, answered.Outcome);
        return reply[..answered.ReplyLength];
    }

    private byte[] InitiationOf(int remote)
    {
        byte[] initiation = new byte[MessageSize.HandshakeInitiation];
        Device device = _remotes[remote];
        device.LinkDown();
        device.LinkUp(_moment);
        Assert.True(device.TryCreateInitiation(device.Peers.First(), retry: false, _moment, initiation));
        return initiation;
    }

    /// <summary>An initiation with a right mac1 and nothing else.</summary>
    private byte[] Forged(int random)
    {
        byte[] message = new byte[MessageSize.HandshakeInitiation];
        new Random(random).NextBytes(message.AsSpan(4));
        message[0] = 1;
        Span<byte> key = stackalloc byte[32];
        Blake2s.Hash("mac1----"u8, X25519.PublicKeyOf(_key).Span, key);
        Blake2s.Mac(key, message.AsSpan(0, 116), message.AsSpan(116, 16));
        message.AsSpan(132).Clear();
        return message;
    }

    private void Receive(byte[] message, int remote) => Receive(message, EndpointOf(remote));

    private void Receive(byte[] message, InetEndpoint from)
    {
        _received.Clear();
        message.CopyTo(_received.Buffer, 0);
        _received.Trains[0] = new DatagramTrain { Length = message.Length, Stride = message.Length, Source = from };
        _received.TrainCount = 1;
        _screen.Add(_received, 0, 0, message.Length, _moment.Now);
        _screen.Finish(_received, _moment.Now);
    }

    private PeerConfiguration AddRemote(int number)
    {
        using PrivateKey key = TunnelPair.NewKey();
        var remote = new Device(RandomNumberGenerator.Fill);
        var configuration = new DeviceConfiguration { PrivateKey = new PrivateKey(key.Span) };
        configuration.Peers.Add(new PeerConfiguration { PublicKey = X25519.PublicKeyOf(_key), Endpoint = Hub });
        remote.Apply(configuration, _moment);
        remote.LinkUp(_moment);
        _remotes.Add(remote);
        return new PeerConfiguration { PublicKey = X25519.PublicKeyOf(key), Endpoint = EndpointOf(number) };
    }

    private static InetEndpoint Hub => new(TunnelPair.Address("192.0.2.1"), 51820);

    private static InetEndpoint EndpointOf(int remote) => new(InetAddress.From(IPAddress.Parse("192.0.2.2")), (ushort)(20000 + remote));

    private static Task<T> Background<T>(Func<T> action) =>
        Task.Factory.StartNew(action, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private sealed record Sent(MessageType Type, InetEndpoint To, Instant At, byte[] Bytes);

    /// <summary>Spends virtual time for every run and every datagram.</summary>
    private sealed class SlowUdp(ControlLoopTests test) : IUdpSocket
    {
        public TimeSpan Cost { get; set; }

        public List<Sent> Sent { get; } = [];

        /// <summary>Whatever names the address that it is to leave by.</summary>
        public bool RefusesSources { get; set; }

        /// <summary>They leave the loop, and no more.</summary>
        public bool LosesHandshakes { get; set; }

        /// <summary>Somebody else has the port.</summary>
        public bool IsTaken { get; set; }

        /// <summary>When it was tried, successfully or not.</summary>
        public List<Instant> OpenedAt { get; } = [];

        public ushort Open(ushort port, uint fwmark)
        {
            OpenedAt.Add(test._moment.Now);
            return IsTaken ? throw new IOException("Address already in use", 98) : port;
        }

        public void Try(ushort port, uint fwmark)
        {
        }

        public void Close()
        {
        }

        public void SetMark(uint fwmark)
        {
        }

        public IoStatus Receive(PacketBatch batch) => IoStatus.WouldBlock;

        public void Send(PacketBatch batch, int first, int count)
        {
            for (int r = first; r < first + count; r++)
            {
                ref OutboundRun run = ref batch.OutboundRuns[r];
                run.Outcome = SendOutcome.Sent;
                Note(batch.Buffer.AsSpan(run.Offset, run.Length), run.Endpoint!);
            }
        }

        public int PathMtu(Endpoint endpoint, Instant now) => 1500;

        public SendOutcome SendOne(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass)
        {
            if (RefusesSources && !endpoint.Source.IsNone)
            {
                return SendOutcome.SourceRefused;
            }

            Note(datagram, endpoint);
            return LosesHandshakes ? SendOutcome.Lost : SendOutcome.Sent;
        }

        public void Dispose()
        {
        }

        private void Note(ReadOnlySpan<byte> bytes, Endpoint endpoint)
        {
            test._moment = test._moment with { Now = test._moment.Now + Cost };
            var type = (MessageType)BinaryPrimitives.ReadUInt32LittleEndian(bytes);
            Sent.Add(new Sent(type, endpoint.Remote, test._moment.Now, bytes.ToArray()));
        }
    }
}
