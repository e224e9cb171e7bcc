using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using WgSharp.Engine;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Linux;

// Why not the kernel: it fragments what is larger than the local link's MTU, or than what it was told by ICMP and believes. IPV6_MTU lowers the size of
// fragments, but not the size from which on there are any: ip6_finish_output compares with the route's MTU only (6.18; tried). A datagram of 1360 bytes, for a path
// of 1300 behind a link of 1500, leaves whole whatever the socket is told. So its fragments are made here, headers included (IPPROTO_RAW).
//
// Rules that look at ports without connection tracking see such fragments as any router would see them, not as one datagram.

/// <summary>Sends datagrams over IPv6 as fragments of a size that is asked for (RFC 8200, section 4.5). Any thread; nothing is allocated or waited for.</summary>
internal sealed unsafe class FragmentSender : IDisposable
{
    /// <summary>No path is narrower than 1280; whoever asks for less than that by 8 wants fragments from which nobody concludes anything.</summary>
    private const int Least = PathMtu.FloorIPv6 - 8;

    /// <summary>65,535 bytes in the smallest are 54.</summary>
    private const int MostFragments = 64;

    /// <summary>In a run.</summary>
    private const int MostMessages = 64;

    private const int IPv6 = 40;
    private const int Fragment = 8;
    private const int Udp = 8;
    private const int Headers = IPv6 + Fragment + Udp;

    private readonly FileDescriptor _socket;
    private readonly ushort _port;
    private readonly byte _hopLimit;

    internal FragmentSender(FileDescriptor socket, ushort port)
    {
        _socket = socket;
        _port = port;

        // The namespace's default; 64 is what it is by default.
        int hopLimit;
        uint length = sizeof(int);
        bool known = Libc.getsockopt(socket, Libc.IPPROTO_IPV6, Libc.IPV6_UNICAST_HOPS, &hopLimit, &length) == 0 && hopLimit is > 0 and <= byte.MaxValue;
        _hopLimit = known ? (byte)hopLimit : (byte)64;
    }

    /// <summary>It hears nothing: there is no protocol 255.</summary>
    /// <returns>Null with the errno where there is none.</returns>
    internal static FileDescriptor? Open(uint fwmark, out int errno)
    {
        FileDescriptor? socket = RawSockets.Create(Libc.IPPROTO_RAW, out errno);
        if (socket is null)
        {
            return null;
        }

        int omit = Libc.IPV6_PMTUDISC_OMIT;
        if (!RawSockets.SetOption(socket, Libc.IPPROTO_IPV6, Libc.IPV6_MTU_DISCOVER, &omit, sizeof(int), out errno)
            || (fwmark != 0 && !RawSockets.SetOption(socket, Libc.SOL_SOCKET, Libc.SO_MARK, &fwmark, sizeof(uint), out errno)))
        {
            socket.Dispose();
            return null;
        }

        UdpSetup.EnlargeSendBuffer(socket);
        return socket;
    }

    /// <exception cref="IOException">CAP_NET_ADMIN is missing.</exception>
    internal void SetMark(uint fwmark) => UdpSetup.SetMark(null, _socket, fwmark);

    /// <summary>Sends a run, message by message; what is larger than <see cref="OutboundRun.FragmentAt"/> in fragments. What a full socket does not take is lost.</summary>
    /// <param name="start">Of the first message.</param>
    /// <param name="source">The address to send from: part of the checksum.</param>
    /// <param name="control">IPV6_PKTINFO, where that source was not just found by asking the routes.</param>
    /// <param name="hopLimit">0: the sockets' own.</param>
    /// <returns>False where not even the first was sent, and not because the socket is full: another way may do.</returns>
    [SkipLocalsInit]
    internal bool TrySend(byte* start, ref OutboundRun run, in InetAddress source, ReadOnlySpan<byte> control, byte trafficClass, byte hopLimit, bool mmsg)
    {
        // A raw socket takes a protocol where others take a port; 0 is its own.
        InetEndpoint remote = run.Endpoint!.Remote;
        byte* name = stackalloc byte[SocketAddress.IPv6Size];
        SocketAddress.Write(new Span<byte>(name, SocketAddress.IPv6Size), new InetEndpoint(remote.Address, 0, remote.ScopeId));

        Span<byte> header = stackalloc byte[Headers];
        header.Clear();
        BinaryPrimitives.WriteUInt32BigEndian(header, (6u << 28) | ((uint)trafficClass << 20));
        header[7] = hopLimit == 0 ? _hopLimit : hopLimit;
        source.CopyTo(header[8..]);
        remote.Address.CopyTo(header[24..]);
        BinaryPrimitives.WriteUInt16BigEndian(header[(IPv6 + Fragment)..], _port);
        BinaryPrimitives.WriteUInt16BigEndian(header[(IPv6 + Fragment + 2)..], remote.Port);

        // Not to be guessed: whoever can, replaces fragments by his own (RFC 7739).
        Span<uint> identifications = stackalloc uint[MostMessages];
        identifications = identifications[..Math.Min(run.Count, MostMessages)];
        SystemRandom.Fill(MemoryMarshal.AsBytes(identifications));
        int stride = run.Stride > 0 ? run.Stride : run.Length;
        int message = 0;
        fixed (byte* controlStart = control)
        {
            for (int sent = 0; sent < run.Length; sent += stride, message++)
            {
                var content = new ReadOnlySpan<byte>(start + sent, Math.Min(stride, run.Length - sent));
                MemoryMarshal.Write(header[(IPv6 + 4)..], in identifications[message % identifications.Length]);
                WriteUdpHeader(header, content);
                int errno = SendOne(header, content, Math.Max(run.FragmentAt, Least), name, controlStart, control.Length, mmsg);
                if (errno != 0)
                {
                    run.Outcome = SendOutcome.Lost;
                    return message > 0 || errno is Errno.EAGAIN or Errno.ENOBUFS;
                }
            }
        }

        return true;
    }

    public void Dispose() => _socket.Dispose();

    private static void WriteUdpHeader(Span<byte> header, ReadOnlySpan<byte> content)
    {
        Span<byte> udp = header[(IPv6 + Fragment)..];
        int length = Udp + content.Length;
        BinaryPrimitives.WriteUInt16BigEndian(udp[4..], (ushort)length);
        BinaryPrimitives.WriteUInt16BigEndian(udp[6..], 0);
        uint pseudo = InternetChecksum.PseudoHeader(header.Slice(8, 32), Libc.IPPROTO_UDP, length);
        ushort checksum = (ushort)~InternetChecksum.Fold(pseudo + InternetChecksum.Sum(udp[..Udp]) + InternetChecksum.Sum(content));
        BinaryPrimitives.WriteUInt16BigEndian(udp[6..], checksum == 0 ? (ushort)0xffff : checksum);
    }

    /// <summary>One system call for all fragments of a message.</summary>
    /// <param name="header">IPv6, fragment and UDP header, but for what differs from fragment to fragment.</param>
    /// <returns>0, or the errno; what was sent before it is of no use.</returns>
    [SkipLocalsInit]
    private int SendOne(ReadOnlySpan<byte> header, ReadOnlySpan<byte> content, int most, byte* name, byte* control, int controlLength, bool mmsg)
    {
        int datagram = Udp + content.Length;
        bool isWhole = IPv6 + datagram <= most;
        int portion = isWhole ? datagram : (most - IPv6 - Fragment) & ~7;
        int count = (datagram + portion - 1) / portion;
        if (count > MostFragments)
        {
            return Errno.EMSGSIZE;
        }

        mmsghdr* messages = stackalloc mmsghdr[count];
        iovec* pieces = stackalloc iovec[2 * count];
        byte* headers = stackalloc byte[count * Headers];
        fixed (byte* contentStart = content)
        {
            for (int i = 0; i < count; i++)
            {
                int offset = i * portion;
                int length = Math.Min(portion, datagram - offset);
                int udp = i == 0 ? Udp : 0;
                var own = new Span<byte>(headers + (i * Headers), Headers);
                int ownLength = WriteHeader(header, own, offset, length, datagram, isWhole);
                pieces[2 * i] = new iovec { iov_base = headers + (i * Headers), iov_len = (nuint)ownLength };
                pieces[(2 * i) + 1] = new iovec { iov_base = contentStart + offset + udp - Udp, iov_len = (nuint)(length - udp) };
                messages[i].msg_hdr = new msghdr
                {
                    msg_name = name,
                    msg_namelen = SocketAddress.IPv6Size,
                    msg_iov = pieces + (2 * i),
                    msg_iovlen = 2,
                    msg_control = controlLength == 0 ? null : control,
                    msg_controllen = (nuint)controlLength,
                };
            }

            return SendAll(messages, count, mmsg);
        }
    }

    /// <returns>Bytes of the headers of this fragment: the first has the UDP header behind them.</returns>
    private static int WriteHeader(ReadOnlySpan<byte> header, Span<byte> own, int offset, int length, int datagram, bool isWhole)
    {
        header[..IPv6].CopyTo(own);
        int used = IPv6;
        own[6] = isWhole ? (byte)Libc.IPPROTO_UDP : (byte)Libc.IPPROTO_FRAGMENT;
        if (!isWhole)
        {
            Span<byte> fragment = own.Slice(IPv6, Fragment);
            header.Slice(IPv6, Fragment).CopyTo(fragment);
            fragment[0] = Libc.IPPROTO_UDP;
            BinaryPrimitives.WriteUInt16BigEndian(fragment[2..], (ushort)(offset | (offset + length < datagram ? 1 : 0)));
            used += Fragment;
        }

        BinaryPrimitives.WriteUInt16BigEndian(own[4..], (ushort)(used - IPv6 + length));
        if (offset == 0)
        {
            header.Slice(IPv6 + Fragment, Udp).CopyTo(own[used..]);
            used += Udp;
        }

        return used;
    }

    private int SendAll(mmsghdr* messages, int count, bool mmsg)
    {
        const int flags = Libc.MSG_DONTWAIT | Libc.MSG_NOSIGNAL;
        try
        {
            for (int done = 0; done < count;)
            {
                int sent = mmsg
                    ? Libc.sendmmsg(_socket, messages + done, (uint)(count - done), flags)
                    : Libc.sendmsg(_socket, &messages[done].msg_hdr, flags) >= 0 ? 1 : -1;
                if (sent > 0)
                {
                    done += sent;
                }
                else if (Marshal.GetLastPInvokeError() is int errno and not Errno.EINTR)
                {
                    return errno;
                }
            }

            return 0;
        }
        catch (ObjectDisposedException)
        {
            return Errno.EBADF;
        }
    }
}
