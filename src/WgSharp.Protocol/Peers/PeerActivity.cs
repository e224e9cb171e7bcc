namespace WgSharp.Protocol;

/// <summary>
/// What the data path leaves behind for a peer's timers: stamps, written once per run and mostly found written already; and what the control loop
/// tells the data path in return: when it will look next, and until when asking for a handshake is of no use.
/// Any thread, unless it says otherwise; never allocates.
/// </summary>
internal sealed class PeerActivity
{
    // ---- written by the data path ----

    private long _dataSent;
    private long _dataReceived;
    private long _received;
    private long _traversed;
    private long _sent;
    private volatile bool _moreDataReceived;
    private volatile bool _handshakeAskedAgain;

    // ---- written by the control loop, but for the one who asks ----

    private long _handshakeQuietUntil;
    private long _nextLook = long.MaxValue;
    private long _newHandshakeDelay;

    /// <summary>The first data sent since anything was received, or Never.</summary>
    public Instant DataSent => Stamp(ref _dataSent);

    /// <summary>The first data received since anything was sent, or Never.</summary>
    public Instant DataReceived => Stamp(ref _dataReceived);

    /// <summary>The last authenticated message either way, handshakes included; 0 if none.</summary>
    public Instant Traversed => new(Volatile.Read(ref _traversed));

    /// <summary>Messages sent so far.</summary>
    public long SentCount => Interlocked.Read(ref _sent);

    /// <summary>Something authenticated was sent. Once per run.</summary>
    /// <returns>True if a deadline arose before the planned look.</returns>
    public bool NoteSent(int messages, bool carriesData, Instant now)
    {
        Interlocked.Add(ref _sent, messages);

        // The answer can be here, on another thread, before the sender comes to note what it has sent: that was not left unanswered.
        if (Volatile.Read(ref _received) > now.Nanoseconds)
        {
            return false;
        }

        Clear(ref _dataReceived);
        Volatile.Write(ref _traversed, now.Nanoseconds);
        return carriesData && TryStamp(ref _dataSent, now) && IsBeforeLook(now.Nanoseconds + Volatile.Read(ref _newHandshakeDelay));
    }

    /// <summary>Something authenticated was received. Once per run.</summary>
    /// <returns>True if a deadline arose before the planned look.</returns>
    public bool NoteReceived(bool carriesData, Instant now)
    {
        Volatile.Write(ref _received, now.Nanoseconds);
        Clear(ref _dataSent);
        Volatile.Write(ref _traversed, now.Nanoseconds);
        if (!carriesData)
        {
            return false;
        }

        if (TryStamp(ref _dataReceived, now))
        {
            if (_moreDataReceived)
            {
                _moreDataReceived = false;
            }

            return IsBeforeLook((now + Limits.KeepaliveTimeout).Nanoseconds);
        }

        if (!_moreDataReceived)
        {
            _moreDataReceived = true;
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

    // ---- control loop only ----

    public void ForgetDataSent() => Clear(ref _dataSent);

    public void ForgetDataReceived() => Clear(ref _dataReceived);

    /// <summary>More data came while a passive keepalive was due already: the kernel's timer_need_another_keepalive. Reading resets it.</summary>
    public bool TakeMoreDataReceived()
    {
        bool more = _moreDataReceived;
        _moreDataReceived = false;
        return more;
    }

    /// <summary>Someone asked for a handshake in vain since this was read last.</summary>
    public bool TakeHandshakeAskedAgain()
    {
        bool asked = _handshakeAskedAgain;
        _handshakeAskedAgain = false;
        return asked;
    }

    /// <summary>Asking is of no use before this moment: the control loop is at it (Never), or has just found that it can't.</summary>
    public void QuietHandshakes(Instant until) => Volatile.Write(ref _handshakeQuietUntil, until.Nanoseconds);

    /// <summary>From sending data to the deadline of the new-handshake timer.</summary>
    public void SetNewHandshakeDelay(TimeSpan delay) => Volatile.Write(ref _newHandshakeDelay, delay.Ticks * TimeSpan.NanosecondsPerTick);

    public Instant NewHandshakeDeadline =>
        DataSent == Instant.Never ? Instant.Never : new Instant(DataSent.Nanoseconds + Volatile.Read(ref _newHandshakeDelay));

    /// <summary>
    /// The moment at which the control loop will look at this peer. A full fence follows: what was stamped by someone who could not see
    /// this plan yet is seen by who reads the stamps now.
    /// </summary>
    public void PublishNextLook(Instant planned) => Interlocked.Exchange(ref _nextLook, planned.Nanoseconds);

    /// <summary>A handshake message passed: without data, and not counted by the data path.</summary>
    public void NoteHandshakeMessage(bool sent, Instant now)
    {
        if (sent)
        {
            NoteSent(1, carriesData: false, now);
        }
        else
        {
            NoteReceived(carriesData: false, now);
        }
    }

    /// <summary>Link down: nothing that happened before counts any more.</summary>
    public void Reset()
    {
        Clear(ref _dataSent);
        Clear(ref _dataReceived);
        Volatile.Write(ref _traversed, 0);
        _moreDataReceived = false;
        PublishNextLook(Instant.Never);
    }

    /// <summary>By Interlocked, so that the plan is read after the stamp is there for the control loop to see.</summary>
    private static bool TryStamp(ref long stamp, Instant now) =>
        Volatile.Read(ref stamp) == 0 && Interlocked.CompareExchange(ref stamp, now.Nanoseconds, 0) == 0;

    private static Instant Stamp(ref long stamp)
    {
        long value = Volatile.Read(ref stamp);
        return value == 0 ? Instant.Never : new Instant(value);
    }

    private static void Clear(ref long stamp)
    {
        if (Volatile.Read(ref stamp) != 0)
        {
            Volatile.Write(ref stamp, 0);
        }
    }

    private bool IsBeforeLook(long deadline) => deadline < Volatile.Read(ref _nextLook);
}
