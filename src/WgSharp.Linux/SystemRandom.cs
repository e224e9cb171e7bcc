using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>
/// The kernel's random numbers: getrandom(2), which waits until the pool was seeded once, or /dev/urandom on kernels before 3.17.
/// (.NET's RandomNumberGenerator would need OpenSSL on the machine.)
/// </summary>
public static unsafe class SystemRandom
{
    /// <summary>Fills the whole span.</summary>
    /// <exception cref="IOException">The kernel gives neither.</exception>
    public static void Fill(Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            nint filled;
            fixed (byte* start = destination)
            {
                filled = Libc.getrandom(start, (nuint)destination.Length, 0);
            }

            if (filled >= 0)
            {
                destination = destination[(int)filled..];
                continue;
            }

            int errno = Marshal.GetLastPInvokeError();
            if (errno == Errno.EINTR)
            {
                continue;
            }

            if (errno != Errno.ENOSYS)
            {
                throw Errno.Exception("getrandom", errno);
            }

            FillFromDevice(destination);
            return;
        }
    }

    internal static void FillFromDevice(Span<byte> destination)
    {
        using var device = FileDescriptor.Required(Libc.open("/dev/urandom", Libc.O_RDONLY | Libc.O_CLOEXEC, 0), "open /dev/urandom");
        while (!destination.IsEmpty)
        {
            nint filled;
            fixed (byte* start = destination)
            {
                filled = Libc.read(device, start, (nuint)destination.Length);
            }

            if (filled > 0)
            {
                destination = destination[(int)filled..];
            }
            else if (filled == 0 || Marshal.GetLastPInvokeError() != Errno.EINTR)
            {
                throw Errno.Exception("read /dev/urandom", filled == 0 ? Errno.EIO : Marshal.GetLastPInvokeError());
            }
        }
    }
}
