using System.Runtime.CompilerServices;
using WgSharp.Engine;

namespace WgSharp.Linux;

// What the kernel does with ICMP about a datagram of ours (net/ipv4/udp.c, net/ipv6/udp.c; seen on 6.18 with a router between two namespaces):
//
//   IP_MTU_DISCOVER            IPv4: fragmentation needed            IPv6: packet too big
//                            queued   kernel believes it           queued   kernel believes it
//   DONT                       no           yes                      yes          yes
//   WANT, DO, PROBE            yes          yes                      yes          yes
//   INTERFACE, OMIT            yes          no                       no           no
//
// The socket that counts is not the one that sent, but the one that is found by the ports of the quote; in a SO_REUSEPORT group that is one chosen by a
// hash of the addresses, because the group's program is not asked about ICMP. So every socket of the group listens, and is set alike:
//
//   IPv4: OMIT. DF stays clear, what is larger than the local link's MTU is fragmented, as with DONT. But the report comes, and the kernel does not believe it: with
//   DONT any stranger who knows the port could make the kernel's path MTU 552 (net.ipv4.route.min_pmtu), and segmentation offload with it. The MTU of a
//   route (ip route … mtu) binds only who asks for it, which PathMtus does.
//   IPv6: OMIT where a raw socket hears "packet too big" instead (TooBigListener) and fragments can be made here (FragmentSender). Else DONT: routers do not fragment, so
//   whoever does not believe "packet too big" loses every large datagram; any stranger can then make the kernel believe 1280.
//
// Once an error is queued, whichever call comes next on that socket fails with its errno, about whomever it is: see UdpSender.
//
// Each error wakes a thread besides, and no filter can be put before the queue: a stranger who lies ten thousand times a second is heard as often. So after plenty
// of errors IP_RECVERR is off until reports are taken (UdpSocket.HearNoMore): with OMIT the kernel then neither tells nor believes, and fails no call.

/// <summary>Takes ICMP errors off a socket's error queue (IP_RECVERR), which shares its memory with what is received.</summary>
internal static unsafe class ErrorQueue
{
    /// <summary>Taken at most in one turn: who floods us with ICMP shall not keep the thread from the packets.</summary>
    internal const int MostInOneTurn = 64;

    private const int MostAtOnce = 16;

    /// <summary>sock_extended_err and the router's address, beside what the socket asks for with every datagram.</summary>
    private const int ControlSpace = 192;

    /// <summary>Takes what is there, but no more than <see cref="MostInOneTurn"/>.</summary>
    /// <returns>How many errors there were, of whatever kind.</returns>
    [SkipLocalsInit]
    internal static int Drain(FileDescriptor socket, bool ipv6, PathReports reports, bool mmsg)
    {
        mmsghdr* messages = stackalloc mmsghdr[MostAtOnce];
        iovec* pieces = stackalloc iovec[MostAtOnce];
        byte* quotes = stackalloc byte[MostAtOnce * QuotedBytes.Size];
        byte* names = stackalloc byte[MostAtOnce * SocketAddress.IPv6Size];
        byte* controls = stackalloc byte[MostAtOnce * ControlSpace];
        int drained = 0;
        while (drained < MostInOneTurn)
        {
            for (int i = 0; i < MostAtOnce; i++)
            {
                pieces[i] = new iovec { iov_base = quotes + (i * QuotedBytes.Size), iov_len = QuotedBytes.Size };
                messages[i].msg_hdr = new msghdr
                {
                    msg_name = names + (i * SocketAddress.IPv6Size),
                    msg_namelen = SocketAddress.IPv6Size,
                    msg_iov = pieces + i,
                    msg_iovlen = 1,
                    msg_control = controls + (i * ControlSpace),
                    msg_controllen = ControlSpace,
                };
            }

            int taken = Take(socket, messages, mmsg);
            for (int i = 0; i < taken; i++)
            {
                Report(messages + i, ipv6, reports);
            }

            drained += taken;
            if (taken < (mmsg ? MostAtOnce : 1))
            {
                break;
            }
        }

        return drained;
    }

    private static int Take(FileDescriptor socket, mmsghdr* messages, bool mmsg)
    {
        const int flags = Libc.MSG_ERRQUEUE | Libc.MSG_DONTWAIT;
        if (mmsg)
        {
            return Math.Max(Libc.recvmmsg(socket, messages, MostAtOnce, flags, null), 0);
        }

        nint length = Libc.recvmsg(socket, &messages->msg_hdr, flags);
        messages->msg_len = (uint)Math.Max(length, 0);
        return length >= 0 ? 1 : 0;
    }

    private static void Report(mmsghdr* message, bool ipv6, PathReports reports)
    {
        ref msghdr header = ref message->msg_hdr;
        int nameSize = ipv6 ? SocketAddress.IPv6Size : SocketAddress.IPv4Size;
        if (header.msg_namelen < nameSize
            || !ControlMessages.TryReadTooLarge(new ReadOnlySpan<byte>(header.msg_control, (int)header.msg_controllen), ipv6, out int mtu))
        {
            return;
        }

        var report = new PathReport
        {
            Kind = ipv6 ? PathReportKind.PacketTooBig : PathReportKind.FragmentationNeeded,
            Mtu = mtu,
            Remote = SocketAddress.Read(new ReadOnlySpan<byte>(header.msg_name, nameSize), ipv6),
            QuotedLength = (int)Math.Min(message->msg_len, QuotedBytes.Size),
        };
        new ReadOnlySpan<byte>(header.msg_iov->iov_base, report.QuotedLength).CopyTo(report.Quote);
        reports.Add(in report);
    }
}
