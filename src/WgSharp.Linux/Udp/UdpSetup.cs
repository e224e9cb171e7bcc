using System.Runtime.InteropServices;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>How ICMP about too large datagrams is listened to.</summary>
internal enum Listening
{
    /// <summary>Not at all: the sockets are as the kernel module's.</summary>
    Off,

    /// <summary>By the error queues of the UDP sockets.</summary>
    ErrorQueues,

    /// <summary>IPv6 by a raw socket, IPv4 by the error queues.</summary>
    Raw6,
}

/// <summary>How the outer sockets are made, and what the kernel has for them: every option is tried on a scratch socket first.</summary>
internal static unsafe class UdpSetup
{
    /// <summary>Best effort: 7 MiB carries a burst that a descheduled daemon would otherwise lose.</summary>
    private const int BufferSize = 7 << 20;

    /// <summary>True for errors that mean "this machine has no such family", false for those that a person can mend.</summary>
    internal static bool IsMissing(int errno) =>
        errno is Errno.EAFNOSUPPORT or Errno.EPROTONOSUPPORT or Errno.EADDRNOTAVAIL or Errno.ENOPROTOOPT;

    /// <summary>Makes, sets up, marks and binds one socket.</summary>
    /// <param name="listens">To ICMP, see <see cref="Listen"/>.</param>
    /// <returns>Null with the errno where that fails.</returns>
    internal static FileDescriptor? Open(bool ipv6, ushort port, uint fwmark, Listening listens, KernelFeatures features, out int errno)
    {
        FileDescriptor? socket = Create(ipv6, features, out errno);
        if (socket is null)
        {
            return null;
        }

        SetOptions(socket, ipv6, features);
        Listen(socket, ipv6, listens, features);
        errno = fwmark == 0 ? 0 : SetOption(socket, Libc.SOL_SOCKET, Libc.SO_MARK, (int)fwmark);
        if (errno == 0)
        {
            errno = Bind(socket, ipv6, port);
        }

        if (errno != 0)
        {
            socket.Dispose();
            return null;
        }

        return socket;
    }

    /// <summary>Makes a bound socket the first of a SO_REUSEPORT group whose program gives it whatever arrives; see <see cref="SendLanes"/>.</summary>
    /// <returns>False where the kernel does not.</returns>
    internal static bool TryFormGroup(FileDescriptor common, bool ipv6, ushort port, KernelFeatures features)
    {
        using FileDescriptor? guard = OpenMember(common, ipv6, port, fwmark: 0, Listening.Off, features);
        return guard is not null && AttachFirst(common) == 0;
    }

    /// <summary>One more socket on the port of a common one, for sending only.</summary>
    /// <returns>Null where it is not to be had.</returns>
    internal static FileDescriptor? OpenMember(FileDescriptor common, bool ipv6, ushort port, uint fwmark, Listening listens, KernelFeatures features)
    {
        FileDescriptor? socket = Create(ipv6, features, out _);
        if (socket is null)
        {
            return null;
        }

        SetOptions(socket, ipv6, features);
        Listen(socket, ipv6, listens, features);
        bool joined = (fwmark == 0 || SetOption(socket, Libc.SOL_SOCKET, Libc.SO_MARK, (int)fwmark) == 0)
            && SetOption(socket, Libc.SOL_SOCKET, Libc.SO_REUSEPORT, 1) == 0
            && SetOption(common, Libc.SOL_SOCKET, Libc.SO_REUSEPORT, 1) == 0
            && Bind(socket, ipv6, port) == 0;
        SetOption(common, Libc.SOL_SOCKET, Libc.SO_REUSEPORT, 0);
        if (!joined)
        {
            socket.Dispose();
            return null;
        }

        return socket;
    }

    /// <summary>Takes ICMP errors into the error queue, or does not. DF stays clear: nothing is ever lost because a size was believed. <see cref="ErrorQueue"/> tells why which.</summary>
    internal static void Listen(FileDescriptor socket, bool ipv6, Listening listens, KernelFeatures features)
    {
        bool hears = listens != Listening.Off && features.Has(KernelFeature.RecvErr);
        if (ipv6)
        {
            bool isRaw = listens == Listening.Raw6;
            hears = hears && !isRaw;
            SetOption(socket, Libc.IPPROTO_IPV6, Libc.IPV6_MTU_DISCOVER, isRaw ? Libc.IPV6_PMTUDISC_OMIT : Libc.IPV6_PMTUDISC_DONT);
        }
        else
        {
            SetOption(socket, Libc.IPPROTO_IP, Libc.IP_MTU_DISCOVER, hears ? Libc.IP_PMTUDISC_OMIT : Libc.IP_PMTUDISC_DONT);
        }

        if (features.Has(KernelFeature.RecvErr))
        {
            SetHearing(socket, ipv6, hears);
        }
    }

    /// <summary>Whether ICMP errors are queued (IP_RECVERR), and nothing else of <see cref="Listen"/>. Off: what was queued is gone.</summary>
    internal static void SetHearing(FileDescriptor socket, bool ipv6, bool on)
    {
        SetOption(socket, ipv6 ? Libc.IPPROTO_IPV6 : Libc.IPPROTO_IP, ipv6 ? Libc.IPV6_RECVERR : Libc.IP_RECVERR, on ? 1 : 0);
        if (!on)
        {
            ForgetError(socket);
        }
    }

    internal static void EnlargeSendBuffer(FileDescriptor socket)
    {
        if (SetOption(socket, Libc.SOL_SOCKET, Libc.SO_SNDBUFFORCE, BufferSize) != 0)
        {
            SetOption(socket, Libc.SOL_SOCKET, Libc.SO_SNDBUF, BufferSize);
        }
    }

    /// <summary>SO_ERROR is read and thereby cleared.</summary>
    internal static void ForgetError(FileDescriptor socket)
    {
        int error;
        uint length = sizeof(int);
        _ = Libc.getsockopt(socket, Libc.SOL_SOCKET, Libc.SO_ERROR, &error, &length);
    }

    /// <summary>From now on whatever this socket sends leaves in one piece or not at all, whatever path MTU is known.</summary>
    /// <remarks>INTERFACE believes no ICMP, but IPv4 has it without DF.</remarks>
    internal static bool TrySendWholeOnly(FileDescriptor socket, bool ipv6, Listening listens) =>
        SetOption(
            socket,
            ipv6 ? Libc.IPPROTO_IPV6 : Libc.IPPROTO_IP,
            ipv6 ? Libc.IPV6_MTU_DISCOVER : Libc.IP_MTU_DISCOVER,
            !ipv6 ? Libc.IP_PMTUDISC_PROBE : listens == Listening.Raw6 ? Libc.IPV6_PMTUDISC_INTERFACE : Libc.IPV6_PMTUDISC_PROBE) == 0;

    /// <exception cref="IOException">CAP_NET_ADMIN is missing.</exception>
    internal static void SetMark(FileDescriptor? v4, FileDescriptor? v6, uint fwmark)
    {
        foreach (FileDescriptor? socket in (ReadOnlySpan<FileDescriptor?>)[v4, v6])
        {
            int errno = socket is null ? 0 : SetOption(socket, Libc.SOL_SOCKET, Libc.SO_MARK, (int)fwmark);
            if (errno != 0)
            {
                throw new IOException($"The fwmark could not be set: {Errno.Describe(errno)}; it needs CAP_NET_ADMIN.", errno);
            }
        }
    }

    internal static ushort PortOf(FileDescriptor socket, bool ipv6)
    {
        Span<byte> address = stackalloc byte[SocketAddress.IPv6Size];
        uint length = (uint)address.Length;
        fixed (byte* start = address)
        {
            if (Libc.getsockname(socket, start, &length) < 0)
            {
                throw Errno.Exception("getsockname", Marshal.GetLastPInvokeError());
            }
        }

        return SocketAddress.Read(address, ipv6).Port;
    }

    /// <summary>Whether a socket could be bound to this address: the kernel's own test of "is it still ours".</summary>
    internal static bool IsLocal(in InetAddress address, uint scope)
    {
        using FileDescriptor? socket = FileDescriptor.From(
            Libc.socket(address.IsIPv6 ? Libc.AF_INET6 : Libc.AF_INET, Libc.SOCK_DGRAM | Libc.SOCK_CLOEXEC, Libc.IPPROTO_UDP));
        if (socket is null)
        {
            return false;
        }

        Span<byte> name = stackalloc byte[SocketAddress.IPv6Size];
        int length = SocketAddress.Write(name, new InetEndpoint(address, 0, scope));
        fixed (byte* start = name)
        {
            return Libc.bind(socket, start, (uint)length) == 0;
        }
    }

    internal static void Probe(KernelFeatures features)
    {
        using FileDescriptor? v4 = Create(ipv6: false, features, out int errno4);
        using FileDescriptor? v6 = Create(ipv6: true, features, out int errno6);
        Record(features, KernelFeature.Ipv4, "socket AF_INET", errno4);
        Record(features, KernelFeature.Ipv6, "socket AF_INET6", errno6);
        FileDescriptor? any = v4 ?? v6;
        if (any is null)
        {
            return;
        }

        Record(features, KernelFeature.Gso, "UDP_SEGMENT", SetOption(any, Libc.IPPROTO_UDP, Libc.UDP_SEGMENT, 0));
        Record(features, KernelFeature.Gro, "UDP_GRO", SetOption(any, Libc.IPPROTO_UDP, Libc.UDP_GRO, 1));
        Record(features, KernelFeature.Mmsg, "recvmmsg, sendmmsg", TryMmsg(any));
        Record(features, KernelFeature.Lanes, "SO_ATTACH_REUSEPORT_CBPF", TryReusePort(any));
        Record(features, KernelFeature.PktInfo, "IP_PKTINFO", SetBoth(v4, Libc.IP_PKTINFO, v6, Libc.IPV6_RECVPKTINFO));
        Record(features, KernelFeature.RecvFragSize, "IP_RECVFRAGSIZE", SetBoth(v4, Libc.IP_RECVFRAGSIZE, v6, Libc.IPV6_RECVFRAGSIZE));
        int omit = v4 is null ? 0 : SetOption(v4, Libc.IPPROTO_IP, Libc.IP_MTU_DISCOVER, Libc.IP_PMTUDISC_OMIT);
        Record(features, KernelFeature.RecvErr, "IP_RECVERR", omit == 0 ? SetBoth(v4, Libc.IP_RECVERR, v6, Libc.IPV6_RECVERR) : omit);
        ProbeRaw(v6, features);
        int tos = SetBoth(v4, Libc.IP_RECVTOS, v6, Libc.IPV6_RECVTCLASS);
        Record(features, KernelFeature.Tos, "IP_TOS", tos == 0 && v4 is not null ? TryTosMessage(v4) : tos);
    }

    /// <summary>Without IPv6 nobody misses it.</summary>
    private static void ProbeRaw(FileDescriptor? v6, KernelFeatures features)
    {
        if (v6 is not null && features.Wants(KernelFeature.Raw6))
        {
            using RawSockets? raw = RawSockets.Open(0, 0, out int errno);
            Record(features, KernelFeature.Raw6, "SOCK_RAW of AF_INET6", errno);
        }
    }

    /// <returns>0, or the errno.</returns>
    private static int SetOption(FileDescriptor socket, int level, int name, int value) =>
        Libc.setsockopt(socket, level, name, &value, sizeof(int)) == 0 ? 0 : Marshal.GetLastPInvokeError();

    private static int SetBoth(FileDescriptor? v4, int name4, FileDescriptor? v6, int name6)
    {
        int errno = v4 is null ? 0 : SetOption(v4, Libc.IPPROTO_IP, name4, 1);
        return errno != 0 || v6 is null ? errno : SetOption(v6, Libc.IPPROTO_IPV6, name6, 1);
    }

    /// <summary>What trying it has said, if it was to be tried at all.</summary>
    private static void Record(KernelFeatures features, KernelFeature feature, string call, int errno)
    {
        if (!features.Wants(feature))
        {
            return;
        }

        if (errno == 0)
        {
            features.Found(feature);
        }
        else
        {
            features.Refused(feature, call, errno);
        }
    }

    private static FileDescriptor? Create(bool ipv6, KernelFeatures features, out int errno)
    {
        errno = Errno.EAFNOSUPPORT;
        if (!features.Wants(ipv6 ? KernelFeature.Ipv6 : KernelFeature.Ipv4))
        {
            return null;
        }

        int family = ipv6 ? Libc.AF_INET6 : Libc.AF_INET;
        FileDescriptor? socket = FileDescriptor.From(Libc.socket(family, Libc.SOCK_DGRAM | Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK, Libc.IPPROTO_UDP));
        errno = socket is null ? Marshal.GetLastPInvokeError() : 0;
        if (socket is not null && ipv6)
        {
            errno = SetOption(socket, Libc.IPPROTO_IPV6, Libc.IPV6_V6ONLY, 1);
            if (errno != 0)
            {
                socket.Dispose();
                return null;
            }
        }

        return socket;
    }

    /// <summary>Everything that is not vital: what the probe found is asked for, and a refusal only costs the feature.</summary>
    private static void SetOptions(FileDescriptor socket, bool ipv6, KernelFeatures features)
    {
        if (SetOption(socket, Libc.SOL_SOCKET, Libc.SO_RCVBUFFORCE, BufferSize) != 0)
        {
            SetOption(socket, Libc.SOL_SOCKET, Libc.SO_RCVBUF, BufferSize);
        }

        EnlargeSendBuffer(socket);
        if (features.Has(KernelFeature.Gro))
        {
            SetOption(socket, Libc.IPPROTO_UDP, Libc.UDP_GRO, 1);
        }

        int level = ipv6 ? Libc.IPPROTO_IPV6 : Libc.IPPROTO_IP;
        if (features.Has(KernelFeature.PktInfo))
        {
            SetOption(socket, level, ipv6 ? Libc.IPV6_RECVPKTINFO : Libc.IP_PKTINFO, 1);
        }

        if (features.Has(KernelFeature.Tos))
        {
            SetOption(socket, level, ipv6 ? Libc.IPV6_RECVTCLASS : Libc.IP_RECVTOS, 1);
        }

        if (features.Has(KernelFeature.RecvFragSize))
        {
            SetOption(socket, level, ipv6 ? Libc.IPV6_RECVFRAGSIZE : Libc.IP_RECVFRAGSIZE, 1);
        }
    }

    private static int Bind(FileDescriptor socket, bool ipv6, ushort port)
    {
        Span<byte> address = stackalloc byte[SocketAddress.IPv6Size];
        int length = SocketAddress.WriteAny(address, ipv6, port);
        fixed (byte* start = address)
        {
            return Libc.bind(socket, start, (uint)length) == 0 ? 0 : Marshal.GetLastPInvokeError();
        }
    }

    /// <summary>On a socket that is not bound: that is a group of its own.</summary>
    private static int TryReusePort(FileDescriptor socket)
    {
        int errno = SetOption(socket, Libc.SOL_SOCKET, Libc.SO_REUSEPORT, 1);
        return errno == 0 ? AttachFirst(socket) : errno;
    }

    /// <summary>The program "return 0": the first member of the group (struct sock_fprog, BPF_RET | BPF_K).</summary>
    private static int AttachFirst(FileDescriptor socket)
    {
        ulong instruction = 0x06;
        var program = new sock_fprog { len = 1, filter = &instruction };
        return Libc.setsockopt(socket, Libc.SOL_SOCKET, Libc.SO_ATTACH_REUSEPORT_CBPF, &program, (uint)sizeof(sock_fprog)) == 0
            ? 0
            : Marshal.GetLastPInvokeError();
    }

    /// <summary>Of no messages at all: 0 where the calls exist.</summary>
    private static int TryMmsg(FileDescriptor socket)
    {
        mmsghdr none = default;
        return Libc.sendmmsg(socket, &none, 0, 0) >= 0 && Libc.recvmmsg(socket, &none, 0, Libc.MSG_DONTWAIT, null) >= 0
            ? 0
            : Marshal.GetLastPInvokeError();
    }

    /// <summary>
    /// Whether IPv4 takes the DS field as a control message. The destination is the broadcast address, which a socket without
    /// SO_BROADCAST may not send to: nothing leaves, and only an unknown control message is refused with EINVAL before that.
    /// </summary>
    private static int TryTosMessage(FileDescriptor socket)
    {
        Span<byte> control = stackalloc byte[ControlMessages.SendSpace];
        int controlLength = ControlMessages.Write(control, InetAddress.None, 0, trafficClass: 1, hopLimit: 1, segment: 0, ipv6: false);
        Span<byte> name = stackalloc byte[SocketAddress.IPv6Size];
        int nameLength = SocketAddress.Write(name, new InetEndpoint(new InetAddress([255, 255, 255, 255]), 9));
        byte nothing = 0;
        var piece = new iovec { iov_base = &nothing, iov_len = 1 };
        fixed (byte* controlStart = control, nameStart = name)
        {
            var message = new msghdr
            {
                msg_name = nameStart,
                msg_namelen = (uint)nameLength,
                msg_iov = &piece,
                msg_iovlen = 1,
                msg_control = controlStart,
                msg_controllen = (nuint)controlLength,
            };
            nint sent = Libc.sendmsg(socket, &message, Libc.MSG_DONTWAIT | Libc.MSG_NOSIGNAL);
            return sent < 0 && Marshal.GetLastPInvokeError() == Errno.EINVAL ? Errno.EINVAL : 0;
        }
    }
}
