using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>
/// What IPv6 needs beside its UDP socket, so that the kernel need not believe what strangers say of sizes: an ear for "packet too big", and a hand that makes
/// fragments of a size that is known here. Both are raw sockets (CAP_NET_RAW) and live as long as the sockets of one port.
/// </summary>
internal sealed unsafe class RawSockets : IDisposable
{
    private RawSockets(FileDescriptor tooBig, FragmentSender fragments)
    {
        TooBig = tooBig;
        Fragments = fragments;
    }

    /// <summary>See <see cref="TooBigListener"/>.</summary>
    internal FileDescriptor TooBig { get; }

    internal FragmentSender Fragments { get; }

    /// <returns>Null with the errno where they are not to be had.</returns>
    internal static RawSockets? Open(ushort port, uint fwmark, out int errno)
    {
        FileDescriptor? tooBig = TooBigListener.Open(port, out errno);
        FileDescriptor? fragments = tooBig is null ? null : FragmentSender.Open(fwmark, out errno);
        if (fragments is null)
        {
            tooBig?.Dispose();
            return null;
        }

        return new RawSockets(tooBig!, new FragmentSender(fragments, port));
    }

    internal static FileDescriptor? Create(int protocol, out int errno)
    {
        FileDescriptor? socket = FileDescriptor.From(Libc.socket(Libc.AF_INET6, Libc.SOCK_RAW | Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK, protocol));
        errno = socket is null ? Marshal.GetLastPInvokeError() : 0;
        return socket;
    }

    internal static bool SetOption(FileDescriptor socket, int level, int name, void* value, int size, out int errno)
    {
        errno = Libc.setsockopt(socket, level, name, value, (uint)size) == 0 ? 0 : Marshal.GetLastPInvokeError();
        return errno == 0;
    }

    public void Dispose()
    {
        TooBig.Dispose();
        Fragments.Dispose();
    }
}
