using System.Diagnostics;
using WgSharp.Crypto;

namespace WgSharp.Protocol;

// A keypair is leased, not just referenced: zeroing a key that another core is sealing with would encrypt under zeros. The peer holds one lease
// from birth; retiring gives it back, and whoever gives back the last one wipes the keys.
//
// Both ends may begin at once and end up with two sessions, one begun by either. They are current and previous then, so both are received with,
// and what was current before stays with the peer (Peer.Parting) for what is still under way. Of the two, the one stays that was begun by the end
// with the smaller public key. That end sends with it alone. The other one sends with its own until it hears the peer, and from then on with
// whatever the peer sends with (FollowsPeer): a peer of another kind may have only one of the two, and both ends must not stay with a session of
// their own, or each would lose what the other sends while it makes the next one.

/// <summary>One session's two transport keys, their counters and their age. Used by any thread, under a lease.</summary>
#pragma warning disable CA1001 // Disposable only in common: whoever gives the last lease back wipes the keys.
internal sealed class Keypair
#pragma warning restore CA1001
{
    /// <summary>165 s: old enough that the next pause of the peer (KEEPALIVE_TIMEOUT) and a handshake (REKEY_TIMEOUT) would not fit before the end.</summary>
    private static readonly TimeSpan LastMinute = Limits.RejectAfterTime - Limits.KeepaliveTimeout - Limits.RekeyTimeout;

    private readonly AeadKey _sendKey;
    private readonly AeadKey _receiveKey;
    private readonly Instant _birth;

    /// <summary>Any thread, by Interlocked: leases out, the peer's own included. Never leaves zero again.</summary>
    private int _leases = 1;

    /// <summary>Any thread, by Interlocked: counters given out so far. Never passes REJECT_AFTER_MESSAGES.</summary>
    private ulong _sendCounter;

    /// <summary>Written by the control loop: the private key changed, nothing may be sent with this keypair any more.</summary>
    private volatile bool _sendExpired;

    /// <summary>Written by inbound threads: something was opened with the keys.</summary>
    private volatile bool _confirmed;

    /// <summary>Any thread, by Interlocked: 1 once the rekey on receive was asked for.</summary>
    private int _lastMinuteAsked;

    private bool _retired;

    internal Keypair(Peer peer, uint localIndex, uint remoteIndex, bool isInitiator, ReadOnlySpan<byte> sendKey, ReadOnlySpan<byte> receiveKey, Instant birth)
    {
        Peer = peer;
        LocalIndex = localIndex;
        RemoteIndex = remoteIndex;
        IsInitiator = isInitiator;
        _sendKey = new AeadKey(sendKey);
        _receiveKey = new AeadKey(receiveKey);
        _birth = birth;
    }

    public Peer Peer { get; }

    /// <summary>The index by which the peer addresses us.</summary>
    public uint LocalIndex { get; }

    /// <summary>The index by which we address the peer: goes into every transport message.</summary>
    public uint RemoteIndex { get; }

    public bool IsInitiator { get; }

    /// <summary>Valid only between <see cref="TryLease"/> and <see cref="Release"/>.</summary>
    public AeadKey SendKey => _sendKey;

    /// <summary>Valid only between <see cref="TryLease"/> and <see cref="Release"/>.</summary>
    public AeadKey ReceiveKey => _receiveKey;

    public ReplayWindow ReplayWindow { get; } = new();

    /// <summary>The peer proved that it has the keys: a responder may send with them now (whitepaper, section 5.4.3).</summary>
    internal bool IsConfirmed => _confirmed;

    /// <summary>The keys are zeroed.</summary>
    internal bool IsWiped => Volatile.Read(ref _leases) == 0;

    /// <summary>Keeps the keys from being wiped while a run is sealed or opened with them. Once per run.</summary>
    /// <returns>False if they are wiped already.</returns>
    public bool TryLease()
    {
        int leases = Volatile.Read(ref _leases);
        while (leases > 0)
        {
            int seen = Interlocked.CompareExchange(ref _leases, leases + 1, leases);
            if (seen == leases)
            {
                return true;
            }

            leases = seen;
        }

        return false;
    }

    /// <summary>Gives the lease back; the last one out of a retired keypair wipes it.</summary>
    public void Release()
    {
        int left = Interlocked.Decrement(ref _leases);
        Debug.Assert(left >= 0, "A lease was given back that nobody had.");
        if (left == 0)
        {
            _sendKey.Dispose();
            _receiveKey.Dispose();
        }
    }

    /// <summary>Takes <paramref name="count"/> consecutive counters for a run.</summary>
    /// <returns>False if the keypair may not send any more (REJECT_AFTER_TIME, REJECT_AFTER_MESSAGES, a new private key).</returns>
    public bool TryReserve(int count, Instant now, out ulong firstCounter)
    {
        ulong taken = Volatile.Read(ref _sendCounter);
        while (!IsSendingOver(now) && (ulong)count <= Limits.RejectAfterMessages - taken)
        {
            // Compare and exchange rather than add: refused calls leave the counter alone, so that no number of them can make it wrap.
            ulong seen = Interlocked.CompareExchange(ref _sendCounter, taken + (ulong)count, taken);
            if (seen == taken)
            {
                firstCounter = taken;
                return true;
            }

            taken = seen;
        }

        firstCounter = 0;
        return false;
    }

    /// <summary>Counters given out so far.</summary>
    internal ulong SentCount => Volatile.Read(ref _sendCounter);

    internal TimeSpan AgeAt(Instant now) => now - _birth;

    /// <summary>A look ahead at what <see cref="TryReserve"/> would say to one message.</summary>
    public bool MaySend(Instant now) => !IsSendingOver(now) && Volatile.Read(ref _sendCounter) < Limits.RejectAfterMessages;

    /// <summary>Whether this counter was given out, and is among the last ones.</summary>
    /// <param name="last">How many those are.</param>
    public bool HasSentLately(ulong counter, ulong last)
    {
        ulong taken = Volatile.Read(ref _sendCounter);
        return counter < taken && taken - counter <= last;
    }

    /// <summary>False once REJECT_AFTER_TIME or REJECT_AFTER_MESSAGES is reached: what arrives is dropped unopened.</summary>
    public bool MayReceive(Instant now) => !_birth.IsOlderThan(Limits.RejectAfterTime, now) && !ReplayWindow.IsExhausted;

    /// <summary>Due for a new handshake when sending: many messages, or the initiator's REKEY_AFTER_TIME (the kernel's keep_key_fresh in send.c).</summary>
    internal bool WantsRekeyOnSend(Instant now) => !_sendExpired
        && (Volatile.Read(ref _sendCounter) > Limits.RekeyAfterMessages || (IsInitiator && _birth.IsOlderThan(Limits.RekeyAfterTime, now)));

    /// <summary>Due for a new handshake when receiving; says so once (the kernel's keep_key_fresh in receive.c).</summary>
    internal bool TakeRekeyOnReceive(Instant now) => IsInitiator
        && !_sendExpired
        && _birth.IsOlderThan(LastMinute, now)
        && Volatile.Read(ref _lastMinuteAsked) == 0
        && Interlocked.Exchange(ref _lastMinuteAsked, 1) == 0;

    internal void Confirm()
    {
        if (!_confirmed)
        {
            _confirmed = true;
        }
    }

    /// <summary>Control loop: the private key changed.</summary>
    internal void ExpireSending() => _sendExpired = true;

    /// <summary>Control loop: gives the peer's own lease back, once.</summary>
    internal void Retire()
    {
        if (!_retired)
        {
            _retired = true;
            Release();
        }
    }

    /// <summary>For tests of the message limits: nobody waits for 2^60 messages.</summary>
    internal void SetSendCounter(ulong counter) => Volatile.Write(ref _sendCounter, counter);

    private bool IsSendingOver(Instant now) => _sendExpired || _birth.IsOlderThan(Limits.RejectAfterTime, now);
}

/// <summary>A peer's previous, current and next keypair: an immutable triple, replaced as a whole by the control loop.</summary>
/// <param name="Previous">Still received with: what was under way when the current one came.</param>
/// <param name="Current">Sent with, see <see cref="Sending"/>.</param>
/// <param name="Next">The responder's newest, until the initiator confirmed it.</param>
internal sealed record Keypairs(Keypair? Previous, Keypair? Current, Keypair? Next)
{
    public static readonly Keypairs None = new(null, null, null);

    /// <summary>
    /// Previous and current were begun at once, one by either end, and it is the peer's that stays: what the peer sends with is sent with.
    /// </summary>
    internal bool FollowsPeer { get; init; }

    /// <summary>
    /// Any thread: what to send with. A next keypair counts from the moment its first message was opened, not only when the control loop has
    /// moved it: the answer to that message may be on its way sooner, and a peer that was restarted cannot read anything older.
    /// </summary>
    public Keypair? Sending => Next is { IsConfirmed: true } confirmed ? confirmed : Current;

    /// <summary>Whether one of them gave out this counter for this receiver, among the <paramref name="last"/> ones.</summary>
    internal bool HasSentLately(uint receiver, ulong counter, ulong last) =>
        HasSentLately(Current, receiver, counter, last) || HasSentLately(Previous, receiver, counter, last) || HasSentLately(Next, receiver, counter, last);

    private static bool HasSentLately(Keypair? keypair, uint receiver, ulong counter, ulong last) =>
        keypair is not null && keypair.RemoteIndex == receiver && keypair.HasSentLately(counter, last);

    /// <summary>Slides a new keypair in (the kernel's add_new_keypair).</summary>
    /// <param name="first">Falls out, if not null.</param>
    /// <param name="second">Falls out, if not null.</param>
    internal Keypairs Add(Keypair created, out Keypair? first, out Keypair? second)
    {
        first = Previous;
        if (!created.IsInitiator)
        {
            // Not to be used before the initiator confirms it. Whatever waited for its confirmation will not get it any more.
            second = Next;
            return new Keypairs(null, Current, created);
        }

        if (Next is null)
        {
            second = null;
            return new Keypairs(Current, created, null);
        }

        // A responder's keypair is pending while our own handshake completes: the peer may be sending with it already.
        second = Current;
        return new Keypairs(Next, created, null);
    }

    /// <summary>The next one was confirmed (the kernel's wg_noise_received_with_keypair).</summary>
    /// <param name="dropped">Falls out, if not null.</param>
    internal Keypairs Promote(out Keypair? dropped)
    {
        dropped = Previous;
        return new Keypairs(Current, Next, null);
    }

    /// <summary>The peer sends with the previous one: so do we.</summary>
    internal Keypairs Follow() => this with { Previous = Current, Current = Previous };
}
