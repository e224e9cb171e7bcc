namespace WgSharp.Protocol;

// The five timers of a peer (the kernel's timers.c):
//
// - retransmit handshake: no answer to an initiation for REKEY_TIMEOUT + jitter. After MAX_TIMER_HANDSHAKES retries, given up.
// - send keepalive: data was received and nothing was sent for KEEPALIVE_TIMEOUT (passive keepalive).
// - new handshake: data was sent and nothing was received for KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + jitter.
// - zero key material: no new session for three times REJECT_AFTER_TIME.
// - persistent keepalive: nothing went either way for the interval the user set.
//
// The kernel moves a timer with every packet. Here the data path only leaves stamps: when the first data was sent that nothing was received after,
// when the first data was received that nothing was sent after, when anything passed. The control loop computes the deadlines from the
// stamps when it looks, and publishes when it will look next. An event asks for attention only if its deadline comes before that. Steady
// traffic so costs the control loop one look in ten seconds, and the data path a few writes per run that mostly find nothing to write.

/// <summary>When a peer's timers are due, and what they do. Stamps from any thread, everything else by the control loop.</summary>
internal sealed class PeerTimers
{
    private static readonly TimeSpan NewHandshakeTimeout = Limits.KeepaliveTimeout + Limits.RekeyTimeout;
    private static readonly TimeSpan ZeroKeyMaterialTimeout = Limits.RejectAfterTime * 3;

    // ---- any thread ----

    /// <summary>The first data sent since anything was received; 0: none.</summary>
    private long _dataSent;

    /// <summary>The first data received since anything was sent; 0: none.</summary>
    private long _dataReceived;

    /// <summary>The last authenticated message either way; 0: none.</summary>
    private long _traversed;

    /// <summary>Messages sent; lets the second keepalive see that more than the first was sent.</summary>
    private long _sent;

    /// <summary>More data came while a passive keepalive was due already: the kernel's timer_need_another_keepalive.</summary>
    private volatile bool _needsAnotherKeepalive;

    /// <summary>Asking for a handshake is of no use before this moment: the control loop is at it, or has just found that it can't.</summary>
    private long _handshakeQuietUntil;

    /// <summary>A handshake was asked for while one was under way: the count of attempts starts anew.</summary>
    private volatile bool _handshakeAskedAgain;

    // ---- written by the control loop, read by any thread ----

    /// <summary>The moment at which the control loop will look at this peer.</summary>
    private long _nextLook = long.MaxValue;

    /// <summary>REKEY_TIMEOUT + KEEPALIVE_TIMEOUT and a jitter that is drawn anew each time the timer fires.</summary>
    private long _newHandshakeDelay = Nanoseconds(NewHandshakeTimeout);

    // ---- control loop only ----

    private Instant _retransmit = Instant.Never;
    private Instant _zeroKeyMaterial = Instant.Never;
    private Instant _persistentFrom = Instant.Never;
    private bool _persistentIsDue;
    private Instant _extraKeepalive = Instant.Never;
    private long _sentAtKeepalive;
    private int _attempts;

    /// <summary>What a timer that fired asks for; the actions of <see cref="TimerAction"/> and those that the device handles itself.</summary>
    internal enum Due
    {
        Nothing,
        RetransmitHandshake,
        GiveUpHandshake,
        NewHandshake,
        SendKeepalive,
        ZeroKeyMaterial,
    }

    /// <summary>Seconds; 0: off.</summary>
    public ushort PersistentKeepaliveInterval { get; private set; }

    /// <summary>When an initiation or a response was last made; 0: never (also: long enough ago).</summary>
    public Instant LastHandshakeSent { get; private set; }

    /// <summary>An initiation is out and its retransmission planned.</summary>
    public bool IsHandshakeUnderWay => _retransmit != Instant.Never;

    // ---- any thread: events of the data path ----

    /// <summary>Something authenticated was sent. Once per run.</summary>
    /// <returns>True if a deadline arose before the planned look.</returns>
    public bool NoteSent(int messages, bool carriesData, Instant now)
    {
        Interlocked.Add(ref _sent, messages);
        Clear(ref _dataReceived);
        Volatile.Write(ref _traversed, now.Nanoseconds);
        return carriesData && TryStamp(ref _dataSent, now) && IsBeforeLook(now.Nanoseconds + Volatile.Read(ref _newHandshakeDelay));
    }

    /// <summary>Something authenticated was received. Once per run.</summary>
    /// <returns>True if a deadline arose before the planned look.</returns>
    public bool NoteReceived(bool carriesData, Instant now)
    {
        Clear(ref _dataSent);
        Volatile.Write(ref _traversed, now.Nanoseconds);
        if (!carriesData)
        {
            return false;
        }

        if (TryStamp(ref _dataReceived, now))
        {
            return IsBeforeLook((now + Limits.KeepaliveTimeout).Nanoseconds);
        }

        if (!_needsAnotherKeepalive)
        {
            _needsAnotherKeepalive = true;
        }

        return false;
    }

    /// <summary>A session is wanted. Says yes to one caller in REKEY_TIMEOUT, and to none while the control loop retries by itself.</summary>
    public bool WantsHandshake(Instant now)
    {
        long quietUntil = Volatile.Read(ref _handshakeQuietUntil);
        if (now.Nanoseconds < quietUntil)
        {
            if (!_handshakeAskedAgain)
            {
                _handshakeAskedAgain = true;
            }

            return false;
        }

        return Interlocked.CompareExchange(ref _handshakeQuietUntil, (now + Limits.RekeyTimeout).Nanoseconds, quietUntil) == quietUntil;
    }

    // ---- control loop: events of the handshake ----

    /// <summary>A handshake was asked for, not by a retransmission: the attempts are counted from the start.</summary>
    public void NoteHandshakeAsked() => _attempts = 0;

    /// <summary>REKEY_TIMEOUT has passed since the last handshake message we made.</summary>
    public bool MayInitiate(Instant now) => LastHandshakeSent == default || LastHandshakeSent.IsOlderThan(Limits.RekeyTimeout, now);

    public void NoteInitiationMade(Instant now, TimeSpan jitter)
    {
        LastHandshakeSent = now;
        ArmRetransmit(now + Limits.RekeyTimeout + jitter);
    }

    public void NoteResponseMade(Instant now) => LastHandshakeSent = now;

    /// <summary>An initiation was wanted too soon after the last handshake message: it is made as soon as it may. (The kernel waits for the next packet.)</summary>
    public void NoteInitiationPostponed(TimeSpan jitter)
    {
        if (!IsHandshakeUnderWay)
        {
            ArmRetransmit(LastHandshakeSent + Limits.RekeyTimeout + jitter);
        }
    }

    /// <summary>No initiation can be made at all (no endpoint, no key): whoever asks is put off for a while.</summary>
    public void NoteInitiationImpossible(Instant now)
    {
        if (!IsHandshakeUnderWay)
        {
            Volatile.Write(ref _handshakeQuietUntil, (now + Limits.RekeyTimeout).Nanoseconds);
        }
    }

    /// <summary>Keys were derived: they live for 540 s unless younger ones come.</summary>
    public void NoteSessionDerived(Instant now) => _zeroKeyMaterial = now + ZeroKeyMaterialTimeout;

    /// <summary>A response was accepted, or our keypair confirmed.</summary>
    public void NoteHandshakeComplete()
    {
        _attempts = 0;
        DisarmRetransmit();
    }

    /// <summary>The handshake under way was forgotten (new private key): the next one may start at once.</summary>
    public void NoteHandshakeCleared()
    {
        LastHandshakeSent = default;
        DisarmRetransmit();
    }

    /// <summary>A handshake message passed: as <see cref="NoteSent"/> and <see cref="NoteReceived"/> without data.</summary>
    public void NoteHandshakeTraversal(bool sent, Instant now)
    {
        Volatile.Write(ref _traversed, now.Nanoseconds);
        if (sent)
        {
            Interlocked.Increment(ref _sent);
            Clear(ref _dataReceived);
        }
        else
        {
            Clear(ref _dataSent);
        }
    }

    // ---- control loop: configuration and link ----

    /// <param name="start">The link is up: counting begins now.</param>
    /// <returns>True if the keepalive was off before: one is due at once.</returns>
    public bool SetPersistentKeepalive(ushort seconds, bool start, Instant now)
    {
        bool wasOff = PersistentKeepaliveInterval == 0;
        PersistentKeepaliveInterval = seconds;
        if (seconds == 0)
        {
            StopPersistentKeepalive();
            return false;
        }

        if (start && wasOff)
        {
            StartPersistentKeepalive(now);
            return true;
        }

        return false;
    }

    /// <summary>One is due at once, then after every interval in which nothing passes.</summary>
    public void StartPersistentKeepalive(Instant now)
    {
        if (PersistentKeepaliveInterval > 0)
        {
            _persistentFrom = now;
            _persistentIsDue = true;
        }
    }

    /// <summary>Link down, or the peer was removed: nothing is due any more, and no event is remembered.</summary>
    public void Stop()
    {
        DisarmRetransmit();
        StopPersistentKeepalive();
        _zeroKeyMaterial = Instant.Never;
        _extraKeepalive = Instant.Never;
        LastHandshakeSent = default;
        _attempts = 0;
        Volatile.Write(ref _dataSent, 0);
        Volatile.Write(ref _dataReceived, 0);
        _needsAnotherKeepalive = false;
        Volatile.Write(ref _nextLook, long.MaxValue);
    }

    // ---- control loop: looking ----

    /// <summary>Computes when to look next and publishes it.</summary>
    public Instant PlanNextLook()
    {
        Instant planned = Earliest();
        while (true)
        {
            Interlocked.Exchange(ref _nextLook, planned.Nanoseconds);

            // An event that stamped before it could see the new plan is seen here: both sides write first and read then, with a full fence between.
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

        if (_retransmit <= now)
        {
            return FireRetransmit(now, jitter);
        }

        if (NewHandshakeDeadline() <= now)
        {
            Clear(ref _dataSent);
            Volatile.Write(ref _newHandshakeDelay, Nanoseconds(NewHandshakeTimeout + jitter));
            _attempts = 0;
            return Due.NewHandshake;
        }

        if (PassiveKeepaliveDeadline() <= now)
        {
            FirePassiveKeepalive(now);
            return Due.SendKeepalive;
        }

        if (ExtraKeepaliveDeadline() <= now)
        {
            _extraKeepalive = Instant.Never;
            return Due.SendKeepalive;
        }

        if (PersistentKeepaliveDeadline() <= now)
        {
            _persistentFrom = now;
            _persistentIsDue = false;
            return Due.SendKeepalive;
        }

        return Due.Nothing;
    }

    private Due FireRetransmit(Instant now, TimeSpan jitter)
    {
        if (_handshakeAskedAgain)
        {
            _handshakeAskedAgain = false;
            _attempts = 0;
        }

        if (_attempts > Limits.MaxTimerHandshakes)
        {
            DisarmRetransmit();
            Clear(ref _dataReceived);
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
        Clear(ref _dataReceived);
        _extraKeepalive = Instant.Never;
        if (_needsAnotherKeepalive)
        {
            _needsAnotherKeepalive = false;
            _sentAtKeepalive = Interlocked.Read(ref _sent);
            _extraKeepalive = now + Limits.KeepaliveTimeout;
        }
    }

    private Instant Earliest()
    {
        Instant earliest = _zeroKeyMaterial;
        earliest = Min(earliest, _retransmit);
        earliest = Min(earliest, NewHandshakeDeadline());
        earliest = Min(earliest, PassiveKeepaliveDeadline());
        earliest = Min(earliest, ExtraKeepaliveDeadline());
        return Min(earliest, PersistentKeepaliveDeadline());
    }

    private Instant NewHandshakeDeadline()
    {
        long sent = Volatile.Read(ref _dataSent);
        return sent == 0 ? Instant.Never : new Instant(sent + _newHandshakeDelay);
    }

    private Instant PassiveKeepaliveDeadline()
    {
        long received = Volatile.Read(ref _dataReceived);
        return received == 0 ? Instant.Never : new Instant(received) + Limits.KeepaliveTimeout;
    }

    /// <summary>The keepalive itself is one message; whatever was sent beside it makes the second needless.</summary>
    private Instant ExtraKeepaliveDeadline() =>
        Interlocked.Read(ref _sent) - _sentAtKeepalive > 1 ? Instant.Never : _extraKeepalive;

    private Instant PersistentKeepaliveDeadline()
    {
        if (_persistentFrom == Instant.Never)
        {
            return Instant.Never;
        }

        if (_persistentIsDue)
        {
            return _persistentFrom;
        }

        Instant from = new(Math.Max(_persistentFrom.Nanoseconds, Volatile.Read(ref _traversed)));
        return from + TimeSpan.FromSeconds(PersistentKeepaliveInterval);
    }

    private void StopPersistentKeepalive()
    {
        _persistentFrom = Instant.Never;
        _persistentIsDue = false;
    }

    private void ArmRetransmit(Instant deadline)
    {
        _retransmit = deadline;
        Volatile.Write(ref _handshakeQuietUntil, long.MaxValue);
    }

    private void DisarmRetransmit()
    {
        _retransmit = Instant.Never;
        _handshakeAskedAgain = false;
        Volatile.Write(ref _handshakeQuietUntil, 0);
    }

    private bool IsBeforeLook(long deadline) => deadline < Volatile.Read(ref _nextLook);

    private static bool TryStamp(ref long stamp, Instant now) =>
        Volatile.Read(ref stamp) == 0 && Interlocked.CompareExchange(ref stamp, now.Nanoseconds, 0) == 0;

    private static void Clear(ref long stamp)
    {
        if (Volatile.Read(ref stamp) != 0)
        {
            Volatile.Write(ref stamp, 0);
        }
    }

    private static Instant Min(Instant left, Instant right) => left < right ? left : right;

    private static long Nanoseconds(TimeSpan span) => span.Ticks * TimeSpan.NanosecondsPerTick;
}
