using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>What an epoll instance says of one descriptor.</summary>
/// <param name="Key">What it was added under.</param>
/// <param name="Events">EPOLLIN and its like.</param>
internal readonly record struct EpollEvent(ulong Key, uint Events);

/// <summary>An epoll instance (epoll(7)). A descriptor is added under a key of the caller's choice, and its events carry that; a descriptor that is null is none.</summary>
internal sealed unsafe class Epoll : IDisposable
{
    /// <summary>struct epoll_event is packed on x86-64 only (sys/epoll.h); the data word ends it everywhere.</summary>
    private static readonly int EntrySize = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 12 : 16;

    internal Epoll()
        : this(FileDescriptor.Required(Libc.epoll_create1(Libc.O_CLOEXEC), "epoll_create1"))
    {
    }

    private Epoll(FileDescriptor descriptor) => Descriptor = descriptor;

    /// <summary>Readable while one of those watched is ready: so another instance can watch this one.</summary>
    internal FileDescriptor Descriptor { get; }

    /// <returns>Null where none is to be had.</returns>
    internal static Epoll? TryCreate() => FileDescriptor.From(Libc.epoll_create1(Libc.O_CLOEXEC)) is { } descriptor ? new Epoll(descriptor) : null;

    /// <param name="events">EPOLLERR and EPOLLHUP are reported without being asked for.</param>
    internal void Add(FileDescriptor? descriptor, ulong key, uint events = Libc.EPOLLIN)
    {
        if (descriptor is not null && !TryControl(Libc.EPOLL_CTL_ADD, descriptor, key, events))
        {
            throw Errno.Exception("epoll_ctl", Marshal.GetLastPInvokeError());
        }
    }

    /// <summary>Asks for other events, or once more for one that is told once (EPOLLONESHOT). A descriptor that is not watched any more stays so.</summary>
    internal void Modify(FileDescriptor? descriptor, ulong key, uint events)
    {
        if (descriptor is not null && !TryControl(Libc.EPOLL_CTL_MOD, descriptor, key, events) && Marshal.GetLastPInvokeError() != Errno.ENOENT)
        {
            throw Errno.Exception("epoll_ctl", Marshal.GetLastPInvokeError());
        }
    }

    /// <summary>One that is not watched stays so.</summary>
    internal void Remove(FileDescriptor? descriptor)
    {
        if (descriptor is not null)
        {
            TryControl(Libc.EPOLL_CTL_DEL, descriptor, key: 0, events: 0);
        }
    }

    /// <summary>Sleeps until something is ready, a signal comes, or the time is over.</summary>
    /// <param name="events">Room for what is told; the rest is told the next time.</param>
    /// <param name="milliseconds">-1: without an end; 0: no sleep.</param>
    /// <returns>How many events there are.</returns>
    [SkipLocalsInit]
    internal int Wait(Span<EpollEvent> events, int milliseconds)
    {
        byte* entries = stackalloc byte[events.Length * EntrySize];
        int count = Libc.epoll_wait(Descriptor, entries, events.Length, milliseconds);
        if (count < 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            return errno == Errno.EINTR ? 0 : throw Errno.Exception("epoll_wait", errno);
        }

        for (int i = 0; i < count; i++)
        {
            byte* entry = entries + (i * EntrySize);
            events[i] = new EpollEvent(*(ulong*)(entry + EntrySize - sizeof(ulong)), *(uint*)entry);
        }

        return count;
    }

    public void Dispose() => Descriptor.Dispose();

    private bool TryControl(int operation, FileDescriptor descriptor, ulong key, uint events)
    {
        byte* entry = stackalloc byte[EntrySize];
        *(uint*)entry = events;
        *(ulong*)(entry + EntrySize - sizeof(ulong)) = key;
        return Libc.epoll_ctl(Descriptor, operation, descriptor, entry) == 0;
    }
}
