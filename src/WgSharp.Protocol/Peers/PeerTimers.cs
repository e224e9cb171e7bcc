namespace WgSharp.Protocol;

// The five timers of a peer (the kernel's timers.c):
//
// - retransmit handshake: no answer to an initiation for REKEY_TIMEOUT + jitter. After MAX_TIMER_HANDSHAKES retries, given up.
// - send keepalive: data was received and nothing was sent for KEEPALIVE_TIMEOUT (passive keepalive).
// - new handshake: data was sent and nothing was received for KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + jitter.
// - zero key material: no new session for three times REJECT_AFTER_TIME.
// - persistent keepalive: nothing went either way for the interval the user set.
//
// And one that is ours alone: an initiation that the peer's handshake has overtaken is forgotten REKEY_TIMEOUT after it was made.
//
// The kernel moves a timer with every packet. Here the data path only leaves stamps (PeerActivity): when the first data was sent that nothing
// was received after, when the first data was received that nothing was sent after, when anything passed. The control loop computes the deadlines
// from the stamps when it looks, and publishes when it will look next. An event asks for a look only if its deadline comes before that.
// Steady traffic so costs the control loop one look in ten seconds or so, and the data path a few writes per run that mostly find nothing to write.

/// <summary>When a peer's timers are due, and what they do. Control loop only.</summary>
internal sealed class PeerTimers
{
    private static readonly TimeSpan NewHandshakeTimeout = Limits.KeepaliveTimeout + Limits.RekeyTimeout;
    private static readonly TimeSpan ZeroKeyMaterialTimeout = Limits.RejectAfterTime * 3;

    private readonly PeerActivity _activity;
    private Instant _retransmit = Instant.Never;
    private Instant _zeroKeyMaterial = Instant.Never;
    private Instant _persistentFrom = Instant.Never;
    private bool _persistentIsDue;
    private Instant _extraKeepalive = Instant.Never;
    private long _sentAtKeepalive;
    private Instant _lastHandshakeSent;
    private Instant _lastInitiationMade;
    private Instant _forgetInitiation = Instant.Never;
    private int _attempts;

    public PeerTimers(PeerActivity activity)
    {
        _activity = activity;
        _activity.SetNewHandshakeDelay(NewHandshakeTimeout);
    }

    /// <summary>A timer that fired.</summary>
    internal enum Due
    {
        Nothing,
        RetransmitHandshake,
        GiveUpHandshake,
        NewHandshake,
        SendKeepalive,
        ForgetInitiation,
        ZeroKeyMaterial,
    }

    /// <summary>Seconds; 0: off.</summary>
    public ushort PersistentKeepaliveInterval { get; private set; }

    private bool IsHandshakeUnderWay => _retransmit != Instant.Never;

    // ---- events of the handshake ----

    /// <summary>A handshake was asked for, not by a retransmission: the attempts are counted from the start.</summary>
    public void NoteHandshakeAsked() => _attempts = 0;

    /// <summary>REKEY_TIMEOUT has passed since the last handshake message we made.</summary>
    public bool MayInitiate(Instant now) => _lastHandshakeSent == default || _lastHandshakeSent.IsOlderThan(Limits.RekeyTimeout, now);

    public void NoteInitiationMade(Instant now, TimeSpan jitter)
    {
        _lastHandshakeSent = now;
        _lastInitiationMade = now;
        _forgetInitiation = Instant.Never;
        ArmRetransmit(now + Limits.RekeyTimeout + jitter);
    }

    public void NoteResponseMade(Instant now) => _lastHandshakeSent = now;

    /// <summary>An initiation was wanted too soon after the last handshake message: it is made as soon as it may. (The kernel waits for the next packet.)</summary>
    /// <param name="retry">The retransmission itself: it is not put off by a whole REKEY_TIMEOUT because a response was made since the initiation.</param>
    public void NoteInitiationPostponed(bool retry, TimeSpan jitter)
    {
        if (retry || !IsHandshakeUnderWay)
        {
            ArmRetransmit(_lastHandshakeSent + Limits.RekeyTimeout + jitter);
        }
    }

    /// <summary>No initiation can be made at all (no endpoint, no key): whoever asks is put off for a while.</summary>
    public void NoteInitiationImpossible(Instant now)
    {
        if (!IsHandshakeUnderWay)
        {
            _activity.QuietHandshakes(now + Limits.RekeyTimeout);
        }
    }

    /// <summary>What was missing may be there now: whoever asks is heard again.</summary>
    public void NoteInitiationPossible()
    {
        if (!IsHandshakeUnderWay)
        {
            _activity.QuietHandshakes(default);
        }
    }

    /// <summary>Keys were derived: they live for 540 s unless younger ones come.</summary>
    public void NoteSessionDerived(Instant now) => _zeroKeyMaterial = now + ZeroKeyMaterialTimeout;

    /// <summary>There are no keys left to be wiped.</summary>
    public void NoteSessionsWiped() => _zeroKeyMaterial = Instant.Never;

    /// <summary>A response was accepted, or our keypair confirmed.</summary>
    /// <param name="isInitiationOut">It was the peer's handshake, and ours is under way: its response is welcome for the rest of REKEY_TIMEOUT.</param>
    public void NoteHandshakeComplete(bool isInitiationOut)
    {
        _attempts = 0;
        _forgetInitiation = isInitiationOut ? _lastInitiationMade + Limits.RekeyTimeout : Instant.Never;
        DisarmRetransmit();
    }

    /// <summary>The handshake under way was forgotten (new private key): the next one may start at once.</summary>
    public void NoteHandshakeCleared()
    {
        _lastHandshakeSent = default;
        _forgetInitiation = Instant.Never;
        DisarmRetransmit();
    }

    // ---- configuration and link ----

    /// <param name="linkIsUp">Switched on while the link is up, the first is planned; otherwise when it comes up.</param>
    /// <param name="first">When the first is due.</param>
    /// <returns>True if one was planned.</returns>
    public bool SetPersistentKeepalive(ushort seconds, bool linkIsUp, Instant first)
    {
        bool wasOff = PersistentKeepaliveInterval == 0;
        PersistentKeepaliveInterval = seconds;
        if (seconds == 0)
        {
            StopPersistentKeepalive();
        }

        return linkIsUp && wasOff && StartPersistentKeepalive(first);
    }

    /// <summary>If the user set an interval: one is due at the given moment, then after every interval in which nothing passes.</summary>
    /// <returns>True if one was planned.</returns>
    public bool StartPersistentKeepalive(Instant first)
    {
        if (PersistentKeepaliveInterval == 0)
        {
            return false;
        }

        _persistentFrom = first;
        _persistentIsDue = true;
        return true;
    }

    /// <summary>Link down, or the peer was removed: nothing is due any more, and nothing that happened is remembered.</summary>
    public void Stop()
    {
        StopPersistentKeepalive();
        NoteHandshakeCleared();
        _zeroKeyMaterial = Instant.Never;
        _extraKeepalive = Instant.Never;
        _attempts = 0;
        _activity.Reset();
    }

    // ---- looking ----

    /// <summary>Computes when to look next and publishes it.</summary>
    public Instant PlanNextLook()
    {
        Instant planned = Earliest();
        while (true)
        {
            _activity.PublishNextLook(planned);

            // Both sides write first and read then: an event that did not see this plan has left its stamp by now.
            Instant again = Earliest();
            if (again >= planned)
            {
                return planned;
            }

            planned = again;
        }
    }

    /// <summary>Fires one timer that is due, if any: each moves or disarms its own deadline, so that looking until nothing is due comes to an end.</summary>
    public Due TakeDue(Instant now, TimeSpan jitter)
    {
        if (_zeroKeyMaterial <= now)
        {
            _zeroKeyMaterial = Instant.Never;
            return Due.ZeroKeyMaterial;
        }

        if (_forgetInitiation <= now)
        {
            _forgetInitiation = Instant.Never;
            return Due.ForgetInitiation;
        }

        if (_retransmit <= now)
        {
            return FireRetransmit(now, jitter);
        }

        if (_activity.NewHandshakeDeadline <= now)
        {
            _activity.ForgetDataSent();
            _activity.SetNewHandshakeDelay(NewHandshakeTimeout + jitter);
            _attempts = 0;
            return Due.NewHandshake;
        }

        if (PassiveKeepaliveDeadline <= now)
        {
            FirePassiveKeepalive(now);
            return Due.SendKeepalive;
        }

        if (ExtraKeepaliveDeadline <= now)
        {
            _extraKeepalive = Instant.Never;
            return Due.SendKeepalive;
        }

        if (PersistentKeepaliveDeadline <= now)
        {
            _persistentFrom = now;
            _persistentIsDue = false;
            return Due.SendKeepalive;
        }

        return Due.Nothing;
    }

    private Due FireRetransmit(Instant now, TimeSpan jitter)
    {
        if (_activity.TakeHandshakeAskedAgain())
        {
            _attempts = 0;
        }

        if (_attempts > Limits.MaxTimerHandshakes)
        {
            DisarmRetransmit();
            _activity.ForgetDataReceived();
            _extraKeepalive = Instant.Never;
            if (_zeroKeyMaterial == Instant.Never)
            {
                _zeroKeyMaterial = now + ZeroKeyMaterialTimeout;
            }

            return Due.GiveUpHandshake;
        }

        // Armed again here and not only when the initiation is made: should it be impossible right now, the next try still comes.
        _attempts++;
        ArmRetransmit(now + Limits.RekeyTimeout + jitter);
        return Due.RetransmitHandshake;
    }

    private void FirePassiveKeepalive(Instant now)
    {
        _activity.ForgetDataReceived();
        _extraKeepalive = Instant.Never;
        if (_activity.TakeMoreDataReceived())
        {
            _sentAtKeepalive = _activity.SentCount;
            _extraKeepalive = now + Limits.KeepaliveTimeout;
        }
    }

    private Instant Earliest()
    {
        Instant earliest = Instant.Min(_zeroKeyMaterial, _retransmit);
        earliest = Instant.Min(earliest, _forgetInitiation);
        earliest = Instant.Min(earliest, _activity.NewHandshakeDeadline);
        earliest = Instant.Min(earliest, PassiveKeepaliveDeadline);
        earliest = Instant.Min(earliest, ExtraKeepaliveDeadline);
        return Instant.Min(earliest, PersistentKeepaliveDeadline);
    }

    private Instant PassiveKeepaliveDeadline => After(_activity.DataReceived, Limits.KeepaliveTimeout);

    /// <summary>The keepalive itself is one message; whatever was sent beside it makes the second needless.</summary>
    private Instant ExtraKeepaliveDeadline => _activity.SentCount - _sentAtKeepalive > 1 ? Instant.Never : _extraKeepalive;

    private Instant PersistentKeepaliveDeadline
    {
        get
        {
            if (_persistentIsDue || _persistentFrom == Instant.Never)
            {
                return _persistentFrom;
            }

            Instant traversed = _activity.Traversed;
            return After(traversed > _persistentFrom ? traversed : _persistentFrom, TimeSpan.FromSeconds(PersistentKeepaliveInterval));
        }
    }

    private void StopPersistentKeepalive() => _persistentFrom = Instant.Never;

    private void ArmRetransmit(Instant deadline)
    {
        _retransmit = deadline;
        _activity.QuietHandshakes(Instant.Never);
    }

    private void DisarmRetransmit()
    {
        _retransmit = Instant.Never;
        _activity.TakeHandshakeAskedAgain();
        _activity.QuietHandshakes(default);
    }

    private static Instant After(Instant from, TimeSpan span) => from == Instant.Never ? Instant.Never : from + span;
}

/// <summary>
/// When the first keepalives of peers are due that all begin at once (link up, or many configured). Each means a handshake: a few go at once, a
/// hub's thousands one after the other, 1,000 in 0.85 s, so that there is time for everything else in between.
/// </summary>
internal struct FirstKeepalives(Instant begin)
{
    private const int AtOnce = 64;

    private static readonly TimeSpan Spread = TimeSpan.FromMicroseconds(900);

    /// <summary>Planned so far.</summary>
    public int Count { get; set; }

    public readonly Instant Next => begin + (Spread * Math.Max(0, Count - AtOnce + 1));
}
