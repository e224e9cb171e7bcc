using System.Runtime.CompilerServices;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// Whether a sticky source still agrees with the routes. The kernel module (send4 in drivers/net/wireguard/socket.c) gives up an
/// IPv4 source as soon as the route to the peer leaves through another interface than the one that the peer was last heard on: a
/// better route moves the source with it. It does so for IPv4 only, and so does this.
/// <para>
/// The verdict about an <see cref="Endpoint"/> object is asked for once, and stands until a route, rule, address or link changes.
/// Verdicts lie in a table that is indexed by the object's identity; a change replaces the table, so a verdict that was on its
/// way gets lost with the old one.
/// </para>
/// </summary>
internal sealed class SourceRoutes : IDisposable
{
    private const int TableSize = 4096;

    private readonly NetlinkSocket? _news;
    private readonly NetlinkSocket? _questions;
    private readonly Lock _asking = new();
    private volatile Verdicts _verdicts = new();
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
        lock (_asking)
        {
            _mark = mark;
            _verdicts = new Verdicts();
        }
    }

    /// <summary>Forgets every verdict: what changed does not matter.</summary>
    internal void ReadNews()
    {
        int errno;
        do
        {
            _news!.Receive(out _, out errno);
        }
        while (errno is 0 or Errno.ENOBUFS or Errno.EINTR);
        if (_verdicts.IsUsed)
        {
            _verdicts = new Verdicts();
        }
    }

    /// <summary>Any thread; does not allocate.</summary>
    internal bool Agree(Endpoint endpoint)
    {
        if (endpoint.SourceInterface == 0 || !endpoint.Source.IsIPv4 || _questions is null)
        {
            return true;
        }

        Verdicts verdicts = _verdicts;
        int place = RuntimeHelpers.GetHashCode(endpoint) & (TableSize - 1);
        if (ReferenceEquals(verdicts.Agreed[place], endpoint))
        {
            return true;
        }

        if (ReferenceEquals(verdicts.Disagreed[place], endpoint))
        {
            return false;
        }

        // In this order: a change that finds the table unused came before the question.
        verdicts.IsUsed = true;
        bool agrees = Ask(endpoint);
        (agrees ? verdicts.Agreed : verdicts.Disagreed)[place] = endpoint;
        return agrees;
    }

    public void Dispose()
    {
        _news?.Dispose();
        _questions?.Dispose();
    }

    private bool Ask(Endpoint endpoint)
    {
        lock (_asking)
        {
            // No route, or no such source: sending will tell, in its own way.
            int errno = _questions!.AskRoute(endpoint.Remote.Address, endpoint.Source, _mark, out int outgoing);
            return errno != 0 || outgoing == endpoint.SourceInterface;
        }
    }

    private sealed class Verdicts
    {
        internal volatile bool IsUsed;
        internal readonly Endpoint?[] Agreed = new Endpoint?[TableSize];
        internal readonly Endpoint?[] Disagreed = new Endpoint?[TableSize];
    }
}
