using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>poll(2) for one thread that serves many connections: filled anew before each wait. Another thread may end the wait.</summary>
public sealed unsafe class PollSet : IDisposable
{
    private readonly FileDescriptor _wake = FileDescriptor.Required(Libc.eventfd(0, Libc.O_CLOEXEC | Libc.O_NONBLOCK), "eventfd");
    private readonly pollfd[] _descriptors;
    private int _count;

    /// <param name="capacity">Descriptors at most.</param>
    public PollSet(int capacity)
    {
        _descriptors = new pollfd[capacity + 1];
        Clear();
    }

    public void Clear()
    {
        _count = 0;
        Add(_wake.DangerousGetHandle(), Libc.POLLIN);
    }

    /// <summary>Watches a listening socket, which must stay open until the wait has returned.</summary>
    /// <returns>Its number for <see cref="IsReady"/>.</returns>
    public int Add(SafeHandle listener) => Add(listener.DangerousGetHandle(), Libc.POLLIN);

    /// <summary>Watches a connection for what it has to say, or for room; it must stay open until the wait has returned.</summary>
    /// <returns>Its number for <see cref="IsReady"/>.</returns>
    public int Add(StreamConnection connection, bool forRoom) =>
        Add(connection.Descriptor.DangerousGetHandle(), forRoom ? Libc.POLLOUT : Libc.POLLIN);

    /// <summary>Sleeps until something is ready, somebody calls <see cref="Wake"/>, or the time is over.</summary>
    /// <param name="milliseconds">-1: without an end.</param>
    public void Wait(int milliseconds)
    {
        fixed (pollfd* first = _descriptors)
        {
            if (Libc.poll(first, (nuint)_count, milliseconds) >= 0)
            {
                return;
            }
        }

        int errno = Marshal.GetLastPInvokeError();
        if (errno != Errno.EINTR)
        {
            throw Errno.Exception("poll", errno);
        }

        // Interrupted: nothing is known to be ready.
        for (int i = 0; i < _count; i++)
        {
            _descriptors[i].revents = 0;
        }
    }

    /// <summary>Whether it can go on, if only to find out that its other end has gone.</summary>
    public bool IsReady(int number) => _descriptors[number].revents != 0;

    /// <summary>Any thread: this wait, or the next one, and all after it, return at once.</summary>
    public void Wake()
    {
        ulong one = 1;
        Libc.write(_wake, &one, sizeof(ulong));
    }

    public void Dispose() => _wake.Dispose();

    private int Add(nint descriptor, short events)
    {
        _descriptors[_count] = new pollfd { fd = (int)descriptor, events = events };
        return _count++;
    }
}
