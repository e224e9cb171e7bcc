using System.Buffers.Binary;
using WgSharp.Crypto;
using WgSharp.Protocol;
using WgSharp.Protocol.Tests;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>
/// A machine on virtual time: the whole of a real <see cref="Tunnel"/>, but for its threads. Its control loop and its packet thread take their turns
/// here, one after the other, and only when their waiters would have let them: what nobody is woken for is not done. Where a thread asks for
/// something of the machine (its clock, its sockets, its TUN, a wake-up), the other may be faster, see <see cref="Interleaving"/>.
/// </summary>
internal sealed class VirtualTunnel : IVirtualNode, IDisposable
{
    private const int Headers = IpPacket.IPv4HeaderSize + 8;

    private readonly VirtualWire _wire;
    private readonly VirtualTun _tun;
    private readonly VirtualUdp _udp;
    private readonly Tunnel _tunnel;
    private readonly SingleWorker _packets;
    private readonly Random _interleaver;
    private readonly byte _number;
    private VirtualWaiter _controlWaiter = null!;
    private VirtualWaiter _packetWaiter = null!;
    private bool _controlHasMore;
    private bool _packetsHaveMore;
    private bool _controlIsBusy;
    private bool _packetsAreBusy;
    private bool _isAsleep;
    private TimeSpan _suspended;

    /// <param name="number">Inner addresses are 10.0.0.<paramref name="number"/>; whoever else there is has another.</param>
    public VirtualTunnel(VirtualWire wire, InetEndpoint address, int seed, byte number, MtuPolicy policy = MtuPolicy.Auto)
    {
        _wire = wire;
        _number = number;
        _interleaver = new Random(seed);
        Address = address;
        byte[] key = new byte[PrivateKey.Size];
        new Random(seed + 1000).NextBytes(key);
        PrivateKey = new PrivateKey(key);
        PublicKey = X25519.PublicKeyOf(PrivateKey);
        _tun = new VirtualTun(Keep, AtIo);
        _udp = new VirtualUdp(wire, () => Address, AtIo);
        var io = new TunnelIo(_tun, _udp, ReadClock, CreateWaiter, new Random(seed).NextBytes) { Suspended = () => _suspended };
        _tunnel = new Tunnel(io, new TunnelOptions { Threads = 1, MtuPolicy = policy }, new OutcomeLog(Outcomes));
        _packets = (SingleWorker)_tunnel.Packets.Single();
        wire.Add(this);
    }

    public Device Device => _tunnel.Device;

    public PrivateKey PrivateKey { get; }

    public PublicKey PublicKey { get; }

    /// <summary>Where the machine is seen by the others; a test moves it.</summary>
    public InetEndpoint Address { get; set; }

    /// <summary>
    /// How likely it is, wherever one of the two threads asks for something of the machine, that the other has its turn in that moment. Zero: they
    /// take turns. Drawn from the seed.
    /// </summary>
    public double Interleaving { get; set; }

    /// <summary>Called in the same places, before that: what local programs do.</summary>
    public Action? Meanwhile { get; set; }

    /// <summary>Contents of the packets that arrived.</summary>
    public List<byte[]> Received { get; } = [];

    public int ReceivedCount { get; private set; }

    public bool KeepsReceived { get; set; } = true;

    /// <summary>ICMP errors that local programs got.</summary>
    public int Unreachables { get; private set; }

    /// <summary>Of the handshake messages that were worth something.</summary>
    public List<HandshakeOutcome> Outcomes { get; } = [];

    /// <summary>Of the control loop.</summary>
    public int Wakes => _controlWaiter.Wakes;

    public Action<bool>? Heard { get; set; }

    public Keypair? Sending => Peer.Keypairs.Sending;

    public Instant NextDeadline => _isAsleep ? Instant.Never : _tunnel.Control.NextDeadline();

    /// <summary>The only peer.</summary>
    public Peer Peer => Device.Peers.Single();

    public PeerSnapshot Snapshot => Device.Snapshot().Peers[0];

    /// <summary>Takes each packet that is delivered, instead of the lists above.</summary>
    public Action<byte[]>? Host { get; set; }

    public VirtualUdp Udp => _udp;

    public DropCounters Drops => _tunnel.Drops();

    /// <summary>What is told of the peer.</summary>
    public PeerStatus Describe()
    {
        var described = new List<PeerStatus>();
        Command(moment => Device.DescribePeers(new PeerCursor(), 1, 1, moment.Now, described));
        return described[0];
    }

    /// <summary>Transport messages do not get into the socket any more.</summary>
    public bool LosesData
    {
        set => _udp.LosesData = value;
    }

    // ---- what people do ----

    public void Apply(DeviceConfiguration configuration) => Command(moment => _tunnel.Control.Configure(configuration, moment));

    public void Configure(PublicKey peer, Action<PeerConfiguration>? more = null)
    {
        var configuration = new DeviceConfiguration();
        var one = new PeerConfiguration { PublicKey = peer };
        more?.Invoke(one);
        configuration.Peers.Add(one);
        Apply(configuration);
    }

    public void LinkUp(int mtu = TunnelLink.DefaultMtu) => Command(moment => _tunnel.Control.LinkChanged(up: true, mtu, moment));

    public void LinkDown() => Command(moment => _tunnel.Control.LinkChanged(up: false, TunnelLink.DefaultMtu, moment));

    /// <summary>Suspends the machine: it does nothing and hears nothing, while time passes for the others.</summary>
    public void Sleep(TimeSpan span)
    {
        Run();
        _isAsleep = true;
        _wire.Advance(span);
        _isAsleep = false;
        _suspended += span;
        _controlWaiter.Wake();
    }

    /// <summary>Handshake messages of which nothing is known but that their senders know our public key, from everywhere at once: a load, for a second.</summary>
    public void Overload()
    {
        byte[] message = new byte[MessageSize.HandshakeInitiation];
        message[0] = 1;
        Span<byte> key = stackalloc byte[Blake2s.HashSize];
        Blake2s.Hash("mac1----"u8, PublicKey.Span, key);
        for (int i = 0; i < 200; i++)
        {
            _interleaver.NextBytes(message.AsSpan(4, 112));
            Blake2s.Mac(key, message.AsSpan(0, 116), message.AsSpan(116, 16));
            _udp.Arrive([.. message], new InetEndpoint(new InetAddress([203, 0, 113, (byte)i]), 4711));
        }

        // The control loop has something else to do in this moment.
        while (TryTakePacketTurn())
        {
        }
    }

    // ---- packets ----

    public void Send(params byte[] content)
    {
        Queue(content);
        Run();
    }

    public void SendTo(byte number, byte[] content)
    {
        _tun.Inject(Inner(_number, number, content));
        Run();
    }

    /// <summary>Somebody here sends; nobody has read it yet.</summary>
    public void Queue(byte[] content) => _tun.Inject(Inner(_number, OtherNumber(_number), content));

    /// <summary>A packet as it is read from the TUN; sent with the next turn.</summary>
    public void Inject(byte[] packet) => _tun.Inject(packet);

    public void KnowOwnAddresses(params InetAddress[] addresses) => Command(_ => _tunnel.Control.OwnAddressesChanged(addresses));

    /// <summary>A UDP packet from one inner address to another.</summary>
    public static byte[] Inner(byte from, byte to, ReadOnlySpan<byte> content)
    {
        byte[] packet = new byte[Headers + content.Length];
        packet[0] = 0x45;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(2), (ushort)packet.Length);
        packet[8] = 64;
        packet[9] = 17;
        (packet[12], packet[15]) = (10, from);
        (packet[16], packet[19]) = (10, to);
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(20), 5000);
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(22), 6000);
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(24), (ushort)(8 + content.Length));
        content.CopyTo(packet.AsSpan(Headers));
        return packet;
    }

    /// <summary>The other of two.</summary>
    public static byte OtherNumber(byte number) => (byte)(3 - number);

    /// <summary>All that is routed to a number.</summary>
    public static AllowedIpChange Prefix(byte number) => new(IpPrefix.Of(new InetAddress([10, 0, 0, number]), 32), Remove: false);

    public void ArriveInFragments(byte[] datagram, InetEndpoint from, int fragmentSize) => _udp.Arrive(datagram, from, fragmentSize);

    public void ArriveReport(PathReport report) => _udp.ArriveReport(report);

    public void Arrive(byte[] datagram, InetEndpoint from)
    {
        if (_isAsleep)
        {
            return;
        }

        if (Heard is null || !TransportData.TryParse(datagram, out TransportData message))
        {
            _udp.Arrive(datagram, from);
            return;
        }

        Run();
        bool mayBeOpened = Device.TryFindKeypair(message.ReceiverIndex, out Keypair keypair) && keypair.MayReceive(_wire.Now);
        long before = Peer.RxBytes();
        _udp.Arrive(datagram, from);
        Run();
        bool wasAccepted = Peer.RxBytes() > before;
        Assert.True(mayBeOpened || !wasAccepted);
        if (wasAccepted || !mayBeOpened)
        {
            Heard(wasAccepted);
        }
    }

    /// <summary>A datagram, out of turn.</summary>
    public void Receive(byte[] datagram, InetEndpoint from)
    {
        Arrive(datagram, from);
        Run();
    }

    public void Dispose()
    {
        _tunnel.Dispose();
        PrivateKey.Dispose();
    }

    // ---- turns ----

    /// <summary>Turns, until both threads would sleep.</summary>
    public void Run()
    {
        int turns = 0;
        while (!_isAsleep && TakeTurns())
        {
            Assert.True(++turns < 100_000, "The same moment goes on for ever: a deadline is due and nobody takes it.");
        }
    }

    private bool TakeTurns()
    {
        bool packetsFirst = Interleaving > 0 && _interleaver.Next(2) == 0;
        bool any = packetsFirst && TryTakePacketTurn();
        any |= TryTakeControlTurn();
        any |= !packetsFirst && TryTakePacketTurn();
        return any;
    }

    private bool TryTakeControlTurn()
    {
        if (!_controlHasMore && !_controlWaiter.IsReady && _tunnel.Control.NextDeadline() > _wire.Now)
        {
            return false;
        }

        _controlIsBusy = true;
        _controlWaiter.Poll();
        _controlHasMore = _tunnel.Control.TakeTurn();
        _controlIsBusy = false;
        return true;
    }

    private bool TryTakePacketTurn()
    {
        if (!_packetsHaveMore && !_packetWaiter.IsReady)
        {
            return false;
        }

        _packetsAreBusy = true;
        _packetWaiter.Poll();
        Assert.True(_packets.TakeTurn(out _packetsHaveMore), "The device is there.");
        _packetsAreBusy = false;
        return true;
    }

    private void Command(Action<Moment> action)
    {
        _controlIsBusy = true;
        action(_wire.Moment);
        _controlIsBusy = false;
        _controlWaiter.Wake();
    }

    /// <summary>One of the threads asks for something of the machine: perhaps the other is faster.</summary>
    private void AtIo()
    {
        if (_controlIsBusy || _packetsAreBusy)
        {
            Meanwhile?.Invoke();
        }

        if (_controlIsBusy == _packetsAreBusy || Interleaving == 0 || _interleaver.NextDouble() >= Interleaving)
        {
            return;
        }

        _ = _controlIsBusy ? TryTakePacketTurn() : TryTakeControlTurn();
    }

    private Moment ReadClock()
    {
        AtIo();
        return _wire.Moment;
    }

    private VirtualWaiter CreateWaiter(Readiness watched)
    {
        if (watched == Readiness.None)
        {
            return _controlWaiter = new VirtualWaiter(() => Readiness.None, AtIo);
        }

        return _packetWaiter = new VirtualWaiter(
            () => (_tun.IsReadable ? Readiness.Tun : Readiness.None) | (_udp.IsReadable ? Readiness.Udp : Readiness.None),
            AtIo);
    }

    private void Keep(byte[] packet)
    {
        if (Host is { } host)
        {
            host(packet);
            return;
        }

        if (packet[9] == 1)
        {
            Unreachables++;
            return;
        }

        byte[] content = packet[Headers..];
        Assert.Equal(Inner(OtherNumber(_number), _number, content), packet);
        ReceivedCount++;
        if (KeepsReceived)
        {
            Received.Add(content);
        }
    }
}
