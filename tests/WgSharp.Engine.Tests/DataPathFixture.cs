using System.Security.Cryptography;
using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Crypto;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>Two devices with a session, A's way out and B's way in, on one thread and on virtual time.</summary>
public abstract class DataPathFixture : IDisposable
{
    private protected static readonly InetEndpoint EndpointA = new(TunnelPair.Address("192.0.2.1"), 1111);
    private protected static readonly InetEndpoint EndpointB = new(TunnelPair.Address("192.0.2.2"), 2222);

    private protected readonly Device _a = new(RandomNumberGenerator.Fill);
    private protected readonly Device _b = new(RandomNumberGenerator.Fill);
    private protected readonly LoopTun _tunA = new();
    private protected readonly LoopTun _tunB = new();
    private protected readonly LoopUdp _udp = new(EndpointA);
    private protected readonly OutboundPath _outbound;
    private protected readonly StagedSender _staged;
    private protected readonly InboundPath _inbound;
    private protected readonly PacketBatch _out = OutboundPath.CreateBatch();
    private protected readonly PacketBatch _in = InboundPath.CreateBatch();
    private protected readonly HandshakeQueue _handshakes = new(RandomNumberGenerator.Fill);
    private protected readonly IWaiter _waiter = new FakeWaiter(() => Readiness.None, () => default);
    private protected readonly List<string> _warnings = [];
    private protected Moment _moment = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

    private protected DataPathFixture()
    {
        using PrivateKey keyA = TunnelPair.NewKey();
        using PrivateKey keyB = TunnelPair.NewKey();
        Configure(_a, keyA, X25519.PublicKeyOf(keyB), "10.0.0.2", EndpointB);
        Configure(_b, keyB, X25519.PublicKeyOf(keyA), "10.0.0.1", EndpointA);
        Shake();
        var linkA = new TunnelLink(_a, _waiter);
        var sender = new RunSender(_udp, linkA, new WarningList(_warnings));
        _outbound = new OutboundPath(Io(_tunA), _a, linkA, sender, new WarningList(_warnings));
        _staged = new StagedSender(Io(_tunA), linkA, sender);
        var link = new TunnelLink(_b, _waiter);
        var screen = new HandshakeScreen(_b, _handshakes, link);
        _inbound = new InboundPath(Io(_tunB), _b, link, screen, InboundPath.CreateCoalescer(TunOffload.None), NullLogger.Instance);
    }

    public void Dispose()
    {
        _a.LinkDown();
        _b.LinkDown();
        _waiter.Dispose();
        GC.SuppressFinalize(this);
    }

    private protected int Cross()
    {
        Send();
        return Receive();
    }

    private protected void Send()
    {
        _udp.RunCounts.Clear();
        _udp.RunLengths.Clear();
        _udp.HopLimits.Clear();
        _outbound.Read(_out);
        SplitPosition position = default;
        bool more;
        do
        {
            more = _outbound.Prepare(_out, ref position, _moment.Now);
            OutboundPath.Seal(_out);
            _outbound.Transmit(_out, _moment.Now);
        }
        while (more);
    }

    private protected int Receive() => Receive(_inbound);

    /// <returns>Frames that were written.</returns>
    private protected int Receive(InboundPath inbound)
    {
        int before = _tunB.WrittenCount;
        while (inbound.Receive(_in) == IoStatus.Done)
        {
            DatagramCursor cursor = default;
            bool more;
            do
            {
                more = inbound.Classify(_in, ref cursor, _moment.Now);
                InboundPath.Open(_in, _moment.Now);
                inbound.Accept(_in, _moment.Now);
                inbound.Deliver(_in);
            }
            while (more);
        }

        return _tunB.WrittenCount - before;
    }

    private void Shake()
    {
        byte[] initiation = new byte[148];
        byte[] response = new byte[148];
        Assert.True(_a.TryCreateInitiation(_a.Peers.First(), retry: false, _moment, initiation));
        HandshakeResult answered = _b.Handle(initiation, new HandshakeOrigin(EndpointA), false, _moment, response);
        Assert.Equal(HandshakeOutcome.Respond, answered.Outcome);
        HandshakeResult established = _a.Handle(response.AsSpan(0, answered.ReplyLength), new HandshakeOrigin(EndpointB), false, _moment, initiation);
        Assert.Equal(HandshakeOutcome.SessionEstablished, established.Outcome);
    }

    private protected void Configure(Device device, PrivateKey? key, PublicKey peer, string allowed, InetEndpoint endpoint)
    {
        var configuration = new DeviceConfiguration { PrivateKey = key is null ? null : new PrivateKey(key.Span) };
        var one = new PeerConfiguration { PublicKey = peer, Endpoint = endpoint };
        one.AllowedIps.Add(new AllowedIpChange(IpPrefix.Of(TunnelPair.Address(allowed), 32), Remove: false));
        configuration.Peers.Add(one);
        device.Apply(configuration, _moment);
        device.LinkUp(_moment);
    }

    private protected TunnelIo Io(ITunDevice tun) => new(tun, _udp, () => _moment, _ => _waiter, RandomNumberGenerator.Fill);
}
