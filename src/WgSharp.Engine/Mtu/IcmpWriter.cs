namespace WgSharp.Engine.Mtu;

/// <summary>Puts one ICMP error at a time into the TUN. Not thread-safe.</summary>
internal sealed class IcmpWriter(ITunDevice tun)
{
    private readonly PacketBatch _batch = new(IcmpErrors.MaxIPv6Length, packets: 1, frames: 1, trains: 0);

    /// <summary>The error is built here: <see cref="IcmpErrors.MaxIPv6Length"/> bytes.</summary>
    public Span<byte> Buffer => _batch.Buffer;

    /// <summary>Writes the first bytes of the buffer. Where the TUN takes nothing (link down), the error is lost, as any packet is.</summary>
    public void Write(int length)
    {
        _batch.Slices[0] = new BufferSlice(0, length);
        _batch.SliceCount = 1;
        _batch.Frames[0] = new TunFrame { Length = length, FirstSlice = 0, SliceCount = 1 };
        _batch.FrameCount = 1;
        tun.Write(_batch);
    }
}
