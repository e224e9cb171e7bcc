using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>
/// Every call into libc, under its C name and with its C shape; errors are read with <see cref="Marshal.GetLastPInvokeError"/>.
/// The classes around it show spans, batches and handles: nothing of this leaves the project.
/// </summary>
internal static unsafe partial class Libc
{
    private const string Library = "libc";

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int open(string pathname, int flags, uint mode);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int close(int fd);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint read(FileDescriptor fd, void* buffer, nuint count);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint write(FileDescriptor fd, void* buffer, nuint count);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint writev(FileDescriptor fd, iovec* vector, int count);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint pread(FileDescriptor fd, void* buffer, nuint count, nint offset);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint pwrite(FileDescriptor fd, void* buffer, nuint count, nint offset);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int ftruncate(FileDescriptor fd, nint length);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int memfd_create(string name, uint flags);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int statfs(string path, void* result);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial void* mmap(void* address, nuint length, int protection, int flags, FileDescriptor fd, nint offset);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int munmap(void* address, nuint length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int mlock(void* address, nuint length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int ioctl(FileDescriptor fd, nuint request, void* argument);

    /// <summary>Those requests whose third argument is a number and not an address.</summary>
    [LibraryImport(Library, SetLastError = true, EntryPoint = "ioctl")]
    internal static partial int ioctl_value(FileDescriptor fd, nuint request, nuint argument);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int fcntl(FileDescriptor fd, int command, nint argument);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int mkdir(string pathname, uint mode);

    // glibc has this as a function since 2.33 only; before, it was an inline one of the headers.
    internal static int mknod(string pathname, uint mode, ulong device) =>
        (int)syscall_mknodat(RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 33 : 259, LibcProcess.AT_FDCWD, pathname, (nint)mode, (nint)device);

    [LibraryImport(Library, SetLastError = true, EntryPoint = "syscall", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint syscall_mknodat(nint number, nint directory, string pathname, nint mode, nint device);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int setns(FileDescriptor fd, int kind);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int unshare(int flags);

    [LibraryImport(Library)]
    internal static partial uint geteuid();

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int socket(int domain, int type, int protocol);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int bind(FileDescriptor fd, void* address, uint length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int getsockname(FileDescriptor fd, void* address, uint* length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int connect(FileDescriptor fd, void* address, uint length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int setsockopt(FileDescriptor fd, int level, int name, void* value, uint length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int getsockopt(FileDescriptor fd, int level, int name, void* value, uint* length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint sendmsg(FileDescriptor fd, msghdr* message, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint recvmsg(FileDescriptor fd, msghdr* message, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int sendmmsg(FileDescriptor fd, mmsghdr* messages, uint count, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int recvmmsg(FileDescriptor fd, mmsghdr* messages, uint count, int flags, timespec* timeout);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int accept4(SafeHandle listener, void* address, uint* length, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint send(FileDescriptor fd, void* buffer, nuint count, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int shutdown(FileDescriptor fd, int how);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int poll(pollfd* descriptors, nuint count, int timeout);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int epoll_create1(int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int epoll_ctl(FileDescriptor epoll, int operation, FileDescriptor fd, void* epollEvent);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int epoll_wait(FileDescriptor epoll, void* events, int count, int timeout);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int eventfd(uint initial, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int timerfd_create(int clock, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int timerfd_settime(FileDescriptor fd, int flags, itimerspec* value, itimerspec* old);

    /// <summary>Answered by the vDSO in some 20 ns: not worth telling the garbage collector about. Returns 0 or -1; errno is not kept.</summary>
    [LibraryImport(Library)]
    [SuppressGCTransition]
    internal static partial int clock_gettime(int clock, timespec* time);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint getrandom(void* buffer, nuint length, uint flags);

    // <fcntl.h>, <sys/stat.h>, <linux/magic.h>
    internal const int O_RDONLY = 0;
    internal const int O_RDWR = 2;
    internal const int O_CREAT = 0x40;
    internal const int O_EXCL = 0x80;
    internal const int O_NONBLOCK = 0x800;
    internal const int O_CLOEXEC = 0x80000;
    internal const int F_SETFD = 2;
    internal const int F_GETFL = 3;
    internal const int F_SETFL = 4;
    internal const int FD_CLOEXEC = 1;
    internal const uint S_IFCHR = 0x2000;
    internal const int TMPFS_MAGIC = 0x01021994;

    // <sys/mman.h>
    internal const uint MFD_CLOEXEC = 1;
    internal const uint MFD_ALLOW_SEALING = 2;
    internal const int F_ADD_SEALS = 1033;
    internal const int F_SEAL_SEAL = 1;
    internal const int PROT_NONE = 0;
    internal const int PROT_READ = 1;
    internal const int MAP_SHARED = 1;

    // <sched.h>
    internal const int CLONE_NEWNET = 0x40000000;

    // <sys/socket.h>
    internal const int AF_UNIX = 1;
    internal const int AF_INET = 2;
    internal const int AF_INET6 = 10;
    internal const int AF_NETLINK = 16;
    internal const int SOCK_DGRAM = 2;
    internal const int SOCK_RAW = 3;
    internal const int SOCK_NONBLOCK = O_NONBLOCK;
    internal const int SOCK_CLOEXEC = O_CLOEXEC;
    internal const int MSG_TRUNC = 0x20;
    internal const int MSG_DONTWAIT = 0x40;
    internal const int MSG_ERRQUEUE = 0x2000;
    internal const int MSG_NOSIGNAL = 0x4000;
    internal const int SHUT_WR = 1;
    internal const int SOL_SOCKET = 1;
    internal const int SO_ERROR = 4;
    internal const int SO_SNDBUF = 7;
    internal const int SO_SNDTIMEO = 21;
    internal const int SCM_RIGHTS = 1;
    internal const int SO_RCVBUF = 8;
    internal const int SO_SNDBUFFORCE = 32;
    internal const int SO_RCVBUFFORCE = 33;
    internal const int SO_ATTACH_FILTER = 26;
    internal const int SO_REUSEPORT = 15;
    internal const int SO_MARK = 36;
    internal const int SO_ATTACH_REUSEPORT_CBPF = 51;

    // <linux/in.h>, <linux/in6.h>, <linux/udp.h>
    internal const int IPPROTO_IP = 0;
    internal const int IPPROTO_UDP = 17;
    internal const int IPPROTO_IPV6 = 41;
    internal const int IPPROTO_FRAGMENT = 44;
    internal const int IPPROTO_ICMPV6 = 58;
    internal const int IPPROTO_RAW = 255;
    internal const int IP_TOS = 1;
    internal const int IP_TTL = 2;
    internal const int IP_PKTINFO = 8;
    internal const int IP_MTU_DISCOVER = 10;
    internal const int IP_RECVERR = 11;
    internal const int IP_RECVTOS = 13;
    internal const int IP_RECVFRAGSIZE = 25;
    internal const int IP_PMTUDISC_DONT = 0;
    internal const int IP_PMTUDISC_PROBE = 3;
    internal const int IP_PMTUDISC_OMIT = 5;
    internal const int IPV6_UNICAST_HOPS = 16;
    internal const int IPV6_MTU_DISCOVER = 23;
    internal const int IPV6_RECVERR = 25;
    internal const int IPV6_V6ONLY = 26;
    internal const int IPV6_RECVPKTINFO = 49;
    internal const int IPV6_PKTINFO = 50;
    internal const int IPV6_HOPLIMIT = 52;
    internal const int IPV6_RECVTCLASS = 66;
    internal const int IPV6_TCLASS = 67;
    internal const int IPV6_RECVFRAGSIZE = 77;
    internal const int IPV6_PMTUDISC_DONT = 0;
    internal const int IPV6_PMTUDISC_PROBE = 3;
    internal const int IPV6_PMTUDISC_INTERFACE = 4;
    internal const int IPV6_PMTUDISC_OMIT = 5;
    internal const int UDP_SEGMENT = 103;
    internal const int UDP_GRO = 104;

    // <linux/errqueue.h>, <linux/icmp.h>, <linux/icmpv6.h>
    internal const byte SO_EE_ORIGIN_ICMP = 2;
    internal const byte SO_EE_ORIGIN_ICMP6 = 3;
    internal const byte ICMP_DEST_UNREACH = 3;
    internal const byte ICMP_FRAG_NEEDED = 4;
    internal const byte ICMPV6_PKT_TOOBIG = 2;
    internal const int ICMPV6_FILTER = 1;

    // <poll.h>, <sys/epoll.h>, <sys/eventfd.h>, <sys/timerfd.h>, <time.h>
    internal const short POLLIN = 1;
    internal const short POLLOUT = 4;
    internal const short POLLERR = 8;
    internal const short POLLHUP = 16;
    internal const int EPOLL_CTL_ADD = 1;
    internal const int EPOLL_CTL_DEL = 2;
    internal const int EPOLL_CTL_MOD = 3;
    internal const uint EPOLLIN = 1;
    internal const uint EPOLLERR = 8;
    internal const uint EPOLLHUP = 16;
    internal const uint EPOLLONESHOT = 1u << 30;
    internal const uint EPOLLET = 1u << 31;
    internal const int TFD_TIMER_ABSTIME = 1;
    internal const int TFD_TIMER_CANCEL_ON_SET = 2;
    internal const int CLOCK_REALTIME = 0;
    internal const int CLOCK_MONOTONIC = 1;
    internal const int CLOCK_BOOTTIME = 7;

    // <linux/if_tun.h>, <linux/sockios.h>
    internal const int IFF_TUN = 0x0001;
    internal const int IFF_NO_PI = 0x1000;
    internal const int IFF_VNET_HDR = 0x4000;
    internal const nuint TUNSETIFF = 0x400454ca;
    internal const nuint TUNGETFEATURES = 0x800454cf;
    internal const nuint TUNSETOFFLOAD = 0x400454d0;
    internal const nuint TUNGETIFF = 0x800454d2;
    internal const nuint TUNGETVNETHDRSZ = 0x800454d7;
    internal const nuint TUNSETVNETHDRSZ = 0x400454d8;
    internal const nuint TUNGETDEVNETNS = 0x54e3;
    internal const uint TUN_F_CSUM = 0x01;
    internal const uint TUN_F_TSO4 = 0x02;
    internal const uint TUN_F_TSO6 = 0x04;
    internal const uint TUN_F_USO4 = 0x20;
    internal const uint TUN_F_USO6 = 0x40;
    internal const nuint SIOCGIFFLAGS = 0x8913;
    internal const nuint SIOCSIFFLAGS = 0x8914;
    internal const nuint SIOCSIFMTU = 0x8922;
    internal const nuint SIOCSIFTXQLEN = 0x8943;

    // <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_link.h>, <linux/net_namespace.h>
    internal const int NETLINK_ROUTE = 0;
    internal const int SOL_NETLINK = 270;
    internal const int NETLINK_LISTEN_ALL_NSID = 8;
    internal const int NETLINK_GET_STRICT_CHK = 12;
    internal const ushort NLMSG_ERROR = 2;
    internal const ushort NLMSG_DONE = 3;
    internal const ushort NLM_F_REQUEST = 1;
    internal const ushort NLM_F_ACK = 4;
    internal const ushort NLM_F_DUMP = 0x300;
    internal const ushort RTM_NEWLINK = 16;
    internal const ushort RTM_DELLINK = 17;
    internal const ushort RTM_GETLINK = 18;
    internal const ushort RTM_SETLINK = 19;
    internal const ushort RTM_NEWADDR = 20;
    internal const ushort RTM_DELADDR = 21;
    internal const ushort RTM_GETADDR = 22;
    internal const ushort RTM_NEWROUTE = 24;
    internal const ushort RTM_GETROUTE = 26;
    internal const ushort RTM_NEWNSID = 88;
    internal const ushort RTM_GETNSID = 90;
    internal const ushort RTM_DELNSID = 89;
    internal const uint RTMGRP_LINK = 1;

    /// <summary>The bit of RTNLGRP_NSID (28), which has no RTMGRP_ name of its own.</summary>
    internal const uint RTMGRP_NSID = 1u << 27;
    internal const uint RTMGRP_IPV4_IFADDR = 0x10;
    internal const uint RTMGRP_IPV4_ROUTE = 0x40;
    internal const uint RTMGRP_IPV4_RULE = 0x80;
    internal const uint RTMGRP_IPV6_IFADDR = 0x100;
    internal const uint RTMGRP_IPV6_ROUTE = 0x400;

    /// <summary>The bit of RTNLGRP_IPV6_RULE (19), which has no RTMGRP_ name of its own.</summary>
    internal const uint RTMGRP_IPV6_RULE = 1u << 18;
    internal const ushort RTA_DST = 1;
    internal const ushort RTA_SRC = 2;
    internal const ushort RTA_OIF = 4;
    internal const ushort RTA_MARK = 16;
    internal const ushort IFA_ADDRESS = 1;
    internal const ushort IFA_LOCAL = 2;
    internal const ushort IFA_TARGET_NETNSID = 10;
    internal const ushort IFLA_IFNAME = 3;
    internal const ushort IFLA_MTU = 4;
    internal const ushort IFLA_AF_SPEC = 26;
    internal const ushort IFLA_TARGET_NETNSID = 46;
    internal const ushort NETNSA_NSID = 1;
    internal const ushort NETNSA_FD = 3;
    internal const ushort IFLA_INET6_ADDR_GEN_MODE = 8;
    internal const byte IN6_ADDR_GEN_MODE_NONE = 1;
    internal const uint IFF_UP = 1;
    internal const short IFF_MULTICAST = 0x1000;
}
