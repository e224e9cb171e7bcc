using Microsoft.Extensions.Logging;
using WgSharp.Protocol;

namespace WgSharp.Engine.Control;

/// <summary>
/// The one writer of protocol state: handshakes, timers, configuration, link changes. It sleeps until the next deadline or until someone has
/// work for it, and sends what follows: handshake messages, keepalives, staged packets. It works in turns: something of everything that waits, none of
/// it for longer than its share, and with a fresh reading of the clock for each. So whatever there is too much of (strangers' handshakes, a hub's ten
/// thousand keepalives, packets staged for a slow link) delays neither the rest nor a person at <c>wg</c>.
/// </summary>
internal sealed class ControlLoop
{
    /// <summary>DSCP AF41 for handshake messages (the kernel's HANDSHAKE_DSCP).</summary>
    private const byte HandshakeTrafficClass = 0x88;

    /// <summary>Cookie replies in one <see cref="CookieWindow"/>, so that strangers who know the public key do not get all of the processor.</summary>
    private const int CookiesPerWindow = 64;

    private static readonly TimeSpan CookieWindow = TimeSpan.FromMilliseconds(10);

    /// <summary>How long one kind of work may go on within a turn. Its last piece may take longer.</summary>
    private static readonly TimeSpan Share = TimeSpan.FromMilliseconds(5);

    /// <summary>Less than any suspend takes, more than lies between the readings of two clocks.</summary>
    private static readonly TimeSpan ShortestSuspend = TimeSpan.FromMilliseconds(100);

    private readonly TunnelIo _io;
    private readonly Device _device;
    private readonly TunnelLink _link;
    private readonly IWaiter _waiter;
    private readonly HandshakeQueue _handshakes;
    private readonly StagedSender _staged;
    private readonly ILogger _log;
    private readonly ListenPort _port;
    private readonly PathKeeper _paths;
    private readonly ConfigurationKeeper? _keeper;
    private readonly byte[] _message = new byte[MessageSize.HandshakeInitiation];
    private readonly byte[] _reply = new byte[MessageSize.HandshakeInitiation];
    private readonly Func<Moment, bool>[] _kindsOfWork;
    private volatile bool _stopping;
    private Instant _cookieWindowEnds;
    private int _cookiesLeft;
    private TimeSpan _suspended;

    public ControlLoop(
        TunnelIo io, Device device, TunnelLink link, IWaiter waiter, HandshakeQueue handshakes, StagedSender staged, ILogger log, ConfigurationKeeper? keeper = null)
    {
        _io = io;
        _device = device;
        _link = link;
        _waiter = waiter;
        _handshakes = handshakes;
        _staged = staged;
        Mailbox = new ControlMailbox(waiter);
        _port = new ListenPort(io.Udp, device, link, log);
        _log = log;
        _paths = new PathKeeper(io, device, link, staged, log);
        _keeper = keeper;
        _kindsOfWork = [TakeCommand, TakeHandshake, TakePeerWork, TakeTimer];
        _suspended = io.Suspended();
    }

    /// <summary>Any thread: where requests are left.</summary>
    public ControlMailbox Mailbox { get; }

    /// <summary>The thread's body; returns after <see cref="Stop"/>.</summary>
    public void Run()
    {
        try
        {
            while (!_stopping)
            {
                if (!TakeTurn() && !_stopping)
                {
                    _waiter.Wait(NextDeadline());
                }
            }
        }
        finally
        {
            _keeper?.WriteNotes(_io.Clock().Now, atOnce: true);
            _device.LinkDown();
            Mailbox.Close();
        }
    }

    public void Stop()
    {
        _stopping = true;
        _waiter.Wake();
    }

    /// <summary>One turn.</summary>
    /// <returns>True if something may be left.</returns>
    internal bool TakeTurn()
    {
        bool more = false;
        foreach (Func<Moment, bool> takeOne in _kindsOfWork)
        {
            more |= TakeShare(takeOne);
        }

        Instant now = ReadClock().Now;
        _paths.TakeReports(now);
        _keeper?.WriteNotes(now);
        return more;
    }

    /// <param name="takeOne">One piece of work; false if there was none.</param>
    /// <returns>True if the share was up first.</returns>
    private bool TakeShare(Func<Moment, bool> takeOne)
    {
        Moment moment = ReadClock();
        Instant end = moment.Now + Share;
        while (takeOne(moment))
        {
            moment = ReadClock();
            if (moment.Now >= end || _stopping)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Before each piece of work: nothing is sent or answered with keys from before a suspend.</summary>
    private Moment ReadClock()
    {
        TimeSpan asleep = _io.Suspended() - _suspended;
        if (asleep >= ShortestSuspend)
        {
            _suspended += asleep;
            _device.WipeAfterSuspend();
            Log.Resumed(_log, Math.Round(asleep.TotalSeconds, 1));
        }

        return _io.Clock();
    }

    /// <summary>Until when the loop may sleep if a turn has left nothing and nobody wakes it.</summary>
    internal Instant NextDeadline()
    {
        Instant deadline = _port.RetryAt < _device.NextDeadline ? _port.RetryAt : _device.NextDeadline;
        deadline = _paths.ReportsAt < deadline ? _paths.ReportsAt : deadline;
        deadline = _keeper is { } keeper && keeper.WritesAt < deadline ? keeper.WritesAt : deadline;

        // What waits is for the next window.
        return !_handshakes.IsEmpty && _cookieWindowEnds < deadline ? _cookieWindowEnds : deadline;
    }

    // ---- requests ----

    private bool TakeCommand(Moment moment)
    {
        if (moment.Now >= _port.RetryAt)
        {
            _port.Open(moment.Now);
            _keeper?.NotePort();
        }

        return Mailbox.TryExecute(moment);
    }

    /// <summary>Applies the whole of it, or nothing.</summary>
    public bool Configure(DeviceConfiguration configuration, Moment moment)
    {
        _port.Configure(configuration, moment);
        _keeper?.NoteConfigured(configuration);
        _keeper?.NotePort();
        LookAtPaths();
        return true;
    }

    /// <summary>Before the link is up: takes over what a predecessor has left, if it has left anything, and begins to write down what becomes of it.</summary>
    /// <returns>How many peers there are, and with how many there was a session.</returns>
    public (int Peers, int Sessions) Restore(SavedConfiguration? saved, Moment moment)
    {
        int sessions = saved is null ? 0 : _device.Restore(saved, moment);
        _keeper?.Begin((saved?.Generation ?? 0) + 1);
        return (_device.Peers.Count, sessions);
    }

    public bool OwnAddressesChanged(IReadOnlyList<InetAddress> addresses)
    {
        _link.OwnAddresses = addresses;
        LookAtPaths();
        return true;
    }

    public DeviceSnapshot Snapshot() => _device.Snapshot();

    public TunnelStatus Describe(Instant now)
    {
        Strangers strangers = _device.Strangers;
        bool any = strangers.Count > 0;
        return new TunnelStatus
        {
            PublicKey = _device.PublicKey,
            ListenPort = _device.ListenPort,
            Fwmark = _device.Fwmark,
            LinkIsUp = _device.LinkIsUp,
            Mtu = _link.Mtu,
            MtuPolicy = _link.MtuPolicy,
            PeerCount = _device.Peers.Count,
            StagedPackets = _device.StagedPackets,
            StagedBytes = _device.StagedBytes,
            StrangerCount = strangers.Count,
            StrangerKey = any ? strangers.LastKey : null,
            StrangerSource = any ? strangers.LastSource : null,
            StrangerAge = any ? now - strangers.LastAt : null,
        };
    }

    public bool DescribePeers(PeerCursor cursor, int most, int mostAllowedIps, Instant now, ICollection<PeerStatus> described)
    {
        bool more = _device.DescribePeers(cursor, most, mostAllowedIps, now, described);
        foreach (PeerStatus peer in described)
        {
            peer.UnsegmentedFrom = peer.Endpoint is { } endpoint ? _link.Refusals.RefusedFrom(endpoint, now) : 0;
        }

        return more;
    }

    public bool LinkChanged(bool up, int mtu, Moment moment)
    {
        _link.Mtu = mtu;
        if (up == _device.LinkIsUp)
        {
            return up;
        }

        if (up)
        {
            _port.Open(moment.Now);
            _device.LinkUp(moment);
            _keeper?.NotePort();
        }
        else
        {
            _port.Close();
            _handshakes.Clear();
            _device.LinkDown();
            Log.LinkDown(_log);
        }

        return up;
    }

    /// <summary>Whom to ask about the paths may have changed: whoever could not be asked before waits for that.</summary>
    private void LookAtPaths()
    {
        foreach (Peer peer in _device.Peers)
        {
            if (peer.Path is not null)
            {
                _device.QueueWork(peer, PeerWork.Path);
            }
        }
    }

    // ---- handshakes ----

    private bool TakeHandshake(Moment moment)
    {
        if (moment.Now >= _cookieWindowEnds)
        {
            _cookieWindowEnds = moment.Now + CookieWindow;
            _cookiesLeft = CookiesPerWindow;
        }

        if (!_handshakes.TryTake(_message, moment.Now, onlySure: _cookiesLeft == 0, out QueuedHandshake taken))
        {
            return false;
        }

        HandshakeResult result = _device.Handle(_message.AsSpan(0, taken.Length), taken.Origin, taken.NeedsCookie, moment, _reply);
        if (result.Outcome != HandshakeOutcome.Dropped)
        {
            Log.HandshakeHandled(_log, result.Peer?.PublicKey, taken.Origin.Source, result.Outcome);
        }

        _cookiesLeft -= result.Outcome == HandshakeOutcome.CookieReply ? 1 : 0;
        Answer(result, taken.Origin, moment);
        return true;
    }

    private void Answer(in HandshakeResult result, in HandshakeOrigin origin, Moment moment)
    {
        ReadOnlySpan<byte> reply = _reply.AsSpan(0, result.ReplyLength);
        switch (result.Outcome)
        {
            case HandshakeOutcome.Respond:
                SendHandshake(result.Peer!, reply, moment);
                break;
            case HandshakeOutcome.CookieReply:
                _io.Udp.SendOne(reply, new Endpoint(origin.Source, origin.LocalAddress, origin.LocalInterface), HandshakeTrafficClass);
                break;
            case HandshakeOutcome.SessionEstablished:
                // Either of them confirms the key to the responder.
                if (!SendStaged(result.Peer!, moment))
                {
                    _staged.SendKeepalive(result.Peer!, moment.Now);
                }

                break;
        }
    }

    private void SendInitiation(Peer peer, bool retry, Moment moment)
    {
        if (_device.TryCreateInitiation(peer, retry, moment, _message))
        {
            Log.InitiationSent(_log, peer.PublicKey, peer.Endpoint!.Remote);
            SendHandshake(peer, _message, moment);
        }
    }

    private void SendHandshake(Peer peer, ReadOnlySpan<byte> message, Moment moment)
    {
        Endpoint? endpoint = peer.Endpoint;
        if (endpoint is null)
        {
            return;
        }

        SendOutcome outcome = _io.Udp.SendOne(message, endpoint, HandshakeTrafficClass, out int errno);
        if (outcome == SendOutcome.SourceRefused)
        {
            outcome = _io.Udp.SendOne(message, peer.ForgetSource(endpoint), HandshakeTrafficClass, out errno);
        }

        // The timers run on from the attempt; only what left counts as bytes.
        _device.NoteHandshakeSent(peer, outcome == SendOutcome.Sent ? message.Length : 0, moment, errno);
    }

    // ---- what the data path asks for, and timers ----

    private bool TakePeerWork(Moment moment)
    {
        if (!_device.TryTakeWork(moment, out Peer peer, out PeerWork work))
        {
            return false;
        }

        bool wantsSession = work.HasFlag(PeerWork.Handshake);
        if (work.HasFlag(PeerWork.Staged) && !SendStaged(peer, moment))
        {
            wantsSession |= !peer.Staged.IsEmpty;
        }

        if (wantsSession)
        {
            SendInitiation(peer, retry: false, moment);
        }

        if (work.HasFlag(PeerWork.Path))
        {
            _paths.Look(peer, moment.Now);
        }

        return true;
    }

    private bool TakeTimer(Moment moment)
    {
        if (!_device.TryTakeDueTimer(moment, out Peer peer, out TimerAction action))
        {
            return false;
        }

        switch (action)
        {
            case TimerAction.SendInitiation:
                SendInitiation(peer, retry: true, moment);
                break;
            case TimerAction.SendKeepalive:
                SendKeepalive(peer, moment);
                break;
            case TimerAction.LookAtPath:
                _paths.Look(peer, moment.Now);
                break;
        }

        return true;
    }

    /// <summary>What is staged serves as well; without a session, one is asked for, and its first message will be the keepalive.</summary>
    private void SendKeepalive(Peer peer, Moment moment)
    {
        if (!SendStaged(peer, moment) && !_staged.SendKeepalive(peer, moment.Now))
        {
            SendInitiation(peer, retry: false, moment);
        }
    }

    /// <summary>Sends a portion of what is staged; for the rest, the peer's turn comes again after the others'.</summary>
    /// <returns>False if nothing was sent.</returns>
    private bool SendStaged(Peer peer, Moment moment)
    {
        bool sent = _staged.SendStaged(peer, moment.Now);
        if (sent && !peer.Staged.IsEmpty)
        {
            _device.QueueWork(peer, PeerWork.Staged);
        }

        return sent;
    }
}
