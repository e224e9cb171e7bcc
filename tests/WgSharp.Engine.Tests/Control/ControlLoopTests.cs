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
    private readonly PrivateKey _key = TunnelPair.NewKey();
    private Moment _moment = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

    public ControlLoopTests()
    {
        _udp = new SlowUdp(this);
        _waiter = new FakeWaiter(() => Readiness.None, () => _moment);
        var io = new TunnelIo(_tun, _udp, () => _moment, _ => _waiter, RandomNumberGenerator.Fill);
        var link = new TunnelLink(_hub, _waiter);
        _screen = new HandshakeScreen(_hub, _handshakes, link);
        var staged = new StagedSender(io, link, new RunSender(io.Udp, link, NullLogger.Instance));
        _loop = new ControlLoop(io, _hub, link, _waiter, _handshakes, staged, NullLogger.Instance);
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
            Note(datagram, endpoint);
            return SendOutcome.Sent;
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
