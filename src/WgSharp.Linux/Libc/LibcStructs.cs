using System.Runtime.InteropServices;

namespace WgSharp.Linux;

#pragma warning disable CS8981 // All lower case: these are the names that every manual page uses.

// The kernel's structures on 64-bit Linux, under their C names. The C ABI is trusted: a test asserts every size.

/// <summary>&lt;sys/uio.h&gt;, 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct iovec
{
    public void* iov_base;
    public nuint iov_len;
}

/// <summary>&lt;sys/socket.h&gt;, 56 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct msghdr
{
    public void* msg_name;
    public uint msg_namelen;
    public iovec* msg_iov;
    public nuint msg_iovlen;
    public void* msg_control;
    public nuint msg_controllen;
    public int msg_flags;
}

/// <summary>&lt;sys/socket.h&gt;, 64 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct mmsghdr
{
    public msghdr msg_hdr;
    public uint msg_len;
}

/// <summary>&lt;linux/filter.h&gt;, 16 bytes: a program of struct sock_filter, 8 bytes each (code, jt, jf, k).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct sock_fprog
{
    public ushort len;
    public ulong* filter;
}

/// <summary>&lt;poll.h&gt;, 8 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct pollfd
{
    public int fd;
    public short events;
    public short revents;
}

/// <summary>&lt;time.h&gt;, 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct timespec
{
    public long tv_sec;
    public long tv_nsec;

    internal static timespec Of(long nanoseconds) =>
        new() { tv_sec = nanoseconds / 1_000_000_000, tv_nsec = nanoseconds % 1_000_000_000 };

    internal readonly long Nanoseconds => (tv_sec * 1_000_000_000) + tv_nsec;
}

/// <summary>&lt;sys/timerfd.h&gt;, 32 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct itimerspec
{
    public timespec it_interval;
    public timespec it_value;
}

/// <summary>&lt;linux/if.h&gt;, 40 bytes: a name and a union of which three members are used.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal unsafe struct ifreq
{
    internal const int IFNAMSIZ = 16;

    [FieldOffset(0)]
    public fixed byte ifr_name[IFNAMSIZ];

    [FieldOffset(16)]
    public short ifr_flags;

    [FieldOffset(16)]
    public int ifr_mtu;

    [FieldOffset(16)]
    public int ifr_qlen;
}
