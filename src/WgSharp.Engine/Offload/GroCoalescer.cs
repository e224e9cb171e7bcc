namespace WgSharp.Engine.Offload;

/// <summary>Which flows may be joined to super-packets: what the TUN device takes.</summary>
[Flags]
public enum GroFeatures
{
    /// <summary>One frame per packet.</summary>
    None = 0,
    Tcp4 = 1,
    Tcp6 = 2,

    /// <summary>Both address families; the kernel takes them from 6.2 on (TUN_F_USO4, TUN_F_USO6).</summary>
    Udp = 4,

    All = Tcp4 | Tcp6 | Udp,
}

/// <summary>Joins the packets of a flow to super-packets for the TUN device. One per thread; its tables are reused.</summary>
/// <param name="slots">The most slots a batch has.</param>
/// <param name="frames">The most frames a batch has.</param>
public sealed class GroCoalescer(GroFeatures features, int slots, int frames)
{
    /// <summary>No frame has more slices than this.</summary>
    public const int MaxSlices = 128;

    private readonly int _slots = slots;
    private readonly int _frames = frames;

    public GroFeatures Features { get; } = features;

    /// <summary>
    /// Replaces the batch's frames by those for its slots from <paramref name="firstSlot"/> on (passing over dropped ones and
    /// keepalives), until all are dealt with or the frames are full; then the caller writes and calls again.
    /// </summary>
    /// <returns>The slot to go on with; <see cref="PacketBatch.SlotCount"/> when all are done.</returns>
    public int Coalesce(PacketBatch batch, int firstSlot)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(batch.SlotCount, _slots);
        batch.FrameCount = 0;
        batch.SliceCount = 0;
        int limit = Math.Min(_frames, batch.Frames.Length);
        for (int slot = firstSlot; slot < batch.SlotCount; slot++)
        {
            if (batch.Slots[slot].Dropped || batch.Slots[slot].InnerLength == 0)
            {
                continue;
            }

            if (batch.FrameCount == limit)
            {
                return slot;
            }

            int length = batch.Slots[slot].InnerLength;
            batch.Slices[batch.SliceCount] = new BufferSlice(batch.Packets[slot].Offset, length);
            batch.Frames[batch.FrameCount++] = new TunFrame { Length = length, FirstSlice = batch.SliceCount++, SliceCount = 1 };
        }

        return batch.SlotCount;
    }

    /// <summary>
    /// After a write: takes the super-packets that the kernel refused apart again and replaces the batch's frames by their
    /// packets, bit for bit as they came. The caller writes these and calls again, as often as it returns true.
    /// </summary>
    /// <returns>False when there is nothing (more) to write.</returns>
    public bool Uncoalesce(PacketBatch batch)
    {
        batch.FrameCount = 0;
        return _frames == 0;
    }
}
