using System.Buffers.Binary;
using WgSharp.Engine.Offload;

namespace WgSharp.Engine.Tests.Offload;

/// <summary>What must hold for any traffic: seeded generators, so that a failure names the seed that repeats it.</summary>
public sealed class OffloadPropertyTests
{
    public static TheoryData<int> Seeds => [.. Enumerable.Range(1, 60)];

    /// <summary>Packets of several flows, interleaved, with what real flows have: PSH, pure acknowledgements, retransmissions, ECN marks, odd ones between.</summary>
    private static List<byte[]> Traffic(Random random)
    {
        List<Queue<byte[]>> flows = [];
        int count = random.Next(1, 9);
        for (int i = 0; i < count; i++)
        {
            Flow flow = new()
            {
                IsIPv6 = random.Next(2) == 0,
                IsTcp = random.Next(3) > 0,
                SourcePort = (ushort)random.Next(1, 4),
                Host = (byte)random.Next(1, 3),
                DestinationPort = (ushort)(1000 + i),
                TrafficClass = (byte)random.Next(4),
                DontFragment = random.Next(2) == 0,
                TcpOptions = random.Next(3) == 0 ? [] : new Flow().TcpOptions,
            };
            flows.Add(new Queue<byte[]>(FlowPackets(flow, random)));
        }

        List<byte[]> packets = [];
        while (flows.Count > 0)
        {
            Queue<byte[]> flow = flows[random.Next(flows.Count)];
            for (int burst = random.Next(1, 30); burst > 0 && flow.Count > 0; burst--)
            {
                packets.Add(flow.Dequeue());
            }

            flows.RemoveAll(f => f.Count == 0);
        }

        return packets;
    }

    private static List<byte[]> FlowPackets(Flow flow, Random random)
    {
        List<byte[]> packets = [];
        ushort id = (ushort)random.Next();
        uint sequence = (uint)random.Next() * 2;
        int segment = random.Next(1, 1400);
        for (int i = random.Next(1, 120); i > 0; i--)
        {
            int length = random.Next(12) switch { 0 => 0, 1 => random.Next(1400), _ => segment };
            byte[] payload = new byte[length];
            random.NextBytes(payload);
            byte flags = random.Next(20) switch
            {
                0 => InnerPackets.Ack | InnerPackets.Psh,
                1 => InnerPackets.Ack | InnerPackets.Cwr,
                2 => InnerPackets.Ack | InnerPackets.Ece,
                3 => (byte)random.Next(256),
                _ => InnerPackets.Ack,
            };
            byte[] packet = InnerPackets.Build(flow, payload, id, sequence, flags);
            if (random.Next(25) == 0)
            {
                Disturb(packet, random);
            }

            packets.Add(packet);
            id++;
            sequence += (uint)length;
        }

        return packets;
    }

    /// <summary>Changes one byte: with or without checksums that agree.</summary>
    private static void Disturb(byte[] packet, Random random)
    {
        int at = random.Next(packet.Length);
        if (at == 0 || at is 2 or 3 || (packet[0] >> 4 == 6 && at is 4 or 5))
        {
            return; // version and length: the inbound path has checked these
        }

        packet[at] ^= (byte)(1 << random.Next(8));
        int protocolAt = packet[0] >> 4 == 6 ? 6 : 9;
        if (random.Next(2) == 0 && packet[protocolAt] is 6 or 17)
        {
            InnerPackets.WriteChecksums(packet);
        }
    }

    private static string FlowOf(byte[] p) =>
        p[0] >> 4 == 6 ? Convert.ToHexString(p.AsSpan(6, 1)) + Convert.ToHexString(p.AsSpan(8, 36)) : Convert.ToHexString(p.AsSpan(9, 1)) + Convert.ToHexString(p.AsSpan(12, 12));

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Coalesce_and_split_again_gives_the_same_packets_in_the_same_order_within_each_flow(int seed)
    {
        Random random = new(seed);
        List<byte[]> packets = Traffic(random);
        TunOffload features = seed % 10 == 0 ? (TunOffload)random.Next(8) : TunOffload.All;
        List<WireFrame> frames = OffloadBatches.Coalesce(packets, features, frames: seed % 3 == 0 ? random.Next(1, 20) : 2000);
        List<byte[]> back = OffloadBatches.Split(frames, mtu: 1420, sendCapacity: packets.Sum(p => p.Length + 64) + 2000, packets: packets.Count + 1);

        Assert.True(frames.Count <= packets.Count);
        Assert.Equal(packets.Count, back.Count);
        foreach (IGrouping<string, byte[]> flow in packets.GroupBy(FlowOf))
        {
            Assert.Equal(flow, back.Where(p => FlowOf(p) == flow.Key).Select(WithoutFixedIds(flow)));
        }
    }

    /// <summary>The one thing that does not survive: identifications that were all the same (with DF) come out counted up, as from the kernel.</summary>
    private static Func<byte[], int, byte[]> WithoutFixedIds(IEnumerable<byte[]> originals)
    {
        byte[][] expected = [.. originals];
        return (packet, i) => i < expected.Length && EqualButForId(packet, expected[i]) ? expected[i] : packet;
    }

    private static bool EqualButForId(byte[] a, byte[] b) =>
        a.Length == b.Length && a[0] == 0x45 && (a[6] & 0x40) != 0 && a.AsSpan(0, 4).SequenceEqual(b.AsSpan(0, 4))
        && a.AsSpan(6, 4).SequenceEqual(b.AsSpan(6, 4)) && a.AsSpan(12).SequenceEqual(b.AsSpan(12))
        && InnerPackets.NaiveChecksum(a.AsSpan(0, 20)) == 0;

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Split_and_coalesce_again_gives_the_same_super_packets(int seed)
    {
        Random random = new(seed);
        List<WireFrame> supers = [];
        for (int i = 0; i < 6; i++)
        {
            Flow flow = new() { IsIPv6 = random.Next(2) == 0, IsTcp = i != 5 && random.Next(2) == 0, DestinationPort = (ushort)(100 + i) };
            int segment = random.Next(600, 1400);
            int most = flow.IsTcp ? 65_000 : Math.Min(65_000, segment * 64);
            supers.AddRange(OffloadBatches.Coalesce(InnerPackets.Stream(flow, random.Next(2, most / segment), segment, random.Next(1, segment), random)));
        }

        Assert.Equal(6, supers.Count);
        List<WireFrame> again = OffloadBatches.Coalesce(OffloadBatches.Split(supers));
        Assert.Equal(supers.Select(s => s.Header), again.Select(s => s.Header));
        Assert.Equal(supers.Select(s => s.Bytes), again.Select(s => s.Bytes));
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Refused_super_packets_come_apart_bit_for_bit(int seed)
    {
        Random random = new(seed);
        List<byte[]> packets = Traffic(random);
        int frames = random.Next(1, 40);
        PacketBatch batch = OffloadBatches.Opened(packets, frames);
        GroCoalescer coalescer = new(TunOffload.All, batch.Packets.Length, frames);
        List<byte[]> delivered = [];
        int slot = 0;
        while (slot < batch.PacketCount)
        {
            slot = coalescer.Coalesce(batch, slot);
            List<WireFrame> written = OffloadBatches.Frames(batch);
            for (int i = 0; i < written.Count; i++)
            {
                batch.Frames[i].Refused = written[i].Header.GsoType != VirtioNetHeader.GsoNone;
                if (!batch.Frames[i].Refused)
                {
                    delivered.Add(written[i].Bytes);
                }
            }

            while (coalescer.Uncoalesce(batch))
            {
                List<WireFrame> singles = OffloadBatches.Frames(batch);
                Assert.All(singles, f => Assert.Equal(default, f.Header));
                delivered.AddRange(singles.Select(f => f.Bytes));
            }
        }

        Assert.Equal(packets.Select(Convert.ToHexString).Order(), delivered.Select(Convert.ToHexString).Order());
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Hostile_frames_never_leave_their_bounds(int seed)
    {
        Random random = new(seed);
        List<WireFrame> frames = [];
        for (int i = 0; i < 40; i++)
        {
            frames.Add(HostileFrame(random));
        }

        // Split checks that only message room was written; every message is valid IP as far as its length goes.
        PacketBatch batch = OffloadBatches.Read(frames, sendCapacity: 500_000, packets: random.Next(1, 300));
        List<byte[]> packets = OffloadBatches.Split(batch, random.Next(0, 1600), random.Next(0, 1600), out int malformed);
        Assert.InRange(malformed, 0, frames.Count);
        Assert.All(packets, p => Assert.InRange(p.Length, 20, 65535));
    }

    private static WireFrame HostileFrame(Random random)
    {
        byte[] bytes = new byte[random.Next(5) == 0 ? random.Next(80) : random.Next(3000)];
        random.NextBytes(bytes);
        bool isIPv6 = random.Next(2) == 0;
        if (bytes.Length >= 48)
        {
            bytes[0] = isIPv6 ? (byte)0x60 : (byte)(0x40 + random.Next(4, 8));
            BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(isIPv6 ? 4 : 2), (ushort)(bytes.Length - (isIPv6 ? 40 : 0) + (random.Next(9) / 8)));
            bytes[isIPv6 ? 6 : 9] = random.Next(2) == 0 ? (byte)6 : (byte)17;
        }

        byte[] types = [0, VirtioNetHeader.GsoTcp4, VirtioNetHeader.GsoTcp6, VirtioNetHeader.GsoUdpL4, (byte)random.Next(256)];
        int[] starts = [0, 20, 24, 28, 40, 48, random.Next(65536)];
        int[] offsets = [6, 16, random.Next(65536)];
        return new WireFrame(
            new VirtioNetHeader
            {
                Flags = (byte)random.Next(3),
                GsoType = types[random.Next(types.Length)],
                GsoSize = (ushort)(random.Next(2) == 0 ? random.Next(1, 100) : random.Next(65536)),
                HdrLen = (ushort)random.Next(65536),
                CsumStart = (ushort)starts[random.Next(starts.Length)],
                CsumOffset = (ushort)offsets[random.Next(offsets.Length)],
            },
            bytes);
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Packets_from_strangers_are_delivered_unharmed_whatever_is_in_them(int seed)
    {
        Random random = new(seed);
        List<byte[]> packets = [];
        for (int i = 0; i < 200; i++)
        {
            byte[] packet = HostileFrame(random).Bytes;
            packets.Add(packet.Length == 0 ? [0x45] : packet);
        }

        List<WireFrame> frames = OffloadBatches.Coalesce(packets, frames: 17);
        Assert.Equal(packets, frames.Select(f => f.Bytes)); // random checksums are wrong: nothing was joined
        Assert.All(frames, f => Assert.Equal(default, f.Header));
    }
}
