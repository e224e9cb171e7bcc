namespace WgSharp.Protocol;

// The path to one peer's endpoint, as packetization layer path MTU discovery sees it (RFC 8899). Data leaves with DF clear, so nothing here decides whether
// it arrives, only how fast; but for the one case in which fragments do not pass.
//
// Nothing happens until large packets leave (PathBudget.Tell). What becomes of an event is decided here, of three things that know nothing of each other: what is
// believed of the path (PathEstimate), when which size is probed (ProbeSchedule, PathSearch), and whether fragments pass (FragmentCheck).

/// <summary>
/// One peer's path to one endpoint: events in, <see cref="Budget"/>, <see cref="NextDeadline"/> and probes out. Outer sizes only. No I/O, no clock. Control loop
/// only, but for <see cref="Budget"/>, which any thread reads.
/// </summary>
internal sealed class PathMtu
{
    /// <summary>No path of IPv4 is believed or tried to be smaller: RFC 791's datagram that everybody takes.</summary>
    public const int FloorIPv4 = 576;

    /// <summary>The smallest MTU of IPv6 (RFC 8200, section 5).</summary>
    public const int FloorIPv6 = 1280;

    /// <summary>The longest IP packet that a probe can be.</summary>
    public const int MaxOuter = 65535;

    private readonly MtuPolicy _policy;
    private readonly bool _isIPv6;
    private bool _isAskable = true;

    private PathEstimate _estimate;
    private ProbeSchedule _schedule = new();
    private FragmentCheck _fragments;
    private SentProbes _sent;
    private PathBudget _budget;

    /// <param name="routeMtu">Of the route to the endpoint; see <see cref="NoteRouteMtu"/>.</param>
    public PathMtu(MtuPolicy policy, bool isIPv6, int routeMtu)
    {
        _policy = policy;
        _isIPv6 = isIPv6;
        _estimate = new PathEstimate(Math.Min(routeMtu, MaxOuter));
        _budget = MakeBudget();
    }

    /// <summary>Any thread. Replaced when something changed: whoever logs compares the old one with the new.</summary>
    public PathBudget Budget => Volatile.Read(ref _budget);

    /// <summary>When <see cref="TryTakeProbe"/> is to be called next; may be in the past. Changes with every call of any method.</summary>
    public Instant NextDeadline
    {
        get
        {
            Instant earliest = _estimate.NextDeadline;
            if (IsBusy)
            {
                // A search that is over waits for the plain probe.
                Instant due = Instant.Min(_schedule.Due(waits: _fragments.IsBusy), _fragments.Due);
                return Instant.Min(earliest, due);
            }

            return !Probes || _schedule.IsArmed ? earliest : Instant.Min(earliest, _schedule.NextLook);
        }
    }

    public long ProbesSent { get; private set; }

    public long ProbesAnswered { get; private set; }

    /// <summary>A search or a plain probe is under way.</summary>
    public bool IsBusy => _schedule.IsSearching || _fragments.IsBusy;

    private bool Probes => _policy == MtuPolicy.Auto && _isAskable;

    private bool Learns => _policy != MtuPolicy.Kernel;

    private int Floor => _isIPv6 ? FloorIPv6 : FloorIPv4;

    // ---- events ----

    /// <summary>Whether there is anybody to send probes to. Assumed at first.</summary>
    public void SetAskable(bool isAskable, Instant now)
    {
        if (isAskable != _isAskable)
        {
            _isAskable = isAskable;
            StopProbing();
            _schedule.SearchSoon(now);
            Publish();
        }
    }

    /// <summary>The MTU of the route to the endpoint, each time that it was asked for: nothing happens while it is the same.</summary>
    public void NoteRouteMtu(int mtu, Instant now)
    {
        mtu = Math.Min(mtu, MaxOuter);
        if (mtu == _estimate.Route)
        {
            return;
        }

        bool isFollowed = _estimate.TryFollowRoute(mtu, isConfirmable: Probes, now);
        StopProbing();
        _schedule.SearchSoon(now);
        if (!isFollowed)
        {
            _schedule.Hint(mtu);
            Confirm(now);
        }

        Publish();
    }

    /// <summary>An ICMP packet-too-big came whose quote is a message of ours.</summary>
    public void NoteTooBig(int mtu, Instant now)
    {
        if (!Learns || mtu < Floor || mtu >= _estimate.Outer)
        {
            return;
        }

        if (_estimate.TryLower(mtu, MtuOrigin.Icmp, now))
        {
            _schedule.SearchForHint(mtu, now);
        }
        else if (Probes)
        {
            _schedule.Hint(mtu);
            if (_schedule.MayConfirm(now))
            {
                Confirm(now);
            }
        }

        Publish();
    }

    /// <summary>A message of the peer's came in fragments, the largest of this size (IP_RECVFRAGSIZE).</summary>
    public void NoteFragments(int size, Instant now)
    {
        // A fragment is up to 7 bytes shorter than the MTU that made it.
        if (!Learns || size < Floor || size + PathSearch.Step > _estimate.Outer)
        {
            return;
        }

        _estimate.NoteInbound(size, now);
        if (_estimate.TryLower(size, MtuOrigin.Fragments, now))
        {
            _schedule.SearchForHint(PathSearch.HintOfFragments(size), now);
        }

        Publish();
    }

    /// <summary>The data path has told (<see cref="PathBudget.Tell"/>) that a large message left, or wanted to.</summary>
    /// <param name="outerSize">Before anything was done about its size.</param>
    public void NoteTraffic(int outerSize, Instant now)
    {
        _fragments.NoteWanted(Math.Min(outerSize, MaxOuter));
        if (Probes && !_schedule.IsSearching)
        {
            if (_schedule.SearchIsDue(now))
            {
                int top = _estimate.Top(now);
                _schedule.BeginSearch(top, Floor, likely: _estimate.Outer < top ? _estimate.Outer : 0);
                _fragments.Forget();
            }
            else if (_schedule.ConfirmationIsDue(now))
            {
                Confirm(now);
            }
        }

        TryBeginFragments(now);
        Publish();
    }

    /// <summary>The peer's answer to a probe was seen, late ones included.</summary>
    public void NoteAnswered(uint id, Instant now)
    {
        if (!_sent.TryTake(id, out PathProbe probe, out Instant sentAt))
        {
            return;
        }

        ProbesAnswered++;
        if (probe.DontFragment)
        {
            _fragments.NoteAnswered(sentAt);
            _estimate.NotePassed(probe.OuterSize, now);
            _schedule.NotePassed(probe.OuterSize);
        }
        else
        {
            _fragments.NoteAnsweredPlain();
        }

        JudgeFragments();
        Publish();
    }

    /// <summary>The socket would not send a probe because of its size (EMSGSIZE): no need to try three times.</summary>
    public void NoteRefused(uint id, Instant now)
    {
        if (!_sent.TryTake(id, out PathProbe probe, out _))
        {
            return;
        }

        if (!probe.DontFragment)
        {
            _fragments.NoteUnknowable();
        }
        else if (_schedule.IsProbing(probe.OuterSize))
        {
            Fail(now);
        }

        Publish();
    }

    /// <summary>When <see cref="NextDeadline"/> is reached, and after any event: called until it says no. A probe that was taken counts as sent.</summary>
    public bool TryTakeProbe(Instant now, out PathProbe probe)
    {
        _estimate.Expire(now);
        if (!IsBusy)
        {
            _schedule.Arm(now);
        }

        bool taken = TryTakeSearchProbe(now, out probe) || TryTakePlainProbe(now, out probe) || (TryEnd(now) && TryTakeSearchProbe(now, out probe));
        Publish();
        return taken;
    }

    // ---- searching ----

    private void Confirm(Instant now) => _schedule.BeginConfirmation(_estimate.Outer, Floor, now);

    private bool TryTakeSearchProbe(Instant now, out PathProbe probe)
    {
        while (_schedule.HasDue(now))
        {
            if (_schedule.WasProbed)
            {
                // Not before: most of what is between is tried within one round trip, and whoever is told of a small MTU believes it for minutes.
                _estimate.LowerToPassed(_schedule.Found);
            }

            if (_schedule.TryProbe(now, out int size))
            {
                probe = Send(size, dontFragment: true, now);
                return true;
            }

            Fail(now);
        }

        probe = default;
        return false;
    }

    /// <summary>The size under way does not pass.</summary>
    private void Fail(Instant now)
    {
        _schedule.NoteFailed();
        if (_estimate.NoteFailed(_schedule.Found))
        {
            // It did once: the verdict on fragments is old too.
            _fragments.Doubt();
            _schedule.RaiseSoon();
        }

        TryBeginFragments(now);
    }

    /// <returns>True if the search goes on after all.</returns>
    private bool TryEnd(Instant now)
    {
        if (!_schedule.IsOver)
        {
            return false;
        }

        _estimate.LowerToPassed(_schedule.Found);
        if (_fragments.IsBusy)
        {
            return false;
        }

        if (_fragments.IsUnanswered)
        {
            // What was answered was sent before the plain probes: is anybody still there?
            if (_schedule.Found.Passed > 0)
            {
                _schedule.BeginLivenessCheck(_estimate.Outer, Floor);
                return true;
            }

            _fragments.NoteUnknowable();
        }

        if (_estimate.Confirmed >= _estimate.Route)
        {
            _fragments.NoteTopPassed(_estimate);
        }

        _schedule.End(_estimate, now);
        return false;
    }

    // ---- fragments ----

    private void TryBeginFragments(Instant now)
    {
        if (Probes)
        {
            _fragments.TryBegin(_schedule.LargestFailed, _estimate, now);
        }
    }

    private bool TryTakePlainProbe(Instant now, out PathProbe probe)
    {
        probe = default;
        TryBeginFragments(now);
        if (!_fragments.HasDue(now))
        {
            return false;
        }

        if (_fragments.TryProbe(now, out int size))
        {
            probe = Send(size, dontFragment: false, now);
            return true;
        }

        JudgeFragments();
        if (_fragments.IsUnanswered && !_schedule.IsSearching)
        {
            _schedule.BeginLivenessCheck(_estimate.Outer, Floor);
            return TryTakeSearchProbe(now, out probe);
        }

        return false;
    }

    private void JudgeFragments()
    {
        if (_fragments.TryJudge(_estimate) && _schedule.IsSearching)
        {
            _estimate.LowerToPassed(_schedule.Found);
        }
    }

    // ---- the rest ----

    private void StopProbing()
    {
        _schedule.Stop();
        _fragments.Stop();
    }

    private PathProbe Send(int size, bool dontFragment, Instant now)
    {
        ProbesSent++;
        return _sent.Add(size, dontFragment, now);
    }

    private void Publish()
    {
        if (!_budget.Says(_estimate.Outer, _estimate.Origin, _estimate.ConfirmedAt, _fragments.IsBlackHole, _estimate.Inbound, TellAbove()))
        {
            Volatile.Write(ref _budget, MakeBudget());
        }
    }

    private PathBudget MakeBudget() =>
        new(_estimate.Outer, _estimate.Origin, _estimate.ConfirmedAt, _fragments.IsBlackHole, _estimate.Inbound, TellAbove());

    private int TellAbove()
    {
        if (!Probes || IsBusy)
        {
            return int.MaxValue;
        }

        if (_schedule.IsArmed)
        {
            return Floor;
        }

        return _fragments.IsUnknown && _estimate.Confirmed > 0 ? _estimate.Outer : int.MaxValue;
    }
}
