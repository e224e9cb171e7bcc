using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using WgSharp.Engine;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// A TUN interface (drivers/net/tun.c): IP packets without Ethernet, read and written through a non-blocking descriptor. Where the
/// kernel has IFF_VNET_HDR every packet carries a 10-byte header, and reads bring super-packets of up to 64 KiB. The interface
/// disappears with the last descriptor; whether it is up is the administrator's business.
/// </summary>
internal sealed unsafe class TunDevice : ITunDevice
{
    /// <summary>1500 less 20 or 40 (IP), 8 (UDP) and 32 (transport data): fits over IPv6, as every WireGuard does it.</summary>
    public const int DefaultMtu = 1420;

    /// <summary>Packets, as an interface of the kernel module shows (<c>qlen 1000</c>).</summary>
    private const int QueueLength = 1000;

    /// <summary>UIO_MAXIOV less one for the header: more pieces than that no writev takes.</summary>
    private const int MaxSlices = 1023;

    private readonly KernelFeatures _features;
    private readonly bool _vnetHeader;

    private TunDevice(FileDescriptor descriptor, string name, bool vnetHeader, KernelFeatures features)
    {
        Descriptor = descriptor;
        Name = name;
        _vnetHeader = vnetHeader;
        _features = features;
    }

    /// <summary>The name it was created or adopted under; it may be renamed later.</summary>
    public string Name { get; }

    /// <inheritdoc/>
    public TunOffload Offload => TunSetup.OffloadOf(_features);

    internal FileDescriptor Descriptor { get; }

    internal KernelFeatures Features => _features;

    /// <summary>Creates the interface under exactly this name, in the network namespace of the caller, with MTU 1420, silent, its link down.</summary>
    /// <exception cref="TunException">It cannot be had; the message says what to do.</exception>
    public static TunDevice Create(string name, KernelFeatures features)
    {
        InterfaceName.Check(name);
        FileDescriptor descriptor = TunSetup.OpenNode();
        try
        {
            bool vnetHeader = TunSetup.Attach(descriptor, name, features);
            TunSetup.SetMtuAndQueueLength(name, DefaultMtu, QueueLength);
            TunSetup.Silence(name, features);
            TunSetup.ProbeNamespace(descriptor, features);
            return new TunDevice(descriptor, name, vnetHeader, features);
        }
        catch
        {
            descriptor.Dispose();
            throw;
        }
    }

    /// <summary>Takes over a descriptor that another program attached to an interface (<c>WG_TUN_FD</c>); how that one set its interface up (MTU, multicast, addresses) stays.</summary>
    /// <param name="isOurs">A process before this one has made it, in the way of <see cref="Create"/>.</param>
    /// <exception cref="TunException">It is not one, or it has packet information headers (no IFF_NO_PI), or its interface was deleted.</exception>
    public static TunDevice Adopt(int fd, KernelFeatures features, bool isOurs = false)
    {
        FileDescriptor descriptor = FileDescriptor.From(fd) ?? throw TunException.Adopt(fd, Errno.EBADF);
        try
        {
            (string name, bool vnetHeader) = TunSetup.Adopt(descriptor, fd, features);
            TunSetup.ProbeNamespace(descriptor, features);
            if (isOurs && features.Wants(KernelFeature.Silence))
            {
                // It was silenced when it was made; what has become of that since is its administrator's will.
                features.Found(KernelFeature.Silence);
            }

            return new TunDevice(descriptor, name, vnetHeader, features);
        }
        catch (TunException) when (isOurs)
        {
            descriptor.Dispose();
            throw;
        }
        catch
        {
            // What was not ours stays open for its owner.
            descriptor.SetHandleAsInvalid();
            throw;
        }
    }

    /// <inheritdoc/>
    /// <exception cref="TunException">An error that no TUN is known to give.</exception>
    public IoStatus Read(PacketBatch batch)
    {
        batch.FrameCount = 0;
        int header = _vnetHeader ? VirtioNetHeader.Size : 0;
        int room = header + PacketBatch.MaxPacket;
        int capacity = Math.Min(batch.ReadCapacity, batch.Buffer.Length);
        int position = 0;
        int refused = 0;
        try
        {
            while (batch.FrameCount < batch.Frames.Length && capacity - position >= room)
            {
                int length = ReadOne(batch.Buffer, position, room);
                if (length > header)
                {
                    AddFrame(batch, position, header, length);
                    position += (length + 63) & ~63;
                }
                else if (length >= 0 || -length == Errno.EINVAL)
                {
                    // The kernel could not describe this packet in a virtio header and dropped it. The bound is for the
                    // day when that should be wrong.
                    if (++refused > batch.Frames.Length)
                    {
                        break;
                    }
                }
                else if (-length != Errno.EINTR)
                {
                    batch.Drained = true;
                    return batch.FrameCount > 0 ? IoStatus.Done : Explain("read", -length);
                }
            }
        }
        catch (ObjectDisposedException)
        {
            return IoStatus.Gone;
        }

        return batch.FrameCount > 0 ? IoStatus.Done : IoStatus.WouldBlock;
    }

    /// <inheritdoc/>
    [SkipLocalsInit]
    public IoStatus Write(PacketBatch batch)
    {
        iovec* vector = stackalloc iovec[MostSlices(batch) + 1];
        try
        {
            fixed (byte* buffer = batch.Buffer)
            fixed (TunFrame* frames = batch.Frames)
            {
                for (int i = 0; i < batch.FrameCount; i++)
                {
                    TunFrame* frame = frames + i;
                    int errno = WriteOne(frame, batch, buffer, vector);
                    frame->Refused = false;
                    switch (errno)
                    {
                        case 0:
                            break;
                        // The queue of the interface is full: dropped, as by any full queue.
                        case Errno.EAGAIN or Errno.ENOBUFS or Errno.ENOMEM:
                            batch.Drops.Add(DropReason.TunRefused);
                            break;
                        case Errno.EIO:
                            batch.Drops.Add(DropReason.TunRefused, batch.FrameCount - i);
                            return IoStatus.LinkDown;
                        case Errno.EBADFD or Errno.EBADF or Errno.ENODEV or Errno.ENXIO:
                            return IoStatus.Gone;
                        default:
                            frame->Refused = true;
                            break;
                    }
                }
            }
        }
        catch (ObjectDisposedException)
        {
            return IoStatus.Gone;
        }

        return IoStatus.Done;
    }

    /// <summary>Closes the descriptor; an interface that is not persistent disappears with it.</summary>
    public void Dispose() => Descriptor.Dispose();

    private int ReadOne(byte[] target, int position, int room)
    {
        fixed (byte* start = &target[position])
        {
            nint length = Libc.read(Descriptor, start, (nuint)room);
            return length >= 0 ? (int)length : -Marshal.GetLastPInvokeError();
        }
    }

    private void AddFrame(PacketBatch batch, int position, int header, int length)
    {
        ref TunFrame frame = ref batch.Frames[batch.FrameCount++];
        frame.Header = _vnetHeader ? MemoryMarshal.Read<VirtioNetHeader>(batch.Buffer.AsSpan(position, header)) : default;
        frame.Offset = position + header;
        frame.Length = length - header;
        frame.Refused = false;
    }

    private IoStatus Explain(string call, int errno) => errno switch
    {
        Errno.EAGAIN => IoStatus.WouldBlock,
        Errno.EIO => IoStatus.LinkDown,

        // EFAULT: the queue was shut down under this read, the interface is being deleted.
        Errno.EBADFD or Errno.EBADF or Errno.ENODEV or Errno.ENXIO or Errno.EFAULT => IoStatus.Gone,
        _ => throw TunException.Transfer(call, Name, errno),
    };

    /// <summary>Of any frame, as far as one writev takes them.</summary>
    private static int MostSlices(PacketBatch batch)
    {
        int most = 0;
        foreach (ref readonly TunFrame frame in batch.Frames.AsSpan(0, batch.FrameCount))
        {
            most = Math.Max(most, frame.SliceCount);
        }

        return Math.Min(most, MaxSlices);
    }

    private int WriteOne(TunFrame* frame, PacketBatch batch, byte* buffer, iovec* vector)
    {
        int count = 0;
        if (_vnetHeader)
        {
            vector[count++] = new iovec { iov_base = &frame->Header, iov_len = VirtioNetHeader.Size };
        }
        else if (frame->Header.GsoType != VirtioNetHeader.GsoNone || frame->Header.Flags != 0)
        {
            return Errno.EINVAL;
        }

        if (frame->SliceCount is <= 0 or > MaxSlices)
        {
            return Errno.EINVAL;
        }

        foreach (BufferSlice slice in batch.Slices.AsSpan(frame->FirstSlice, frame->SliceCount))
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)(slice.Offset + slice.Length), (uint)batch.Buffer.Length);
            vector[count++] = new iovec { iov_base = buffer + slice.Offset, iov_len = (nuint)slice.Length };
        }

        int errno;
        do
        {
            errno = Libc.writev(Descriptor, vector, count) >= 0 ? 0 : Marshal.GetLastPInvokeError();
        }
        while (errno == Errno.EINTR);
        return errno;
    }
}
