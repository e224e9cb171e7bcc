using System.Runtime.InteropServices;
using WgSharp.Engine;
using WgSharp.Engine.Offload;

namespace WgSharp.Linux;

/// <summary>
/// What happens once in the life of a TUN device: the node is opened (and made, where a container lacks it), the interface
/// attached, and the offloads asked for from most to least until the kernel agrees.
/// </summary>
internal static unsafe class TunSetup
{
    internal const string Node = "/dev/net/tun";

    /// <summary>From most to least; USO4 and USO6 are one switch for the kernel, and TSO needs checksum offload.</summary>
    private static readonly (uint Flags, KernelFeature Features)[] _offloads =
    [
        (Libc.TUN_F_TSO4 | Libc.TUN_F_TSO6 | Libc.TUN_F_USO4 | Libc.TUN_F_USO6, KernelFeature.Tso4 | KernelFeature.Tso6 | KernelFeature.Uso),
        (Libc.TUN_F_TSO4 | Libc.TUN_F_TSO6, KernelFeature.Tso4 | KernelFeature.Tso6),
        (Libc.TUN_F_TSO4, KernelFeature.Tso4),
        (0, KernelFeature.None),
    ];

    /// <exception cref="TunException">It cannot be opened.</exception>
    internal static FileDescriptor OpenNode()
    {
        FileDescriptor? descriptor = TryOpenNode(out int errno);
        if (descriptor is null && errno == Errno.ENOENT)
        {
            int made = MakeNode();
            descriptor = TryOpenNode(out errno);
            if (descriptor is null && errno == Errno.ENOENT)
            {
                throw TunException.NoNode(made);
            }
        }

        return descriptor ?? throw TunException.Open(errno);
    }

    /// <summary>TUNSETIFF and the offloads.</summary>
    /// <returns>Whether packets carry a virtio header.</returns>
    internal static bool Attach(FileDescriptor descriptor, string name, KernelFeatures features)
    {
        bool vnetHeader = features.Wants(KernelFeature.VnetHdr) && KernelKnowsVnetHeader(descriptor, features);
        int errno = SetInterface(descriptor, name, vnetHeader);
        if (errno != 0)
        {
            throw TunException.Create(name, errno);
        }

        if (vnetHeader)
        {
            // The size of a fresh device is 10 already; a kernel too old to be asked is of no concern.
            SetHeaderSize(descriptor);
            SetOffloads(descriptor, features);
        }

        return vnetHeader;
    }

    /// <summary>TUNSETIFF alone, with the least that is asked for: whether an interface may be made at all.</summary>
    /// <exception cref="TunException">It may not.</exception>
    internal static void AttachPlainly(FileDescriptor descriptor, string name)
    {
        int errno = SetInterface(descriptor, name, vnetHeader: false);
        if (errno != 0)
        {
            throw TunException.Create(name, errno);
        }
    }

    /// <summary>Makes an inherited descriptor like one of ours: non-blocking, closed on exec, with the offloads its flags allow.</summary>
    internal static (string Name, bool VnetHeader) Adopt(FileDescriptor descriptor, int fd, KernelFeatures features)
    {
        ifreq request = default;
        if (Libc.ioctl(descriptor, Libc.TUNGETIFF, &request) < 0)
        {
            throw TunException.Adopt(fd, Marshal.GetLastPInvokeError());
        }

        if ((request.ifr_flags & Libc.IFF_TUN) == 0)
        {
            throw TunException.Adopt(fd, Errno.EINVAL);
        }

        int flags = Libc.fcntl(descriptor, Libc.F_GETFL, 0);
        if (flags < 0
            || Libc.fcntl(descriptor, Libc.F_SETFL, flags | Libc.O_NONBLOCK) < 0
            || Libc.fcntl(descriptor, Libc.F_SETFD, Libc.FD_CLOEXEC) < 0)
        {
            throw TunException.Adopt(fd, Marshal.GetLastPInvokeError());
        }

        if ((request.ifr_flags & Libc.IFF_NO_PI) == 0 || WantsPacketInformation(descriptor, request.ifr_flags))
        {
            throw TunException.PacketInformation(fd);
        }

        // Attached with the header, it stays on the wire whatever is switched off; only the offloads behind it can go.
        bool vnetHeader = (request.ifr_flags & Libc.IFF_VNET_HDR) != 0;
        if (vnetHeader)
        {
            int errno = SetHeaderSize(descriptor);
            if (errno != 0)
            {
                throw TunException.Adopt(fd, errno);
            }

            SetOffloads(descriptor, features);
        }

        return (InterfaceName.Read(ref request), vnetHeader);
    }

    /// <summary>
    /// The MTU, and as many packets of queue as the kernel module's interfaces show (a TUN is born with 500; an application that sends datagrams
    /// in bursts notices). Through a unix socket: that family is always there, unlike IPv4.
    /// </summary>
    internal static void SetMtuAndQueueLength(string name, int mtu, int queueLength)
    {
        using FileDescriptor socket = FileDescriptor.Required(Libc.socket(Libc.AF_UNIX, Libc.SOCK_DGRAM | Libc.SOCK_CLOEXEC, 0), "socket AF_UNIX");
        ifreq request = default;
        InterfaceName.Write(name, ref request);
        request.ifr_mtu = mtu;
        if (Libc.ioctl(socket, Libc.SIOCSIFMTU, &request) < 0)
        {
            throw TunException.Mtu(name, Marshal.GetLastPInvokeError());
        }

        // A shorter queue still works: where a container forbids this, it stays as it is.
        request.ifr_qlen = queueLength;
        _ = Libc.ioctl(socket, Libc.SIOCSIFTXQLEN, &request);
    }

    /// <summary>
    /// An interface that says nothing of itself, as the kernel module's: without multicast (no listener reports), and without a link-local address
    /// that the kernel would make (and ask for routers from) when it comes up. With ::/0 as allowed IPs each of these packets would begin a handshake.
    /// </summary>
    internal static void Silence(string name, KernelFeatures features)
    {
        if (!features.Wants(KernelFeature.Silence))
        {
            return;
        }

        (string call, int errno) = ("SIOCSIFFLAGS", ClearMulticast(name));
        if (errno == 0)
        {
            (call, errno) = ("IFLA_INET6_ADDR_GEN_MODE", StopAddressGeneration(name));
        }

        if (errno == 0)
        {
            features.Found(KernelFeature.Silence);
        }
        else
        {
            features.Refused(KernelFeature.Silence, call, errno);
        }
    }

    /// <summary>
    /// The same for an interface of ours that has come to another namespace, whose default for addresses it has now. On a thread that enters that namespace
    /// and ends there: nothing of ours stays in it. Where the privilege for that is missing (CAP_SYS_ADMIN), it is as the namespace makes it.
    /// </summary>
    internal static void SilenceThere(FileDescriptor descriptor, string name)
    {
        using FileDescriptor? netns = FileDescriptor.From(Libc.ioctl_value(descriptor, Libc.TUNGETDEVNETNS, 0));
        if (netns is null)
        {
            return;
        }

        var visitor = new Thread(
            () =>
            {
                if (Libc.setns(netns, Libc.CLONE_NEWNET) == 0)
                {
                    _ = StopAddressGeneration(name);
                }
            },
            maxStackSize: 128 * 1024);
        try
        {
            visitor.Start();
            visitor.Join();
        }
        catch (OutOfMemoryException)
        {
            // A container at its limit of tasks has no thread for this: the interface stays as the namespace makes it.
        }
    }

    internal static void ProbeNamespace(FileDescriptor descriptor, KernelFeatures features)
    {
        if (!features.Wants(KernelFeature.DevNetNs))
        {
            return;
        }

        using FileDescriptor? netns = FileDescriptor.From(Libc.ioctl_value(descriptor, Libc.TUNGETDEVNETNS, 0));
        if (netns is null)
        {
            features.Refused(KernelFeature.DevNetNs, "TUNGETDEVNETNS", Marshal.GetLastPInvokeError());
        }
        else
        {
            features.Found(KernelFeature.DevNetNs);
        }
    }

    internal static TunOffload OffloadOf(KernelFeatures features)
    {
        if (!features.Has(KernelFeature.VnetHdr))
        {
            return TunOffload.None;
        }

        // What the kernel takes from us does not depend on what it hands us; only the switches of the user do.
        TunOffload offload = TunOffload.Checksum;
        offload |= features.Wants(KernelFeature.Tso4) ? TunOffload.Tcp4 : TunOffload.None;
        offload |= features.Wants(KernelFeature.Tso6) ? TunOffload.Tcp6 : TunOffload.None;
        return offload | (features.Has(KernelFeature.Uso) ? TunOffload.Udp : TunOffload.None);
    }

    private static int ClearMulticast(string name)
    {
        using FileDescriptor socket = FileDescriptor.Required(Libc.socket(Libc.AF_UNIX, Libc.SOCK_DGRAM | Libc.SOCK_CLOEXEC, 0), "socket AF_UNIX");
        ifreq request = default;
        InterfaceName.Write(name, ref request);
        if (Libc.ioctl(socket, Libc.SIOCGIFFLAGS, &request) < 0)
        {
            return Marshal.GetLastPInvokeError();
        }

        request.ifr_flags &= ~Libc.IFF_MULTICAST;
        return Libc.ioctl(socket, Libc.SIOCSIFFLAGS, &request) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    /// <returns>0, also where there is no IPv6 that could make an address; or the errno.</returns>
    private static int StopAddressGeneration(string name)
    {
        try
        {
            using var rtnetlink = new NetlinkSocket(groups: 0);
            int errno = rtnetlink.StopAddressGeneration(name);
            return errno == Errno.EAFNOSUPPORT ? 0 : errno;
        }
        catch (IOException refused)
        {
            return refused.HResult;
        }
    }

    private static FileDescriptor? TryOpenNode(out int errno)
    {
        FileDescriptor? descriptor = FileDescriptor.From(Libc.open(Node, Libc.O_RDWR | Libc.O_NONBLOCK | Libc.O_CLOEXEC, 0));
        errno = descriptor is null ? Marshal.GetLastPInvokeError() : 0;
        return descriptor;
    }

    /// <returns>0, or why it could not be made; also 0 for those who may not even try.</returns>
    private static int MakeNode()
    {
        if (Libc.geteuid() != 0)
        {
            return 0;
        }

        if (Libc.mkdir("/dev/net", 0x1ed) < 0 && Marshal.GetLastPInvokeError() != Errno.EEXIST)
        {
            return Marshal.GetLastPInvokeError();
        }

        const ulong tun = (10 << 8) | 200;
        return Libc.mknod(Node, Libc.S_IFCHR | 0x180, tun) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    /// <summary>
    /// Whether four bytes of packet information stand before each packet. TUNGETIFF does not tell: its IFF_NO_PI has the value of IFF_NOFILTER, which
    /// a TUN always has. But a write does, in the order in which the kernel takes it apart: packet information, then the virtio header, then the packet.
    /// This one is too short for all of them together, and ends in memory that is not there: EINVAL comes from who counts four bytes more, EFAULT from
    /// who goes on to read. No packet comes of it either way (without the virtio header, a count of one in the interface's dropped ones).
    /// </summary>
    private static bool WantsPacketInformation(FileDescriptor descriptor, short flags)
    {
        const int packetInformation = 4;
        byte* readable = stackalloc byte[packetInformation];
        new Span<byte>(readable, packetInformation).Clear();
        iovec* pieces = stackalloc iovec[2];
        int rest = packetInformation - 1;
        if ((flags & Libc.IFF_VNET_HDR) != 0)
        {
            int header = VirtioNetHeader.Size;
            _ = Libc.ioctl(descriptor, Libc.TUNGETVNETHDRSZ, &header);
            pieces[0] = new iovec { iov_base = readable, iov_len = packetInformation };
            rest = header - 1;
        }

        pieces[1] = new iovec { iov_base = null, iov_len = (nuint)rest };
        return Libc.writev(descriptor, pieces, 2) < 0 && Marshal.GetLastPInvokeError() == Errno.EINVAL;
    }

    private static bool KernelKnowsVnetHeader(FileDescriptor descriptor, KernelFeatures features)
    {
        uint known;
        if (Libc.ioctl(descriptor, Libc.TUNGETFEATURES, &known) < 0)
        {
            features.Refused(KernelFeature.VnetHdr, "TUNGETFEATURES", Marshal.GetLastPInvokeError());
            return false;
        }

        if ((known & Libc.IFF_VNET_HDR) == 0)
        {
            features.Refused(KernelFeature.VnetHdr, "TUNGETFEATURES", Errno.EOPNOTSUPP);
            return false;
        }

        return true;
    }

    private static int SetInterface(FileDescriptor descriptor, string name, bool vnetHeader)
    {
        ifreq request = default;
        InterfaceName.Write(name, ref request);
        request.ifr_flags = (short)(Libc.IFF_TUN | Libc.IFF_NO_PI | (vnetHeader ? Libc.IFF_VNET_HDR : 0));
        return Libc.ioctl(descriptor, Libc.TUNSETIFF, &request) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    /// <returns>0, or the errno.</returns>
    private static int SetHeaderSize(FileDescriptor descriptor)
    {
        int size = VirtioNetHeader.Size;
        return Libc.ioctl(descriptor, Libc.TUNSETVNETHDRSZ, &size) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    private static void SetOffloads(FileDescriptor descriptor, KernelFeatures features)
    {
        features.Found(KernelFeature.VnetHdr);
        uint wanted = Wanted(features);
        int errno = 0;
        KernelFeature available = KernelFeature.None;
        foreach ((uint flags, KernelFeature found) in _offloads)
        {
            if (Libc.ioctl_value(descriptor, Libc.TUNSETOFFLOAD, Libc.TUN_F_CSUM | (flags & wanted)) == 0)
            {
                available = found & ~features.Disabled;
                break;
            }

            errno = Marshal.GetLastPInvokeError();
        }

        features.Found(available);
        foreach (KernelFeature feature in (ReadOnlySpan<KernelFeature>)[KernelFeature.Tso4, KernelFeature.Tso6, KernelFeature.Uso])
        {
            if (features.Wants(feature) && !features.Has(feature))
            {
                features.Refused(feature, "TUNSETOFFLOAD", errno);
            }
        }
    }

    private static uint Wanted(KernelFeatures features)
    {
        uint wanted = features.Wants(KernelFeature.Tso4) ? Libc.TUN_F_TSO4 : 0;
        wanted |= features.Wants(KernelFeature.Tso6) ? Libc.TUN_F_TSO6 : 0;
        return wanted | (features.Wants(KernelFeature.Uso) ? Libc.TUN_F_USO4 | Libc.TUN_F_USO6 : 0);
    }
}
