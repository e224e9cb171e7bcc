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
    /// <summary>How often a random port that is taken in the other family is thrown again.</summary>
    private const int PortAttempts = 100;

    /// <summary>The keys under which an <see cref="Epoll"/> watches begin here; below are those of whoever has it.</summary>
    internal const ulong FirstKey = 16;

    internal const ulong V4Key = FirstKey;
    internal const ulong V6Key = FirstKey + 1;
    internal const ulong TooBigKey = FirstKey + 2;
    private const ulong LanesKey = FirstKey + 3;
    private const ulong RoutesKey = FirstKey + 4;
    private const uint TooBigEvents = Libc.EPOLLIN | Libc.EPOLLONESHOT;

    private readonly KernelFeatures _features;
    private readonly Lock _gate = new();
    private readonly List<Epoll> _epolls = [];
    private readonly RouteNews _news;
    private readonly SourceRoutes _routes;
    private readonly UdpSender _sender;
    private readonly PathMtus _pathMtus;
    private readonly PathReports _reports = new();
    private volatile SocketPair? _open;

    /// <summary>Whether there may be something to receive; a waiter says so, and a receive that came to the end takes it back.</summary>
    private volatile bool _expects4;
    private volatile bool _expects6;

    /// <summary>A waiter saw that an error queue is not empty; the next receive takes a turn at it.</summary>
    private volatile bool _expectsErrors4;
    private volatile bool _expectsErrors6;
    private volatile bool _expectsLaneErrors;
    private volatile bool _expectsTooBig;
    private volatile bool _tooBigIsDeaf;
    private bool _ipv6First;
    private bool _disposed;

    /// <summary>Finds out on scratch sockets what the kernel can do; opens nothing yet.</summary>
    public UdpSocket(KernelFeatures features)
    {
        _features = features;
        UdpSetup.Probe(features);
        _news = new RouteNews(features);
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
            SocketPair pair = OpenPair(port, fwmark);
            foreach (Epoll epoll in _epolls)
            {
                Register(epoll, pair);
            }

            _expects4 = true;
            _expects6 = true;
            _open = pair;
            Retire(old);
            return pair.Port;
        }
    }

    /// <inheritdoc/>
    public void Try(ushort port, uint fwmark) => OpenPair(port, fwmark).Dispose();

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
            if (_expectsErrors4 || _expectsErrors6 || _expectsLaneErrors || _expectsTooBig)
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

        batch.Drained = !_expects4 && !_expects6;
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
        ListenAgain();
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
            _epolls.Add(epoll);
            epoll.Add(_news.Descriptor, RoutesKey);
            if (_open is { } open)
            {
                Register(epoll, open);
            }
        }
    }

    internal void Unwatch(Epoll epoll)
    {
        lock (_gate)
        {
            _epolls.Remove(epoll);
            if (_open is { } open)
            {
                Unregister(epoll, open);
            }
        }
    }

    /// <summary>A waiter was told this of something that <see cref="Watch"/> gave it.</summary>
    internal Readiness Note(in EpollEvent told)
    {
        switch (told.Key)
        {
            case RoutesKey:
                _news.Read();
                return Readiness.None;
            case LanesKey:
                _expectsLaneErrors = true;
                break;
            case TooBigKey:
                _tooBigIsDeaf = true;
                _expectsTooBig = true;
                break;
            case V4Key:
                _expects4 = true;
                if ((told.Events & Libc.EPOLLERR) != 0)
                {
                    _expectsErrors4 = true;
                }

                break;
            case V6Key:
                _expects6 = true;
                if ((told.Events & Libc.EPOLLERR) != 0)
                {
                    _expectsErrors6 = true;
                }

                break;
        }

        return Readiness.Udp;
    }

    /// <summary>For tests that look at the options.</summary>
    internal SocketPair? Sockets => _open;

    /// <summary>The mark chooses the rules by which routes are found.</summary>
    private void RouteBy(uint fwmark)
    {
        _routes.SetMark(fwmark);
        _pathMtus.SetMark(fwmark);
        _news.BeginAnew();
    }

    private static void Register(Epoll epoll, SocketPair pair)
    {
        epoll.Add(pair.V4, V4Key);
        epoll.Add(pair.V6, V6Key);
        epoll.Add(pair.Lanes.Errors?.Descriptor, LanesKey);
        epoll.Add(pair.Raw?.TooBig, TooBigKey, TooBigEvents);
    }

    private static void Unregister(Epoll epoll, SocketPair pair)
    {
        epoll.Remove(pair.V4);
        epoll.Remove(pair.V6);
        epoll.Remove(pair.Lanes.Errors?.Descriptor);
        epoll.Remove(pair.Raw?.TooBig);
    }

    /// <summary>While the sockets are open: the raw ones come or go.</summary>
    private void Listen(SocketPair open, bool on)
    {
        foreach (Epoll epoll in _epolls)
        {
            Unregister(epoll, open);
        }

        open.Listen(on, _features);
        foreach (Epoll epoll in _epolls)
        {
            Register(epoll, open);
        }
    }

    private void Receive(SocketPair open, bool ipv6, PacketBatch batch, ref int slot)
    {
        if (!(ipv6 ? _expects6 : _expects4) || UdpReceiver.Receive(open.Of(ipv6), ipv6, batch, ref slot, _features))
        {
            return;
        }

        if (ipv6)
        {
            _expects6 = false;
        }
        else
        {
            _expects4 = false;
        }
    }

    /// <summary>One turn for each queue; a waiter tells of whatever is left, because it stays ready.</summary>
    private void ReceiveErrors(SocketPair open)
    {
        bool mmsg = _features.Has(KernelFeature.Mmsg);
        if (_expectsErrors4)
        {
            _expectsErrors4 = false;
            _ = open.V4 is { } v4 ? ErrorQueue.Drain(v4, ipv6: false, _reports, mmsg) : 0;
        }

        if (_expectsErrors6)
        {
            _expectsErrors6 = false;
            _ = open.V6 is { } v6 ? ErrorQueue.Drain(v6, ipv6: true, _reports, mmsg) : 0;
        }

        if (_expectsLaneErrors)
        {
            _expectsLaneErrors = false;
            open.Lanes.DrainErrors(_reports);
        }

        if (_expectsTooBig)
        {
            _expectsTooBig = false;
            if (open.Raw is { } raw)
            {
                TooBigListener.Drain(raw.TooBig, _reports, mmsg);
                if (!_reports.Any)
                {
                    ListenAgain();
                }
            }
        }
    }

    /// <summary>A socket that anybody can fill wakes a thread only once until its reports are taken (EPOLLONESHOT).</summary>
    private void ListenAgain()
    {
        if (_tooBigIsDeaf)
        {
            lock (_gate)
            {
                _tooBigIsDeaf = false;
                foreach (Epoll epoll in _epolls)
                {
                    epoll.Modify(_open?.Raw?.TooBig, TooBigKey, TooBigEvents);
                }
            }
        }
    }

    private void Retire(SocketPair? pair)
    {
        if (pair is null)
        {
            return;
        }

        foreach (Epoll epoll in _epolls)
        {
            Unregister(epoll, pair);
        }

        pair.Dispose();
    }

    private SocketPair OpenPair(ushort port, uint fwmark)
    {
        for (int attempt = 1; ; attempt++)
        {
            Listening listens = _reports.Wanted ? Listening.ErrorQueues : Listening.Off;
            FileDescriptor? v4 = UdpSetup.Open(ipv6: false, port, fwmark, listens, _features, out int errno4);
            ThrowUnlessMissing(v4, errno4, port, "IPv4");
            ushort chosen = v4 is null ? port : UdpSetup.PortOf(v4, ipv6: false);

            FileDescriptor? v6 = UdpSetup.Open(ipv6: true, chosen, fwmark, listens, _features, out int errno6);
            if (v6 is null && !UdpSetup.IsMissing(errno6))
            {
                v4?.Dispose();
                if (port == 0 && errno6 == Errno.EADDRINUSE && attempt < PortAttempts)
                {
                    continue;
                }

                ThrowUnlessMissing(v6, errno6, chosen, "IPv6");
            }

            if (v4 is null && v6 is null)
            {
                throw new IOException($"Neither an IPv4 nor an IPv6 socket can be had: {Errno.Describe(errno4)}; {Errno.Describe(errno6)}.", errno4);
            }

            chosen = v6 is null ? chosen : UdpSetup.PortOf(v6, ipv6: true);
            var pair = new SocketPair(v4, v6, chosen, fwmark, new SendLanes(v4, v6, chosen, fwmark, listens, _features));
            pair.Listen(_reports.Wanted, _features);
            return pair;
        }
    }

    private static void ThrowUnlessMissing(FileDescriptor? socket, int errno, ushort port, string family)
    {
        if (socket is not null || UdpSetup.IsMissing(errno))
        {
            return;
        }

        string message = errno switch
        {
            Errno.EADDRINUSE => $"UDP port {port} is in use on {family} (EADDRINUSE): choose another ListenPort, or stop the program that has it.",
            Errno.EACCES => $"UDP port {port} may not be opened on {family} (EACCES): ports below 1024 need CAP_NET_BIND_SERVICE.",
            Errno.EPERM => $"The fwmark could not be set on {family} (EPERM): it needs CAP_NET_ADMIN.",
            _ => $"UDP port {port} could not be opened on {family}: {Errno.Describe(errno)}.",
        };
        throw new IOException(message, errno);
    }
}

/// <summary>What is open at one time: at least one of the two, and the lanes beside them.</summary>
internal sealed record SocketPair(FileDescriptor? V4, FileDescriptor? V6, ushort Port, uint Mark, SendLanes Lanes) : IDisposable
{
    internal FileDescriptor? Of(bool ipv6) => ipv6 ? V6 : V4;

    private volatile RawSockets? _raw;

    /// <summary>What IPv6 has beside, or null: while nobody listens, and where it is not to be had.</summary>
    internal RawSockets? Raw => _raw;

    private uint Mark { get; set; } = Mark;

    /// <exception cref="IOException">CAP_NET_ADMIN is missing.</exception>
    internal void SetMark(uint fwmark)
    {
        Mark = fwmark;
        UdpSetup.SetMark(V4, V6, fwmark);
        Lanes.SetMark(fwmark);
        _raw?.Fragments.SetMark(fwmark);
    }

    /// <summary>The raw sockets open first and close last: at no time does nobody hear what the kernel does not believe.</summary>
    internal void Listen(bool on, KernelFeatures features)
    {
        RawSockets? raw = on && V6 is not null && features.Has(KernelFeature.Raw6) ? _raw ?? RawSockets.Open(Port, Mark, out _) : null;
        Listening listens = !on ? Listening.Off : raw is null ? Listening.ErrorQueues : Listening.Raw6;
        if (V4 is not null)
        {
            UdpSetup.Listen(V4, ipv6: false, listens, features);
        }

        if (V6 is not null)
        {
            UdpSetup.Listen(V6, ipv6: true, listens, features);
        }

        Lanes.Listen(listens);
        if (!ReferenceEquals(raw, _raw))
        {
            _raw?.Dispose();
            _raw = raw;
        }
    }

    public void Dispose()
    {
        Lanes.Dispose();
        _raw?.Dispose();
        foreach (FileDescriptor? socket in (ReadOnlySpan<FileDescriptor?>)[V4, V6])
        {
            if (socket is not null)
            {
                // The port is free when this returns, to be opened again at once.
                socket.DisposeAndWait();
            }
        }
    }
}
