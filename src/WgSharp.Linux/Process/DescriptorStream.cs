using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>
/// Writes to a descriptor that stays somebody else's, standard error above all: each text with write(2), where the file is at that moment. A
/// FileStream would write where it thinks that a shared log file ends, and the console's streams make a thread for the terminal.
/// </summary>
public sealed unsafe class DescriptorStream(int descriptor) : Stream
{
    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>Returns when everything is written, however long that takes.</summary>
    /// <exception cref="IOException">It never will be; HResult is the errno.</exception>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            nint written;
            fixed (byte* start = buffer)
            {
                written = LibcProcess.write(descriptor, start, buffer.Length);
            }

            if (written >= 0)
            {
                buffer = buffer[(int)written..];
                continue;
            }

            int errno = Marshal.GetLastPInvokeError();
            if (errno == Errno.EAGAIN)
            {
                // Whoever shares it made it so.
                var room = new pollfd { fd = descriptor, events = Libc.POLLOUT };
                _ = Libc.poll(&room, 1, -1);
            }
            else if (errno != Errno.EINTR)
            {
                throw Errno.Exception("write", errno);
            }
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
