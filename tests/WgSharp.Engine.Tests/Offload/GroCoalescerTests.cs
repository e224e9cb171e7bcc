using System.Buffers.Binary;
using WgSharp.Engine.Offload;

namespace WgSharp.Engine.Tests.Offload;

public sealed class GroCoalescerTests
{
    private const int Segment = 1000;

    public static TheoryData<bool, bool> Kinds => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    private static List<byte[]> Stream(Flow flow, int count, bool push = false, int lastSegment = Segment, uint sequence = 1000, ushort id = 1) =>
        InnerPackets.Stream(flow, count, Segment, lastSegment, new Random(7), id, sequence, push);

    /// <summary>How many packets each frame stands for.</summary>
    private static int[] Counts(IReadOnlyList<byte[]> packets, TunOffload features = TunOffload.All)
    {
        PacketBatch batch = OffloadBatches.Opened(packets, 64);
        new GroCoalescer(features, batch.Packets.Length, 64).Coalesce(batch, 0);
        return [.. batch.Frames.Take(batch.FrameCount).Select(f => f.SliceCount)];
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_stream_becomes_one_super_packet_with_partial_checksum(bool isIPv6, bool isTcp)
    {
        Flow flow = new() { IsIPv6 = isIPv6, IsTcp = isTcp, TrafficClass = 0xB8 };
        List<byte[]> packets = Stream(flow, 40, lastSegment: 123);
        WireFrame frame = Assert.Single(OffloadBatches.Coalesce(packets));

        int start = flow.TransportStart;
        VirtioNetHeader expected = new()
        {
            Flags = VirtioNetHeader.NeedsCsum,
            GsoType = !isTcp ? VirtioNetHeader.GsoUdpL4 : isIPv6 ? VirtioNetHeader.GsoTcp6 : VirtioNetHeader.GsoTcp4,
            HdrLen = (ushort)flow.HeaderLength,
            GsoSize = Segment,
            CsumStart = (ushort)start,
            CsumOffset = isTcp ? (ushort)16 : (ushort)6,
        };
        Assert.Equal(expected, frame.Header);
        Assert.Equal(packets.SelectMany(p => p.Skip(flow.HeaderLength)), frame.Bytes.Skip(flow.HeaderLength));

        int transportLength = frame.Bytes.Length - start;
        ushort partial = BinaryPrimitives.ReadUInt16BigEndian(frame.Bytes.AsSpan(start + expected.CsumOffset));
        Assert.Equal((ushort)~InnerPackets.NaiveChecksum([], InnerPackets.NaivePseudoHeader(frame.Bytes, transportLength)), partial);
        InnerPackets.WriteChecksums(frame.Bytes);
        InnerPackets.AssertWellFormed(frame.Bytes);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_kind_that_the_device_does_not_take_stays_single(bool isIPv6, bool isTcp)
    {
        TunOffload own = !isTcp ? TunOffload.Udp : isIPv6 ? TunOffload.Tcp6 : TunOffload.Tcp4;
        List<byte[]> packets = Stream(new Flow { IsIPv6 = isIPv6, IsTcp = isTcp }, 5);
        Assert.Equal([5], Counts(packets, own));
        Assert.Equal([1, 1, 1, 1, 1], Counts(packets, TunOffload.All & ~own));
        Assert.Equal(packets, OffloadBatches.Coalesce(packets, TunOffload.None).Select(f => f.Bytes));
    }

    [Fact]
    public void Interleaved_flows_are_joined_each()
    {
        List<byte[]>[] flows = [.. Enumerable.Range(0, 30).Select(i => Stream(new Flow { SourcePort = (ushort)(5000 + i), IsIPv6 = i % 2 == 0, IsTcp = i % 3 > 0 }, 9))];
        List<byte[]> packets = [.. Enumerable.Range(0, 9).SelectMany(i => flows.Select(f => f[i]))];
        Assert.Equal(Enumerable.Repeat(9, 30), Counts(packets));
    }

    [Fact]
    public void More_flows_than_the_table_holds_lose_only_speed()
    {
        List<byte[]>[] flows = [.. Enumerable.Range(0, 500).Select(i => Stream(new Flow { SourcePort = (ushort)i }, 2))];
        List<byte[]> packets = [.. flows.Select(f => f[0]), .. flows.Select(f => f[1])];
        List<WireFrame> frames = OffloadBatches.Coalesce(packets, frames: 1000);
        Assert.InRange(frames.Count, 872, 1000);
        Assert.Equal(packets.Sum(p => p.Length - 52), frames.Sum(f => f.Bytes.Length - 52));
    }

    [Fact]
    public void A_shorter_packet_is_the_last()
    {
        Flow flow = new();
        List<byte[]> packets = [.. Stream(flow, 3, lastSegment: 999), .. Stream(flow, 2, sequence: 1000 + 2999, id: 4)];
        Assert.Equal([3, 2], Counts(packets));
    }

    [Fact]
    public void A_longer_packet_opens_the_next()
    {
        Flow flow = new();
        byte[] longer = InnerPackets.Build(flow, new byte[Segment + 1], 3, 3000);
        Assert.Equal([2, 1], Counts([.. Stream(flow, 2), longer]));
    }

    [Theory]
    [InlineData(InnerPackets.Ack | InnerPackets.Psh)]
    [InlineData(InnerPackets.Ack | InnerPackets.Fin)]
    public void Push_and_fin_end_a_super_packet_and_stand_in_its_header(byte flags)
    {
        Flow flow = new();
        List<byte[]> packets = Stream(flow, 4);
        packets[2] = InnerPackets.Build(flow, packets[2].AsSpan(flow.HeaderLength), 3, 3000, flags);
        List<WireFrame> frames = OffloadBatches.Coalesce(packets);
        Assert.Equal([flags, InnerPackets.Ack], frames.Select(f => f.Bytes[33]));
        Assert.Equal([3, 1], Counts(packets));
    }

    [Theory]
    [InlineData(InnerPackets.Syn)]
    [InlineData(InnerPackets.Ack | InnerPackets.Syn)]
    [InlineData(InnerPackets.Ack | InnerPackets.Rst)]
    [InlineData(InnerPackets.Ack | InnerPackets.Urg)]
    [InlineData(InnerPackets.Ack | InnerPackets.Psh)]
    [InlineData(InnerPackets.Ack | InnerPackets.Fin)]
    public void Nothing_follows_a_packet_with_these_flags(byte flags)
    {
        Flow flow = new();
        List<byte[]> packets = Stream(flow, 3);
        packets[0] = InnerPackets.Build(flow, packets[0].AsSpan(flow.HeaderLength), 1, 1000, flags);
        Assert.Equal([1, 2], Counts(packets));
    }

    [Fact]
    public void Congestion_window_reduced_opens_a_super_packet_with_the_ECN_type()
    {
        Flow flow = new();
        List<byte[]> packets = Stream(flow, 6);
        packets[3] = InnerPackets.Build(flow, packets[3].AsSpan(flow.HeaderLength), 4, 4000, InnerPackets.Ack | InnerPackets.Cwr);
        List<WireFrame> frames = OffloadBatches.Coalesce(packets);
        Assert.Equal([VirtioNetHeader.GsoTcp4, VirtioNetHeader.GsoTcp4 | VirtioNetHeader.GsoEcn], frames.Select(f => f.Header.GsoType));
        Assert.Equal([3, 3], Counts(packets));
    }

    [Fact]
    public void ECN_echo_must_be_the_same_in_all()
    {
        Flow flow = new();
        List<byte[]> packets = Stream(flow, 4);
        for (int i = 2; i < 4; i++)
        {
            packets[i] = InnerPackets.Build(flow, packets[i].AsSpan(flow.HeaderLength), (ushort)(i + 1), (uint)(1000 + (i * Segment)), InnerPackets.Ack | InnerPackets.Ece);
        }

        Assert.Equal([2, 2], Counts(packets));
    }

    public static TheoryData<string> Differences =>
        ["DS field", "ECN mark", "hop limit", "IPv6 hop limit", "IPv6 traffic class", "don't fragment", "flow label", "acknowledgement", "window", "timestamp", "gap in the sequence", "old sequence"];

    [Theory]
    [MemberData(nameof(Differences))]
    public void Headers_that_differ_are_not_joined(string what)
    {
        Flow flow = new() { IsIPv6 = what is "flow label" or "IPv6 hop limit" or "IPv6 traffic class" };
        uint sequence = 3000;
        Flow other = flow;
        switch (what)
        {
            case "DS field" or "IPv6 traffic class": other = flow with { TrafficClass = 0xB8 }; break;
            case "ECN mark": other = flow with { TrafficClass = 3 }; break;
            case "hop limit" or "IPv6 hop limit": other = flow with { HopLimit = 63 }; break;
            case "don't fragment": other = flow with { DontFragment = false }; break;
            case "flow label": other = flow with { FlowLabel = 1 }; break;
            case "acknowledgement": other = flow with { Acknowledgement = 5 }; break;
            case "window": other = flow with { Window = 503 }; break;
            case "timestamp": other = flow with { TcpOptions = [1, 1, 8, 10, 0x5e, 0x0a, 0x11, 0x23, 0x13, 0x37, 0x42, 0x99] }; break;
            case "gap in the sequence": sequence++; break;
            case "old sequence": sequence = 1000; break;
        }

        List<byte[]> packets = [.. Stream(flow, 2), .. Stream(other, 2, sequence: sequence, id: 3)];
        Assert.Equal([2, 2], Counts(packets));
    }

    [Theory]
    [InlineData(true, new ushort[] { 5, 6, 7 }, new[] { 3 })]
    [InlineData(true, new ushort[] { 0xFFFF, 0, 1 }, new[] { 3 })]
    [InlineData(true, new ushort[] { 5, 5, 5 }, new[] { 3 })]
    [InlineData(true, new ushort[] { 5, 5, 6 }, new[] { 2, 1 })]
    [InlineData(true, new ushort[] { 5, 6, 6 }, new[] { 2, 1 })]
    [InlineData(true, new ushort[] { 5, 7, 9 }, new[] { 1, 1, 1 })]
    [InlineData(false, new ushort[] { 5, 6, 7 }, new[] { 3 })]
    [InlineData(false, new ushort[] { 5, 5, 5 }, new[] { 1, 1, 1 })]
    public void IPv4_identifications_count_up_or_with_DF_stay_the_same(bool dontFragment, ushort[] ids, int[] counts)
    {
        Flow flow = new() { DontFragment = dontFragment };
        List<byte[]> packets = [.. ids.Select((id, i) => InnerPackets.Build(flow, new byte[Segment], id, (uint)(1000 + (i * Segment))))];
        Assert.Equal(counts, Counts(packets));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_corrupt_packet_is_delivered_alone_and_unchanged(bool isIPv6, bool isTcp)
    {
        Flow flow = new() { IsIPv6 = isIPv6, IsTcp = isTcp };
        for (int corrupt = 0; corrupt < 5; corrupt++)
        {
            List<byte[]> packets = Stream(flow, 5);
            packets[corrupt][^1] ^= 1;
            List<WireFrame> frames = OffloadBatches.Coalesce(packets);
            WireFrame single = Assert.Single(frames, f => f.Bytes.SequenceEqual(packets[corrupt]));
            Assert.Equal(default, single.Header);
            Assert.Equal(corrupt is 0 or 4 ? [1, 4] : corrupt is 1 ? [1, 1, 3] : corrupt is 3 ? [1, 1, 3] : [1, 2, 2], Counts(packets).Order());
        }
    }

    [Fact]
    public void A_corrupt_IPv4_header_is_not_repaired()
    {
        List<byte[]> packets = Stream(new Flow(), 3);
        packets[1][11] ^= 1;
        Assert.Equal([1, 1, 1], Counts(packets));
    }

    [Fact]
    public void Datagrams_without_checksum_are_not_joined()
    {
        List<byte[]> packets = Stream(new Flow { IsTcp = false }, 3);
        packets.ForEach(p => p[26] = p[27] = 0);
        Assert.Equal([1, 1, 1], Counts(packets));
    }

    [Fact]
    public void A_datagram_super_packet_has_at_most_64_segments()
    {
        List<byte[]> packets = InnerPackets.Stream(new Flow { IsTcp = false }, 100, 100, 100, new Random(1));
        Assert.Equal([64, 36], Counts(packets));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_super_packet_is_at_most_65535_bytes(bool isIPv6)
    {
        List<byte[]> packets = InnerPackets.Stream(new Flow { IsIPv6 = isIPv6 }, 70, 1400, 1400, new Random(1), push: false);
        List<WireFrame> frames = OffloadBatches.Coalesce(packets);
        Assert.Equal([46, 24], Counts(packets));
        Assert.All(frames, f => Assert.InRange(f.Bytes.Length, 1, 65535));
    }

    [Fact]
    public void A_pure_acknowledgement_stays_in_its_place()
    {
        Flow flow = new();
        byte[] acknowledgement = InnerPackets.Build(flow, [], 3, 3000);
        List<byte[]> packets = [.. Stream(flow, 2), acknowledgement, .. Stream(flow, 2, sequence: 3000, id: 4)];
        List<WireFrame> frames = OffloadBatches.Coalesce(packets);
        Assert.Equal([2, 1, 2], Counts(packets));
        Assert.Equal(acknowledgement, frames[1].Bytes);
    }

    [Fact]
    public void Nothing_overtakes_a_fragment_between_the_same_addresses()
    {
        Flow flow = new() { IsTcp = false, DontFragment = false };
        Flow elsewhere = flow with { Host = 9 };
        List<byte[]> packets = Stream(flow, 4);
        List<byte[]> others = Stream(elsewhere, 4);
        byte[] fragment = InnerPackets.Build(flow, new byte[64], 900);
        fragment[7] = 100;
        InnerPackets.WriteChecksums(fragment);
        Assert.Equal([2, 4, 1, 2], Counts([packets[0], packets[1], others[0], others[1], fragment, packets[2], packets[3], others[2], others[3]]));
    }

    [Fact]
    public void Other_protocols_do_not_part_a_flow()
    {
        List<byte[]> packets = Stream(new Flow(), 4);
        byte[] echo = InnerPackets.Build(new Flow { IsTcp = false }, new byte[64]);
        echo[9] = 1;
        Assert.Equal([4, 1], Counts([packets[0], packets[1], echo, packets[2], packets[3]]));
    }

    [Fact]
    public void Dropped_packets_and_keepalives_are_passed_over()
    {
        List<byte[]> packets = Stream(new Flow(), 4);
        PacketBatch batch = OffloadBatches.Opened([.. packets, new byte[16], new byte[40]], 8);
        batch.Packets[4].Length = 0;
        batch.Packets[5].Length = 0;
        Assert.Equal(6, new GroCoalescer(TunOffload.All, 6, 8).Coalesce(batch, 0));
        Assert.Equal(1, batch.FrameCount);
    }

    // ---- bounds of the tables ----

    [Fact]
    public void A_batch_with_more_packets_than_the_coalescer_was_made_for_is_refused()
    {
        PacketBatch batch = OffloadBatches.Opened(Stream(new Flow(), 3), 8);
        Assert.Throws<ArgumentOutOfRangeException>(() => new GroCoalescer(TunOffload.All, 2, 8).Coalesce(batch, 0));
    }

    [Theory]
    [InlineData(3, 8)]
    [InlineData(8, 3)]
    public void Frames_beyond_what_batch_and_coalescer_both_hold_are_left_for_the_next_call(int ofBatch, int ofCoalescer)
    {
        List<byte[]> packets = [.. Enumerable.Range(0, 4).SelectMany(i => Stream(new Flow { SourcePort = (ushort)i }, 2))];
        PacketBatch batch = OffloadBatches.Opened(packets, ofBatch);
        GroCoalescer coalescer = new(TunOffload.All, batch.Packets.Length, ofCoalescer);
        Assert.Equal(6, coalescer.Coalesce(batch, 0));
        Assert.Equal([2, 2, 2], batch.Frames.Take(batch.FrameCount).Select(frame => frame.SliceCount));
        Assert.Equal(8, coalescer.Coalesce(batch, 6));
        Assert.Equal([2], batch.Frames.Take(batch.FrameCount).Select(frame => frame.SliceCount));
    }

    [Fact]
    public void Of_more_flows_than_a_place_holds_the_one_that_came_first_makes_room()
    {
        Flow[] flows = [.. FlowsOfOnePlace(6)];
        List<byte[]>[] streams = [.. flows.Select(flow => Stream(flow, 2))];
        int[] second = [2, 3, 4, 5, 0, 1];
        Assert.Equal([1, 1, 2, 2, 2, 2, 1, 1], Counts([.. streams.Select(stream => stream[0]), .. second.Select(i => streams[i][1])]));
    }

    [Fact]
    public void A_flow_that_has_ended_makes_room_before_any_other()
    {
        Flow[] flows = [.. FlowsOfOnePlace(5)];
        List<byte[]>[] streams = [.. flows.Select((flow, i) => Stream(flow, 2, push: i == 3))];
        List<byte[]> elsewhere = Stream(FlowOfAnotherPlace(), 1);
        int[] second = [0, 1, 2, 4];
        List<byte[]> packets =
            [.. elsewhere, .. streams.Take(4).Select(stream => stream[0]), streams[3][1], streams[4][0], .. second.Select(i => streams[i][1])];
        Assert.Equal([1, 2, 2, 2, 2, 2], Counts(packets));
    }

    // ---- what was refused ----

    [Fact]
    public void Only_what_was_joined_and_refused_is_taken_apart()
    {
        List<byte[]>[] streams = [.. Enumerable.Range(0, 4).Select(i => Stream(new Flow { SourcePort = (ushort)i }, i == 1 ? 1 : 3))];
        PacketBatch batch = OffloadBatches.Opened([.. streams.SelectMany(stream => stream)], 64);
        GroCoalescer coalescer = new(TunOffload.All, batch.Packets.Length, 64);
        coalescer.Coalesce(batch, 0);
        Assert.Equal([3, 1, 3, 3], batch.Frames.Take(batch.FrameCount).Select(frame => frame.SliceCount));
        batch.Frames[0].Refused = batch.Frames[1].Refused = batch.Frames[3].Refused = true;
        Assert.True(coalescer.Uncoalesce(batch));
        Assert.Equal([.. streams[0], .. streams[3]], OffloadBatches.Frames(batch).Select(frame => frame.Bytes));

        // Whatever becomes of these, they are whole already.
        batch.Frames[0].Refused = true;
        Assert.False(coalescer.Uncoalesce(batch));
        Assert.Equal((0, 0), (batch.FrameCount, batch.SliceCount));
    }

    [Fact]
    public void What_was_refused_and_never_written_again_does_not_come_with_the_next_batch()
    {
        List<byte[]> packets = [.. Stream(new Flow { SourcePort = 1 }, 3), .. Stream(new Flow { SourcePort = 2 }, 3)];
        PacketBatch batch = OffloadBatches.Opened(packets, 2);
        GroCoalescer coalescer = new(TunOffload.All, batch.Packets.Length, 2);
        coalescer.Coalesce(batch, 0);
        batch.Frames[0].Refused = batch.Frames[1].Refused = true;
        Assert.True(coalescer.Uncoalesce(batch));
        coalescer.Coalesce(batch, 0);
        Assert.False(coalescer.Uncoalesce(batch));
    }

    [Fact]
    public void An_IPv6_fragment_parts_the_flows_of_its_addresses_and_no_others()
    {
        Flow flow = new() { IsIPv6 = true, IsTcp = false };
        Flow[] flows = [flow, flow with { IsTcp = true }, flow with { Host = 9 }, flow with { IsIPv6 = false }, flow with { IsIPv6 = false, IsTcp = true }];
        List<byte[]>[] streams = [.. flows.Select(one => Stream(one, 4))];
        byte[] fragment = InnerPackets.Build(flow, new byte[64], 900);
        fragment[6] = 44;
        List<byte[]> packets =
            [.. streams.SelectMany(stream => stream.Take(2)), fragment, .. streams.SelectMany(stream => stream.Skip(2))];
        Assert.Equal([2, 2, 4, 4, 4, 1, 2, 2], Counts(packets));
    }

    /// <summary>So many flows whose chains are looked for in the same place of the table.</summary>
    private static IEnumerable<Flow> FlowsOfOnePlace(int count) =>
        Enumerable.Range(1, 65535).Select(port => new Flow { SourcePort = (ushort)port }).Where(flow => PlaceOf(flow) == 7).Take(count);

    private static Flow FlowOfAnotherPlace() =>
        Enumerable.Range(1, 65535).Select(port => new Flow { SourcePort = (ushort)port }).First(flow => PlaceOf(flow) == 8);

    private static uint PlaceOf(Flow flow)
    {
        Assert.Equal(GroKind.Joinable, GroPacket.Classify(InnerPackets.Build(flow, new byte[1]), TunOffload.All, out GroPacket fields));
        return fields.FlowHash % 32;
    }

    [Fact]
    public void Coalescing_and_taking_apart_allocate_nothing()
    {
        List<byte[]> packets = [.. Stream(new Flow(), 40), .. Stream(new Flow { IsTcp = false, IsIPv6 = true }, 40)];
        PacketBatch batch = OffloadBatches.Opened(packets, 100);
        GroCoalescer coalescer = new(TunOffload.All, 100, 100);
        int singles = 0;
        Allocations.AssertNone(1, () => singles = Run(batch, coalescer));
        Assert.Equal(80, singles);
        static int Run(PacketBatch batch, GroCoalescer coalescer)
        {
            coalescer.Coalesce(batch, 0);
            for (int i = 0; i < batch.FrameCount; i++)
            {
                batch.Frames[i].Refused = true;
            }

            return coalescer.Uncoalesce(batch) ? batch.FrameCount : 0;
        }
    }
}
