using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// Hears ICMPv6 "packet too big" about datagrams from one port, by a raw socket. The kernel queues such a report only for sockets that make it believe the
/// report as well (see <see cref="ErrorQueue"/>); so whoever must not be lied to has to listen himself. Takes CAP_NET_RAW.
/// </summary>
internal static unsafe class TooBigListener
{
    private const int MostAtOnce = 16;

    /// <summary>ICMPv6 header, and what it quotes: IPv6, fragment and UDP header, the beginning of the datagram.</summary>
    private const int Space = Icmp + IPv6 + Fragment + Udp + QuotedBytes.Size;

    private const int Icmp = 8;
    private const int IPv6 = 40;
    private const int Fragment = 8;
    private const int Udp = 8;

    /// <returns>Null with the errno where there is none.</returns>
    internal static FileDescriptor? Open(ushort port, out int errno)
    {
        FileDescriptor? socket = RawSockets.Create(Libc.IPPROTO_ICMPV6, out errno);
        if (socket is null)
        {
            return null;
        }

        uint* blocked = stackalloc uint[8];
        NativeMemory.Fill(blocked, 8 * sizeof(uint), byte.MaxValue);
        blocked[0] &= ~(1u << Libc.ICMPV6_PKT_TOOBIG);
        if (RawSockets.SetOption(socket, Libc.IPPROTO_ICMPV6, Libc.ICMPV6_FILTER, blocked, 8 * sizeof(uint), out errno) && TryFilter(socket, port, out errno))
        {
            return socket;
        }

        socket.Dispose();
        return null;
    }

    /// <summary>Takes what is there, but no more than <see cref="ErrorQueue.MostInOneTurn"/>.</summary>
    [SkipLocalsInit]
    internal static void Drain(FileDescriptor socket, PathReports reports, bool mmsg)
    {
        mmsghdr* messages = stackalloc mmsghdr[MostAtOnce];
        iovec* pieces = stackalloc iovec[MostAtOnce];
        byte* bytes = stackalloc byte[MostAtOnce * Space];
        byte* names = stackalloc byte[MostAtOnce * SocketAddress.IPv6Size];
        int most = mmsg ? MostAtOnce : 1;
        for (int drained = 0, taken = most; drained < ErrorQueue.MostInOneTurn && taken == most; drained += taken)
        {
            for (int i = 0; i < most; i++)
            {
                pieces[i] = new iovec { iov_base = bytes + (i * Space), iov_len = Space };
                messages[i].msg_hdr = new msghdr
                {
                    msg_name = names + (i * SocketAddress.IPv6Size),
                    msg_namelen = SocketAddress.IPv6Size,
                    msg_iov = pieces + i,
                    msg_iovlen = 1,
                };
            }

            taken = Take(socket, messages, mmsg);
            for (int i = 0; i < taken; i++)
            {
                if (TryRead(new ReadOnlySpan<byte>(bytes + (i * Space), (int)messages[i].msg_len), names + (i * SocketAddress.IPv6Size), out PathReport report))
                {
                    reports.Add(in report);
                }
            }
        }
    }

    private static int Take(FileDescriptor socket, mmsghdr* messages, bool mmsg)
    {
        if (mmsg)
        {
            return Math.Max(Libc.recvmmsg(socket, messages, MostAtOnce, Libc.MSG_DONTWAIT, null), 0);
        }

        nint length = Libc.recvmsg(socket, &messages->msg_hdr, Libc.MSG_DONTWAIT);
        messages->msg_len = (uint)Math.Max(length, 0);
        return length >= 0 ? 1 : 0;
    }

    /// <summary>The filter has seen that it quotes UDP from our port, in one piece or as a first fragment.</summary>
    private static bool TryRead(ReadOnlySpan<byte> message, byte* name, out PathReport report)
    {
        report = default;
        if (message.Length < Icmp + IPv6 + Udp)
        {
            return false;
        }

        ReadOnlySpan<byte> quote = message[Icmp..];
        ReadOnlySpan<byte> udp = quote[(quote[6] == Libc.IPPROTO_FRAGMENT ? IPv6 + Fragment : IPv6)..];
        if (udp.Length < Udp)
        {
            return false;
        }

        // A link-local address means something on one link only: the one that this came in by.
        ReadOnlySpan<byte> destination = quote.Slice(24, 16);
        uint scope = destination[0] == 0xfe && (destination[1] & 0xc0) == 0x80
            ? SocketAddress.Read(new ReadOnlySpan<byte>(name, SocketAddress.IPv6Size), ipv6: true).ScopeId
            : 0;
        report.Kind = PathReportKind.PacketTooBig;
        report.Mtu = (int)Math.Min(BinaryPrimitives.ReadUInt32BigEndian(message[4..]), int.MaxValue);
        report.Remote = new InetEndpoint(new InetAddress(destination), BinaryPrimitives.ReadUInt16BigEndian(udp[2..]), scope);
        report.QuotedLength = Math.Min(udp.Length - Udp, QuotedBytes.Size);
        udp.Slice(Udp, report.QuotedLength).CopyTo(report.Quote);
        return true;
    }

    /// <summary>
    /// What quotes other programs' packets is dropped where it arrives (struct sock_filter; the kernel hands it the packet from the ICMPv6 header on, and what lies
    /// beyond its end does not pass).
    /// </summary>
    private static bool TryFilter(FileDescriptor socket, ushort port, out int errno)
    {
        const ushort loadByte = 0x30;
        const ushort loadHalf = 0x28;
        const ushort ifEqual = 0x15;
        const ushort ifAny = 0x45;
        const ushort give = 0x06;
        const int count = 13;
        ulong* program = stackalloc ulong[count]
        {
            Instruction(loadByte, Icmp + 6),                                // 0 which protocol?
            Instruction(ifEqual, Libc.IPPROTO_UDP, 7, 0),                   // 1 UDP: 9
            Instruction(ifEqual, Libc.IPPROTO_FRAGMENT, 0, 9),              // 2 no fragment: 12
            Instruction(loadByte, Icmp + IPv6),                             // 3 of which protocol?
            Instruction(ifEqual, Libc.IPPROTO_UDP, 0, 7),                   // 4 not UDP: 12
            Instruction(loadHalf, Icmp + IPv6 + 2),                         // 5 where does it belong?
            Instruction(ifAny, 0xfff8, 5, 0),                               // 6 not at the beginning: 12
            Instruction(loadHalf, Icmp + IPv6 + Fragment),                  // 7 its source port
            Instruction(ifEqual, port, 2, 3),                               // 8 ours: 11, another: 12
            Instruction(loadHalf, Icmp + IPv6),                             // 9 its source port
            Instruction(ifEqual, port, 0, 1),                               // 10 ours: 11, another: 12
            Instruction(give, uint.MaxValue),                               // 11 the whole
            Instruction(give, 0),                                           // 12 nothing
        };
        var filter = new sock_fprog { len = count, filter = program };
        return RawSockets.SetOption(socket, Libc.SOL_SOCKET, Libc.SO_ATTACH_FILTER, &filter, sizeof(sock_fprog), out errno);
    }

    private static ulong Instruction(ushort code, uint operand, byte ifTrue = 0, byte ifFalse = 0) =>
        code | ((ulong)ifTrue << 16) | ((ulong)ifFalse << 24) | ((ulong)operand << 32);
}
