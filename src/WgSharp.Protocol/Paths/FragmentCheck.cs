namespace WgSharp.Protocol;

// As soon as a size has failed, or where data wants more than what passes, a plain probe asks whether fragments pass: the same echo request, longer than what
// passes, DF clear. If it stays unanswered while smaller probes, sent after it, are answered, the path is a black hole for fragments, and the budget becomes
// hard.

/// <summary>Whether fragments arrive: black-hole detection. Outer sizes; no clock.</summary>
internal struct FragmentCheck
{
    /// <summary>A plain probe loses one of several fragments more easily, and here a wrong verdict drops packets.</summary>
    private const int MaxProbes = 5;

    private Verdict _verdict;
    private ProbedSize _probed;
    private Instant _since;
    private Instant _answeredSentAt;
    private int _wanted;

    private enum Verdict : byte
    {
        Unknown,
        Pass,

        /// <summary>Plain probes were not answered. Whether anything was is not known yet.</summary>
        Unanswered,
        Dropped,

        /// <summary>Nothing was answered: not to be known until the next search.</summary>
        Unknowable,
    }

    /// <summary>Fragments do not pass. Stays so until one has, whatever is asked meanwhile.</summary>
    public bool IsBlackHole { get; private set; }

    /// <summary>A plain probe is under way.</summary>
    public readonly bool IsBusy => !_probed.IsIdle;

    /// <summary>When something is to be done about it; Never if there is none.</summary>
    public readonly Instant Due => IsBusy ? _probed.Due : Instant.Never;

    public readonly bool IsUnknown => _verdict == Verdict.Unknown;

    /// <summary>Plain probes were not answered, and it is to be found out whether anything is.</summary>
    public readonly bool IsUnanswered => _verdict == Verdict.Unanswered;

    // ---- asking ----

    /// <summary>A message of this size left, or wanted to.</summary>
    public void NoteWanted(int outerSize) => _wanted = Math.Max(_wanted, outerSize);

    /// <summary>Begins, if there is a reason to ask, and nothing is known.</summary>
    /// <param name="failed">The largest size that has failed in the search under way, or 0.</param>
    public void TryBegin(int failed, in PathEstimate estimate, Instant now)
    {
        bool isWanted = estimate.Confirmed > 0 && _wanted > estimate.Outer;
        if (IsUnknown && !IsBusy && (failed > 0 || isWanted))
        {
            _probed = new ProbedSize(Math.Max(_wanted, failed), now);
            _since = now;
        }
    }

    /// <summary>The plain probe is to be sent again, or to be given up: <see cref="TryProbe"/>.</summary>
    public readonly bool HasDue(Instant now) => IsBusy && now >= _probed.Due;

    /// <returns>False if it was sent often enough: nobody has answered it.</returns>
    public bool TryProbe(Instant now, out int size)
    {
        size = _probed.Size;
        if (_probed.TryCount(MaxProbes, now))
        {
            return true;
        }

        _probed = default;
        _verdict = Verdict.Unanswered;
        return false;
    }

    public void Stop() => _probed = default;

    // ---- the verdict ----

    public void NoteAnsweredPlain()
    {
        _verdict = Verdict.Pass;
        IsBlackHole = false;
        _probed = default;
    }

    /// <summary>A probe with DF was answered.</summary>
    public void NoteAnswered(Instant sentAt) => _answeredSentAt = sentAt > _answeredSentAt ? sentAt : _answeredSentAt;

    /// <summary>A plain probe cannot leave, or nobody answers anything.</summary>
    public void NoteUnknowable()
    {
        _probed = default;
        _verdict = Verdict.Unknowable;
    }

    /// <returns>True if the path is found to be a black hole now.</returns>
    public bool TryJudge(in PathEstimate estimate)
    {
        if (!IsUnanswered || _answeredSentAt < _since || estimate.Confirmed == 0)
        {
            return false;
        }

        _verdict = Verdict.Dropped;
        IsBlackHole = true;
        return true;
    }

    /// <summary>A search begins: it is asked anew.</summary>
    public void Forget() => _verdict = Verdict.Unknown;

    /// <summary>The path is not what it was: as <see cref="Forget"/>, but for what is to be judged yet.</summary>
    public void Doubt() => _verdict = IsUnanswered ? _verdict : Verdict.Unknown;

    /// <summary>What the route takes passes: whether fragments do matters only to who sends longer messages than that.</summary>
    public void NoteTopPassed(in PathEstimate estimate) => IsBlackHole = IsBlackHole && _wanted > estimate.Outer;
}
