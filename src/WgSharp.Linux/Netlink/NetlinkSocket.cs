using System.Runtime.InteropServices;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// A NETLINK_ROUTE socket of the network namespace it is made in. It asks about its own namespace, or about one that has a number
/// ("nsid") there; and it hears of both. It never sits in another namespace: a socket there would keep that namespace, and the
/// interface in it, alive after <c>ip netns delete</c>.
/// </summary>
internal sealed unsafe class NetlinkSocket : IDisposable
{
    /// <summary>Where a message says nothing of a namespace: it is the socket's own.</summary>
    internal const int OwnNamespace = -1;

    private const int BufferSize = 32768;

    private readonly byte[] _buffer = GC.AllocateUninitializedArray<byte>(BufferSize, pinned: true);
    private readonly uint _port;
    private uint _sequence;

    /// <param name="groups">RTMGRP_… to subscribe to.</param>
    /// <exception cref="IOException">The kernel has no rtnetlink, or it is forbidden.</exception>
    internal NetlinkSocket(uint groups)
    {
        Descriptor = FileDescriptor.Required(
            Libc.socket(Libc.AF_NETLINK, Libc.SOCK_RAW | Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK, Libc.NETLINK_ROUTE), "socket AF_NETLINK");

        // struct sockaddr_nl: family, padding, port (0: the kernel chooses), groups.
        uint* address = stackalloc uint[3] { Libc.AF_NETLINK, 0, groups };
        uint length = 3 * sizeof(uint);
        if (Libc.bind(Descriptor, address, length) < 0 || Libc.getsockname(Descriptor, address, &length) < 0)
        {
            IOException failed = Errno.Exception("bind AF_NETLINK", Marshal.GetLastPInvokeError());
            Descriptor.Dispose();
            throw failed;
        }

        _port = address[1];
    }

    internal FileDescriptor Descriptor { get; }

    /// <summary>Also subscribe to those namespaces that have a number here (Linux 4.2).</summary>
    internal bool TryListenToOtherNamespaces()
    {
        int on = 1;
        return Libc.setsockopt(Descriptor, Libc.SOL_NETLINK, Libc.NETLINK_LISTEN_ALL_NSID, &on, sizeof(int)) == 0;
    }

    /// <summary>Asks for an interface by name.</summary>
    /// <param name="nsid">Where, or <see cref="OwnNamespace"/>.</param>
    /// <returns>0, or the errno: ENODEV where no interface has that name.</returns>
    internal int AskLink(string name, int nsid, out int index, out bool up, out int mtu)
    {
        var request = new NetlinkRequest(stackalloc byte[128], Libc.RTM_GETLINK, Libc.NLM_F_REQUEST, ++_sequence, bodySize: 16);
        ifreq named = default;
        InterfaceName.Write(name, ref named);
        request.Add(Libc.IFLA_IFNAME, new ReadOnlySpan<byte>(named.ifr_name, ifreq.IFNAMSIZ));
        if (nsid != OwnNamespace)
        {
            request.Add(Libc.IFLA_TARGET_NETNSID, nsid);
        }

        index = 0;
        up = false;
        mtu = 0;
        int errno = Ask(request.Finish(), out NetlinkMessage answer);
        return errno == 0 && !answer.TryReadLink(out index, out up, out mtu) ? Errno.EPROTO : errno;
    }

    /// <summary>No address of its own making for an interface of this namespace: IPv6 gives it no link-local one when it comes up.</summary>
    /// <returns>0, or the errno: EAFNOSUPPORT where the kernel has no IPv6, EPERM where a container may not.</returns>
    internal int StopAddressGeneration(string name)
    {
        var request = new NetlinkRequest(stackalloc byte[128], Libc.RTM_SETLINK, Libc.NLM_F_REQUEST | Libc.NLM_F_ACK, ++_sequence, bodySize: 16);
        ifreq named = default;
        InterfaceName.Write(name, ref named);
        request.Add(Libc.IFLA_IFNAME, new ReadOnlySpan<byte>(named.ifr_name, ifreq.IFNAMSIZ));
        int families = request.Begin(Libc.IFLA_AF_SPEC);
        int ipv6 = request.Begin(Libc.AF_INET6);
        request.Add(Libc.IFLA_INET6_ADDR_GEN_MODE, [Libc.IN6_ADDR_GEN_MODE_NONE]);
        request.End(ipv6);
        request.End(families);
        return Ask(request.Finish(), out _);
    }

    /// <summary>Asks through which interface an IPv4 packet with this source and mark would leave.</summary>
    /// <returns>0, or the errno: EINVAL where the source is not ours, ENETUNREACH where there is no route.</returns>
    internal int AskRoute(in InetAddress destination, in InetAddress source, uint mark, out int outgoing)
    {
        const byte addressBits = 32;
        var request = new NetlinkRequest(stackalloc byte[128], Libc.RTM_GETROUTE, Libc.NLM_F_REQUEST, ++_sequence, bodySize: 12);

        // struct rtmsg: family, length of destination and source in bits.
        request.Body[0] = Libc.AF_INET;
        request.Body[1] = addressBits;
        request.Body[2] = addressBits;
        Span<byte> address = stackalloc byte[4];
        destination.CopyTo(address);
        request.Add(Libc.RTA_DST, address);
        source.CopyTo(address);
        request.Add(Libc.RTA_SRC, address);
        if (mark != 0)
        {
            request.Add(Libc.RTA_MARK, (int)mark);
        }

        outgoing = 0;
        int errno = Ask(request.Finish(), out NetlinkMessage answer);
        return errno == 0 && !answer.TryReadRoute(out outgoing) ? Errno.EPROTO : errno;
    }

    /// <summary>Asks for the addresses that an interface has in one family.</summary>
    /// <param name="nsid">Where, or <see cref="OwnNamespace"/>; elsewhere needs Linux 4.20 and <see cref="TryCheckStrictly"/>.</param>
    /// <returns>0, or the errno.</returns>
    internal int AskAddresses(int index, int nsid, byte family, List<InetAddress> addresses)
    {
        const int ifaddrmsg = 8;
        var request = new NetlinkRequest(stackalloc byte[64], Libc.RTM_GETADDR, Libc.NLM_F_REQUEST | Libc.NLM_F_DUMP, ++_sequence, ifaddrmsg);
        request.Body[0] = family;
        MemoryMarshal.Write(request.Body[4..], in index);
        if (nsid != OwnNamespace)
        {
            request.Add(Libc.IFA_TARGET_NETNSID, nsid);
        }

        // An answer in many parts: the kernel makes the next one when one was read.
        int errno = Send(request.Finish());
        while (errno == 0)
        {
            ReadOnlySpan<byte> received = Receive(out _, out errno);
            while (NetlinkMessage.TryTake(ref received, out NetlinkMessage message))
            {
                if (message.Sequence != _sequence || message.Port != _port)
                {
                    continue;
                }

                if (message.Type is Libc.NLMSG_DONE or Libc.NLMSG_ERROR)
                {
                    return message.ReadError();
                }

                // Without the strict check the kernel tells of all interfaces.
                if (message.TryReadAddressIndex(out int its) && its == index && message.TryReadAddress(family, out InetAddress address))
                {
                    addresses.Add(address);
                }
            }

            errno = errno == Errno.EINTR ? 0 : errno;
        }

        return errno;
    }

    /// <summary>Requests are read to the last field, without which the kernel ignores what it is asked about addresses (Linux 4.20).</summary>
    internal bool TryCheckStrictly()
    {
        int on = 1;
        return Libc.setsockopt(Descriptor, Libc.SOL_NETLINK, Libc.NETLINK_GET_STRICT_CHK, &on, sizeof(int)) == 0;
    }

    /// <summary>The number of another namespace in this socket's one; it is given one if it has none.</summary>
    /// <returns>False where the kernel (before 4.15) or a missing privilege does not allow it.</returns>
    internal bool TryNumberNamespace(FileDescriptor netns, out int nsid)
    {
        if (TryAskNamespaceId(netns, out nsid) && nsid >= 0)
        {
            return true;
        }

        var request = new NetlinkRequest(stackalloc byte[64], Libc.RTM_NEWNSID, Libc.NLM_F_REQUEST | Libc.NLM_F_ACK, ++_sequence, bodySize: 1);
        request.Add(Libc.NETNSA_NSID, -1);
        request.Add(Libc.NETNSA_FD, (int)netns.DangerousGetHandle());
        int errno = Ask(request.Finish(), out _);
        return errno is 0 or Errno.EEXIST && TryAskNamespaceId(netns, out nsid) && nsid >= 0;
    }

    /// <summary>Takes what has been announced.</summary>
    /// <param name="nsid">The namespace it is about, or <see cref="OwnNamespace"/>.</param>
    /// <returns>Messages, valid until the next call; empty with the errno where there are none (EAGAIN), or where some were lost (ENOBUFS).</returns>
    internal ReadOnlySpan<byte> Receive(out int nsid, out int errno)
    {
        const int controlSize = 64;
        byte* control = stackalloc byte[controlSize];
        uint* sender = stackalloc uint[3];
        nint length;
        msghdr message;
        fixed (byte* start = _buffer)
        {
            var piece = new iovec { iov_base = start, iov_len = BufferSize };
            message = new msghdr
            {
                msg_name = sender,
                msg_namelen = 3 * sizeof(uint),
                msg_iov = &piece,
                msg_iovlen = 1,
                msg_control = control,
                msg_controllen = controlSize,
            };
            length = Libc.recvmsg(Descriptor, &message, Libc.MSG_DONTWAIT);
        }

        nsid = OwnNamespace;
        if (length < 0)
        {
            errno = Marshal.GetLastPInvokeError();
            return default;
        }

        // A message that did not fit is a message lost; only the kernel (port 0) is believed.
        bool truncated = (message.msg_flags & Libc.MSG_TRUNC) != 0;
        errno = truncated ? Errno.ENOBUFS : 0;
        ControlMessages.ReadNamespaceId(new ReadOnlySpan<byte>(control, (int)message.msg_controllen), ref nsid);
        return truncated || sender[1] != 0 ? default : _buffer.AsSpan(0, (int)length);
    }

    public void Dispose() => Descriptor.Dispose();

    private bool TryAskNamespaceId(FileDescriptor netns, out int nsid)
    {
        var request = new NetlinkRequest(stackalloc byte[64], Libc.RTM_GETNSID, Libc.NLM_F_REQUEST, ++_sequence, bodySize: 1);
        request.Add(Libc.NETNSA_FD, (int)netns.DangerousGetHandle());
        nsid = -1;
        return Ask(request.Finish(), out NetlinkMessage answer) == 0 && answer.TryReadNamespaceId(out nsid);
    }

    /// <summary>
    /// One request, one answer: the kernel answers within the send. What was announced before the answer is older than it, and is
    /// dropped.
    /// </summary>
    /// <returns>0, or the errno; EAGAIN where the queue was so full that the answer was lost.</returns>
    private int Ask(ReadOnlySpan<byte> request, out NetlinkMessage answer)
    {
        answer = default;
        int errno = Send(request);
        if (errno != 0)
        {
            return errno;
        }

        while (true)
        {
            ReadOnlySpan<byte> received = Receive(out _, out errno);
            if (errno is Errno.EINTR or Errno.ENOBUFS)
            {
                continue;
            }

            if (errno != 0)
            {
                return errno;
            }

            while (NetlinkMessage.TryTake(ref received, out answer))
            {
                if (answer.Sequence == _sequence && answer.Port == _port)
                {
                    return answer.Type == Libc.NLMSG_ERROR ? answer.ReadError() : 0;
                }
            }
        }
    }

    /// <returns>0, or the errno.</returns>
    private int Send(ReadOnlySpan<byte> request)
    {
        fixed (byte* start = request)
        {
            nint sent;
            do
            {
                sent = Libc.write(Descriptor, start, (nuint)request.Length);
            }
            while (sent < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR);
            return sent < 0 ? Marshal.GetLastPInvokeError() : 0;
        }
    }
}
