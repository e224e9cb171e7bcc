using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// Sends runs: up to 64 entries go in one sendmmsg, one entry per run where the kernel segments (UDP_SEGMENT), one per message
/// where it does not. The vector lives on the stack of the call, so any thread may send at any time. Nothing ever waits for buffer space.
/// </summary>
internal sealed unsafe class UdpSender
{
    private const int MaxEntries = 64;

    /// <summary>UDP_MAX_SEGMENTS of the kernels before 6.9.</summary>
    private const int MaxSegments = 64;

    /// <summary>65,535 less an IPv4 and a UDP header.</summary>
    private const int MaxDatagram = 65507;

    /// <summary>How often a message is tried again because of errors that are not its own.</summary>
    private const int MaxPendingErrors = 16;

    private readonly SourceRoutes _routes;
    private readonly bool _segments;
    private readonly bool _hasMmsg;
    private readonly bool _hasPktInfo;
    private readonly bool _hasTos;
    private readonly bool _hearsErrors;
    private readonly PathReports _reports;
    private readonly PathMtus _pathMtus;

    internal UdpSender(KernelFeatures features, SourceRoutes routes, PathMtus pathMtus, PathReports reports)
    {
        _routes = routes;
        _pathMtus = pathMtus;
        _reports = reports;
        _hearsErrors = features.Has(KernelFeature.RecvErr);
        _segments = features.Has(KernelFeature.Gso);
        _hasMmsg = features.Has(KernelFeature.Mmsg);
        _hasPktInfo = features.Has(KernelFeature.PktInfo);
        _hasTos = features.Has(KernelFeature.Tos);
    }

    [SkipLocalsInit]
    internal void Send(SocketPair? open, PacketBatch batch, int first, int count)
    {
        // No more than is used: a single small packet should not touch pages of stack for nothing.
        OutboundRun[] runs = batch.OutboundRuns;
        int capacity = count == 1 && runs[first].Count == 1 ? 1 : MaxEntries;
        byte* scratch = stackalloc byte[Entries.BytesFor(capacity)];
        var entries = new Entries(scratch, capacity);
        fixed (byte* buffer = batch.Buffer)
        {
            for (int i = first; i < first + count; i++)
            {
                ref OutboundRun run = ref runs[i];
                run.Outcome = SendOutcome.Sent;
                Endpoint? endpoint = run.Endpoint;
                if (endpoint is null || run.Length <= 0)
                {
                    run.Outcome = SendOutcome.Lost;
                    continue;
                }

                bool ipv6 = endpoint.Remote.Address.IsIPv6;
                if (run.FragmentAt > 0 && ipv6 && open?.Raw is { } raw)
                {
                    Flush(open, ref entries, runs);
                    if (TrySendFragments(raw.Fragments, buffer + run.Offset, ref run))
                    {
                        continue;
                    }
                }

                SendLane? lane = open?.Lanes.LaneOf(run.Peer, ipv6);
                int stride = run.Stride > 0 ? run.Stride : run.Length;
                int most = _segments && !run.Unsegmented ? Math.Max(1, Math.Min(MaxSegments, MaxDatagram / stride)) * stride : stride;
                for (int sent = 0; sent < run.Length && MayGoOn(run.Outcome); sent += most)
                {
                    if (entries.Count == capacity || (entries.Count > 0 && (entries.IPv6 != ipv6 || !ReferenceEquals(entries.Lane, lane))))
                    {
                        Flush(open, ref entries, runs);
                    }

                    entries.Lane = lane;
                    int length = Math.Min(most, run.Length - sent);
                    Add(ref entries, buffer + run.Offset + sent, length, length > stride ? stride : 0, endpoint, run.TrafficClass, run.HopLimit, i);
                }
            }
        }

        Flush(open, ref entries, runs);
    }

    [SkipLocalsInit]
    internal SendOutcome SendOne(SocketPair? open, ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass, out int errno)
    {
        errno = Errno.EAFNOSUPPORT;
        byte* scratch = stackalloc byte[Entries.BytesFor(1)];
        var entries = new Entries(scratch, 1);
        bool ipv6 = endpoint.Remote.Address.IsIPv6;
        FileDescriptor? socket = open?.Of(ipv6);
        if (socket is null)
        {
            return SendOutcome.Lost;
        }

        fixed (byte* start = datagram)
        {
            Add(ref entries, start, datagram.Length, 0, endpoint, trafficClass, hopLimit: 0, 0);
            int sent = SendSome(socket, ipv6, entries.Messages, 1, out errno);
            if (sent == 0 && errno == Errno.EAGAIN && open!.Lanes.ForHandshakes(ipv6, SystemClock.Now)?.Of(ipv6) is { } lane)
            {
                sent = SendSome(lane, ipv6, entries.Messages, 1, out errno);
            }

            return sent > 0 ? SendOutcome.Sent : Explain(errno, segmented: false, endpoint);
        }
    }

    [SkipLocalsInit]
    internal SendOutcome SendWhole(SocketPair? open, ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass)
    {
        byte* scratch = stackalloc byte[Entries.BytesFor(1)];
        var entries = new Entries(scratch, 1);
        bool ipv6 = endpoint.Remote.Address.IsIPv6;
        using FileDescriptor? socket = open?.Lanes.OpenWhole(ipv6);
        if (socket is null)
        {
            return SendOutcome.Lost;
        }

        fixed (byte* start = datagram)
        {
            Add(ref entries, start, datagram.Length, 0, endpoint, trafficClass, hopLimit: 0, 0);
            int sent = SendSome(socket, ipv6, entries.Messages, 1, out int errno);

            // A router on this very machine has answered already, and this socket may be the one that was found for it.
            ErrorQueue.Drain(socket, ipv6, _reports, _hasMmsg);
            return sent > 0 ? SendOutcome.Sent : errno == Errno.EMSGSIZE ? SendOutcome.TooLarge : Explain(errno, segmented: false, endpoint);
        }
    }

    /// <returns>False where that is not to be done: the kernel may do it its way.</returns>
    [SkipLocalsInit]
    private bool TrySendFragments(FragmentSender fragments, byte* start, ref OutboundRun run)
    {
        Endpoint endpoint = run.Endpoint!;
        InetAddress source = SourceOf(endpoint);
        Span<byte> control = stackalloc byte[ControlMessages.SendSpace];
        int controlLength = ControlMessages.Write(control, source, endpoint.SourceInterface, trafficClass: 0, hopLimit: 0, segment: 0, ipv6: true);
        source = source.IsNone ? _pathMtus.SourceTo(endpoint.Remote) : source;
        run.Outcome = SendOutcome.Sent;
        bool taken = !source.IsNone
            && fragments.TrySend(
                start, ref run, source, control[..controlLength], _hasTos ? run.TrafficClass : (byte)0, _hasTos ? run.HopLimit : (byte)0, _hasMmsg);
        run.Outcome = taken ? run.Outcome : SendOutcome.Sent;
        return taken;
    }

    /// <summary>A lost message is one lost message; after a refusal the whole run comes again.</summary>
    private static bool MayGoOn(SendOutcome outcome) => outcome is SendOutcome.Sent or SendOutcome.Lost;

    /// <summary>The source to name for this endpoint, or none: the routes choose.</summary>
    private InetAddress SourceOf(Endpoint endpoint) =>
        _hasPktInfo && !endpoint.Source.IsNone && _routes.Agree(endpoint) ? endpoint.Source : InetAddress.None;

    private void Add(ref Entries entries, byte* start, int length, int segment, Endpoint endpoint, byte trafficClass, byte hopLimit, int run) =>
        entries.Add(start, length, segment, endpoint, SourceOf(endpoint), _hasTos ? trafficClass : (byte)0, _hasTos ? hopLimit : (byte)0, run);

    private void Flush(SocketPair? open, ref Entries entries, OutboundRun[] runs)
    {
        int done = 0;
        while (done < entries.Count)
        {
            ref OutboundRun run = ref runs[entries.RunOf(done)];
            if (!MayGoOn(run.Outcome))
            {
                done++;
                continue;
            }

            int errno = Errno.EAFNOSUPPORT;
            int sent = open is null ? 0 : SendSome(open, in entries, done, runs, out errno);
            if (sent > 0)
            {
                done += sent;
                continue;
            }

            // Full: whatever follows for this peer would find it so too.
            int lost = done + (errno == Errno.EAGAIN && run.Peer is { } peer ? entries.CountOf(peer, done, runs) : 1);
            for (; done < lost; done++)
            {
                ref OutboundRun refused = ref runs[entries.RunOf(done)];
                refused.Outcome = MayGoOn(refused.Outcome) ? Explain(errno, entries.IsSegmented(done), refused.Endpoint!) : refused.Outcome;
            }
        }

        entries.Clear();
    }

    /// <summary>Sends entries from <paramref name="first"/> on through their peer's lane, or through the common socket; a peer that finds that one full gets a lane.</summary>
    /// <returns>How many went; 0 with the errno of the first where not even that one did.</returns>
    private int SendSome(SocketPair open, in Entries entries, int first, OutboundRun[] runs, out int errno)
    {
        bool ipv6 = entries.IPv6;
        SendLane? lane = entries.Lane;
        int count = entries.Count - first;
        if (lane is null)
        {
            errno = Errno.EAFNOSUPPORT;
            int sent = open.Of(ipv6) is { } common ? SendSome(common, ipv6, entries.Messages + first, count, out errno) : 0;
            Peer? peer = runs[entries.RunOf(first)].Peer;
            if (sent > 0 || errno != Errno.EAGAIN || peer is null || (lane = open.Lanes.Take(peer, ipv6, SystemClock.Now)) is null)
            {
                return sent;
            }

            count = entries.CountOf(peer, first, runs);
        }

        int taken = SendSome(lane.Of(ipv6)!, ipv6, entries.Messages + first, count, out errno);
        lane.Note(taken, full: taken == 0 && errno == Errno.EAGAIN, SystemClock.Now);
        return taken;
    }

    /// <returns>How many went; 0 with the errno of the first where not even that one did.</returns>
    private int SendSome(FileDescriptor socket, bool ipv6, mmsghdr* messages, int count, out int errno)
    {
        const int flags = Libc.MSG_DONTWAIT | Libc.MSG_NOSIGNAL;
        int failures = 0;
        try
        {
            while (true)
            {
                int sent = _hasMmsg
                    ? Libc.sendmmsg(socket, messages, (uint)count, flags)
                    : Libc.sendmsg(socket, &messages->msg_hdr, flags) >= 0 ? 1 : -1;
                if (sent > 0)
                {
                    errno = 0;
                    return sent;
                }

                errno = Marshal.GetLastPInvokeError();
                if (errno != Errno.EINTR && !MayBeOfAnother(errno, failures++, socket, ipv6))
                {
                    return 0;
                }
            }
        }
        catch (ObjectDisposedException)
        {
            errno = Errno.EBADF;
            return 0;
        }
    }

    /// <summary>
    /// With IP_RECVERR the ICMP answer to an earlier message makes the next call fail, whomever that is for: sock_alloc_send_skb tells a pending error, and forgets it, before it
    /// does anything. The same number may be this message's own failure. So it is tried again at once; and again for as long as there are errors in the queue.
    /// (Taking one of them makes the next one pending, which is told once more.)
    /// </summary>
    private bool MayBeOfAnother(int errno, int failures, FileDescriptor socket, bool ipv6)
    {
        if (!_hearsErrors)
        {
            return errno == Errno.ECONNREFUSED && failures == 0;
        }

        return IsToldByIcmp(errno)
            && failures < MaxPendingErrors
            && (failures % 2 == 0 || ErrorQueue.Drain(socket, ipv6, _reports, _hasMmsg) > 0);
    }

    /// <summary>icmp_err_convert of net/ipv4/icmp.c, icmpv6_err_convert of net/ipv6/icmp.c, and EPROTO for a parameter problem.</summary>
    private static bool IsToldByIcmp(int errno) => errno
        is Errno.ECONNREFUSED or Errno.EHOSTUNREACH or Errno.ENETUNREACH or Errno.EMSGSIZE or Errno.EPROTO or Errno.EACCES
        or Errno.ENOPROTOOPT or Errno.EOPNOTSUPP or Errno.EHOSTDOWN or Errno.ENONET;

    private SendOutcome Explain(int errno, bool segmented, Endpoint endpoint)
    {
        bool sourced = !SourceOf(endpoint).IsNone;
        switch (errno)
        {
            // Before Linux 6.14 a segment beyond the route's MTU is EINVAL too: with a source that is still ours, that is what it means.
            case Errno.EINVAL when sourced && segmented:
                return UdpSetup.IsLocal(endpoint.Source, endpoint.Remote.ScopeId) ? SendOutcome.SegmentationRefused : SendOutcome.SourceRefused;
            case Errno.EINVAL or Errno.EADDRNOTAVAIL or Errno.ENETUNREACH or Errno.ENODEV when sourced:
                return SendOutcome.SourceRefused;
            case Errno.EIO or Errno.EINVAL or Errno.EMSGSIZE when segmented:
                return SendOutcome.SegmentationRefused;
            default:
                return SendOutcome.Lost;
        }
    }

    /// <summary>The vector of one sendmmsg: headers, pieces, names, control buffers and run numbers side by side in one piece of stack.</summary>
    private ref struct Entries
    {
        private const int NameSpace = 32;
        private readonly iovec* _pieces;
        private readonly byte* _names;
        private readonly byte* _controls;
        private readonly int* _runs;

        internal Entries(byte* scratch, int capacity)
        {
            Messages = (mmsghdr*)scratch;
            _pieces = (iovec*)(Messages + capacity);
            _names = (byte*)(_pieces + capacity);
            _controls = _names + (capacity * NameSpace);
            _runs = (int*)(_controls + (capacity * ControlMessages.SendSpace));
        }

        internal mmsghdr* Messages { get; }

        internal int Count { get; private set; }

        internal bool IPv6 { get; private set; }

        /// <summary>The lane that all entries go through; null: the common socket.</summary>
        internal SendLane? Lane { get; set; }

        internal static int BytesFor(int capacity) =>
            capacity * (sizeof(mmsghdr) + sizeof(iovec) + NameSpace + ControlMessages.SendSpace + sizeof(int));

        internal readonly int RunOf(int index) => _runs[index] & int.MaxValue;

        internal readonly bool IsSegmented(int index) => _runs[index] < 0;

        /// <summary>How many entries from this one on are of one peer.</summary>
        internal readonly int CountOf(Peer peer, int first, OutboundRun[] runs)
        {
            int end = first + 1;
            while (end < Count && ReferenceEquals(runs[RunOf(end)].Peer, peer))
            {
                end++;
            }

            return end - first;
        }

        internal void Clear() => Count = 0;

        internal void Add(byte* start, int length, int segment, Endpoint endpoint, InetAddress source, byte trafficClass, byte hopLimit, int run)
        {
            IPv6 = endpoint.Remote.Address.IsIPv6;
            byte* name = _names + (Count * NameSpace);
            byte* control = _controls + (Count * ControlMessages.SendSpace);
            int nameLength = SocketAddress.Write(new Span<byte>(name, NameSpace), endpoint.Remote);
            int controlLength = ControlMessages.Write(
                new Span<byte>(control, ControlMessages.SendSpace),
                source,
                endpoint.SourceInterface,
                trafficClass,
                hopLimit,
                segment,
                IPv6);
            _pieces[Count] = new iovec { iov_base = start, iov_len = (nuint)length };
            Messages[Count].msg_hdr = new msghdr
            {
                msg_name = name,
                msg_namelen = (uint)nameLength,
                msg_iov = _pieces + Count,
                msg_iovlen = 1,
                msg_control = controlLength == 0 ? null : control,
                msg_controllen = (nuint)controlLength,
            };

            // The sign remembers whether the kernel is asked to segment.
            _runs[Count++] = segment == 0 ? run : run | int.MinValue;
        }
    }
}
