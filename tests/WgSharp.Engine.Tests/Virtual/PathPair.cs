using System.Buffers.Binary;
using WgSharp.Engine.Tests.Mtu;
using WgSharp.Engine.Tests.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>
/// Two tunnels, the hosts behind them, and a wire that is narrower than the tunnels believe. The hosts send what a test asks for, adapt to what they are
/// told, put fragments together, answer echo requests, and forward as routers do. What is a probe's answer must never reach them.
/// </summary>
internal sealed class PathPair : IDisposable
{
    public static readonly TimeSpan Pace = TimeSpan.FromMilliseconds(100);

    public PathPair(int seed = 1, bool isIPv6 = false, bool forwards = false, MtuPolicy policy = MtuPolicy.Auto, int mtu = 1500)
    {
        Wire = new VirtualWire(seed) { KeepsSeen = false };
        A = new VirtualTunnel(Wire, At(isIPv6, 1), seed * 10, number: 1, policy);
        B = new VirtualTunnel(Wire, At(isIPv6, 2), (seed * 10) + 1, number: 2, policy);
        HostA = new Host(this, A, number: 1);
        HostB = new Host(this, B, number: 2);
        Introduce(A, B, forwards ? (IpPrefix[])[Prefix("0.0.0.0", 0), Prefix("::", 0)] : [Prefix("10.0.0.2", 32), Prefix("fd00::2", 128)]);
        Introduce(B, A, [Prefix("10.0.0.1", 32), Prefix("fd00::1", 128)]);
        foreach (VirtualTunnel tunnel in (VirtualTunnel[])[A, B])
        {
            tunnel.LinkUp(mtu);
            byte number = tunnel == A ? (byte)1 : (byte)2;
            tunnel.KnowOwnAddresses(TunnelPair.Address($"10.0.0.{number}"), TunnelPair.Address($"fd00::{number}"));
        }

        Wire.Hop = (_, to) => to == A.Address ? Back : There;
        HostA.Send(100, isIPv6: false);
        Wire.AdvanceSeconds(1);
        Assert.Equal(1, HostB.ReceivedCount);
    }

    public VirtualWire Wire { get; }

    public VirtualTunnel A { get; }

    public VirtualTunnel B { get; }

    public Host HostA { get; }

    public Host HostB { get; }

    /// <summary>From A to B.</summary>
    public VirtualHop There { get; set; } = VirtualHop.Wide;

    /// <summary>From B to A.</summary>
    public VirtualHop Back { get; set; } = VirtualHop.Wide;

    /// <summary>Of A, or one that says nothing.</summary>
    public PathBudget Budget => A.Peer.Path?.Budget ?? new PathBudget(PacketBatch.MaxPacket, MtuOrigin.Route);

    /// <summary>Both ways are the same.</summary>
    public void Narrow(int mtu, bool passesFragments = true, bool tells = false) =>
        There = Back = new VirtualHop { Mtu = mtu, PassesFragments = passesFragments, Tells = tells };

    /// <summary>A sends ten datagrams a second.</summary>
    /// <param name="send">Each of them; by default as long as the TUN takes, or as A's host was told, with DF.</param>
    public void Run(double seconds, Action? send = null)
    {
        Instant end = Wire.Now + TimeSpan.FromSeconds(seconds);
        while (Wire.Now < end)
        {
            (send ?? (() => HostA.Send(1500, isIPv6: false))).Invoke();
            Wire.Advance(Pace);
        }
    }

    /// <summary>Runs until it is so.</summary>
    /// <returns>How many seconds that took.</returns>
    public double SecondsUntil(Func<bool> isSo, double atMost, Action? send = null)
    {
        Instant begin = Wire.Now;
        while (!isSo())
        {
            Assert.True(
                (Wire.Now - begin).TotalSeconds < atMost, $"Still {Budget.OuterMtu} by {Budget.Origin}, hard: {Budget.IsHard}; seed {Wire.Seed}.");
            Run(Pace.TotalSeconds, send);
        }

        return (Wire.Now - begin).TotalSeconds;
    }

    public void Dispose()
    {
        Assert.Empty(HostA.Leaked);
        Assert.Empty(HostB.Leaked);
        A.Dispose();
        B.Dispose();
    }

    public static InetEndpoint At(bool isIPv6, int number, ushort port = 51820) =>
        new(TunnelPair.Address(isIPv6 ? $"2001:db8::{number}" : $"192.0.2.{number}"), port);

    public static void Introduce(VirtualTunnel tunnel, VirtualTunnel peer, IpPrefix[] prefixes)
    {
        var configuration = new DeviceConfiguration { PrivateKey = tunnel.PrivateKey };
        var one = new PeerConfiguration { PublicKey = peer.PublicKey, Endpoint = peer.Address };
        foreach (IpPrefix prefix in prefixes)
        {
            one.AllowedIps.Add(new AllowedIpChange(prefix, Remove: false));
        }

        configuration.Peers.Add(one);
        tunnel.Apply(configuration);
    }

    public static IpPrefix Prefix(string address, int length) => IpPrefix.Of(TunnelPair.Address(address), length);

    /// <summary>The machine behind one of the tunnels.</summary>
    internal sealed class Host
    {
        private const byte Icmp = 1;
        private const byte IcmpV6 = 58;
        private readonly VirtualTunnel _tunnel;
        private readonly byte _number;
        private readonly Dictionary<int, List<byte[]>> _fragments = [];
        private int _sent;

        public Host(PathPair pair, VirtualTunnel tunnel, byte number)
        {
            _ = pair;
            _tunnel = tunnel;
            _number = number;
            tunnel.Host = Take;
        }

        /// <summary>Of the datagrams that were received, in order.</summary>
        public List<int> Received { get; } = [];

        public int ReceivedCount { get; private set; }

        public int SentCount => _sent;

        /// <summary>Datagrams that came in fragments made inside.</summary>
        public int ReassembledCount { get; private set; }

        /// <summary>The smallest MTU that was told of, by families; what is sent with DF is no longer.</summary>
        public int Told4 { get; private set; } = int.MaxValue;

        public int Told6 { get; private set; } = int.MaxValue;

        public bool AnswersEcho { get; set; } = true;

        /// <summary>Does the router send what comes for the sender itself back (with a redirect), and say when its time is up?</summary>
        public bool SendsBack { get; set; } = true;

        public bool SaysTimeExceeded { get; set; } = true;

        /// <summary>Answers to probes that got here.</summary>
        public List<byte[]> Leaked { get; } = [];

        public int EchoRequests { get; private set; }

        /// <summary>Sends a datagram with a number, no longer than was told.</summary>
        /// <param name="length">Of the inner packet.</param>
        public void Send(int length, bool isIPv6, bool dontFragment = true)
        {
            length = isIPv6 ? Math.Min(length, Told6) : dontFragment ? Math.Min(length, Told4) : length;
            var flow = new Flow { IsTcp = false, IsIPv6 = isIPv6, DontFragment = dontFragment };
            byte[] payload = new byte[length - flow.HeaderLength];
            BinaryPrimitives.WriteInt32BigEndian(payload, ++_sent);
            byte[] packet = InnerPackets.Build(flow, payload, (ushort)_sent);
            SetAddresses(packet, _number, VirtualTunnel.OtherNumber(_number));
            InnerPackets.WriteChecksums(packet);
            _tunnel.Inject(packet);
            _tunnel.Run();
        }

        private void Take(byte[] packet)
        {
            bool isIPv6 = packet[0] >> 4 == 6;
            byte protocol = isIPv6 ? packet[6] : packet[9];
            if (protocol is Icmp or IcmpV6)
            {
                TakeIcmp(packet, isIPv6);
            }
            else if (!isIPv6 && (BinaryPrimitives.ReadUInt16BigEndian(packet.AsSpan(6)) & 0x3fff) != 0)
            {
                TakeFragment(packet);
            }
            else
            {
                InnerPackets.AssertWellFormed(packet);
                Received.Add(BinaryPrimitives.ReadInt32BigEndian(packet.AsSpan(isIPv6 ? 48 : 28)));
                ReceivedCount++;
            }
        }

        private void TakeFragment(byte[] packet)
        {
            int id = BinaryPrimitives.ReadUInt16BigEndian(packet.AsSpan(4));
            if (!_fragments.TryGetValue(id, out List<byte[]>? pieces))
            {
                _fragments[id] = pieces = [];
            }

            pieces.Add(packet);
            byte[] last = pieces.MaxBy(Offset)!;
            bool isWhole = (last[6] & 0x20) == 0 && Offset(last) + last.Length - 20 == pieces.Sum(piece => piece.Length - 20);
            if (isWhole)
            {
                _fragments.Remove(id);
                ReassembledCount++;
                Take(InnerFragmentsTests.Reassemble(pieces, 1500));
            }
        }

        private static int Offset(byte[] packet) => (BinaryPrimitives.ReadUInt16BigEndian(packet.AsSpan(6)) & 0x1fff) * 8;

        private void TakeIcmp(byte[] packet, bool isIPv6)
        {
            int start = isIPv6 ? 40 : 20;
            int mtu = BinaryPrimitives.ReadUInt16BigEndian(packet.AsSpan(start + 6));
            switch ((packet[start], isIPv6))
            {
                case (3, false):
                    Told4 = Math.Min(Told4, mtu);
                    break;
                case (2, true):
                    Told6 = Math.Min(Told6, mtu);
                    break;
                case (8, false) or (128, true):
                    EchoRequests++;
                    TakeEcho(packet, isIPv6, start);
                    break;
                default:
                    Leaked.Add(packet);
                    break;
            }
        }

        private void TakeEcho(byte[] packet, bool isIPv6, int start)
        {
            ReadOnlySpan<byte> target = isIPv6 ? packet.AsSpan(24, 16) : packet.AsSpan(16, 4);
            ref byte hopLimit = ref packet[isIPv6 ? 7 : 8];
            if (target[^1] == _number)
            {
                if ((isIPv6 ? packet[23] : packet[15]) == _number)
                {
                    Leaked.Add(packet); // our own, come back
                }
                else if (AnswersEcho)
                {
                    SetAddresses(packet, _number, VirtualTunnel.OtherNumber(_number));
                    packet[start] = isIPv6 ? (byte)129 : (byte)0;
                    Answer(packet);
                }
            }
            else if (hopLimit == 1)
            {
                if (SaysTimeExceeded)
                {
                    Answer(Error(packet, isIPv6, isIPv6 ? (byte)3 : (byte)11));
                }
            }
            else if (SendsBack)
            {
                hopLimit--;
                Answer(packet);
                if (!isIPv6)
                {
                    Answer(Error(packet, isIPv6, 5));
                }
            }
        }

        private byte[] Error(byte[] quoted, bool isIPv6, byte type)
        {
            int start = isIPv6 ? 40 : 20;
            byte[] error = new byte[start + 8 + quoted.Length];
            quoted.AsSpan(0, start).CopyTo(error);
            BinaryPrimitives.WriteUInt16BigEndian(error.AsSpan(isIPv6 ? 4 : 2), (ushort)(isIPv6 ? 8 + quoted.Length : error.Length));
            SetAddresses(error, _number, VirtualTunnel.OtherNumber(_number));
            error[isIPv6 ? 7 : 8] = 64;
            error[start] = type;
            quoted.CopyTo(error.AsSpan(start + 8));
            return error;
        }

        /// <summary>Checksums do not matter here: whoever gets these knows them by their secret.</summary>
        private void Answer(byte[] packet) => _tunnel.Inject(packet);

        private static void SetAddresses(byte[] packet, byte from, byte to)
        {
            bool isIPv6 = packet[0] >> 4 == 6;
            TunnelPair.Address(isIPv6 ? $"fd00::{from}" : $"10.0.0.{from}").CopyTo(packet.AsSpan(isIPv6 ? 8 : 12));
            TunnelPair.Address(isIPv6 ? $"fd00::{to}" : $"10.0.0.{to}").CopyTo(packet.AsSpan(isIPv6 ? 24 : 16));
        }
    }
}
