using WgSharp.Crypto;
using WgSharp.Engine.Offload;
using WgSharp.Engine.Tests.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Outbound;

/// <summary>What is sent by one entry of one system call: runs are as long as they may be, and never say what is not so.</summary>
public sealed class OutboundRunTests : FittedPathFixture
{
    private static WireFrame Super(int segments, int segment = 1000, byte hopLimit = 64, byte mark = 0, int last = 0) =>
        OffloadBatches.Super(new Flow { HopLimit = hopLimit, TrafficClass = mark }, ((segments - 1) * segment) + (last == 0 ? segment : last), segment);

    [Fact]
    public void Frames_of_one_size_join_up_to_64_messages()
    {
        WireFrame[] frames = [Super(30, 900), Super(30, 900), Super(30, 900), Plain(InnerPackets.Build(new Flow(), new byte[900]))];
        Assert.Equal(91, Carry(frames).Count);
        Assert.Equal([64, 27], _udp.RunCounts);
    }

    [Fact]
    public void A_run_is_never_longer_than_a_datagram_may_be()
    {
        WireFrame jumbo = Plain(InnerPackets.Build(new Flow { IsTcp = false }, new byte[9000 - 28]));
        Carry([.. Enumerable.Repeat(jumbo, 20)]);
        int perRun = 65465 / (9008 + 32);
        Assert.Equal([perRun, perRun, 20 - (2 * perRun)], _udp.RunCounts);

        Carry(Super(45, 1440 - 52));
        Assert.Equal([65465 / 1472, 1], _udp.RunCounts);
    }

    [Theory]
    [InlineData(65507 - 32, 1)]
    [InlineData(65535, 1)]
    public void A_message_of_any_length_is_a_run(int length, int runs)
    {
        _linkA.Mtu = length;
        WireFrame largest = Plain(InnerPackets.Build(new Flow { IsTcp = false }, new byte[length - 28]));
        _udp.Outcome = run => run.Length > 65507 ? SendOutcome.Lost : SendOutcome.Sent;
        PacketBatch batch = Batch([largest]);
        SendBy(batch, largest);
        Assert.Equal(runs, _udp.RunCounts.Count + (int)batch.Drops[DropReason.SocketRefused]);
    }

    [Fact]
    public void A_shorter_message_closes_its_run_also_between_frames()
    {
        Carry(Super(5, last: 300), Super(5));
        Assert.Equal([5, 5], _udp.RunCounts);
        Carry(Super(5), Super(5, segment: 300));
        Assert.Equal([6, 4], _udp.RunCounts);
        Carry(Super(5, segment: 300), Super(5));
        Assert.Equal([5, 5], _udp.RunCounts);
    }

    [Fact]
    public void Marks_and_hop_limits_part_them()
    {
        Carry(Super(5), Super(5, mark: 2), Super(5, mark: 2), Super(5, mark: 3));
        Assert.Equal([5, 10, 5], _udp.RunCounts);

        // The inner hop limit is nobody's business but that of messages within messages.
        Carry(Super(5), Super(5, hopLimit: 9));
        Assert.Equal([10], _udp.RunCounts);
        byte[] Message(byte hopLimit)
        {
            byte[] packet = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100);
            packet[8] = hopLimit;
            packet.AsSpan(28, 4).Clear();
            packet[28] = 4;
            return packet;
        }

        _udp.HopLimits.Clear();
        Carry(Plain(Message(64)), Plain(Message(64)), Plain(Message(50)));
        Assert.Equal([2, 1], _udp.RunCounts);
        Assert.Equal([56, 42], _udp.HopLimits);
    }

    [Fact]
    public void Peers_part_them_and_each_gets_its_own()
    {
        using PrivateKey key = TunnelPair.NewKey();
        var configuration = new DeviceConfiguration();
        var other = new PeerConfiguration { PublicKey = X25519.PublicKeyOf(key), Endpoint = new InetEndpoint(TunnelPair.Address("192.0.2.77"), 7) };
        other.AllowedIps.Add(new AllowedIpChange(IpPrefix.Of(TunnelPair.Address("10.0.0.7"), 32), Remove: false));
        configuration.Peers.Add(other);
        _a.Apply(configuration, _moment);
        byte[] ours = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500);
        byte[] others = TunnelPair.Packet("10.0.0.1", "10.0.0.7", 500);
        List<byte[]> arrived = Carry(Plain(ours), Plain(others), Plain(ours), Plain(ours), Plain(others));
        Assert.Equal([ours, ours, ours], arrived);
        Assert.Equal([1, 2], _udp.RunCounts);
        Assert.Equal(2, _a.Peers.Last().Staged.Count);
        Assert.True(_a.Peers.Last().Staged.TryTake(new byte[2000], out int length));
        Assert.Equal(others.Length, length);
    }

    [Fact]
    public void A_path_that_refused_segmentation_has_its_messages_sent_one_by_one_and_smaller_ones_not()
    {
        var seen = new List<(int Stride, bool Unsegmented)>();
        _udp.Outcome = run =>
        {
            seen.Add((run.Stride, run.Unsegmented));
            return run.Unsegmented || run.Stride < 900 ? SendOutcome.Sent : SendOutcome.SegmentationRefused;
        };
        Assert.Equal(5, Carry(Super(5)).Count);
        Assert.Equal([false, true], seen.Select(run => run.Unsegmented));
        seen.Clear();
        Assert.Equal(10, Carry(Super(5), Super(5, segment: 500, mark: 1)).Count);
        Assert.Equal([true, false], seen.Select(run => run.Unsegmented));
    }

    /// <summary>Where no router may fragment, what is a byte too long for the path is sent in fragments; IPv4 leaves that to the routers.</summary>
    [Theory]
    [InlineData("2001:db8::2", 1420, 0)]
    [InlineData("2001:db8::2", 1421, 1500)]
    [InlineData("192.0.2.2", 1441, 0)]
    public void What_is_longer_than_an_IPv6_path_takes_is_sent_in_fragments(string remote, int inner, int fragmentAt)
    {
        var batch = new PacketBatch(64 * 1024, packets: 1, frames: 0, trains: 0) { PacketCount = 1 };
        batch.Packets[0] = new AeadPacket { Offset = MessageSize.TransportHeader, Length = inner };
        var endpoint = new Endpoint(new InetEndpoint(TunnelPair.Address(remote), 2222));
        OutboundRuns.Append(batch, 0, new FrameRoute(PeerOfA, endpoint) { Budget = new PathBudget(1500, MtuOrigin.Probe) }, _linkA.Refusals, _moment.Now);
        Assert.Equal(fragmentAt, Assert.Single(batch.OutboundRuns.Take(batch.RunCount)).FragmentAt);
    }

    /// <summary>Whatever the frames: what arrives, cut at the runs' strides, is what was sent, in order; and of two neighbours none could have been one.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Any_frames_arrive_whole_and_in_order_by_any_path(int seed)
    {
        var random = new Random(seed);
        for (int round = 0; round < 60; round++)
        {
            _udp.Mtu = random.Next(600, 1501);
            WireFrame[] frames = [.. Enumerable.Range(0, random.Next(1, 12)).Select(_ => AnyFrame(random))];
            byte[][] expected = [.. frames.SelectMany(frame => Expected(frame, MaxInner(_udp.Mtu)))];
            List<byte[]> sent = CarryAnyhow(MtuPolicy.Auto, frames, out _);
            Assert.Equal(expected.Select(packet => packet.Length), sent.Select(packet => packet.Length));
            Assert.Equal(expected, sent);
        }
    }

    private static WireFrame AnyFrame(Random random)
    {
        var flow = new Flow { IsTcp = random.Next(2) == 0, IsIPv6 = random.Next(3) == 0, DontFragment = random.Next(2) == 0, TrafficClass = (byte)random.Next(2) };
        int length = random.Next(3) == 0 ? random.Next(1, 4000) : random.Next(1, 1500);
        byte[] payload = new byte[length];
        random.NextBytes(payload);
        if (random.Next(2) == 0)
        {
            int segment = random.Next(200, 1449);
            return OffloadBatches.Super(flow, payload, segment, partial: random.Next(2) == 0);
        }

        byte[] packet = InnerPackets.Build(flow, payload, (ushort)random.Next(65536));
        return random.Next(2) == 0 ? Partial(packet) : Plain(packet);
    }

    /// <summary>What is to arrive, made by simpler means: TCP cut by the splitter alone, everything else whole, but IPv4 without DF in pieces.</summary>
    private static IEnumerable<byte[]> Expected(WireFrame frame, int maxInner)
    {
        bool isTcp = frame.Header.GsoType is VirtioNetHeader.GsoTcp4 or VirtioNetHeader.GsoTcp6;
        List<byte[]> packets = OffloadBatches.Split([frame], maxPacket: isTcp ? maxInner : 0);
        if (frame.Header.GsoType != VirtioNetHeader.GsoNone || !Engine.Mtu.InnerFragments.TryPlan(packets[0], maxInner, out Engine.Mtu.InnerFragments plan))
        {
            return packets;
        }

        return Enumerable.Range(0, plan.Count).Select(i =>
        {
            byte[] piece = new byte[plan.LengthOf(i)];
            Assert.Equal(piece.Length, plan.Write(packets[0], i, piece));
            return piece;
        });
    }
}
