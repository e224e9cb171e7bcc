using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>A connection that was accepted on a unix socket, or on a loopback address. Nothing here blocks: a <see cref="PollSet"/> tells when there is something to do.</summary>
public sealed unsafe class StreamConnection : IDisposable
{
    /// <summary>What may wait to be read. 10,000 peers are 3 MB: with the usual 208 KiB each end would wait sixteen times for its turn on a busy machine.</summary>
    private const int SendBuffer = 1 << 20;

    private StreamConnection(FileDescriptor descriptor) => Descriptor = descriptor;

    internal FileDescriptor Descriptor { get; }

    /// <param name="listener">A non-blocking listening socket.</param>
    /// <param name="errno">Why there is none; EAGAIN if nobody waits.</param>
    public static StreamConnection? Accept(SafeHandle listener, out int errno)
    {
        FileDescriptor? descriptor = FileDescriptor.From(Libc.accept4(listener, null, null, Libc.SOCK_NONBLOCK | Libc.SOCK_CLOEXEC));
        errno = descriptor is null ? Marshal.GetLastPInvokeError() : 0;
        if (descriptor is null)
        {
            return null;
        }

        int size = SendBuffer;
        if (Libc.setsockopt(descriptor, Libc.SOL_SOCKET, Libc.SO_SNDBUFFORCE, &size, sizeof(int)) != 0)
        {
            // As much as everybody may have.
            _ = Libc.setsockopt(descriptor, Libc.SOL_SOCKET, Libc.SO_SNDBUF, &size, sizeof(int));
        }

        return new StreamConnection(descriptor);
    }

    /// <returns>How many bytes came, 0 at the end of the stream, -1 with the errno; EAGAIN if there is nothing yet.</returns>
    public int Receive(Span<byte> buffer, out int errno)
    {
        fixed (byte* start = buffer)
        {
            return Outcome(Libc.read(Descriptor, start, (nuint)buffer.Length), out errno);
        }
    }

    /// <returns>How many bytes were taken, -1 with the errno; EAGAIN if there is no room yet.</returns>
    public int Send(ReadOnlySpan<byte> bytes, out int errno)
    {
        fixed (byte* start = bytes)
        {
            return Outcome(Libc.send(Descriptor, start, (nuint)bytes.Length, Libc.MSG_NOSIGNAL), out errno);
        }
    }

    /// <summary>Nothing more is sent; what the other end has to say is still to be had.</summary>
    public void EndSending() => _ = Libc.shutdown(Descriptor, Libc.SHUT_WR);

    public void Dispose() => Descriptor.Dispose();

    private static int Outcome(nint result, out int errno)
    {
        errno = result < 0 ? Marshal.GetLastPInvokeError() : 0;
        return (int)result;
    }
}
