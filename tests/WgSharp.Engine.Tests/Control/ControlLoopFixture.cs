using System.Buffers.Binary;
using System.Net;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Control;

/// <summary>A hub's control loop, turn by turn on virtual time that only its socket spends, and the devices of its peers.</summary>
public abstract class ControlLoopFixture : IDisposable
{
    private protected const int Peers = 40;

    private protected readonly Device _hub = new(RandomNumberGenerator.Fill);
    private protected readonly List<Device> _remotes = [];
    private protected readonly HandshakeQueue _handshakes = new(new Random(1).NextBytes);
    private protected readonly HandshakeScreen _screen;
    private protected readonly PacketBatch _received = InboundPath.CreateBatch();
    private protected readonly SlowUdp _udp;
    private protected readonly FakeTun _tun = new();
    private protected readonly FakeWaiter _waiter;
    private protected readonly ControlLoop _loop;
    private protected readonly TunnelLink _link;
    private protected readonly PrivateKey _key = TunnelPair.NewKey();
    private protected Func<Readiness> _whileAsleep = () => Readiness.None;
    private protected Moment _moment = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

    private protected ControlLoopFixture()
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
        GC.SuppressFinalize(this);
    }

    /// <summary>Turns, and between them the time goes to when the loop would wake up by itself, if it would.</summary>
    private protected void RunOver(int waits)
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
    private protected void RunTurns()
    {
        for (int i = 0; i < 200; i++)
        {
            _loop.TakeTurn();
            _moment = _moment with { Now = _moment.Now + TimeSpan.FromMilliseconds(1) };
        }
    }

    private protected void Establish()
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

    private protected byte[] Answer(Sent initiation)
    {
        byte[] reply = new byte[MessageSize.HandshakeInitiation];
        int remote = initiation.To.Port - 20000;
        HandshakeResult answered = _remotes[remote].Handle(initiation.Bytes, new HandshakeOrigin(Hub), underLoad: false, _moment, reply);
        Assert.Equal(HandshakeOutcome.Respond, answered.Outcome);
        return reply[..answered.ReplyLength];
    }

    private protected byte[] InitiationOf(int remote)
    {
        byte[] initiation = new byte[MessageSize.HandshakeInitiation];
        Device device = _remotes[remote];
        device.LinkDown();
        device.LinkUp(_moment);
        Assert.True(device.TryCreateInitiation(device.Peers.First(), retry: false, _moment, initiation));
        return initiation;
    }

    /// <summary>An initiation with a right mac1 and nothing else.</summary>
    private protected byte[] Forged(int random)
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

    private protected void Receive(byte[] message, int remote) => Receive(message, EndpointOf(remote));

    private protected void Receive(byte[] message, InetEndpoint from)
    {
        _received.Clear();
        message.CopyTo(_received.Buffer, 0);
        _received.Trains[0] = new DatagramTrain { Length = message.Length, Stride = message.Length, Source = from };
        _received.TrainCount = 1;
        _screen.Add(_received, 0, 0, message.Length, _moment.Now);
        _screen.Finish(_received, _moment.Now);
    }

    private protected PeerConfiguration AddRemote(int number)
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

    private protected static InetEndpoint Hub => new(TunnelPair.Address("192.0.2.1"), 51820);

    private protected static InetEndpoint EndpointOf(int remote) => new(InetAddress.From(IPAddress.Parse("192.0.2.2")), (ushort)(20000 + remote));

    private protected static Task<T> Background<T>(Func<T> action) =>
        Task.Factory.StartNew(action, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private protected sealed record Sent(MessageType Type, InetEndpoint To, Instant At, byte[] Bytes);

    /// <summary>Spends virtual time for every run and every datagram.</summary>
    private protected sealed class SlowUdp(ControlLoopFixture test) : IUdpSocket
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
