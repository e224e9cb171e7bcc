using System.Runtime.CompilerServices;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// The MTU of the route to an endpoint, as the kernel knows it: a scratch socket is connected, which sends nothing, and asked for IP_MTU.
/// An answer stands for a second at least and for half a minute at most; in between, until a route, rule, address or link changes. So the number
/// of questions depends on the changes, not on the packets.
/// </summary>
internal sealed unsafe class PathMtus : IDisposable
{
    private const int IP_MTU = 14;
    private const int IPV6_MTU = 24;
    private static readonly TimeSpan Stands = TimeSpan.FromSeconds(1);

    /// <summary>What ICMP taught the kernel is not announced.</summary>
    private static readonly TimeSpan Expires = TimeSpan.FromSeconds(30);

    private readonly Lock _gate = new();
    private readonly RouteNews _news;
    private FileDescriptor? _v4;
    private FileDescriptor? _v6;
    private uint _mark;
    private bool _disposed;

    internal PathMtus(RouteNews news) => _news = news;

    /// <summary>Asked so far: for tests.</summary>
    internal long Questions { get; private set; }

    /// <summary>The mark decides by which rules a route is found.</summary>
    internal void SetMark(uint mark)
    {
        lock (_gate)
        {
            _mark = mark;
            Close();
        }
    }

    /// <summary>Any thread; does not allocate while the answer stands.</summary>
    internal int Of(Endpoint endpoint, Instant now)
    {
        EndpointNotes notes = EndpointNotes.Of(endpoint);
        if (now.Nanoseconds < Volatile.Read(ref notes.MtuStands))
        {
            return notes.Mtu;
        }

        int generation = _news.Generation;
        if (notes.Mtu == 0 || notes.MtuGeneration != generation || now.Nanoseconds >= notes.MtuExpires)
        {
            notes.Mtu = Ask(endpoint.Remote);
            notes.MtuGeneration = generation;
            notes.MtuExpires = (now + (_news.IsHeard ? Expires : Stands)).Nanoseconds;
        }

        Volatile.Write(ref notes.MtuStands, (now + Stands).Nanoseconds);
        return notes.Mtu;
    }

    /// <summary>The address that the routes choose to send from, or none. Asked anew with each call: for those few who need it.</summary>
    [SkipLocalsInit]
    internal InetAddress SourceTo(in InetEndpoint remote)
    {
        byte* name = stackalloc byte[SocketAddress.IPv6Size];
        uint length = SocketAddress.IPv6Size;
        lock (_gate)
        {
            if (TryConnect(remote, name) is not { } socket)
            {
                return InetAddress.None;
            }

            bool known = Libc.getsockname(socket, name, &length) == 0;
            Disconnect(socket);
            return known ? SocketAddress.Read(new ReadOnlySpan<byte>(name, (int)length), remote.Address.IsIPv6).Address : InetAddress.None;
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            Close();
        }
    }

    private void Close()
    {
        _v4?.Dispose();
        _v6?.Dispose();
        _v4 = null;
        _v6 = null;
    }

    [SkipLocalsInit]
    private int Ask(in InetEndpoint remote)
    {
        bool ipv6 = remote.Address.IsIPv6;
        byte* name = stackalloc byte[SocketAddress.IPv6Size];
        int mtu = 0;
        uint length = sizeof(int);
        lock (_gate)
        {
            Questions++;
            if (TryConnect(remote, name) is not { } socket)
            {
                return PacketBatch.MaxPacket;
            }

            bool known = Libc.getsockopt(socket, ipv6 ? Libc.IPPROTO_IPV6 : Libc.IPPROTO_IP, ipv6 ? IPV6_MTU : IP_MTU, &mtu, &length) == 0;
            Disconnect(socket);
            return known && mtu > 0 ? mtu : PacketBatch.MaxPacket;
        }
    }

    /// <param name="name">Scratch for an address.</param>
    /// <returns>Null where there is no route; else to be disconnected.</returns>
    private FileDescriptor? TryConnect(in InetEndpoint remote, byte* name)
    {
        FileDescriptor? socket = _disposed ? null : ScratchSocket(remote.Address.IsIPv6);
        int size = SocketAddress.Write(new Span<byte>(name, SocketAddress.IPv6Size), remote);
        if (socket is not null && Libc.connect(socket, name, (uint)size) != 0)
        {
            Disconnect(socket);
            return null;
        }

        return socket;
    }

    /// <summary>The address that this connection chose would else be the source of the next one (AF_UNSPEC).</summary>
    private static void Disconnect(FileDescriptor socket)
    {
        ushort* unspecified = stackalloc ushort[8];
        unspecified[0] = 0;
        _ = Libc.connect(socket, unspecified, 16);
    }

    /// <summary>Connected only while it is asked.</summary>
    private FileDescriptor? ScratchSocket(bool ipv6)
    {
        ref FileDescriptor? socket = ref (ipv6 ? ref _v6 : ref _v4);
        if (socket is not null)
        {
            return socket;
        }

        socket = FileDescriptor.From(Libc.socket(
            ipv6 ? Libc.AF_INET6 : Libc.AF_INET, Libc.SOCK_DGRAM | Libc.SOCK_NONBLOCK | Libc.SOCK_CLOEXEC, 0));
        uint mark = _mark;
        if (socket is not null && mark != 0)
        {
            _ = Libc.setsockopt(socket, Libc.SOL_SOCKET, Libc.SO_MARK, &mark, sizeof(uint));
        }

        return socket;
    }
}
