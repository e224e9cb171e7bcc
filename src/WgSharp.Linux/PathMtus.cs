using System.Runtime.CompilerServices;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// The MTU of the route to an endpoint, as the kernel knows it now: a scratch socket is connected, which sends nothing, and asked for IP_MTU.
/// An answer stands for a second, so that a busy path costs a few system calls a second and a changed route is noticed soon. A small table,
/// indexed by endpoint: a collision costs a question.
/// </summary>
internal sealed unsafe class PathMtus : IDisposable
{
    private const int IP_MTU = 14;
    private const int IPV6_MTU = 24;
    private const int TableSize = 64;
    private static readonly TimeSpan Stands = TimeSpan.FromSeconds(1);

    private readonly Lock _gate = new();
    private readonly Entry[] _entries = new Entry[TableSize];
    private uint _mark;

    /// <summary>The mark decides by which rules a route is found.</summary>
    internal void SetMark(uint mark)
    {
        lock (_gate)
        {
            _mark = mark;
            Array.Clear(_entries);
        }
    }

    /// <summary>Any thread; does not allocate while the answer stands.</summary>
    internal int Of(Endpoint endpoint, Instant now)
    {
        lock (_gate)
        {
            ref Entry entry = ref _entries[(uint)endpoint.Remote.GetHashCode() % TableSize];
            if (now >= entry.Until || entry.Remote != endpoint.Remote)
            {
                entry = new Entry(endpoint.Remote, Ask(endpoint.Remote), now + Stands);
            }

            return entry.Mtu;
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            Array.Clear(_entries);
        }
    }

    [SkipLocalsInit]
    private int Ask(in InetEndpoint remote)
    {
        bool ipv6 = remote.Address.IsIPv6;
        using FileDescriptor? socket = FileDescriptor.From(Libc.socket(
            ipv6 ? Libc.AF_INET6 : Libc.AF_INET, Libc.SOCK_DGRAM | Libc.SOCK_NONBLOCK | Libc.SOCK_CLOEXEC, 0));
        if (socket is null)
        {
            return PacketBatch.MaxPacket;
        }

        uint mark = _mark;
        if (mark != 0)
        {
            _ = Libc.setsockopt(socket, Libc.SOL_SOCKET, Libc.SO_MARK, &mark, sizeof(uint));
        }

        byte* name = stackalloc byte[SocketAddress.IPv6Size];
        int size = SocketAddress.Write(new Span<byte>(name, SocketAddress.IPv6Size), remote);
        int mtu = 0;
        uint length = sizeof(int);
        bool known = Libc.connect(socket, name, (uint)size) == 0
            && Libc.getsockopt(socket, ipv6 ? Libc.IPPROTO_IPV6 : Libc.IPPROTO_IP, ipv6 ? IPV6_MTU : IP_MTU, &mtu, &length) == 0;
        return known && mtu > 0 ? mtu : PacketBatch.MaxPacket;
    }

    private readonly record struct Entry(InetEndpoint Remote, int Mtu, Instant Until);
}
