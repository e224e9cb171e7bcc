namespace WgSharp.Protocol;

// With the first large message a search begins (PathSearch): probes of the sizes that it names, DF set, each tried three times, a second apart. What has passed
// is confirmed every ten seconds by one probe while there is traffic, so that a path which has shrunk is noticed. What is below the route's MTU is searched for
// anew after 30 s, then after twice as long each time, up to ten minutes: a path that grew is noticed too.

/// <summary>When probes with DF are sent, and of which size (RFC 8899, sections 5.1 and 5.2). Outer sizes; no clock.</summary>
internal struct ProbeSchedule()
{
    /// <summary>RFC 8899's MAX_PROBES.</summary>
    private const int MaxProbes = 3;

    /// <summary>RFC 8899's CONFIRMATION_TIMER.</summary>
    private static readonly TimeSpan ConfirmInterval = TimeSpan.FromSeconds(10);

    private static readonly TimeSpan FirstRaiseInterval = TimeSpan.FromSeconds(30);

    /// <summary>RFC 8899's PMTU_RAISE_TIMER.</summary>
    private static readonly TimeSpan RaiseInterval = PathEstimate.Lately;

    private PathSearch _search;
    private ProbedSize _probed;
    private int _hint;
    private Instant _nextSearch;
    private Instant _nextConfirmation = Instant.Never;
    private TimeSpan _raise = FirstRaiseInterval;

    /// <summary>A search or a confirmation is under way.</summary>
    public bool IsSearching { get; private set; }

    /// <summary>The next large message begins something.</summary>
    public bool IsArmed { get; private set; } = true;

    /// <summary>What was found, by the search under way or the last one.</summary>
    public readonly PathSearch Found => _search;

    /// <summary>The largest size that has failed in the search under way, or 0.</summary>
    public readonly int LargestFailed => IsSearching ? _search.LargestFailed : 0;

    /// <summary>When the next large message is of interest again.</summary>
    public readonly Instant NextLook => Instant.Min(_nextSearch, _nextConfirmation);

    /// <summary>No size is left to try.</summary>
    public readonly bool IsOver => IsSearching && _probed.IsIdle && _search.Next() == 0;

    /// <summary>When something is to be done about the size under way; Never if there is none.</summary>
    /// <param name="waits">A search that is over is not ended yet.</param>
    public readonly Instant Due(bool waits) => IsSearching && !(waits && IsOver) ? _probed.Due : Instant.Never;

    // ---- beginning and ending ----

    public readonly bool SearchIsDue(Instant now) => _nextSearch <= now;

    public readonly bool ConfirmationIsDue(Instant now) => _nextConfirmation <= now;

    /// <summary>The last confirmation was begun a while ago: one may be begun although it is not due.</summary>
    public readonly bool MayConfirm(Instant now) => !IsSearching && _nextConfirmation + (ProbedSize.Timeout - ConfirmInterval) <= now;

    /// <param name="top">See <see cref="PathSearch.Full"/>, as <paramref name="floor"/>.</param>
    /// <param name="likely">Tried when the top has failed, if nobody has hinted at another size; 0 for none.</param>
    public void BeginSearch(int top, int floor, int likely) => Begin(PathSearch.Full(top, floor, _hint != 0 ? _hint : likely));

    /// <summary>Does this size still pass?</summary>
    public void BeginConfirmation(int size, int floor, Instant now)
    {
        Begin(PathSearch.Confirmation(size, floor, _hint));
        _nextConfirmation = now + ConfirmInterval;
    }

    /// <summary>Is anybody there, after all? As <see cref="BeginConfirmation"/>, but the next confirmation is not put off.</summary>
    public void BeginLivenessCheck(int size, int floor) => Begin(PathSearch.Confirmation(size, floor, 0));

    /// <summary>Begins with the next large message.</summary>
    public void SearchSoon(Instant now)
    {
        _nextSearch = now;
        IsArmed = true;
        _raise = FirstRaiseInterval;
    }

    /// <summary>Somebody says that this size passes: it is tried next in the search under way, and early in the next one.</summary>
    public void Hint(int size)
    {
        _hint = size;
        _search.Hint(size);
    }

    /// <summary>As <see cref="Hint"/>, and a search is wanted soon.</summary>
    public void SearchForHint(int size, Instant now)
    {
        Hint(size);
        if (!IsSearching)
        {
            SearchSoon(now);
        }
    }

    /// <summary>If it is time, the next large message begins something. Not while anything is under way.</summary>
    public void Arm(Instant now)
    {
        if (NextLook <= now)
        {
            IsArmed = true;
        }
    }

    /// <summary>Whatever is under way ends without a result.</summary>
    public void Stop()
    {
        IsSearching = false;
        _probed = default;
        _nextConfirmation = Instant.Never;
    }

    /// <summary>The search is over: when is the next one?</summary>
    public void End(in PathEstimate estimate, Instant now)
    {
        IsSearching = false;
        _hint = 0;
        _nextConfirmation = estimate.Confirmed > 0 ? now + ConfirmInterval : Instant.Never;
        if (estimate.Confirmed >= estimate.Route)
        {
            _raise = RaiseInterval;
            _nextSearch = now + _raise;
        }
        else if (_nextSearch <= now || _search.LargestFailed > 0)
        {
            _nextSearch = now + _raise;
            _raise = _raise * 2 < RaiseInterval ? _raise * 2 : RaiseInterval;
        }
    }

    private void Begin(PathSearch search)
    {
        _search = search;
        _probed = default;
        IsSearching = true;
        IsArmed = false;
    }

    // ---- the size under way ----

    /// <summary>Whether a size is to be probed again, or to be given up: <see cref="TryProbe"/>.</summary>
    public bool HasDue(Instant now)
    {
        if (!IsSearching)
        {
            return false;
        }

        if (_probed.IsIdle)
        {
            int next = _search.Next();
            if (next == 0)
            {
                return false;
            }

            _probed = new ProbedSize(next, now);
        }

        return now >= _probed.Due;
    }

    /// <summary>Whether that size stayed unanswered for a while already.</summary>
    public readonly bool WasProbed => _probed.Count > 0;

    /// <summary>The size that <see cref="HasDue"/> found is sent now.</summary>
    /// <returns>False if it was sent often enough: <see cref="NoteFailed"/>.</returns>
    public bool TryProbe(Instant now, out int size)
    {
        size = _probed.Size;
        return _probed.TryCount(MaxProbes, now);
    }

    /// <summary>Whether it is this size that is under way.</summary>
    public readonly bool IsProbing(int size) => IsSearching && _probed.Size == size;

    public void NotePassed(int size)
    {
        if (IsSearching)
        {
            _search.Pass(size);
            if (size >= _probed.Size)
            {
                _probed = default;
            }
        }
    }

    /// <summary>The size under way does not pass.</summary>
    public void NoteFailed()
    {
        _search.Fail(_probed.Size);
        _probed = default;
    }

    /// <summary>The path is not what it was: the next search comes early.</summary>
    public void RaiseSoon() => _raise = FirstRaiseInterval;
}
