using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// The outer sockets: IPv4 and IPv6-only on one port. They belong to the network namespace they are made in, which is that of the
/// process, wherever the interface is moved. Opened when the link goes up, closed when it goes down: the pair is one immutable object
/// behind a volatile reference, so that a receive or send on another thread sees both or none, and finishes on what it saw.
/// </summary>
internal sealed class UdpSocket : IUdpSocket
{
    private readonly KernelFeatures _features;
    private readonly Lock _gate = new();
    private readonly RouteNews _news;
    private readonly UdpWatch _watch;
    private readonly SourceRoutes _routes;
    private readonly UdpSender _sender;
    private readonly PathMtus _pathMtus;
    private readonly PathReports _reports = new();
    private volatile SocketPair? _open;
    private bool _ipv6First;
    private bool _disposed;

    /// <summary>Finds out on scratch sockets what the kernel can do; opens nothing yet.</summary>
    public UdpSocket(KernelFeatures features)
    {
        _features = features;
        UdpSetup.Probe(features);
        _news = new RouteNews(features);
        _watch = new UdpWatch(_news);
        _routes = new SourceRoutes(_news, features);
        _pathMtus = new PathMtus(_news);
        _sender = new UdpSender(features, _routes, _pathMtus, _reports);
    }

    /// <summary>The port, or 0 while closed.</summary>
    public ushort Port => _open?.Port ?? 0;

    /// <inheritdoc/>
    public ushort Open(ushort port, uint fwmark)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            SocketPair? old = _open;
            RouteBy(fwmark);
            if (old is not null && old.Port == port)
            {
                old.SetMark(fwmark);
                return port;
            }

            // The new pair stands before the old one goes: a port that is taken changes nothing.
            SocketPair pair = SocketPair.Open(port, fwmark, _reports.Wanted, _features);
            _watch.Add(pair);
            _watch.ExpectBoth();
            _open = pair;
            Retire(old);
            return pair.Port;
        }
    }

    /// <inheritdoc/>
    public void Try(ushort port, uint fwmark) => SocketPair.Open(port, fwmark, _reports.Wanted, _features).Dispose();

    /// <inheritdoc/>
    public void Close()
    {
        lock (_gate)
        {
            SocketPair? old = _open;
            _open = null;
            Retire(old);
        }
    }

    /// <inheritdoc/>
    public void SetMark(uint fwmark)
    {
        lock (_gate)
        {
            RouteBy(fwmark);
            _open?.SetMark(fwmark);
        }
    }

    /// <inheritdoc/>
    public IoStatus Receive(PacketBatch batch)
    {
        batch.TrainCount = 0;
        SocketPair? open = _open;
        if (open is null)
        {
            return IoStatus.LinkDown;
        }

        // By turns, so that a flood on one family does not shut out the other.
        bool ipv6First = _ipv6First;
        _ipv6First = !ipv6First;
        try
        {
            int slot = 0;
            if (_watch.ExpectsErrors)
            {
                ReceiveErrors(open);
            }

            Receive(open, ipv6First, batch, ref slot);
            Receive(open, !ipv6First, batch, ref slot);
        }
        catch (ObjectDisposedException)
        {
            // Closed between two system calls; what had come is still good.
            return batch.TrainCount > 0 ? IoStatus.Done : IoStatus.LinkDown;
        }

        batch.Drained = !_watch.ExpectsAny;
        return batch.TrainCount > 0 ? IoStatus.Done : IoStatus.WouldBlock;
    }

    /// <inheritdoc/>
    public void Send(PacketBatch batch, int first, int count) => _sender.Send(_open, batch, first, count);

    /// <inheritdoc/>
    public SendOutcome SendOne(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass) =>
        SendOne(datagram, endpoint, trafficClass, out _);

    /// <inheritdoc/>
    public SendOutcome SendOne(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass, out int errno) =>
        _sender.SendOne(_open, datagram, endpoint, trafficClass, out errno);

    /// <inheritdoc/>
    public int LaneCount => _open?.Lanes.TakenCount ?? 0;

    /// <inheritdoc/>
    public int PathMtu(Endpoint endpoint, Instant now) => _pathMtus.Of(endpoint, now);

    /// <inheritdoc/>
    public bool CanSendWhole => _features.Has(KernelFeature.Lanes);

    /// <inheritdoc/>
    public SendOutcome SendWhole(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass) =>
        _sender.SendWhole(_open, datagram, endpoint, trafficClass);

    /// <inheritdoc/>
    public bool HasPathReports => _reports.Any;

    /// <inheritdoc/>
    public int TakePathReports(Span<PathReport> reports)
    {
        int taken = _reports.Take(reports);
        HearAgain();
        return taken;
    }

    /// <inheritdoc/>
    public void ListenForPathReports(bool on)
    {
        lock (_gate)
        {
            if (_reports.Wanted != on)
            {
                _reports.Wanted = on;
                if (_open is { } open)
                {
                    Listen(open, on);
                }
            }
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            Close();
            _news.Dispose();
            _routes.Dispose();
            _pathMtus.Dispose();
        }
    }

    /// <summary>From now on this epoll instance watches whatever sockets are open.</summary>
    internal void Watch(Epoll epoll)
    {
        lock (_gate)
        {
            _watch.Join(epoll, _open);
        }
    }

    internal void Unwatch(Epoll epoll)
    {
        lock (_gate)
        {
            _watch.Leave(epoll, _open);
        }
    }

    /// <summary>An epoll instance that watches them told this.</summary>
    internal Readiness Note(in EpollEvent told) => _watch.Note(told);

    /// <summary>For tests that look at the options.</summary>
    internal SocketPair? Sockets => _open;

    /// <summary>The mark chooses the rules by which routes are found.</summary>
    private void RouteBy(uint fwmark)
    {
        _routes.SetMark(fwmark);
        _pathMtus.SetMark(fwmark);
        _news.BeginAnew();
    }

    /// <summary>While the sockets are open: the raw ones come or go.</summary>
    private void Listen(SocketPair open, bool on)
    {
        _watch.Remove(open);
        open.Listen(on, _features);
        _watch.Add(open);
    }

    private void Receive(SocketPair open, bool ipv6, PacketBatch batch, ref int slot)
    {
        if (_watch.Expects(ipv6) && !UdpReceiver.Receive(open.Of(ipv6), ipv6, batch, ref slot, _features))
        {
            _watch.NoteEnd(ipv6);
        }
    }

    /// <summary>One turn for each queue; a waiter tells of whatever is left, because it stays ready.</summary>
    private void ReceiveErrors(SocketPair open)
    {
        bool mmsg = _features.Has(KernelFeature.Mmsg);
        int errors = 0;
        if (_watch.TakeErrors(ipv6: false) && open.V4 is { } v4)
        {
            errors += ErrorQueue.Drain(v4, ipv6: false, _reports, mmsg);
        }

        if (_watch.TakeErrors(ipv6: true) && open.V6 is { } v6)
        {
            errors += ErrorQueue.Drain(v6, ipv6: true, _reports, mmsg);
        }

        if (_watch.TakeLaneErrors())
        {
            errors += open.Lanes.DrainErrors(_reports);
        }

        if (_watch.TakeTooBig() && open.Raw is { } raw)
        {
            TooBigListener.Drain(raw.TooBig, _reports, mmsg);
            if (!_reports.Any)
            {
                HearAgain();
            }
        }

        if (errors > 0)
        {
            _reports.NoteHeard(errors);
            if (!open.IsDeaf && _reports.ArePlenty)
            {
                HearNoMore(open);
            }
        }
    }

    /// <summary>Until the reports are taken. While somebody opens or closes this can wait for the next turn: the queue of errors has a limit of its own.</summary>
    private void HearNoMore(SocketPair open)
    {
        if (!_gate.TryEnter())
        {
            return;
        }

        try
        {
            if (ReferenceEquals(open, _open))
            {
                open.SetDeaf(true, _features);

                // Taken before that could be seen: nobody would come again.
                if (!_reports.ArePlenty)
                {
                    open.SetDeaf(false, _features);
                }
            }
        }
        finally
        {
            _gate.Exit();
        }
    }

    /// <summary>The reports were taken.</summary>
    private void HearAgain()
    {
        if (_watch.TooBigIsUnwatched || _open is { IsDeaf: true })
        {
            lock (_gate)
            {
                if (_watch.TooBigIsUnwatched)
                {
                    _watch.WatchTooBigAgain(_open);
                }

                if (_open is { IsDeaf: true } open)
                {
                    open.SetDeaf(false, _features);
                }
            }
        }
    }

    private void Retire(SocketPair? pair)
    {
        if (pair is not null)
        {
            _watch.Remove(pair);
            pair.Dispose();
        }
    }
}
