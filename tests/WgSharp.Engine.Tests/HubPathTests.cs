using System.Security.Cryptography;
using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>A hub with a thousand peers whose paths are all searched at once: its control loop's turns stay short, and everybody has theirs.</summary>
public sealed class HubPathTests : IDisposable
{
    private const int Peers = 1000;

    /// <summary>What each reading of the clock costs: one piece of work.</summary>
    private static readonly TimeSpan Piece = TimeSpan.FromMicroseconds(50);

    private readonly Device _hub = new(RandomNumberGenerator.Fill);
    private readonly List<Device> _remotes = [];
    private readonly FakeTun _tun = new();
    private readonly FakeWaiter _waiter;
    private readonly ProbeSink _udp = new();
    private readonly ControlLoop _loop;
    private Moment _moment = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

    public HubPathTests()
    {
        _waiter = new FakeWaiter(() => Readiness.None, () => _moment);
        var io = new TunnelIo(_tun, _udp, Spend, _ => _waiter, RandomNumberGenerator.Fill);
        var link = new TunnelLink(_hub, _waiter) { OwnAddresses = [TunnelPair.Address("10.0.0.1")] };
        var staged = new StagedSender(io, link, new RunSender(_udp, link, NullLogger.Instance));
        _loop = new ControlLoop(io, _hub, link, _waiter, new HandshakeQueue(new Random(1).NextBytes), staged, NullLogger.Instance);
        using PrivateKey key = TunnelPair.NewKey();
        var configuration = new DeviceConfiguration { PrivateKey = new PrivateKey(key.Span), ListenPort = 51820 };
        for (int i = 0; i < Peers; i++)
        {
            configuration.Peers.Add(AddRemote(i, X25519.PublicKeyOf(key)));
        }

        _loop.Configure(configuration, _moment);
        _loop.LinkChanged(up: true, 1420, _moment);
        Shake();
    }

    public void Dispose()
    {
        _hub.Dispose();
        _remotes.ForEach(remote => remote.Dispose());
        _tun.Dispose();
    }

    [Fact]
    public void A_turn_takes_no_longer_because_a_thousand_paths_are_searched_and_all_get_their_probes()
    {
        foreach (Peer peer in _hub.Peers)
        {
            peer.FollowPath(peer.Endpoint!.Remote, 1480, MtuPolicy.Auto, _moment.Now);
            Assert.True(peer.Path!.Budget.Tell(1480));
            _hub.QueueWork(peer, PeerWork.Path);
        }

        // Five kinds of work, 5 ms each; the last piece may take longer.
        Instant begin = _moment.Now;
        TimeSpan longest = TimeSpan.Zero;
        while (_moment.Now < begin + TimeSpan.FromSeconds(60))
        {
            Instant turn = _moment.Now;
            bool more = _loop.TakeTurn();
            longest = _moment.Now - turn > longest ? _moment.Now - turn : longest;
            Instant next = _loop.NextDeadline();
            if (!more && next > _moment.Now)
            {
                if (next == Instant.Never)
                {
                    break;
                }

                _moment = new Moment(next, _moment.Wall);
            }
        }

        Assert.InRange(longest.TotalMilliseconds, 1, (5 * 5) + 1);

        // Nobody answers: each size three times, then it is given up.
        Assert.Equal(Peers, _udp.Probes.Count);
        Assert.All(_udp.Probes.Values, probes => Assert.InRange(probes, 9, 40));
        Assert.All(_hub.Peers, peer => Assert.Equal((1480, false), (peer.Path!.Budget.OuterMtu, peer.Path.Budget.IsHard)));
        Assert.All(_hub.Peers, peer => Assert.False(peer.Path!.Mtu.IsBusy));
    }

    private Moment Spend() => _moment = new Moment(_moment.Now + Piece, _moment.Wall);

    private static InetEndpoint EndpointOf(int number) => new(TunnelPair.Address("192.0.2.2"), (ushort)(20000 + number));

    private PeerConfiguration AddRemote(int number, PublicKey hub)
    {
        using PrivateKey key = TunnelPair.NewKey();
        var remote = new Device(RandomNumberGenerator.Fill);
        var configuration = new DeviceConfiguration { PrivateKey = new PrivateKey(key.Span) };
        configuration.Peers.Add(new PeerConfiguration { PublicKey = hub });
        remote.Apply(configuration, _moment);
        remote.LinkUp(_moment);
        _remotes.Add(remote);
        var peer = new PeerConfiguration { PublicKey = X25519.PublicKeyOf(key), Endpoint = EndpointOf(number) };
        peer.AllowedIps.Add(new AllowedIpChange(new IpPrefix(new InetAddress([10, 1, (byte)(number >> 8), (byte)number]), 32), Remove: false));
        return peer;
    }

    private void Shake()
    {
        byte[] initiation = new byte[MessageSize.HandshakeInitiation];
        byte[] response = new byte[MessageSize.HandshakeInitiation];
        var hub = new InetEndpoint(TunnelPair.Address("192.0.2.1"), 51820);
        foreach ((Peer peer, int i) in _hub.Peers.Select((peer, i) => (peer, i)))
        {
            Assert.True(_hub.TryCreateInitiation(peer, retry: false, _moment, initiation));
            HandshakeResult answered = _remotes[i].Handle(initiation, new HandshakeOrigin(hub), false, _moment, response);
            _hub.Handle(response.AsSpan(0, answered.ReplyLength), new HandshakeOrigin(EndpointOf(i)), false, _moment, initiation);
            Assert.NotNull(peer.Keypairs.Sending);
        }
    }

    /// <summary>Counts probes by where they go; nothing ever comes back.</summary>
    private sealed class ProbeSink : IUdpSocket
    {
        public Dictionary<InetEndpoint, int> Probes { get; } = [];

        public bool CanSendWhole => true;

        public SendOutcome SendWhole(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass)
        {
            Probes[endpoint.Remote] = Probes.GetValueOrDefault(endpoint.Remote) + 1;
            return SendOutcome.Sent;
        }

        public void Send(PacketBatch batch, int first, int count)
        {
            for (int r = first; r < first + count; r++)
            {
                ref OutboundRun run = ref batch.OutboundRuns[r];
                Probes[run.Endpoint!.Remote] = Probes.GetValueOrDefault(run.Endpoint.Remote) + 1;
                run.Outcome = SendOutcome.Sent;
            }
        }

        public int PathMtu(Endpoint endpoint, Instant now) => 1500;

        public ushort Open(ushort port, uint fwmark) => port;

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

        public SendOutcome SendOne(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass) => SendOutcome.Sent;

        public void Dispose()
        {
        }
    }
}
