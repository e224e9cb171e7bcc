using System.Security.Cryptography;
using BenchmarkDotNet.Attributes;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Benchmarks;

/// <summary>Handshakes per second on one core: what the control loop can take before it is under load.</summary>
[MemoryDiagnoser]
public class HandshakeBenchmarks
{
    private static readonly InetEndpoint EndpointA = new(new InetAddress([192, 0, 2, 1]), 1111);
    private static readonly InetEndpoint EndpointB = new(new InetAddress([192, 0, 2, 2]), 2222);
    private readonly byte[] _initiation = new byte[MessageSize.HandshakeInitiation];
    private readonly byte[] _reply = new byte[MessageSize.HandshakeInitiation];
    private readonly (byte[] Initiation, Moment Moment)[] _prepared = new (byte[], Moment)[64];
    private Device _initiator = null!;
    private Device _responder = null!;
    private Peer _peer = null!;
    private long _seconds;
    private int _next;

    [GlobalSetup]
    public void Setup()
    {
        using var keyA = new PrivateKey(RandomNumberGenerator.GetBytes(PrivateKey.Size));
        using var keyB = new PrivateKey(RandomNumberGenerator.GetBytes(PrivateKey.Size));
        _initiator = Create(keyA, X25519.PublicKeyOf(keyB), EndpointB);
        _responder = Create(keyB, X25519.PublicKeyOf(keyA), EndpointA);
        _peer = _initiator.Peers.First();
        _seconds = 1_000_000;
    }

    /// <summary>Create an initiation, nothing more.</summary>
    [Benchmark]
    public bool Initiation() => _initiator.TryCreateInitiation(_peer, retry: false, Next(), _initiation);

    /// <summary>The whole of it on both sides: initiation, response, both keypairs.</summary>
    [Benchmark]
    public bool BothSides()
    {
        Moment moment = Next();
        bool begun = _initiator.TryCreateInitiation(_peer, retry: false, moment, _initiation);
        HandshakeResult answered = _responder.Handle(_initiation, new HandshakeOrigin(EndpointA), underLoad: false, moment, _reply);
        if (!begun || answered.Outcome != HandshakeOutcome.Respond)
        {
            throw new InvalidOperationException("The handshake failed.");
        }

        return _initiator.Handle(_reply.AsSpan(0, answered.ReplyLength), new HandshakeOrigin(EndpointB), underLoad: false, moment, _initiation).Outcome == HandshakeOutcome.SessionEstablished;
    }

    /// <summary>The responder alone: each initiation is made outside of the measured time.</summary>
    [Benchmark]
    [InvocationCount(64)]
    public bool Responder()
    {
        (byte[] initiation, Moment moment) = _prepared[_next++ % _prepared.Length];
        HandshakeOutcome outcome = _responder.Handle(initiation, new HandshakeOrigin(EndpointA), underLoad: false, moment, _reply).Outcome;
        return outcome == HandshakeOutcome.Respond ? true : throw new InvalidOperationException("The handshake failed.");
    }

    [IterationSetup(Target = nameof(Responder))]
    public void Prepare()
    {
        for (int i = 0; i < _prepared.Length; i++)
        {
            Moment moment = Next();
            byte[] initiation = new byte[MessageSize.HandshakeInitiation];
            _initiator.TryCreateInitiation(_peer, retry: false, moment, initiation);
            _prepared[i] = (initiation, moment);
        }

        _next = 0;
    }

    /// <summary>Ten seconds later: beyond every limit on how often one may shake hands.</summary>
    private Moment Next()
    {
        _seconds += 10;
        return new Moment(new Instant(_seconds * 1_000_000_000), new UnixTime((1_700_000_000 + _seconds) * 1_000_000_000));
    }

    private static Device Create(PrivateKey key, PublicKey peer, InetEndpoint endpoint)
    {
        var device = new Device(RandomNumberGenerator.Fill);
        var configuration = new DeviceConfiguration { PrivateKey = new PrivateKey(key.Span) };
        configuration.Peers.Add(new PeerConfiguration { PublicKey = peer, Endpoint = endpoint });
        Moment start = new(new Instant(1_000_000_000), new UnixTime(1_700_000_000_000_000_000));
        device.Apply(configuration, start);
        device.LinkUp(start);
        return device;
    }
}
