using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>
/// Two devices that know each other, with nothing around them and nothing between them: handshake messages are made, carried and handed over by the
/// test. The link is up and nothing has been said yet. (Whole tunnels, with a wire, stand in the engine's tests.)
/// </summary>
internal sealed class DevicePair
{
    public DevicePair(int seed = 1, bool knowsEndpoints = true)
    {
        A = new DeviceEnd(this, At("192.0.2.1", 51820), seed * 10);
        B = new DeviceEnd(this, At("2001:db8::2", 51821), (seed * 10) + 1);
        byte[] psk = new byte[PresharedKey.Size];
        new SeededRandom(seed).Fill(psk);
        Introduce(A, B, psk, knowsEndpoints);
        Introduce(B, A, psk, knowsEndpoints: false);
        A.Device.LinkUp(Moment);
        B.Device.LinkUp(Moment);
    }

    /// <summary>Knows where B is: the one that can begin.</summary>
    public DeviceEnd A { get; }

    /// <summary>Knows A by its key only.</summary>
    public DeviceEnd B { get; }

    /// <summary>An hour after the machine was started.</summary>
    public Moment Moment { get; private set; } = new(new Instant(0) + TimeSpan.FromHours(1), new UnixTime(1_700_000_000_000_000_000));

    public Instant Now => Moment.Now;

    public static InetEndpoint At(string address, ushort port) => new(InetAddress.From(System.Net.IPAddress.Parse(address)), port);

    /// <summary>A pair with a session that A began and B has seen confirmed, 20 seconds old and silent by now.</summary>
    public static DevicePair WithSession(int seed = 1)
    {
        var pair = new DevicePair(seed);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
        pair.A.Note(pair.A.Peer.NoteSent(pair.A.Peer.Keypairs.Current!, 1, MessageSize.Keepalive, carriesData: false, pair.Now));
        pair.B.Note(pair.B.Peer.NoteReceived(pair.B.Peer.Keypairs.Next!, 1, MessageSize.Keepalive, carriesData: false, pair.Now));
        pair.Advance(TimeSpan.FromSeconds(20));
        Assert.NotNull(pair.B.Peer.Keypairs.Current);
        return pair;
    }

    /// <summary>A pair whose ends have both begun before they heard of each other.</summary>
    public static DevicePair Crossed()
    {
        var pair = new DevicePair();
        pair.B.Configure(pair.A.PublicKey, peer => peer.Endpoint = pair.A.Address);
        pair.Cross();
        return pair;
    }

    /// <summary>Both begin before they hear of each other, and both handshakes come to their end.</summary>
    public void Cross()
    {
        byte[] ofA = A.Initiation();
        byte[] ofB = B.Initiation();
        Assert.Equal(HandshakeOutcome.Respond, A.Handle(ofB, B.Address));
        Assert.Equal(HandshakeOutcome.Respond, B.Handle(ofA, A.Address));
        byte[] toA = B.Reply;
        byte[] toB = A.Reply;
        Assert.Equal(HandshakeOutcome.SessionEstablished, A.Handle(toA, B.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, B.Handle(toB, A.Address));
    }

    /// <summary>Time passes, and what was due is taken and thrown away.</summary>
    public void Advance(TimeSpan span)
    {
        Skip(span);
        A.Note(PeerWork.None);
        B.Note(PeerWork.None);
    }

    /// <summary>Time passes, and what is due waits for the test.</summary>
    public void Skip(TimeSpan span) => Moment = new Moment(Moment.Now + span, new UnixTime((new Instant(Moment.Wall.Nanoseconds) + span).Nanoseconds));

    /// <summary>The wall clock jumps.</summary>
    public void SetWallForward(TimeSpan span) => Moment = Moment with { Wall = new UnixTime((new Instant(Moment.Wall.Nanoseconds) + span).Nanoseconds) };

    private static void Introduce(DeviceEnd end, DeviceEnd other, byte[] psk, bool knowsEndpoints)
    {
        using var key = new PresharedKey(psk);
        var configuration = new DeviceConfiguration { PrivateKey = end.PrivateKey };
        configuration.Peers.Add(new PeerConfiguration
        {
            PublicKey = other.PublicKey,
            PresharedKey = key,
            Endpoint = knowsEndpoints ? other.Address : null,
        });
        end.Apply(configuration);
    }
}

/// <summary>One device of a <see cref="DevicePair"/>.</summary>
internal sealed class DeviceEnd
{
    private readonly DevicePair _pair;
    private readonly byte[] _reply = new byte[MessageSize.HandshakeInitiation];
    private int _replyLength;

    public DeviceEnd(DevicePair pair, InetEndpoint address, int seed)
    {
        _pair = pair;
        Address = address;
        Device = new Device(new SeededRandom(seed).Fill);
        byte[] key = new byte[PrivateKey.Size];
        new SeededRandom(seed + 1000).Fill(key);
        PrivateKey = new PrivateKey(key);
    }

    public Device Device { get; }

    public PrivateKey PrivateKey { get; }

    public PublicKey PublicKey => X25519.PublicKeyOf(PrivateKey);

    public InetEndpoint Address { get; }

    public bool UnderLoad { get; set; }

    /// <summary>The only peer.</summary>
    public Peer Peer => Device.Peers.Single();

    /// <summary>The last reply.</summary>
    public byte[] Reply => _reply[.._replyLength];

    public void Apply(DeviceConfiguration configuration) => Device.Apply(configuration, _pair.Moment);

    public void Configure(PublicKey peer, Action<PeerConfiguration>? more = null)
    {
        var configuration = new DeviceConfiguration();
        var one = new PeerConfiguration { PublicKey = peer };
        more?.Invoke(one);
        configuration.Peers.Add(one);
        Apply(configuration);
    }

    /// <summary>A fresh one, which must be allowed now.</summary>
    public byte[] Initiation(bool retry = false)
    {
        byte[] message = new byte[MessageSize.HandshakeInitiation];
        Assert.True(Device.TryCreateInitiation(Peer, retry, _pair.Moment, message));
        Device.NoteHandshakeSent(Peer, message.Length, _pair.Moment);
        return message;
    }

    /// <summary>Whether an initiation is allowed, now or so much later; it is thrown away.</summary>
    public bool TryInitiate(TimeSpan later = default) =>
        Device.TryCreateInitiation(Peer, retry: false, _pair.Moment with { Now = _pair.Now + later }, new byte[MessageSize.HandshakeInitiation]);

    /// <summary>mac1 of a message to this end that was changed is made right again: what is wrong is seen behind it.</summary>
    public void Resign(byte[] message)
    {
        Span<byte> key = stackalloc byte[32];
        Blake2s.Hash("mac1----"u8, PublicKey.Span, key);
        Blake2s.Mac(key, message.AsSpan(0, message.Length - 32), message.AsSpan(message.Length - 32, 16));
    }

    public HandshakeOutcome Handle(ReadOnlySpan<byte> message, InetEndpoint from)
    {
        HandshakeResult result = Device.Handle(message, new HandshakeOrigin(from), UnderLoad, _pair.Moment, _reply);
        _replyLength = result.ReplyLength;
        if (result.Outcome == HandshakeOutcome.Respond)
        {
            Device.NoteHandshakeSent(result.Peer!, _replyLength, _pair.Moment);
        }

        return result.Outcome;
    }

    /// <summary>Queues what the data path noted, and takes everything that is to be done.</summary>
    public void Note(PeerWork work)
    {
        Device.QueueWork(Peer, work);
        while (Device.TryTakeWork(_pair.Moment, out _, out _) || Device.TryTakeDueTimer(_pair.Moment, out _, out _))
        {
        }
    }
}
