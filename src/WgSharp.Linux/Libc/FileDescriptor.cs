using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace WgSharp.Linux;

/// <summary>
/// A file descriptor with an owner. Every call in <see cref="Libc"/> holds a reference while it is in the kernel, so the number
/// is never given back, and never means another file, under a thread that still uses it.
/// </summary>
internal sealed class FileDescriptor : SafeHandleMinusOneIsInvalid
{
    private ManualResetEventSlim? _closed;

    public FileDescriptor()
        : base(ownsHandle: true)
    {
    }

    private FileDescriptor(int fd)
        : base(ownsHandle: true) => SetHandle(fd);

    /// <summary>Takes over what open(2), socket(2) and their like returned.</summary>
    /// <returns>Null where it was -1; the errno is then that of the last call.</returns>
    internal static FileDescriptor? From(int fd) => fd < 0 ? null : new FileDescriptor(fd);

    /// <summary>As <see cref="From"/>, for calls that only fail on a broken machine.</summary>
    /// <exception cref="IOException">It was -1.</exception>
    internal static FileDescriptor Required(int fd, string call) =>
        From(fd) ?? throw Errno.Exception(call, Marshal.GetLastPInvokeError());

    /// <summary>Whether it takes data now.</summary>
    internal unsafe bool IsWritable()
    {
        bool referenced = false;
        try
        {
            DangerousAddRef(ref referenced);
            var descriptor = new pollfd { fd = (int)handle, events = Libc.POLLOUT };
            while (Libc.poll(&descriptor, 1, 0) < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR)
            {
                // A signal: again.
            }

            return (descriptor.revents & Libc.POLLOUT) != 0;
        }
        finally
        {
            if (referenced)
            {
                DangerousRelease();
            }
        }
    }

    /// <summary>Disposes, and returns when close(2) was done: after the calls of other threads that are under way, which must not be sleeping ones.</summary>
    internal void DisposeAndWait()
    {
        using var closed = new ManualResetEventSlim();
        _closed = closed;
        Dispose();
        closed.Wait();
    }

    protected override bool ReleaseHandle()
    {
        bool done = Libc.close((int)handle) == 0;
        _closed?.Set();
        return done;
    }
}
