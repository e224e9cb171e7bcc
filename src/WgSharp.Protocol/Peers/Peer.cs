using WgSharp.Crypto;

namespace WgSharp.Protocol;

/// <summary>What any thread, the data path's first of all, leaves for the control loop to do for a peer.</summary>
[Flags]
internal enum PeerWork
{
    None = 0,

    /// <summary>An event may have armed a timer earlier than the control loop has planned to look.</summary>
    Timers = 1,

    /// <summary>A session is wanted: no keypair, one that expired, or one that is due for a rekey.</summary>
    Handshake = 2,

    /// <summary>A packet was opened with the next keypair: the initiator confirmed it.</summary>
    Confirmed = 4,

    /// <summary>Packets were staged although there is a session now, or the peer was told to send: flush.</summary>
    Staged = 8,

    /// <summary>Of two sessions that were begun at once the peer uses the other: use that one.</summary>
    Followed = 16,

    /// <summary>Something is new about the path: a large message left, the route changed, fragments came, a probe was answered.</summary>
    Path = 32,

    /// <summary>Messages come from another endpoint, and somebody wants to know (<see cref="Device.TakesNotes"/>).</summary>
    Moved = 64,
}

/// <summary>One peer. The control loop writes; what the data path may call says so. A peer that was removed never comes back: its successor is a new object.</summary>
internal sealed class Peer
{
    // ---- written by the control loop, read by any thread ----

    private volatile Keypairs _keypairs = Keypairs.None;
    private volatile PeerPath? _path;
    private volatile bool _isRemoved;

    // ---- written by any thread ----

    /// <summary>Inbound threads and the control loop replace it as a whole.</summary>
    private volatile Endpoint? _endpoint;

    private object? _sendShare;
    private DropCounters? _drops;

    /// <summary>Written by the control loop, read by any thread.</summary>
    private volatile bool _isNoted;

    private readonly PeerActivity _activity = new();
    private long _rxBytes;
    private long _txBytes;

    /// <summary>What was added and not taken yet, by Interlocked. Not zero: the peer stands in the <see cref="PeerWorkQueue"/>.</summary>
    private int _work;

    internal Peer(PublicKey publicKey, StagingBudget budget)
    {
        PublicKey = publicKey;
        Staged = new StagedPackets(budget);
        Timers = new PeerTimers(_activity);
    }

    public PublicKey PublicKey { get; }

    /// <summary>Grows with every peer of a device: the order of insertion.</summary>
    internal long Number { get; init; }

    /// <summary>Any thread: one volatile read.</summary>
    public Keypairs Keypairs => _keypairs;

    /// <summary>Any thread: one volatile read. Null if not known.</summary>
    public Endpoint? Endpoint => _endpoint;

    /// <summary>Any thread: one volatile read. Null while no data was sent; may lag behind <see cref="Endpoint"/>.</summary>
    public PeerPath? Path => _path;

    public StagedPackets Staged { get; }

    /// <summary>Any thread: what the sockets keep for this peer, its own share of what they may hold. Opaque here.</summary>
    public object? SendShare
    {
        get => Volatile.Read(ref _sendShare);
        set => Volatile.Write(ref _sendShare, value);
    }

    /// <summary>True once removed from the device: nothing is sent to it, nothing staged for it.</summary>
    public bool IsRemoved => _isRemoved;

    // ---- control loop only ----

    internal PeerTimers Timers { get; }

    /// <summary>Made when it is first needed: of 25,000 peers most never shake hands with us today.</summary>
    internal Handshake Handshake => HandshakeIfAny ??= new Handshake(this);

    internal Handshake? HandshakeIfAny { get; private set; }

    /// <summary>All zeros are kept as null.</summary>
    internal PresharedKey? PresharedKey { get; private set; }

    /// <summary>Still received with, although no longer one of the three: the peer may be sending with it until it hears of its successor.</summary>
    internal Keypair? Parting { get; set; }

    internal UnixTime LastHandshake { get; set; }

    /// <summary>For people. A field, so that it is changed in place.</summary>
    internal HandshakeLog HandshakeLog;

    /// <summary>With the process before this one, until the link is up.</summary>
    internal bool HadSession { get; set; }

    /// <summary>It is among those of whom something is to be written down.</summary>
    internal bool IsNoted
    {
        get => _isNoted;
        set
        {
            _isNoted = value;
            Interlocked.MemoryBarrier();
        }
    }

    internal long RxBytes => Interlocked.Read(ref _rxBytes);

    internal long TxBytes => Interlocked.Read(ref _txBytes);

    /// <summary>The peer's place in the <see cref="DeadlineHeap"/>; -1: none.</summary>
    internal int DeadlineIndex { get; set; } = -1;

    /// <summary>The peer's link in the <see cref="PeerWorkQueue"/>: the adding thread's until it is pushed, the control loop's once it is taken.</summary>
    internal Peer? NextWithWork { get; set; }

    // ---- any thread ----

    /// <summary>Inbound, after authentication: the peer is where this message came from. Replaces <see cref="Endpoint"/> only if it differs.</summary>
    /// <returns>True if the peer was elsewhere, or it was not known where.</returns>
    public bool Learn(in InetEndpoint remote, in InetAddress source, int sourceInterface)
    {
        Endpoint? known = _endpoint;
        if (known is null || known.Remote != remote || known.Source != source || known.SourceInterface != sourceInterface)
        {
            _endpoint = new Endpoint(remote, source, sourceInterface);
            return known is null || known.Remote != remote;
        }

        return false;
    }

    /// <summary>Inbound, after <see cref="Learn"/> said that the peer moved: is the control loop to be told? Not again before it has looked.</summary>
    public bool IsMoveNew()
    {
        // The endpoint was written before; the control loop takes the mark back before it reads the endpoint. One of the two sees the other.
        Interlocked.MemoryBarrier();
        return !_isNoted;
    }

    /// <summary>Outbound, after the kernel refused the sticky source: forgets it, unless the endpoint was replaced since <paramref name="seen"/> was read.</summary>
    /// <param name="seen">This peer's: who has had an endpoint always has one.</param>
    /// <returns>The endpoint to send to now.</returns>
    public Endpoint ForgetSource(Endpoint seen)
    {
        if (seen.Source.IsNone && seen.SourceInterface == 0)
        {
            return _endpoint!;
        }

        var sourceless = new Endpoint(seen.Remote);
        Endpoint found = Interlocked.CompareExchange(ref _endpoint, sourceless, seen)!;
        return ReferenceEquals(found, seen) ? sourceless : found;
    }

    /// <summary>
    /// Outbound, once per run after it was sent: counts bytes, stamps activity, and looks whether the keypair is due for a rekey
    /// (whitepaper, section 6.2; the kernel's keep_key_fresh).
    /// </summary>
    /// <param name="bytes">Whole messages: header, padding and tag included.</param>
    /// <param name="carriesData">False for keepalives only.</param>
    /// <returns>What the control loop has to do; None almost always.</returns>
    public PeerWork NoteSent(Keypair keypair, int messages, long bytes, bool carriesData, Instant now)
    {
        Interlocked.Add(ref _txBytes, bytes);
        PeerWork work = _activity.NoteSent(messages, carriesData, now) ? PeerWork.Timers : PeerWork.None;

        // A keypair that was replaced meanwhile needs no successor.
        if (keypair.WantsRekeyOnSend(now) && ReferenceEquals(_keypairs.Sending, keypair) && WantsHandshake(now))
        {
            work |= PeerWork.Handshake;
        }

        return work;
    }

    /// <summary>A probe was sent: it counts as bytes and as nothing else. It is mostly lost, so it is no passive keepalive, and nobody has to answer it.</summary>
    /// <param name="bytes">The whole message.</param>
    public void NoteProbeSent(long bytes) => Interlocked.Add(ref _txBytes, bytes);

    /// <summary>
    /// Inbound, once per run after it was opened and passed the replay window: counts, stamps, key confirmation,
    /// and the initiator's rekey on receive at 165 s (once per keypair).
    /// </summary>
    /// <param name="bytes">Whole messages, as <see cref="NoteSent"/>.</param>
    /// <returns>What the control loop has to do; None almost always.</returns>
    public PeerWork NoteReceived(Keypair keypair, int messages, long bytes, bool carriesData, Instant now)
    {
        Interlocked.Add(ref _rxBytes, bytes);
        PeerWork work = _activity.NoteReceived(carriesData, now) ? PeerWork.Timers : PeerWork.None;

        Keypairs keypairs = _keypairs;
        keypair.Confirm();
        if (ReferenceEquals(keypairs.Next, keypair))
        {
            work |= PeerWork.Confirmed;
        }
        else if (keypairs.FollowsPeer && ReferenceEquals(keypairs.Previous, keypair))
        {
            work |= PeerWork.Followed;
        }

        // The kernel looks at the keypair it sends with, whichever this one was.
        if (keypairs.Sending is { } sending && sending.TakeRekeyOnReceive(now) && WantsHandshake(now))
        {
            work |= PeerWork.Handshake;
        }

        return work;
    }

    /// <summary>Outbound, after staging: is a handshake to be asked for now? False while one is under way (REKEY_TIMEOUT), so that a burst asks once.</summary>
    public bool WantsHandshake(Instant now) => !_isRemoved && _activity.WantsHandshake(now);

    /// <summary>What was dropped on its way to the peer or from it, but for what was pushed out of <see cref="Staged"/>; null: nothing.</summary>
    public DropCounters? Drops => Volatile.Read(ref _drops);

    /// <summary>Either way, after something was dropped. The counters are made with the first: most peers never lose anything.</summary>
    public void NoteDropped(DropReason reason, long count)
    {
        DropCounters? drops = Drops;
        if (drops is null)
        {
            var made = new DropCounters();
            drops = Interlocked.CompareExchange(ref _drops, made, null) ?? made;
        }

        drops.AddShared(reason, count);
    }

    /// <summary>Adds flags.</summary>
    /// <returns>True if there were none: the peer is to be queued.</returns>
    /// <remarks>Always by Interlocked, even if the flag is there: what it is about must be visible before the control loop takes the flag.</remarks>
    internal bool AddWork(PeerWork work) => Interlocked.Or(ref _work, (int)work) == 0;

    internal PeerWork TakeWork() => (PeerWork)Interlocked.Exchange(ref _work, 0);

    // ---- control loop only ----

    /// <summary>An authenticated handshake message arrived.</summary>
    internal void NoteHandshakeReceived(int bytes, Instant now)
    {
        Interlocked.Add(ref _rxBytes, bytes);
        _activity.NoteHandshakeMessage(sent: false, now);
    }

    internal void NoteHandshakeSent(int bytes, Instant now)
    {
        Interlocked.Add(ref _txBytes, bytes);
        _activity.NoteHandshakeMessage(sent: true, now);
    }

    /// <summary>By configuration: the sticky source of the former endpoint goes with it.</summary>
    internal void SetEndpoint(in InetEndpoint remote) => _endpoint = new Endpoint(remote);

    internal void ForgetSource()
    {
        // An endpoint that is learned between the two comes from a message just received: its source is good.
        if (_endpoint is { } endpoint)
        {
            ForgetSource(endpoint);
        }
    }

    /// <summary>Takes a copy; all zeros clear it.</summary>
    internal void SetPresharedKey(PresharedKey key)
    {
        PresharedKey? former = PresharedKey;
        PresharedKey = key.IsZero ? null : new PresharedKey(key.Span);
        former?.Dispose();
    }

    internal void ForgetPath() => _path = null;

    /// <summary>Control loop: the path to where the peer is now: a new one if it was elsewhere, else told of the route's MTU. Afterwards: <see cref="Device.PlanPath"/>.</summary>
    /// <param name="routeMtu">Of the route to <paramref name="remote"/>, in bytes.</param>
    public PeerPath FollowPath(in InetEndpoint remote, int routeMtu, MtuPolicy policy, Instant now)
    {
        if (_path is { } known && known.Remote == remote)
        {
            known.NoteRouteMtu(routeMtu, now);
            return known;
        }

        return _path = new PeerPath(remote, routeMtu, policy, former: _path);
    }

    /// <summary>Publishes a new triple. Whoever fell out is retired by the caller, after this.</summary>
    internal void Publish(Keypairs keypairs) => _keypairs = keypairs;

    /// <summary>The device has let go of it: what it still holds is wiped, and nothing can be staged any more.</summary>
    internal void Close()
    {
        _isRemoved = true;
        Staged.Close();
        HandshakeIfAny?.Dispose();
        PresharedKey?.Dispose();
        PresharedKey = null;
    }
}
