using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using WgSharp.Crypto;

namespace WgSharp.Protocol;

/// <summary>Fills a span with random bytes (getrandom in the daemon, a seeded generator in tests).</summary>
public delegate void FillRandom(Span<byte> destination);

/// <summary>What a handshake message is worth before anybody spends a Diffie-Hellman on it.</summary>
internal enum HandshakeStanding
{
    /// <summary>For nobody here: silence.</summary>
    Worthless,

    /// <summary>The sender knows our public key, and no more.</summary>
    Honest,

    /// <summary>The sender also owns its source address (mac2).</summary>
    Proven,

    /// <summary>It answers an initiation of ours: we asked for it.</summary>
    Awaited,
}

/// <summary>What a due timer asks for.</summary>
internal enum TimerAction
{
    /// <summary>Looked at, nothing to send (keys were wiped, packets given up, deadlines moved).</summary>
    None,

    /// <summary>Create an initiation with <see cref="Device.TryCreateInitiation"/> (as a retry: the timers count the attempts) and send it.</summary>
    SendInitiation,

    /// <summary>Send a keepalive (or what is staged); with no session, that means staging it and asking for a handshake.</summary>
    SendKeepalive,

    /// <summary>The path's own deadline is reached (<see cref="PathMtu.NextDeadline"/>); then <see cref="Device.PlanPath"/>.</summary>
    LookAtPath,
}

/// <summary>
/// One WireGuard interface: identity, peers, handshake dispatch, timers due. No I/O, no clock, no threads: the control loop is the one writer,
/// the data path reads <see cref="AllowedIps"/> and <see cref="TryFindKeypair"/> from any thread.
/// </summary>
/// <remarks>
/// What is configured stands in Device.Configuration.cs, what becomes of handshake messages in Device.Handshakes.cs; here is what the data path
/// and the control loop ask for between the two. After any call of the control loop's part, there may be work and due timers to take.
/// </remarks>
internal sealed partial class Device : IDisposable
{
    private readonly FillRandom _random;
    private readonly IndexTable<object> _indices;
    private readonly StagingBudget _stagingBudget = new();
    private readonly PeerWorkQueue _work = new();
    private readonly DeadlineHeap _deadlines = new();
    private readonly CookieChecker _cookies;
    private bool _linkIsUp;

    /// <param name="random">Called by the control loop only.</param>
    public Device(FillRandom random)
    {
        _random = random;
        _indices = new IndexTable<object>(random);
        _cookies = new CookieChecker(random);
    }

    // ---- any thread ----

    /// <summary>An immutable snapshot: one volatile read per batch.</summary>
    public AllowedIps AllowedIps => _allowedIps;

    /// <summary>The keypair that a transport message's receiver index names. Lock-free, never allocates.</summary>
    public bool TryFindKeypair(uint receiverIndex, out Keypair keypair)
    {
        keypair = _indices.TryFind(receiverIndex, out object? entry) && entry is Keypair found ? found : null!;
        return keypair is not null;
    }

    /// <summary>Which of several initiations, or responses, have a right mac1: their senders know our public key. Never allocates.</summary>
    /// <param name="buffer">Holds the messages.</param>
    /// <param name="offsets">Where each begins; 1 to <see cref="MacKey.Lanes"/> of them.</param>
    /// <param name="length">Bytes of each: 148 or 92.</param>
    /// <param name="valid">The answers.</param>
    public void CheckMac1(ReadOnlySpan<byte> buffer, ReadOnlySpan<int> offsets, int length, Span<bool> valid) =>
        _cookies.CheckMac1(buffer, offsets, length, valid);

    /// <summary>What a message is worth whose mac1 is right (a cookie reply has none). Never allocates.</summary>
    /// <param name="checksMac2">Whether it matters that the source is proven: mac2 is looked at only then.</param>
    public HandshakeStanding Judge(ReadOnlySpan<byte> message, in InetEndpoint source, bool checksMac2, Instant now)
    {
        if (HandshakeResponse.TryParse(message, out HandshakeResponse response))
        {
            return !_indices.TryFind(response.ReceiverIndex, out object? answered) || answered is not Handshake handshake ? HandshakeStanding.Worthless
                : handshake.TrustsAnswers ? HandshakeStanding.Awaited
                : checksMac2 && _cookies.HasMac2(message, source, now) ? HandshakeStanding.Proven
                : HandshakeStanding.Honest;
        }

        if (CookieReply.TryParse(message, out CookieReply cookie))
        {
            return _indices.TryFind(cookie.ReceiverIndex, out _) ? HandshakeStanding.Honest : HandshakeStanding.Worthless;
        }

        return checksMac2 && _cookies.HasMac2(message, source, now) ? HandshakeStanding.Proven : HandshakeStanding.Honest;
    }

    /// <summary>Leaves work for the control loop. Never allocates; a peer is queued at most once.</summary>
    /// <returns>True if the control loop must be woken.</returns>
    public bool QueueWork(Peer peer, PeerWork work) => _work.Add(peer, work);

    /// <summary>Any thread: packets that were staged, and pushed out by younger ones.</summary>
    public long PushedOut => _stagingBudget.PushedOut;

    // ---- control loop only ----

    /// <summary>What was said last: <see cref="LinkUp"/> or <see cref="LinkDown"/>.</summary>
    public bool LinkIsUp => _linkIsUp;

    public ushort ListenPort { get; private set; }

    public uint Fwmark { get; private set; }

    /// <summary>In order of insertion.</summary>
    public IReadOnlyCollection<Peer> Peers => _peers;

    /// <summary>Control loop: whose message it was that is quoted. Looks at every peer, and allocates nothing.</summary>
    /// <param name="last">How many messages before the newest one count.</param>
    public bool TryFindSender(in InetEndpoint remote, uint receiver, ulong counter, ulong last, [NotNullWhen(true)] out Peer? peer)
    {
        foreach (Peer candidate in _peers)
        {
            if (candidate.Path is { } path && path.Remote == remote && candidate.Keypairs.HasSentLately(receiver, counter, last))
            {
                peer = candidate;
                return true;
            }
        }

        peer = null;
        return false;
    }

    /// <summary>Receiver indices alive: handshakes under way and keypairs.</summary>
    internal int IndexCount => _indices.Count;

    /// <summary>Peers that the timers will look at.</summary>
    internal int DeadlineCount => _deadlines.Count;

    /// <summary>After the socket was bound to a random port: what <c>get</c> shows.</summary>
    public void SetListenPort(ushort port) => ListenPort = port;

    /// <summary>Forgets every peer's sticky source: listen port or fwmark changed.</summary>
    public void ForgetSources()
    {
        foreach (Peer peer in _peers)
        {
            peer.ForgetSource();
        }
    }

    /// <summary>
    /// Link up: peers with a persistent keepalive send one, and what is staged goes out (the kernel's wg_open). Each keepalive means a handshake, so a
    /// hub's are spread (<see cref="FirstKeepalives"/>).
    /// </summary>
    public void LinkUp(Moment moment)
    {
        if (_linkIsUp)
        {
            return;
        }

        _linkIsUp = true;
        var keepalives = new FirstKeepalives(moment.Now);
        foreach (Peer peer in _peers)
        {
            peer.Timers.NoteInitiationPossible();
            keepalives.Count += peer.Timers.StartPersistentKeepalive(keepalives.Next) ? 1 : 0;
            Plan(peer);
            QueueIfStaged(peer);
            if (peer.HadSession)
            {
                peer.HadSession = false;
                QueueWork(peer, PeerWork.Handshake);
            }
        }
    }

    /// <summary>Link down: sessions and handshakes are wiped, staged packets dropped, timers stopped (the kernel's wg_stop).</summary>
    public void LinkDown()
    {
        _linkIsUp = false;
        foreach (Peer peer in _peers)
        {
            WipeSessions(peer);
            StopTimers(peer);
            peer.ForgetPath();
            peer.Staged.Clear();
        }
    }

    /// <summary>
    /// The machine was suspended, and may have been in other hands meanwhile: sessions and handshakes are wiped, what is staged and all timers but that
    /// of the keys stay (the kernel's wg_pm_notification, which does it before; nobody asks us then).
    /// </summary>
    public void WipeAfterSuspend()
    {
        foreach (Peer peer in _peers)
        {
            WipeSessions(peer);
            peer.Timers.NoteSessionsWiped();
            Plan(peer);
        }
    }

    /// <summary>The earliest moment at which a timer may be due; Never if none.</summary>
    public Instant NextDeadline
    {
        get
        {
            Instant collection = _cookies.RateLimiter.NextCollection;
            return collection < _deadlines.Earliest ? collection : _deadlines.Earliest;
        }
    }

    /// <summary>Takes one due timer out. What it asks for is to be done before the next call.</summary>
    public bool TryTakeDueTimer(Moment moment, out Peer peer, out TimerAction action)
    {
        _cookies.RateLimiter.Collect(moment.Now);
        while (_deadlines.Earliest <= moment.Now)
        {
            peer = _deadlines.First;
            PeerTimers.Due due = peer.Timers.TakeDue(moment.Now, Jitter());
            action = Fire(peer, due);
            if (due == PeerTimers.Due.Nothing && peer.Path is { } path && path.Mtu.NextDeadline <= moment.Now)
            {
                action = TimerAction.LookAtPath;
            }

            Plan(peer);
            if (due != PeerTimers.Due.Nothing || action != TimerAction.None)
            {
                return true;
            }
        }

        peer = null!;
        action = TimerAction.None;
        return false;
    }

    /// <summary>Takes one peer out for which there is work. Confirmed, Followed, Moved and Timers are handled inside; what remains is what the caller has to do (Handshake, Staged, Path).</summary>
    public bool TryTakeWork(Moment moment, out Peer peer, out PeerWork work)
    {
        while (_work.TryTake(out peer, out work))
        {
            if (peer.IsRemoved || !_linkIsUp)
            {
                continue;
            }

            if (work.HasFlag(PeerWork.Confirmed))
            {
                // A handshake that came in between may have promoted it already: what waited for it is flushed here all the same.
                PromoteIfConfirmed(peer, moment);
                work |= peer.Staged.IsEmpty ? PeerWork.None : PeerWork.Staged;
            }

            if (work.HasFlag(PeerWork.Moved))
            {
                Note(peer);
            }

            if (work.HasFlag(PeerWork.Followed) && peer.Keypairs is { FollowsPeer: true, Previous.IsConfirmed: true } keypairs)
            {
                peer.Publish(keypairs.Follow());
            }

            Plan(peer);
            work &= PeerWork.Handshake | PeerWork.Staged | PeerWork.Path;
            if (work != PeerWork.None)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Wipes every secret. No other thread may use the device any more.</summary>
    public void Dispose()
    {
        LinkDown();
        RemoveAllPeers();
        PublishAllowedIps();
        _identity?.Dispose();
        _identity = null;
        _cookies.Dispose();
    }

    private TimerAction Fire(Peer peer, PeerTimers.Due due)
    {
        switch (due)
        {
            case PeerTimers.Due.RetransmitHandshake:
            case PeerTimers.Due.NewHandshake:
                // Perhaps the address we answer from is the trouble.
                peer.ForgetSource();
                return TimerAction.SendInitiation;
            case PeerTimers.Due.SendKeepalive:
                return TimerAction.SendKeepalive;
            case PeerTimers.Due.GiveUpHandshake:
                peer.HandshakeLog.NoteGivenUp();
                peer.Staged.Clear();
                return TimerAction.None;
            case PeerTimers.Due.ForgetInitiation:
                Forget(peer.Handshake);
                return TimerAction.None;
            case PeerTimers.Due.ZeroKeyMaterial:
                WipeSessions(peer);
                return TimerAction.None;
            default:
                return TimerAction.None;
        }
    }

    /// <summary>Computes anew when the peer's timers are to be looked at.</summary>
    private void Plan(Peer peer)
    {
        if (_linkIsUp && !peer.IsRemoved)
        {
            Instant look = peer.Timers.PlanNextLook();
            Instant path = peer.Path?.Mtu.NextDeadline ?? Instant.Never;
            _deadlines.Set(peer, path < look ? path : look);
        }
    }

    /// <summary>Something changed that may let waiting packets go.</summary>
    private void QueueIfStaged(Peer peer)
    {
        if (_linkIsUp && !peer.Staged.IsEmpty)
        {
            QueueWork(peer, PeerWork.Staged);
        }
    }

    private void StopTimers(Peer peer)
    {
        peer.Timers.Stop();
        peer.HandshakeLog.Clear();
        _deadlines.Remove(peer);
    }

    /// <summary>REKEY_TIMEOUT_JITTER_MAX_JIFFIES: up to a third of a second, so that two ends do not collide for ever.</summary>
    private TimeSpan Jitter()
    {
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        _random(bytes);
        return Limits.RekeyTimeoutJitterMax * (BinaryPrimitives.ReadUInt32LittleEndian(bytes) / (double)uint.MaxValue);
    }
}

/// <summary>A configuration that cannot be applied; the message says why.</summary>
public sealed class ConfigurationException(string message) : Exception(message);
