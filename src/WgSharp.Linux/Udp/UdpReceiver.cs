using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using WgSharp.Engine;

namespace WgSharp.Linux;

/// <summary>
/// Receives whatever is there into slots of 64 KiB: a datagram, or the train that UDP_GRO made of many. Vectors, names and control
/// buffers live on the stack of the call: the kernel overwrites all of them every time.
/// </summary>
internal static unsafe class UdpReceiver
{
    private const int SlotSize = 65536;
    private const int MaxSlots = 64;

    /// <summary>An error of an earlier datagram (ICMP) is told, and forgotten, once. A bound for the day when that is wrong.</summary>
    private const int MaxPendingErrors = 16;

    /// <param name="slot">The next free slot of the batch's buffer; moves on.</param>
    /// <returns>True if there may be more: the slots ran out first.</returns>
    internal static bool Receive(FileDescriptor? socket, bool ipv6, PacketBatch batch, ref int slot, KernelFeatures features)
    {
        int slots = Math.Min(Math.Min(batch.Trains.Length, batch.Buffer.Length / SlotSize), MaxSlots) - slot;
        if (socket is null || slots <= 0)
        {
            return socket is not null;
        }

        fixed (byte* buffer = batch.Buffer)
        {
            return Receive(socket, ipv6, batch, buffer, ref slot, slots, features.Has(KernelFeature.Mmsg));
        }
    }

    [SkipLocalsInit]
    private static bool Receive(FileDescriptor socket, bool ipv6, PacketBatch batch, byte* buffer, ref int slot, int slots, bool mmsg)
    {
        // No more than is used: a single small packet should not touch pages of stack for nothing.
        mmsghdr* messages = stackalloc mmsghdr[slots];
        iovec* pieces = stackalloc iovec[slots];
        byte* names = stackalloc byte[slots * SocketAddress.IPv6Size];
        byte* controls = stackalloc byte[slots * ControlMessages.ReceiveSpace];
        for (int i = 0; i < slots; i++)
        {
            pieces[i] = new iovec { iov_base = buffer + ((long)(slot + i) * SlotSize), iov_len = SlotSize };
            messages[i].msg_hdr = new msghdr
            {
                msg_name = names + (i * SocketAddress.IPv6Size),
                msg_namelen = SocketAddress.IPv6Size,
                msg_iov = pieces + i,
                msg_iovlen = 1,
                msg_control = controls + (i * ControlMessages.ReceiveSpace),
                msg_controllen = ControlMessages.ReceiveSpace,
            };
        }

        int received = mmsg ? ReceiveMany(socket, messages, slots) : ReceiveOneByOne(socket, messages, slots);
        for (int i = 0; i < received; i++)
        {
            AddTrain(batch, messages + i, (slot + i) * SlotSize, ipv6);
        }

        slot += received;
        return received == slots;
    }

    private static int ReceiveMany(FileDescriptor socket, mmsghdr* messages, int count)
    {
        for (int errors = 0; errors < MaxPendingErrors; errors++)
        {
            int received = Libc.recvmmsg(socket, messages, (uint)count, Libc.MSG_DONTWAIT, null);
            if (received >= 0)
            {
                return received;
            }

            if (Marshal.GetLastPInvokeError() == Errno.EAGAIN)
            {
                return 0;
            }
        }

        return 0;
    }

    private static int ReceiveOneByOne(FileDescriptor socket, mmsghdr* messages, int count)
    {
        int received = 0;
        for (int errors = 0; received < count && errors < MaxPendingErrors;)
        {
            nint length = Libc.recvmsg(socket, &messages[received].msg_hdr, Libc.MSG_DONTWAIT);
            if (length >= 0)
            {
                messages[received++].msg_len = (uint)length;
            }
            else if (Marshal.GetLastPInvokeError() == Errno.EAGAIN)
            {
                break;
            }
            else
            {
                errors++;
            }
        }

        return received;
    }

    private static void AddTrain(PacketBatch batch, mmsghdr* message, int offset, bool ipv6)
    {
        int length = (int)message->msg_len;
        int nameSize = ipv6 ? SocketAddress.IPv6Size : SocketAddress.IPv4Size;
        if (length == 0 || (message->msg_hdr.msg_flags & Libc.MSG_TRUNC) != 0 || message->msg_hdr.msg_namelen < nameSize)
        {
            return;
        }

        ref DatagramTrain train = ref batch.Trains[batch.TrainCount++];
        train = default;
        train.Offset = offset;
        train.Length = length;
        train.Stride = length;
        train.Source = SocketAddress.Read(new ReadOnlySpan<byte>(message->msg_hdr.msg_name, nameSize), ipv6);
        ControlMessages.Read(new ReadOnlySpan<byte>(message->msg_hdr.msg_control, (int)message->msg_hdr.msg_controllen), ref train);
    }
}
