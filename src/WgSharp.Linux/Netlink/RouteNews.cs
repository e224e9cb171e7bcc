namespace WgSharp.Linux;

/// <summary>
/// Hears that a route, rule, address or link changed in the namespace of the sockets. What changed does not matter: whatever was found out about
/// routes before belongs to an older generation.
/// </summary>
internal sealed class RouteNews : IDisposable
{
    /// <summary>Datagrams taken at once; whatever is left is reported again.</summary>
    private const int MostAtOnce = 64;

    private readonly NetlinkSocket? _socket;
    private readonly Lock _gate = new();
    private int _generation = 1;

    internal RouteNews(KernelFeatures features)
    {
        if (!features.Wants(KernelFeature.Routes))
        {
            return;
        }

        try
        {
            _socket = new NetlinkSocket(
                Libc.RTMGRP_LINK | Libc.RTMGRP_IPV4_IFADDR | Libc.RTMGRP_IPV4_ROUTE | Libc.RTMGRP_IPV4_RULE
                | Libc.RTMGRP_IPV6_IFADDR | Libc.RTMGRP_IPV6_ROUTE | Libc.RTMGRP_IPV6_RULE);
            features.Found(KernelFeature.Routes);
        }
        catch (IOException refused)
        {
            features.Refused(KernelFeature.Routes, "rtnetlink", refused.HResult);
        }
    }

    /// <summary>False where nothing is ever announced.</summary>
    internal bool IsHeard => _socket is not null;

    /// <summary>Readable when something changed: then <see cref="Read"/>.</summary>
    internal FileDescriptor? Descriptor => _socket?.Descriptor;

    /// <summary>Any thread.</summary>
    internal int Generation => Volatile.Read(ref _generation);

    /// <summary>Takes what was announced. Any thread.</summary>
    internal void Read()
    {
        lock (_gate)
        {
            int errno = 0;
            for (int i = 0; i < MostAtOnce && errno is 0 or Errno.ENOBUFS or Errno.EINTR && !_socket!.Descriptor.IsClosed; i++)
            {
                _socket.Receive(out _, out errno);
            }

            _generation++;
        }
    }

    /// <summary>By our own doing: the mark changed, by which rules choose.</summary>
    internal void BeginAnew()
    {
        lock (_gate)
        {
            _generation++;
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _socket?.Dispose();
        }
    }
}
