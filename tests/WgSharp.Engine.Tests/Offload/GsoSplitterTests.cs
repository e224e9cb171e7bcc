using System.Buffers.Binary;
using WgSharp.Engine.Offload;

namespace WgSharp.Engine.Tests.Offload;

public sealed class GsoSplitterTests
{
    public static TheoryData<bool, bool> Kinds => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_super_packet_becomes_the_segments_that_the_sender_would_have_sent(bool isIPv6, bool isTcp)
    {
        Flow flow = new() { IsIPv6 = isIPv6, IsTcp = isTcp, TrafficClass = 0x2A };
        byte flags = InnerPackets.Ack | InnerPackets.Psh | InnerPackets.Fin;
        WireFrame super = OffloadBatches.Super(flow, 60_001, 1368, flags);
        List<byte[]> packets = OffloadBatches.Split([super], mtu: 1420);

        Assert.Equal(44, packets.Count);
        for (int i = 0; i < packets.Count; i++)
        {
            byte[] payload = super.Bytes.AsSpan(flow.HeaderLength).ToArray().Skip(i * 1368).Take(1368).ToArray();
            byte expectedFlags = i == 43 ? flags : InnerPackets.Ack;
            byte[] expected = InnerPackets.Build(flow, payload, (ushort)(0xFFFE + i), 0xFFFFFF00 + (uint)(i * 1368), expectedFlags);
            Assert.Equal(expected, packets[i]);
        }
    }

    [Fact]
    public void A_super_packet_with_a_full_checksum_is_split_the_same()
    {
        foreach (bool isTcp in new[] { true, false })
        {
            Flow flow = new() { IsTcp = isTcp };
            Assert.Equal(OffloadBatches.Split([OffloadBatches.Super(flow, 9000, 1000)]), OffloadBatches.Split([OffloadBatches.Super(flow, 9000, 1000, partial: false)]));
        }
    }

    [Fact]
    public void Segments_of_a_UDP_super_packet_without_checksum_have_none()
    {
        Flow flow = new() { IsTcp = false };
        WireFrame super = OffloadBatches.Super(flow, 3000, 1000, partial: false);
        super.Bytes[26] = super.Bytes[27] = 0;
        List<byte[]> packets = OffloadBatches.Split([super]);
        Assert.Equal(3, packets.Count);
        Assert.All(packets, p => Assert.Equal(0, BinaryPrimitives.ReadUInt16BigEndian(p.AsSpan(26))));
    }

    [Fact]
    public void Congestion_window_reduced_stays_on_the_first_segment()
    {
        WireFrame super = OffloadBatches.Super(new Flow(), 5000, 1000, InnerPackets.Ack | InnerPackets.Cwr | InnerPackets.Ece | InnerPackets.Psh);
        super = super with { Header = super.Header with { GsoType = VirtioNetHeader.GsoTcp4 | VirtioNetHeader.GsoEcn } };
        byte[] flags = [.. OffloadBatches.Split([super]).Select(p => p[33])];
        Assert.Equal([0xD0, 0x50, 0x50, 0x50, 0x58], flags);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_missing_checksum_is_completed(bool isIPv6, bool isTcp)
    {
        Flow flow = new() { IsIPv6 = isIPv6, IsTcp = isTcp };
        WireFrame frame = OffloadBatches.Super(flow, 777, 0);
        frame = frame with { Header = frame.Header with { GsoType = VirtioNetHeader.GsoNone } };
        byte[] packet = Assert.Single(OffloadBatches.Split([frame]));
        InnerPackets.AssertWellFormed(packet);
    }

    [Fact]
    public void A_completed_checksum_of_zero_is_written_as_all_ones()
    {
        Flow flow = new() { IsTcp = false };
        byte[] packet = InnerPackets.Build(flow, [0, 0]);
        ushort checksum = BinaryPrimitives.ReadUInt16BigEndian(packet.AsSpan(26));
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(28), checksum); // makes the sum all ones, its complement zero
        ushort partial = (ushort)~InnerPackets.NaiveChecksum([], InnerPackets.NaivePseudoHeader(packet, 10));
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(26), partial);
        VirtioNetHeader header = new() { Flags = VirtioNetHeader.NeedsCsum, CsumStart = 20, CsumOffset = 6 };
        byte[] sent = Assert.Single(OffloadBatches.Split([new WireFrame(header, packet)]));
        Assert.Equal(0xFFFF, BinaryPrimitives.ReadUInt16BigEndian(sent.AsSpan(26)));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_segments_checksum_of_zero_is_written_as_all_ones_for_UDP_and_stays_zero_for_TCP(bool isIPv6, bool isTcp)
    {
        Flow flow = new() { IsIPv6 = isIPv6, IsTcp = isTcp };
        int checksum = flow.TransportStart + (isTcp ? 16 : 6);
        byte[] payload = new byte[3000];
        new Random(1).NextBytes(payload);
        for (int segment = 0; segment < 3; segment++)
        {
            // What the second word of the segment has to be, so that its sum becomes all ones.
            payload.AsSpan((segment * 1000) + 2, 2).Clear();
            byte[] packet = Segments(flow, payload)[segment];
            packet.AsSpan(checksum, 2).CopyTo(payload.AsSpan((segment * 1000) + 2));
        }

        Assert.All(Segments(flow, payload), packet =>
        {
            Assert.Equal(isTcp ? 0 : 0xFFFF, BinaryPrimitives.ReadUInt16BigEndian(packet.AsSpan(checksum)));
            InnerPackets.AssertWellFormed(packet);
        });
        static List<byte[]> Segments(Flow flow, byte[] payload)
        {
            List<byte[]> packets = OffloadBatches.Split([OffloadBatches.Super(flow, payload, 1000)]);
            Assert.Equal(3, packets.Count);
            return packets;
        }
    }

    [Fact]
    public void Behind_IPv6_extension_headers_the_kernel_tells_where_TCP_begins()
    {
        Flow flow = new() { IsIPv6 = true };
        WireFrame plain = OffloadBatches.Super(flow, 3000, 1000);
        byte[] withOptions = [.. plain.Bytes[..40], 6, 0, 1, 4, 0, 0, 0, 0, .. plain.Bytes[40..]];
        withOptions[6] = 60;
        BinaryPrimitives.WriteUInt16BigEndian(withOptions.AsSpan(4), (ushort)(withOptions.Length - 40));
        WireFrame super = new(plain.Header with { CsumStart = 48, HdrLen = (ushort)(plain.Header.HdrLen + 8) }, withOptions);

        List<byte[]> packets = OffloadBatches.Split([super]);
        List<byte[]> without = OffloadBatches.Split([plain]);
        Assert.Equal(3, packets.Count);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(without[i].Skip(40), packets[i].Skip(48));
            Assert.Equal(packets[i].Length - 40, BinaryPrimitives.ReadUInt16BigEndian(packets[i].AsSpan(4)));
        }
    }

    [Fact]
    public void Super_packets_are_cut_smaller_where_the_path_is_narrow()
    {
        WireFrame super = OffloadBatches.Super(new Flow(), 20_000, 1448, InnerPackets.Ack | InnerPackets.Psh);
        List<byte[]> packets = OffloadBatches.Split([super], mtu: 1500, maxPacket: 1392);
        Assert.All(packets, InnerPacketsAreWellFormed);
        Assert.All(packets.SkipLast(1), p => Assert.Equal(1392, p.Length));
        Assert.Equal(super.Bytes.Skip(52), packets.SelectMany(p => p.Skip(52)));
        static void InnerPacketsAreWellFormed(byte[] packet) => InnerPackets.AssertWellFormed(packet);
    }

    [Fact]
    public void Datagrams_are_never_cut_smaller()
    {
        List<byte[]> packets = OffloadBatches.Split([OffloadBatches.Super(new Flow { IsTcp = false }, 6000, 1400)], mtu: 1500, maxPacket: 1000);
        Assert.Equal(5, packets.Count);
    }

    [Theory]
    [InlineData(100, 0, 112)]
    [InlineData(112, 1420, 112)]
    [InlineData(1419, 1420, 1420)]
    [InlineData(1420, 1420, 1420)]
    [InlineData(1409, 1420, 1420)]
    [InlineData(1421, 1420, 1436)] // 1 byte above: that byte is padded to 16
    [InlineData(2840, 1420, 2840)]
    [InlineData(5, 8, 8)]
    [InlineData(1500, 0, 1504)]
    public void Padding_is_the_kernel_modules(int length, int mtu, int padded) =>
        Assert.Equal(padded, new Padding(mtu, int.MaxValue).PaddedLength(length));

    [Fact]
    public void What_does_not_fit_follows_in_the_next_call()
    {
        Random random = new(3);
        List<WireFrame> frames = [];
        for (int i = 0; i < 12; i++)
        {
            frames.Add(OffloadBatches.Super(new Flow { IsIPv6 = i % 2 == 0, IsTcp = i % 3 != 0 }, random.Next(1, 60_000), random.Next(1, 1400), seed: i));
        }

        List<byte[]> whole = OffloadBatches.Split(frames, mtu: 1420, sendCapacity: 40_000_000, packets: 500_000);
        Assert.Equal(whole, OffloadBatches.Split(frames, mtu: 1420, sendCapacity: 66_000, packets: 64));
        Assert.Equal(whole, OffloadBatches.Split(frames, mtu: 1420, sendCapacity: 66_000, packets: 1));
    }

    [Fact]
    public void Bytes_behind_the_packets_own_length_are_not_sent()
    {
        byte[] packet = InnerPackets.Build(new Flow(), [1, 2, 3]);
        byte[] sent = Assert.Single(OffloadBatches.Split([new WireFrame(default, [.. packet, 9, 9, 9, 9])]));
        Assert.Equal(packet, sent);
    }

    public static TheoryData<string> Contradictions =>
    [
        "empty", "not IP", "shorter than it says", "no segment size", "unknown type", "TCP6 in IPv4", "TCP is UDP",
        "checksum elsewhere", "transport outside", "TCP header of 16 bytes", "TCP header behind the end", "no payload",
        "checksum outside", "header of 16 bytes", "wrong transport start",
    ];

    [Theory]
    [MemberData(nameof(Contradictions))]
    public void A_frame_that_contradicts_itself_is_passed_over(string what)
    {
        Flow flow = new();
        WireFrame frame = OffloadBatches.Super(flow, 3000, 1000);
        VirtioNetHeader header = frame.Header;
        byte[] bytes = frame.Bytes;
        switch (what)
        {
            case "empty": bytes = []; break;
            case "not IP": bytes[0] = 0x55; break;
            case "shorter than it says": bytes = bytes[..^1]; break;
            case "no segment size": header.GsoSize = 0; break;
            case "unknown type": header.GsoType = 3; break;
            case "TCP6 in IPv4": header.GsoType = VirtioNetHeader.GsoTcp6; break;
            case "TCP is UDP": bytes[9] = 17; break;
            case "checksum elsewhere": header.CsumOffset = 6; break;
            case "transport outside": header.CsumStart = 60_000; break;
            case "TCP header of 16 bytes": bytes[32] = 0x40; break;
            case "TCP header behind the end": bytes = bytes[..50]; bytes[3] = 50; bytes[2] = 0; break;
            case "no payload": bytes = bytes[..52]; bytes[3] = 52; bytes[2] = 0; break;
            case "checksum outside": header = header with { GsoType = 0, CsumStart = 3000, CsumOffset = 51 }; break;
            case "header of 16 bytes": bytes[0] = 0x44; header.CsumStart = 16; break;
            case "wrong transport start": header.CsumStart = 24; break;
        }

        PacketBatch batch = OffloadBatches.Read([new WireFrame(header, bytes), new WireFrame(default, InnerPackets.Build(flow, [1]))]);
        List<byte[]> packets = OffloadBatches.Split(batch, 1420, 0, out int malformed);
        Assert.Equal(1, malformed);
        Assert.Single(packets);
    }

    [Fact]
    public void Splitting_allocates_nothing()
    {
        PacketBatch batch = OffloadBatches.Read([OffloadBatches.Super(new Flow(), 60_000, 1368), OffloadBatches.Super(new Flow { IsTcp = false, IsIPv6 = true }, 60_000, 1368)]);
        Allocations.AssertNone(10, () =>
        {
            SplitPosition position = default;
            int malformed = 0;
            OffloadBatches.SplitSome(batch, ref position, 1420, 0, ref malformed);
        });
    }
}
