using System.Buffers.Binary;
using WgSharp.Crypto;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Offload;

/// <summary>A frame with its bytes, as it crosses the TUN descriptor.</summary>
internal sealed record WireFrame(VirtioNetHeader Header, byte[] Bytes);

/// <summary>Puts packets into batches and takes them out, checking every bound on the way.</summary>
internal static class OffloadBatches
{
    /// <summary>A super-packet as the kernel's TUN driver hands it out: partial checksum, total lengths.</summary>
    public static WireFrame Super(Flow flow, int payload, int segment, byte flags = InnerPackets.Ack, int seed = 1, bool partial = true)
    {
        byte[] bytes = new byte[payload];
        new Random(seed).NextBytes(bytes);
        return Super(flow, bytes, segment, flags, partial);
    }

    public static WireFrame Super(Flow flow, byte[] payload, int segment, byte flags = InnerPackets.Ack, bool partial = true)
    {
        byte[] packet = InnerPackets.Build(flow, payload, id: 0xFFFE, sequence: 0xFFFFFF00, flags);
        int start = flow.TransportStart;
        int offset = flow.IsTcp ? 16 : 6;
        if (partial)
        {
            ushort sum = (ushort)~InnerPackets.NaiveChecksum([], InnerPackets.NaivePseudoHeader(packet, packet.Length - start));
            BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(start + offset), sum);
        }

        byte type = !flow.IsTcp ? VirtioNetHeader.GsoUdpL4 : flow.IsIPv6 ? VirtioNetHeader.GsoTcp6 : VirtioNetHeader.GsoTcp4;
        return new WireFrame(
            new VirtioNetHeader
            {
                Flags = partial ? VirtioNetHeader.NeedsCsum : (byte)0,
                GsoType = type,
                HdrLen = (ushort)flow.HeaderLength,
                GsoSize = (ushort)segment,
                CsumStart = (ushort)(partial ? start : 0),
                CsumOffset = (ushort)(partial ? offset : 0),
            },
            packet);
    }

    /// <summary>A batch as the inbound path hands it to the coalescer: plaintext, here with guard bytes between them.</summary>
    public static PacketBatch Opened(IReadOnlyList<byte[]> packets, int frames)
    {
        const int Gap = 48;
        PacketBatch batch = new(packets.Sum(p => p.Length + Gap) + Gap, Math.Max(packets.Count, 1), frames, 0);
        batch.Buffer.AsSpan().Fill(0xA5);
        int offset = Gap;
        foreach (byte[] packet in packets)
        {
            packet.CopyTo(batch.Buffer, offset);
            batch.Packets[batch.PacketCount++] = new AeadPacket { Offset = offset, Length = packet.Length, Authentic = true };
            offset += packet.Length + Gap;
        }

        return batch;
    }

    public static List<WireFrame> Frames(PacketBatch batch)
    {
        List<WireFrame> frames = [];
        foreach (TunFrame frame in batch.Frames.AsSpan(0, batch.FrameCount))
        {
            byte[] bytes = [.. batch.Slices.Skip(frame.FirstSlice).Take(frame.SliceCount).SelectMany(s => batch.Buffer.AsSpan(s.Offset, s.Length).ToArray())];
            Assert.Equal(frame.Length, bytes.Length);
            Assert.InRange(frame.SliceCount, 1, GroCoalescer.MaxSlices);
            frames.Add(new WireFrame(frame.Header, bytes));
        }

        return frames;
    }

    /// <summary>Coalesces until all packets are done.</summary>
    public static List<WireFrame> Coalesce(IReadOnlyList<byte[]> packets, TunOffload features = TunOffload.All, int frames = 64)
    {
        PacketBatch batch = Opened(packets, frames);
        GroCoalescer coalescer = new(features, batch.Packets.Length, frames);
        List<WireFrame> result = [];
        int slot = 0;
        do
        {
            int next = coalescer.Coalesce(batch, slot);
            Assert.True(next > slot || batch.PacketCount == 0);
            slot = next;
            result.AddRange(Frames(batch));
        }
        while (slot < batch.PacketCount);
        return result;
    }

    /// <summary>A batch as the outbound path gets it from the TUN device.</summary>
    public static PacketBatch Read(IReadOnlyList<WireFrame> frames, int sendCapacity = 400_000, int packets = 1024)
    {
        const int Gap = 32;
        int capacity = frames.Sum(f => f.Bytes.Length + Gap);
        PacketBatch batch = new(capacity + sendCapacity, packets, Math.Max(frames.Count, 1), 0) { ReadCapacity = capacity };
        batch.Buffer.AsSpan().Fill(0x5A);
        int offset = Gap;
        foreach (WireFrame frame in frames)
        {
            frame.Bytes.CopyTo(batch.Buffer, offset);
            batch.Frames[batch.FrameCount++] = new TunFrame { Header = frame.Header, Offset = offset, Length = frame.Bytes.Length };
            offset += frame.Bytes.Length + Gap;
        }

        return batch;
    }

    /// <summary>Splits until all frames are done; checks layout, padding and that nothing else was touched.</summary>
    public static List<byte[]> Split(IReadOnlyList<WireFrame> frames, int mtu = 0, int maxPacket = 0, int sendCapacity = 400_000, int packets = 1024) =>
        Split(Read(frames, sendCapacity, packets), mtu, maxPacket, out _);

    /// <param name="malformed">How many frames nothing was made of.</param>
    public static List<byte[]> Split(PacketBatch batch, int mtu, int maxPacket, out int malformed)
    {
        byte[] before = batch.Buffer.AsSpan(0, batch.ReadCapacity).ToArray();
        List<byte[]> packets = [];
        SplitPosition position = default;
        malformed = 0;
        bool more;
        do
        {
            more = SplitSome(batch, ref position, mtu, maxPacket, ref malformed);
            Assert.True(batch.PacketCount > 0 || !more);
            int end = batch.ReadCapacity;
            for (int i = 0; i < batch.PacketCount; i++)
            {
                AeadPacket packet = batch.Packets[i];
                Assert.Equal(end + 16, packet.Offset);
                Assert.True(IpPacket.TryParse(batch.Buffer.AsSpan(packet.Offset, packet.Length), out IpPacket inner));
                int length = inner.TotalLength;
                Assert.Equal(new Padding(mtu, int.MaxValue).PaddedLength(length), packet.Length);
                Assert.All(batch.Buffer.AsSpan(packet.Offset + length, packet.Length - length).ToArray(), b => Assert.Equal(0, b));
                packets.Add(batch.Buffer.AsSpan(packet.Offset, length).ToArray());
                end = packet.Offset + packet.Length + 16;
            }

            Assert.Equal(end, batch.MessagesEnd);
            Assert.True(end <= batch.Buffer.Length);
        }
        while (more);
        Assert.Equal(before, batch.Buffer.AsSpan(0, batch.ReadCapacity).ToArray());
        return packets;
    }

    /// <summary>Splits as many frames as there is room for.</summary>
    /// <returns>True while frames are left.</returns>
    public static bool SplitSome(PacketBatch batch, ref SplitPosition position, int mtu, int maxPacket, ref int malformed)
    {
        batch.ClearPackets();
        for (; position.Frame < batch.FrameCount; position.NextFrame())
        {
            ref readonly TunFrame frame = ref batch.Frames[position.Frame];
            if (!IpPacket.TryParse(batch.Buffer.AsSpan(frame.Offset, frame.Length), out IpPacket packet))
            {
                malformed++;
                continue;
            }

            ReadOnlySpan<byte> bytes = batch.Buffer.AsSpan(frame.Offset, packet.TotalLength);
            var padding = new Padding(mtu, int.MaxValue);
            SplitResult result = frame.Header.GsoType == VirtioNetHeader.GsoNone ? GsoSplitter.Append(batch, bytes, in frame.Header, padding)
                : SuperPacket.TryParse(bytes, packet, frame.Header, out SuperPacket super) ? GsoSplitter.Split(batch, bytes, in super, maxPacket, padding, ref position)
                : SplitResult.Malformed;
            switch (result)
            {
                case SplitResult.NoRoom:
                    return true;
                case SplitResult.Malformed:
                    malformed++;
                    break;
            }
        }

        return false;
    }
}
