using System.Buffers.Binary;
using WgSharp.Crypto;
using WgSharp.Engine.Mtu;
using WgSharp.Engine.Offload;
using WgSharp.Engine.Tests.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Mtu;

/// <summary>What becomes of frames that are longer than the path takes: by the whole way out, and by batches of any size.</summary>
public sealed class FrameFitTests : FittedPathFixture
{
    private const byte AllFlags = InnerPackets.Ack | InnerPackets.Psh | InnerPackets.Fin | InnerPackets.Cwr | InnerPackets.Ece;

    public static TheoryData<int, bool> Budgets
    {
        get
        {
            var data = new TheoryData<int, bool>();
            foreach (int budget in (int[])[1492, 1460, 1412, 1401, 1400, 1399, 1280, 1003, 576])
            {
                data.Add(budget, false);
                data.Add(budget, true);
            }

            return data;
        }
    }

    // ---- TCP super-packets ----

    [Theory]
    [MemberData(nameof(Budgets))]
    public void TCP_super_packets_are_cut_to_what_the_path_takes_and_make_whole_runs(int budget, bool isIPv6)
    {
        _udp.Mtu = budget;
        var flow = new Flow { IsIPv6 = isIPv6 };
        int kernels = MtuOfTun - flow.HeaderLength;
        int payload = budget > 1000 ? 62_000 : 50_000;
        WireFrame super = OffloadBatches.Super(flow, payload, kernels, AllFlags);
        super = super with { Header = super.Header with { GsoType = (byte)(super.Header.GsoType | VirtioNetHeader.GsoEcn) } };

        List<byte[]> segments = CarryAnyhow(MtuPolicy.Auto, [super], out List<byte[]> told);
        Assert.Empty(told);
        int size = MaxInner(budget) - flow.HeaderLength;
        int count = (payload + size - 1) / size;
        Assert.Equal(count, segments.Count);
        AssertStream(super.Bytes, flow, segments, size);

        // All but the last are exactly as long as fits, though that be no multiple of 16: so they make runs that are as long as runs can be.
        int perRun = Math.Min(64, 65465 / (MaxInner(budget) + 32));
        Assert.Equal((count + perRun - 1) / perRun, _udp.RunCounts.Count);
        Assert.All(_udp.RunCounts.SkipLast(1), run => Assert.Equal(perRun, run));
        Assert.All(segments.SkipLast(1), segment => Assert.Equal(MaxInner(budget), segment.Length));
    }

    [Fact]
    public void What_fits_is_cut_as_the_kernel_said()
    {
        _udp.Mtu = 1400;
        var flow = new Flow();
        WireFrame super = OffloadBatches.Super(flow, 10_000, MaxInner(1400) - flow.HeaderLength);
        Assert.Equal(MaxInner(1400), CarryAnyhow(MtuPolicy.Auto, [super], out _)[0].Length);
        WireFrame smaller = OffloadBatches.Super(flow, 10_000, 500);
        AssertStream(smaller.Bytes, flow, CarryAnyhow(MtuPolicy.Auto, [smaller], out _), 500);
    }

    [Fact]
    public void A_super_packet_that_is_shorter_than_its_segments_may_be_is_one_packet()
    {
        _udp.Mtu = 1400;
        var flow = new Flow();
        WireFrame small = OffloadBatches.Super(flow, 600, MtuOfTun - flow.HeaderLength, AllFlags);
        AssertStream(small.Bytes, flow, CarryAnyhow(MtuPolicy.Auto, [small], out List<byte[]> told), 600);
        Assert.Empty(told);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_hard_budget_cuts_them_just_so(bool isIPv6)
    {
        MakeHard(1280);
        var flow = new Flow { IsIPv6 = isIPv6 };
        WireFrame super = OffloadBatches.Super(flow, 40_000, MtuOfTun - flow.HeaderLength, AllFlags);
        AssertStream(super.Bytes, flow, CarryAnyhow(MtuPolicy.Auto, [super], out List<byte[]> told), MaxInner(1280) - flow.HeaderLength);
        Assert.Empty(told);
    }

    // ---- UDP super-packets ----

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Datagrams_of_a_UDP_super_packet_leave_as_they_are_and_their_sender_is_told(bool isIPv6)
    {
        _udp.Mtu = 1400;
        var flow = new Flow { IsTcp = false, IsIPv6 = isIPv6 };
        WireFrame super = OffloadBatches.Super(flow, 14_000, 1400);
        List<byte[]> datagrams = CarryAnyhow(MtuPolicy.Auto, [super], out List<byte[]> told);
        Assert.Equal(10, datagrams.Count);
        Assert.All(datagrams, datagram => Assert.Equal(flow.HeaderLength + 1400, datagram.Length));
        Assert.All(datagrams, datagram => InnerPackets.AssertWellFormed(datagram));
        AssertTold(MaxInner(1400), isIPv6, told);

        _udp.Mtu = 1500;
        MakeHard(1400);
        PacketBatch batch = Batch([super]);
        _tunA.Written.Clear();
        _path = NewOutbound(MtuPolicy.Auto);
        Assert.Empty(Carry(batch, super));
        AssertTold(MaxInner(1400), isIPv6, _tunA.Written);
        Assert.Equal(1, batch.Drops[DropReason.TooBig]);
    }

    [Fact]
    public void Those_of_up_to_1280_bytes_of_IPv6_leave_and_nobody_is_told_whatever_the_path_takes()
    {
        MakeHard(1280);
        var flow = new Flow { IsTcp = false, IsIPv6 = true };
        WireFrame super = OffloadBatches.Super(flow, 12_320, 1232);
        Assert.Equal(10, CarryAnyhow(MtuPolicy.Auto, [super], out List<byte[]> told).Count);
        Assert.Empty(told);

        // And one that is shorter than its segments may be counts as long as it is.
        WireFrame small = OffloadBatches.Super(flow with { IsIPv6 = false }, 600, 1400);
        Assert.True(PeerOfA.Path!.Budget.IsHard);
        Assert.Single(CarryAnyhow(MtuPolicy.Auto, [small], out told));
        Assert.Empty(told);
    }

    // ---- single packets ----

    [Theory]
    [InlineData(false, 1400)]
    [InlineData(true, 1400)]
    [InlineData(false, 1320)]
    [InlineData(true, 1320)]
    public void A_packet_that_is_too_long_is_told_of_and_forwarded_where_fragments_pass(bool isIPv6, int budget)
    {
        _udp.Mtu = budget;
        byte[] fitting = Datagram(isIPv6, Math.Max(MaxInner(budget), isIPv6 ? 1280 : 0));
        byte[] longer = Datagram(isIPv6, fitting.Length + 1);
        Assert.Equal([fitting, longer], CarryAnyhow(MtuPolicy.Auto, [Plain(fitting), Plain(longer)], out List<byte[]> told));
        AssertTold(fitting.Length, isIPv6, told);
        Assert.Equal(longer[..200], told[0].AsSpan(isIPv6 ? 48 : 28, 200).ToArray());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void And_dropped_and_counted_where_they_do_not(bool isIPv6)
    {
        MakeHard(1400);
        byte[] fitting = Datagram(isIPv6, MaxInner(1400));
        byte[] longer = Datagram(isIPv6, MaxInner(1400) + 1);
        WireFrame[] frames = [Plain(longer), Plain(fitting), Plain(longer)];
        Assert.Equal([fitting], CarryAnyhow(MtuPolicy.Auto, frames, out List<byte[]> told));
        AssertTold(MaxInner(1400), isIPv6, told);
        PacketBatch batch = Batch(frames);
        Carry(batch, frames);
        Assert.Equal(2, batch.Drops[DropReason.TooBig]);
        Assert.Equal("TooBig 2", batch.Drops.ToString());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void IPv6_of_up_to_1280_bytes_is_neither_told_of_nor_dropped(bool isHard)
    {
        _udp.Mtu = isHard ? 1500 : 1280;
        if (isHard)
        {
            MakeHard(1280);
        }

        byte[] packet = Datagram(isIPv6: true, 1280);
        Assert.Equal([packet], CarryAnyhow(MtuPolicy.Auto, [Plain(packet)], out List<byte[]> told));
        Assert.Empty(told);
    }

    [Fact]
    public void A_TCP_packet_that_is_too_long_is_told_of_like_any_other()
    {
        _udp.Mtu = 1400;
        byte[] packet = InnerPackets.Build(new Flow(), new byte[1400]);
        Assert.Equal([packet], CarryAnyhow(MtuPolicy.Auto, [Partial(packet)], out List<byte[]> told));
        AssertTold(MaxInner(1400), isIPv6: false, told);
    }

    // ---- IPv4 without DF ----

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void IPv4_without_DF_leaves_in_fragments_that_fit(bool isPartial)
    {
        foreach (int budget in (int[])[1492, 1470, 1412, 1401, 1007, 576])
        {
            _udp.Mtu = budget;
            foreach (int length in (int[])[MaxInner(budget), MaxInner(budget) + 1, 1500, 2800, 9000, 40_000])
            {
                byte[] packet = Datagram(isIPv6: false, length, dontFragment: false);
                WireFrame frame = isPartial ? Partial(packet) : Plain(packet);
                byte[] other = Datagram(isIPv6: false, 100);
                List<byte[]> pieces = CarryAnyhow(MtuPolicy.Auto, [Plain(other), frame, Plain(other)], out List<byte[]> told);
                Assert.Empty(told);
                Assert.Equal(other, pieces[0]);
                Assert.Equal(other, pieces[^1]);
                bool fits = length <= MaxInner(budget);
                Assert.Equal(fits ? 1 : CountOf(packet, MaxInner(budget)), pieces.Count - 2);
                Assert.Equal(packet, fits ? pieces[1] : InnerFragmentsTests.Reassemble(pieces[1..^1], MaxInner(budget)));
            }
        }
    }

    [Fact]
    public void It_does_so_of_every_length_and_with_options()
    {
        byte[] optionsNotCopied = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        foreach (int budget in (int[])[1470, 1413])
        {
            _udp.Mtu = budget;
            for (int length = 2 * MaxInner(budget) - 60; length < (2 * MaxInner(budget)) + 20; length++)
            {
                byte[] packet = Datagram(isIPv6: false, length, dontFragment: false);
                AssertArrivesInFragments(packet);
                byte[] withOptions = [.. packet[..20], .. optionsNotCopied, .. packet[20..]];
                withOptions[0] = 0x48;
                BinaryPrimitives.WriteUInt16BigEndian(withOptions.AsSpan(2), (ushort)withOptions.Length);
                withOptions[10] = withOptions[11] = 0;
                BinaryPrimitives.WriteUInt16BigEndian(withOptions.AsSpan(10), InnerPackets.NaiveChecksum(withOptions.AsSpan(0, 32)));
                AssertArrivesInFragments(withOptions);
            }
        }
    }

    [Fact]
    public void A_packet_of_which_fragments_left_goes_on_by_the_same_plan_although_the_path_has_changed()
    {
        foreach (int after in (int[])[1492, 1200])
        {
            _udp.Mtu = 1400;
            byte[] packet = Datagram(isIPv6: false, 9000, dontFragment: false);
            PacketBatch batch = Batch([Plain(packet)], packets: 2);
            _tunA.Packets = [packet];
            _tunA.Headers = [];
            batch.Clear();
            _tunA.Read(batch);
            SplitPosition position = default;
            int before = _tunB.Written.Count;
            while (true)
            {
                bool more = _path.Prepare(batch, ref position, _moment.Now);
                OutboundPath.Seal(batch);
                _path.Transmit(batch, _moment.Now);
                _udp.Mtu = after;
                if (!more)
                {
                    break;
                }
            }

            Receive();
            Assert.Equal(packet, InnerFragmentsTests.Reassemble(_tunB.Written[before..], MaxInner(1400)));
        }
    }

    // ---- SYNs ----

    [Theory]
    [InlineData(false, false, false)]
    [InlineData(false, false, true)]
    [InlineData(false, true, true)]
    [InlineData(true, false, false)]
    [InlineData(true, false, true)]
    [InlineData(true, true, true)]
    public void A_SYN_and_its_answer_announce_what_fits_on_the_way_out_and_in(bool isIPv6, bool isAnswer, bool isPartial)
    {
        int headers = isIPv6 ? 60 : 40;
        byte[] syn = Syn(isIPv6, isAnswer, 1460);
        foreach (MtuPolicy policy in (MtuPolicy[])[MtuPolicy.Auto, MtuPolicy.ClampOnly])
        {
            // Out: what the peer sends will be padded to 16, it does not know better.
            _udp.Mtu = 1407;
            byte[] sent = Assert.Single(CarryAnyhow(policy, [isPartial ? Partial(syn) : Plain(syn)], out _));
            InnerPackets.AssertWellFormed(sent);
            Assert.Equal((1407 - 60) / 16 * 16 - headers, MssOf(sent));
            Assert.Equal(WithMss(syn, MssOf(sent)), sent);

            // In: what we send is padded to the byte.
            _udp.Mtu = 1500;
            SendBy(Batch([Plain(syn)]), Plain(syn));
            _udp.Mtu = 1387;
            int before = _tunB.Written.Count;
            Receive(NewInbound(policy));
            byte[] received = Assert.Single(_tunB.Written[before..]);
            InnerPackets.AssertWellFormed(received);
            Assert.Equal(1387 - 60 - headers, MssOf(received));
        }
    }

    [Fact]
    public void An_announcement_that_fits_stays_and_the_smallest_ones_are_never_lowered()
    {
        _udp.Mtu = 1500;
        Assert.Equal(1300, MssOf(CarryAnyhow(MtuPolicy.Auto, [Plain(Syn(false, false, 1300))], out _)[0]));
        _udp.Mtu = 576;
        Assert.Equal(MssClamp.FloorIPv4, MssOf(CarryAnyhow(MtuPolicy.Auto, [Plain(Syn(false, false, 1300))], out _)[0]));
        Assert.Equal(MssClamp.FloorIPv6, MssOf(CarryAnyhow(MtuPolicy.Auto, [Plain(Syn(true, false, 1300))], out _)[0]));
    }

    [Fact]
    public void What_arrives_in_fragments_makes_the_SYNs_announce_less_and_nothing_else()
    {
        // A probe has confirmed the way there: so the way back is another one.
        PeerPath path = Follow();
        path.Mtu.NoteTraffic(1500, _moment.Now);
        Assert.True(path.Mtu.TryTakeProbe(_moment.Now, out PathProbe probe));
        path.Mtu.NoteAnswered(probe.Id, _moment.Now);
        path.Mtu.NoteFragments(1396, _moment.Now);
        Assert.Equal(1500, path.Budget.OuterMtu);
        byte[] data = Datagram(isIPv6: false, 1440);
        List<byte[]> sent = CarryAnyhow(MtuPolicy.Auto, [Plain(Syn(false, false, 1460)), Plain(data)], out List<byte[]> told);
        Assert.Equal((1396 - 60) / 16 * 16 - 40, MssOf(sent[0]));
        Assert.Equal(data, sent[1]);
        Assert.Empty(told);
    }

    // ---- policies ----

    [Theory]
    [InlineData(nameof(MtuPolicy.ClampOnly))]
    [InlineData(nameof(MtuPolicy.Kernel))]
    public void Without_the_policy_for_it_nothing_is_cut_told_of_or_dropped(string policy)
    {
        MakeHard(1280);
        var flow = new Flow();
        int kernels = MtuOfTun - flow.HeaderLength;
        WireFrame super = OffloadBatches.Super(flow, 20_000, kernels);
        byte[] dontFragment = Datagram(isIPv6: true, 1500);
        byte[] mayFragment = Datagram(isIPv6: false, 1500, dontFragment: false);
        List<byte[]> sent = CarryAnyhow(Enum.Parse<MtuPolicy>(policy), [super, Plain(dontFragment), Plain(mayFragment)], out List<byte[]> told);
        Assert.Empty(told);
        AssertStream(super.Bytes, flow, sent[..^2], kernels);
        Assert.Equal([dontFragment, mayFragment], sent[^2..]);
    }

    [Fact]
    public void As_the_kernel_module_does_it_no_SYN_is_touched_either_way()
    {
        _udp.Mtu = 1300;
        byte[] syn = Syn(false, false, 1460);
        Assert.Equal([syn], CarryAnyhow(MtuPolicy.Kernel, [Partial(syn)], out _));
        SendBy(Batch([Plain(syn)]), Plain(syn));
        int before = _tunB.Written.Count;
        Receive(NewInbound(MtuPolicy.Kernel));
        Assert.Equal([syn], _tunB.Written[before..]);
        Assert.Null(PeerOfA.Path);
        Assert.False(_a.TryTakeWork(_moment, out _, out PeerWork work) && work.HasFlag(PeerWork.Path));
    }

    // ---- the control loop is told ----

    [Fact]
    public void The_first_packet_the_first_large_one_and_a_new_route_are_told_to_the_control_loop_and_nothing_else_is()
    {
        while (_a.TryTakeWork(_moment, out _, out _))
        {
            // What went before.
        }

        byte[] small = Datagram(isIPv6: false, 400);
        byte[] large = Datagram(isIPv6: false, 600);
        bool Asks(byte[] packet)
        {
            Carry(Plain(packet));
            bool asks = false;
            while (_a.TryTakeWork(_moment, out _, out PeerWork work))
            {
                asks |= work.HasFlag(PeerWork.Path);
            }

            return asks;
        }

        Assert.True(Asks(small));
        PeerPath path = Follow();
        Assert.False(Asks(small));
        Assert.True(Asks(large));
        Assert.Equal(660, path.Budget.Told);
        Assert.False(Asks(large));

        _udp.Mtu = 1400;
        Assert.True(Asks(small));
        Follow();
        Assert.False(Asks(small));

        // At the endpoint that it is at now.
        Configure(_a, null, PeerOfA.PublicKey, "10.0.0.200", new InetEndpoint(EndpointB.Address, 9));
        Assert.True(Asks(small));
    }

    [Fact]
    public void Each_peers_frames_are_fitted_to_its_own_path()
    {
        using PrivateKey key = TunnelPair.NewKey();
        var configuration = new DeviceConfiguration();
        var elsewhere = new InetEndpoint(TunnelPair.Address("192.0.2.77"), 7);
        var other = new PeerConfiguration { PublicKey = X25519.PublicKeyOf(key), Endpoint = elsewhere };
        other.AllowedIps.Add(new AllowedIpChange(IpPrefix.Of(TunnelPair.Address("10.0.0.7"), 32), Remove: false));
        configuration.Peers.Add(other);
        _a.Apply(configuration, _moment);
        Peer narrow = _a.Peers.Last();
        narrow.FollowPath(elsewhere, 1500, MtuPolicy.Auto, _moment.Now).Mtu.NoteTooBig(1280, _moment.Now);

        byte[] ours = Datagram(isIPv6: false, 1440, dontFragment: false);
        byte[] others = [.. ours];
        others[19] = 7;
        Assert.Equal([ours, ours], Carry(Plain(ours), Plain(others), Plain(ours), Plain(others)));
        Assert.Equal(4, narrow.Staged.Count);
        byte[] piece = new byte[2000];
        Assert.True(narrow.Staged.TryTake(piece, out int length));
        Assert.InRange(length, 20, MaxInner(1280));
    }

    // ---- allocation ----

    [Fact]
    public void Neither_path_allocates_whatever_the_path_takes_and_while_probes_are_pending()
    {
        PeerPath hard = MakeHard(1400);
        PeerPath back = PeerOfB.FollowPath(EndpointA, 1500, MtuPolicy.Auto, _moment.Now);
        for (int i = 0; i < PendingProbes.Capacity; i++)
        {
            hard.Probes.Add(new ProbeToken((ushort)i, 1, 7), (uint)i + 1);
            back.Probes.Add(new ProbeToken((ushort)i, 1, 7), (uint)i + 1);
        }

        byte[] ping = Datagram(isIPv6: false, 100);
        ping[9] = 1;
        ping[20] = 0;
        WireFrame[] frames =
        [
            OffloadBatches.Super(new Flow(), 40_000, 1448),
            OffloadBatches.Super(new Flow { IsIPv6 = true, IsTcp = false }, 4000, 1400),
            Partial(Datagram(isIPv6: false, 1500, dontFragment: false)),
            Plain(Datagram(isIPv6: false, 1500)),
            Plain(Datagram(isIPv6: true, 1500)),
            Partial(Syn(false, false, 1460)),
            Plain(ping),
        ];
        PacketBatch batch = Batch(frames);
        InboundPath inbound = NewInbound(MtuPolicy.Auto);
        _tunA.Keeps = _tunB.Keeps = false;
        _tunA.Packets = [.. frames.Select(frame => frame.Bytes)];
        _tunA.Headers = [.. frames.Select(frame => frame.Header)];
        int expected = ((40_000 + 1287) / 1288) + 2 + 2;
        bool all = true;
        void Once()
        {
            _udp.RunCounts.Clear();
            _udp.RunLengths.Clear();
            _udp.HopLimits.Clear();
            batch.Clear();
            _tunA.Read(batch);
            SplitPosition position = default;
            while (_path.Prepare(batch, ref position, _moment.Now))
            {
                all = false;
            }

            OutboundPath.Seal(batch);
            _path.Transmit(batch, _moment.Now);
            all &= Receive(inbound) == expected;
        }

        Allocations.AssertNone(1000, Once);
        Assert.True(all);
        Assert.True(batch.Drops[DropReason.TooBig] >= 3000);
    }

    // ---- helpers ----

    private static byte[] Datagram(bool isIPv6, int length, bool dontFragment = true)
    {
        var flow = new Flow { IsTcp = false, IsIPv6 = isIPv6, DontFragment = dontFragment };
        byte[] payload = new byte[length - flow.HeaderLength];
        new Random(length).NextBytes(payload);
        return InnerPackets.Build(flow, payload, id: 77);
    }

    private static int CountOf(byte[] packet, int maxInner) =>
        InnerFragments.TryPlan(packet, maxInner, out InnerFragments plan) ? plan.Count : throw new InvalidOperationException();

    private static byte[] Syn(bool isIPv6, bool isAnswer, ushort mss)
    {
        var flow = new Flow { IsIPv6 = isIPv6, TcpOptions = [2, 4, (byte)(mss >> 8), (byte)mss, 1, 3, 3, 7, 4, 2, 1, 1] };
        return InnerPackets.Build(flow, [], flags: isAnswer ? (byte)(InnerPackets.Syn | InnerPackets.Ack) : InnerPackets.Syn);
    }

    private static ushort MssOf(byte[] syn) => BinaryPrimitives.ReadUInt16BigEndian(syn.AsSpan((syn[0] >> 4 == 6 ? 40 : 20) + 22));

    private static byte[] WithMss(byte[] syn, ushort mss)
    {
        byte[] changed = [.. syn];
        BinaryPrimitives.WriteUInt16BigEndian(changed.AsSpan((syn[0] >> 4 == 6 ? 40 : 20) + 22), mss);
        InnerPackets.WriteChecksums(changed);
        return changed;
    }

    private static void AssertTold(int mtu, bool isIPv6, List<byte[]> told)
    {
        byte[] error = Assert.Single(told);
        int header = isIPv6 ? 40 : 20;
        Assert.Equal(isIPv6 ? (2, 0) : (3, 4), (error[header], error[header + 1]));
        Assert.Equal((uint)mtu, BinaryPrimitives.ReadUInt32BigEndian(error.AsSpan(header + 4)));
    }

    /// <summary>Segment by segment what a sender would have made of this size, and so the same stream.</summary>
    private static void AssertStream(byte[] super, Flow flow, List<byte[]> segments, int size)
    {
        byte[] payload = super[flow.HeaderLength..];
        byte flags = super[flow.TransportStart + 13];
        Assert.Equal((payload.Length + size - 1) / size, segments.Count);
        for (int i = 0; i < segments.Count; i++)
        {
            byte own = i < segments.Count - 1 ? (byte)(flags & ~(InnerPackets.Psh | InnerPackets.Fin)) : flags;
            own = i > 0 ? (byte)(own & ~InnerPackets.Cwr) : own;
            byte[] part = payload[(i * size)..Math.Min((i + 1) * size, payload.Length)];
            Assert.Equal(InnerPackets.Build(flow, part, (ushort)(0xFFFE + i), 0xFFFFFF00 + (uint)(i * size), own), segments[i]);
        }
    }

    private void AssertArrivesInFragments(byte[] packet)
    {
        byte[] next = Datagram(isIPv6: false, 100);
        List<byte[]> pieces = CarryAnyhow(MtuPolicy.Auto, [Plain(packet), Plain(next)], out _);
        Assert.Equal(next, pieces[^1]);
        Assert.Equal(packet, InnerFragmentsTests.Reassemble(pieces[..^1], MaxInner(_udp.Mtu)));
    }
}
