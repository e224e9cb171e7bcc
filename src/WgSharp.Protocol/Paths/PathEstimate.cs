namespace WgSharp.Protocol;

// What anybody on the way may have forged (ICMP; the kernel's memory of it, which is part of the route's MTU) never lowers what was confirmed lately: whoever
// says so is not followed, and has it confirmed again. Where probes are not answered, it is believed for ten minutes.

/// <summary>The size that a path is believed to take, on whose word, and for how long. Outer sizes only.</summary>
internal struct PathEstimate
{
    /// <summary>How long a probe's answer is "lately", and others' word is believed.</summary>
    public static readonly TimeSpan Lately = TimeSpan.FromMinutes(10);

    private Instant _confirmedAt;
    private Instant _loweredUntil = Instant.Never;
    private Instant _inboundUntil = Instant.Never;

    public PathEstimate(int routeMtu)
    {
        Route = routeMtu;
        Outer = routeMtu;
    }

    /// <summary>The MTU of the route.</summary>
    public int Route { get; private set; }

    /// <summary>The largest packet that passes unfragmented.</summary>
    public int Outer { get; private set; }

    public MtuOrigin Origin { get; private set; }

    /// <summary>The same for what the peer sends, or more.</summary>
    public int Inbound { get; private set; } = int.MaxValue;

    /// <summary>The largest size that a probe has confirmed, or 0.</summary>
    public int Confirmed { get; private set; }

    /// <summary>When a probe has confirmed <see cref="Outer"/>; 0 if none has.</summary>
    public readonly Instant ConfirmedAt => Origin == MtuOrigin.Probe ? _confirmedAt : default;

    /// <summary>When <see cref="Expire"/> is to be called.</summary>
    public readonly Instant NextDeadline => Instant.Min(_loweredUntil, _inboundUntil);

    /// <summary>The route's MTU; more, where the route was said to have shrunk and a probe of the old size has passed since.</summary>
    public readonly int Top(Instant now) => IsConfirmedLately(now) ? Math.Max(Route, Confirmed) : Route;

    public readonly bool IsConfirmedLately(Instant now) => Confirmed > 0 && !_confirmedAt.IsOlderThan(Lately, now);

    // ---- the route ----

    /// <summary>The route's MTU is another one.</summary>
    /// <param name="isConfirmable">Probes can be sent.</param>
    /// <returns>False if it is less than what a probe has confirmed lately: that stays, and is to be confirmed again.</returns>
    public bool TryFollowRoute(int mtu, bool isConfirmable, Instant now)
    {
        Route = mtu;
        if (isConfirmable && mtu < Outer && IsConfirmedLately(now) && Confirmed > mtu)
        {
            return false;
        }

        if (mtu < Outer || Origin == MtuOrigin.Route)
        {
            Outer = mtu;
            Origin = MtuOrigin.Route;
            Confirmed = Math.Min(Confirmed, Outer);
            _loweredUntil = Instant.Never;
        }

        return true;
    }

    // ---- what others say ----

    /// <returns>False if a probe has confirmed more than that lately.</returns>
    public bool TryLower(int size, MtuOrigin origin, Instant now)
    {
        if (IsConfirmedLately(now) && size < Confirmed)
        {
            return false;
        }

        Outer = size;
        Origin = origin;
        _loweredUntil = now + Lately;
        return true;
    }

    /// <summary>The peer's messages come in fragments of this size.</summary>
    public void NoteInbound(int size, Instant now)
    {
        Inbound = size;
        _inboundUntil = now + Lately;
    }

    /// <summary>What others said is not believed for ever.</summary>
    public void Expire(Instant now)
    {
        if (_loweredUntil <= now)
        {
            _loweredUntil = Instant.Never;
            Outer = Route;
            Origin = MtuOrigin.Route;
        }

        if (_inboundUntil <= now)
        {
            _inboundUntil = Instant.Never;
            Inbound = int.MaxValue;
        }
    }

    // ---- what probes say ----

    /// <summary>A probe of this size was answered.</summary>
    public void NotePassed(int size, Instant now)
    {
        if (size >= Outer)
        {
            Origin = MtuOrigin.Probe;
            Outer = size;
            _loweredUntil = Instant.Never;
        }

        if (size >= Confirmed || !IsConfirmedLately(now))
        {
            Confirmed = size;
            _confirmedAt = now;
        }
    }

    /// <summary>A search found that a size does not pass.</summary>
    /// <returns>True if it did once: whatever was known of the path is old.</returns>
    public bool NoteFailed(in PathSearch found)
    {
        if (Confirmed < found.Failed)
        {
            return false;
        }

        Confirmed = found.Passed;
        return true;
    }

    /// <summary>Where a search has found that less than was believed passes, and no more: that is it.</summary>
    public void LowerToPassed(in PathSearch found)
    {
        if (found.Passed > 0 && found.Failed <= Outer)
        {
            Outer = found.Passed;
            Origin = MtuOrigin.Probe;
            Confirmed = Outer;
            _loweredUntil = Instant.Never;
        }
    }
}
