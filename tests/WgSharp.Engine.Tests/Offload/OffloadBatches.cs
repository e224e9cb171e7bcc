using WgSharp.Crypto;
using WgSharp.Engine.Offload;

namespace WgSharp.Engine.Tests.Offload;

/// <summary>A frame with its bytes, as it crosses the TUN descriptor.</summary>
internal sealed record WireFrame(VirtioNetHeader Header, byte[] Bytes);

/// <summary>Puts packets into batches and takes them out, checking every bound on the way.</summary>
internal static class OffloadBatches
{
    /// <summary>A batch as the inbound path hands it to the coalescer: plaintext in slots, here with guard bytes between them.</summary>
    public static PacketBatch Opened(IReadOnlyList<byte[]> packets, int frames)
    {
        const int Gap = 48;
        PacketBatch batch = new(packets.Sum(p => p.Length + Gap) + Gap, Math.Max(packets.Count, 1), frames, 0);
        batch.Buffer.AsSpan().Fill(0xA5);
        int offset = Gap;
        foreach (byte[] packet in packets)
        {
            packet.CopyTo(batch.Buffer, offset);
            batch.Packets[batch.SlotCount] = new AeadPacket { Offset = offset, Length = packet.Length, Authentic = true };
            batch.Slots[batch.SlotCount++] = new PacketSlot { InnerLength = packet.Length };
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

    /// <summary>Coalesces until all slots are done.</summary>
    public static List<WireFrame> Coalesce(IReadOnlyList<byte[]> packets, GroFeatures features = GroFeatures.All, int frames = 64)
    {
        PacketBatch batch = Opened(packets, frames);
        GroCoalescer coalescer = new(features, batch.Slots.Length, frames);
        List<WireFrame> result = [];
        int slot = 0;
        do
        {
            int next = coalescer.Coalesce(batch, slot);
            Assert.True(next > slot || batch.SlotCount == 0);
            slot = next;
            result.AddRange(Frames(batch));
        }
        while (slot < batch.SlotCount);
        return result;
    }

    /// <summary>A batch as the outbound path gets it from the TUN device.</summary>
    public static PacketBatch Read(IReadOnlyList<WireFrame> frames, int sendCapacity = 400_000, int slots = 1024)
    {
        const int Gap = 32;
        int capacity = frames.Sum(f => f.Bytes.Length + Gap);
        PacketBatch batch = new(capacity + sendCapacity, slots, Math.Max(frames.Count, 1), 0) { ReadCapacity = capacity };
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
    public static List<byte[]> Split(IReadOnlyList<WireFrame> frames, int mtu = 0, int maxPacket = 0, int sendCapacity = 400_000, int slots = 1024) =>
        Split(Read(frames, sendCapacity, slots), mtu, maxPacket, out _);

    public static List<byte[]> Split(PacketBatch batch, int mtu, int maxPacket, out SplitPosition position)
    {
        byte[] before = batch.Buffer.AsSpan(0, batch.ReadCapacity).ToArray();
        List<byte[]> packets = [];
        position = default;
        bool more;
        do
        {
            more = GsoSplitter.Split(batch, ref position, mtu, maxPacket);
            Assert.True(batch.SlotCount > 0 || !more);
            int end = batch.ReadCapacity;
            for (int i = 0; i < batch.SlotCount; i++)
            {
                AeadPacket packet = batch.Packets[i];
                PacketSlot slot = batch.Slots[i];
                Assert.Equal(end + 16, packet.Offset);
                Assert.Equal(GsoSplitter.PaddedLength(slot.InnerLength, mtu), packet.Length);
                Assert.False(slot.Dropped);
                Assert.All(batch.Buffer.AsSpan(packet.Offset + slot.InnerLength, packet.Length - slot.InnerLength).ToArray(), b => Assert.Equal(0, b));
                packets.Add(batch.Buffer.AsSpan(packet.Offset, slot.InnerLength).ToArray());
                end = packet.Offset + packet.Length + 16;
            }

            Assert.True(end <= batch.Buffer.Length);
        }
        while (more);
        Assert.Equal(before, batch.Buffer.AsSpan(0, batch.ReadCapacity).ToArray());
        return packets;
    }
}
