using System.Runtime.CompilerServices;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// Whether a sticky source still agrees with the routes. The kernel module (send4 in drivers/net/wireguard/socket.c) gives up an
/// IPv4 source as soon as the route to the peer leaves through another interface than the one that the peer was last heard on: a
/// better route moves the source with it. It does so for IPv4 only, and so does this.
/// <para>
/// The verdict about an <see cref="Endpoint"/> object is asked for once, and stands until a route, rule, address or link changes.
/// Verdicts lie in two tables that are indexed by the object's identity and read without a lock. Asking and noting the answer is one
/// step under the lock, forgetting another: a change that comes after a question is forgotten about after its answer.
/// </para>
/// </summary>
internal sealed class SourceRoutes : IDisposable
{
    private const int TableSize = 4096;

    private readonly NetlinkSocket? _news;
    private readonly NetlinkSocket? _questions;
    private readonly Lock _gate = new();
    private readonly Endpoint?[] _agreed = new Endpoint?[TableSize];
    private readonly Endpoint?[] _disagreed = new Endpoint?[TableSize];
    private bool _isEmpty = true;
    private uint _mark;

    /// <summary>In the namespace of the sockets.</summary>
    internal SourceRoutes(KernelFeatures features)
    {
        if (!features.Wants(KernelFeature.Routes))
        {
            return;
        }

        try
        {
            _news = new NetlinkSocket(Libc.RTMGRP_LINK | Libc.RTMGRP_IPV4_IFADDR | Libc.RTMGRP_IPV4_ROUTE | Libc.RTMGRP_IPV4_RULE);
            _questions = new NetlinkSocket(0);
            features.Found(KernelFeature.Routes);
        }
        catch (IOException refused)
        {
            features.Refused(KernelFeature.Routes, "rtnetlink", refused.HResult);
        }
    }

    /// <summary>Readable when something changed: then <see cref="ReadNews"/>.</summary>
    internal FileDescriptor? Descriptor => _news?.Descriptor;

    /// <summary>The mark that the sockets send with: part of the question.</summary>
    internal void SetMark(uint mark)
    {
        lock (_gate)
        {
            _mark = mark;
            Forget();
        }
    }

    /// <summary>Forgets every verdict: what changed does not matter.</summary>
    internal void ReadNews()
    {
        lock (_gate)
        {
            int errno = Errno.EAGAIN;
            do
            {
                if (!_news!.Descriptor.IsClosed)
                {
                    _news.Receive(out _, out errno);
                }
            }
            while (errno is 0 or Errno.ENOBUFS or Errno.EINTR);
            Forget();
        }
    }

    /// <summary>Any thread; does not allocate.</summary>
    internal bool Agree(Endpoint endpoint)
    {
        if (endpoint.SourceInterface == 0 || !endpoint.Source.IsIPv4 || _questions is null)
        {
            return true;
        }

        int place = RuntimeHelpers.GetHashCode(endpoint) & (TableSize - 1);
        if (ReferenceEquals(Volatile.Read(ref _agreed[place]), endpoint))
        {
            return true;
        }

        if (ReferenceEquals(Volatile.Read(ref _disagreed[place]), endpoint))
        {
            return false;
        }

        lock (_gate)
        {
            if (_questions.Descriptor.IsClosed)
            {
                return true;
            }

            // No route, or no such source: sending will tell, in its own way.
            int errno = _questions.AskRoute(endpoint.Remote.Address, endpoint.Source, _mark, out int outgoing);
            bool agrees = errno != 0 || outgoing == endpoint.SourceInterface;
            Volatile.Write(ref (agrees ? _agreed : _disagreed)[place], endpoint);
            _isEmpty = false;
            return agrees;
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _news?.Dispose();
            _questions?.Dispose();
        }
    }

    private void Forget()
    {
        if (!_isEmpty)
        {
            Array.Clear(_agreed);
            Array.Clear(_disagreed);
            _isEmpty = true;
        }
    }
}
