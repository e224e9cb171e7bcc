using System.Runtime.InteropServices;

namespace WgSharp.Protocol;

// The path to one peer's endpoint, as packetization layer path MTU discovery sees it (RFC 8899). Data leaves with DF clear, so nothing here decides whether
// it arrives, only how fast; but for the one case in which fragments do not pass.
//
// Nothing happens until large packets leave (PathBudget.Tell). Then a search begins (PathSearch): probes of the sizes that it names, DF set, each tried
// three times, a second apart. Beside it, as soon as a size has failed, or where data wants more than what passes, a plain probe asks whether
// fragments pass: the same echo request, longer than what passes, DF clear. If it stays unanswered while smaller probes, sent after it, are
// answered, the path is a black hole for fragments, and the budget becomes hard.
//
// While there is traffic, what passes is confirmed every ten seconds by one probe, so that a path which has shrunk is noticed. What is below the route's MTU
// is searched for anew after 30 s, then after twice as long each time, up to ten minutes: a path that grew is noticed too.
//
// What anybody on the way may have forged (ICMP; the kernel's memory of it, which is part of the route's MTU) never lowers what was confirmed lately: it asks
// for a confirmation at once. Where probes are not answered, it is believed for ten minutes.

/// <summary>A probe to be sent: an echo request padded to this size.</summary>
/// <param name="Id">For <see cref="PathMtu.NoteAnswered"/>.</param>
/// <param name="OuterSize">Bytes of the outer IP packet.</param>
/// <param name="DontFragment">DF set; else plain: may be fragmented, here and on the way.</param>
internal readonly record struct PathProbe(uint Id, int OuterSize, bool DontFragment);

/// <summary>
/// One peer's path: events in, <see cref="Budget"/>, <see cref="NextDeadline"/> and probes out. Outer sizes only. No I/O, no clock. Control loop
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

    private const int Tries = 3;

    /// <summary>A plain probe loses one of several fragments more easily, and here a wrong verdict drops packets.</summary>
    private const int PlainTries = 5;

    /// <summary>RFC 8899's PROBE_TIMER. Later answers count too.</summary>
    private static readonly TimeSpan TryTimeout = TimeSpan.FromSeconds(1);

    /// <summary>RFC 8899's CONFIRMATION_TIMER.</summary>
    private static readonly TimeSpan ConfirmInterval = TimeSpan.FromSeconds(10);

    private static readonly TimeSpan FirstRaiseInterval = TimeSpan.FromSeconds(30);

    /// <summary>RFC 8899's PMTU_RAISE_TIMER, and how long "lately" is.</summary>
    private static readonly TimeSpan RaiseInterval = TimeSpan.FromMinutes(10);

    private readonly MtuPolicy _policy;
    private bool _isIPv6;
    private bool _isAskable = true;
    private int _route;
    private int _configured;

    private int _outer;
    private MtuOrigin _origin;
    private bool _isHard;
    private int _confirmed;
    private Instant _confirmedAt;
    private Instant _loweredUntil = Instant.Never;
    private int _inbound = int.MaxValue;
    private Instant _inboundUntil = Instant.Never;

    private bool _isSearching;
    private PathSearch _search;
    private ProbeLane _lane;
    private int _hint;
    private Instant _nextSearch;
    private Instant _nextConfirmation = Instant.Never;
    private TimeSpan _raise = FirstRaiseInterval;
    private bool _isArmed = true;

    private Fragments _fragments;
    private ProbeLane _plain;
    private Instant _plainSince;
    private Instant _answeredSentAt;
    private int _wanted;

    private uint _lastId;
    private SentProbe[]? _sent;
    private PathBudget _budget;

    /// <param name="routeMtu">Of the route to the endpoint; see <see cref="NoteRouteMtu"/>.</param>
    public PathMtu(MtuPolicy policy, bool isIPv6, int routeMtu)
    {
        _policy = policy;
        _isIPv6 = isIPv6;
        _route = Math.Min(routeMtu, MaxOuter);
        _outer = _route;
        _budget = MakeBudget();
    }

    private enum Fragments : byte
    {
        Unknown,
        Pass,

        /// <summary>Plain probes were not answered. Whether anything was is not known yet.</summary>
        Unanswered,
        Dropped,

        /// <summary>Nothing was answered: not to be known until the next search.</summary>
        Unknowable,
    }

    /// <summary>Any thread. Replaced when something changed: whoever logs compares the old one with the new.</summary>
    public PathBudget Budget => Volatile.Read(ref _budget);

    /// <summary>When <see cref="TryTakeProbe"/> is to be called next; may be in the past. Changes with every call of any method.</summary>
    public Instant NextDeadline
    {
        get
        {
            Instant earliest = Min(_loweredUntil, _inboundUntil);
            if (IsBusy)
            {
                // A search that is over waits for the plain probe.
                bool isOver = _lane.IsIdle && _search.Next() == 0 && !_plain.IsIdle;
                Instant due = _isSearching && !isOver ? _lane.Due : Instant.Never;
                return Min(earliest, Min(due, _plain.IsIdle ? Instant.Never : _plain.Due));
            }

            return !Probes || _isArmed ? earliest : Min(earliest, NextLook);
        }
    }

    public long ProbesSent { get; private set; }

    public long ProbesAnswered { get; private set; }

    /// <summary>A search or a plain probe is under way.</summary>
    public bool IsBusy => _isSearching || !_plain.IsIdle;

    private bool Probes => _policy == MtuPolicy.Auto && _configured == 0 && _isAskable;

    private bool Learns => _policy != MtuPolicy.Kernel && _configured == 0;

    private int Floor => _isIPv6 ? FloorIPv6 : FloorIPv4;

    /// <summary>The route's MTU; more, where the route was said to have shrunk and a probe of the old size has passed since.</summary>
    private int Top(Instant now) => IsConfirmedLately(now) ? Math.Max(_route, _confirmed) : _route;

    private Instant NextLook => Min(_nextSearch, _nextConfirmation);

    // ---- events ----

    /// <summary>The user fixes the path's MTU; 0 takes that back. Nothing is learned or probed then.</summary>
    public void SetConfigured(int outerMtu, Instant now)
    {
        _configured = outerMtu;
        Restart(now);
    }

    /// <summary>Whether there is anybody to send probes to. Assumed at first.</summary>
    public void SetAskable(bool isAskable, Instant now)
    {
        if (isAskable != _isAskable)
        {
            _isAskable = isAskable;
            StopSearching();
            SearchSoon(now);
            Publish();
        }
    }

    /// <summary>The MTU of the route to the endpoint, each time that it was asked for: nothing happens while it is the same.</summary>
    public void NoteRouteMtu(int mtu, Instant now)
    {
        mtu = Math.Min(mtu, MaxOuter);
        if (mtu == _route)
        {
            return;
        }

        _route = mtu;
        bool isDoubtful = Probes && mtu < _outer && IsConfirmedLately(now) && _confirmed > mtu;
        if (!isDoubtful && (mtu < _outer || _origin is MtuOrigin.Route or MtuOrigin.Configured))
        {
            _outer = _configured == 0 ? mtu : Math.Min(mtu, _configured);
            _origin = _configured == 0 ? MtuOrigin.Route : MtuOrigin.Configured;
            _confirmed = Math.Min(_confirmed, _outer);
            _loweredUntil = Instant.Never;
        }

        StopSearching();
        SearchSoon(now);
        if (isDoubtful)
        {
            _hint = mtu;
            Confirm(now);
        }

        Publish();
    }

    /// <summary>The endpoint is another one: nothing that was known counts any more.</summary>
    public void NoteRoamed(bool isIPv6, int routeMtu, Instant now)
    {
        _isIPv6 = isIPv6;
        _route = Math.Min(routeMtu, MaxOuter);
        Restart(now);
    }

    /// <summary>An ICMP packet-too-big came whose quote is a message of ours.</summary>
    public void NoteTooBig(int mtu, Instant now)
    {
        if (!Learns || mtu < Floor || mtu >= _outer)
        {
            return;
        }

        if (Lower(mtu, MtuOrigin.Icmp, now))
        {
            SearchForHint(mtu, now);
        }
        else if (Probes)
        {
            _hint = mtu;
            _search.Hint(mtu);
            if (!_isSearching && _nextConfirmation + (TryTimeout - ConfirmInterval) <= now)
            {
                Confirm(now);
            }
        }

        Publish();
    }

    /// <summary>A message of the peer's came in fragments, the largest of this size (IP_RECVFRAGSIZE).</summary>
    public void NoteFragments(int size, Instant now)
    {
        if (!Learns || size < Floor)
        {
            return;
        }

        // A fragment is up to 7 bytes shorter than the MTU that made it.
        if (size + PathSearch.Step <= _outer)
        {
            _inbound = size;
            _inboundUntil = now + RaiseInterval;
            if (Lower(size, MtuOrigin.Fragments, now))
            {
                SearchForHint(PathSearch.HintOfFragments(size), now);
            }

            Publish();
        }
    }

    /// <summary>The data path has told (<see cref="PathBudget.Tell"/>) that a large message left, or wanted to.</summary>
    /// <param name="outerSize">Before anything was done about its size.</param>
    public void NoteTraffic(int outerSize, Instant now)
    {
        _wanted = Math.Max(_wanted, Math.Min(outerSize, MaxOuter));
        if (Probes && !_isSearching)
        {
            if (_nextSearch <= now)
            {
                Begin(PathSearch.Full(Top(now), Floor, _hint != 0 ? _hint : BelowTop(now)));
                _fragments = Fragments.Unknown;
            }
            else if (_nextConfirmation <= now)
            {
                Confirm(now);
            }
        }

        BeginPlain(now);
        Publish();
    }

    /// <summary>The peer's answer to a probe was seen, late ones included.</summary>
    public void NoteAnswered(uint id, Instant now)
    {
        if (!TryFind(id, out SentProbe sent))
        {
            return;
        }

        ProbesAnswered++;
        if (!sent.DontFragment)
        {
            _fragments = Fragments.Pass;
            _isHard = false;
            _plain = default;
        }
        else
        {
            _answeredSentAt = sent.At > _answeredSentAt ? sent.At : _answeredSentAt;
            Pass(sent.Size, now);
        }

        JudgeFragments();
        Publish();
    }

    /// <summary>The socket would not send a probe because of its size (EMSGSIZE): no need to try three times.</summary>
    public void NoteRefused(uint id, Instant now)
    {
        if (!TryFind(id, out SentProbe sent))
        {
            return;
        }

        if (sent.DontFragment && _isSearching && _lane.Size == sent.Size)
        {
            Fail(now);
        }
        else if (!sent.DontFragment)
        {
            _plain = default;
            _fragments = Fragments.Unknowable;
        }

        Publish();
    }

    /// <summary>When <see cref="NextDeadline"/> is reached, and after any event: called until it says no. A probe that was taken counts as sent.</summary>
    public bool TryTakeProbe(Instant now, out PathProbe probe)
    {
        Expire(now);
        bool taken = TryTakeSearchProbe(now, out probe) || TryTakePlainProbe(now, out probe) || (TryEnd(now) && TryTakeSearchProbe(now, out probe));
        Publish();
        return taken;
    }

    // ---- searching ----

    private void Begin(PathSearch search)
    {
        _search = search;
        _lane = default;
        _isSearching = true;
        _isArmed = false;
    }

    private void Confirm(Instant now)
    {
        Begin(PathSearch.Confirmation(_outer, Floor, _hint));
        _nextConfirmation = now + ConfirmInterval;
    }

    private void SearchForHint(int hint, Instant now)
    {
        _hint = hint;
        if (_isSearching)
        {
            _search.Hint(hint);
        }
        else
        {
            SearchSoon(now);
        }
    }

    /// <summary>With the next large message.</summary>
    private void SearchSoon(Instant now)
    {
        _nextSearch = now;
        _isArmed = true;
        _raise = FirstRaiseInterval;
    }

    private bool TryTakeSearchProbe(Instant now, out PathProbe probe)
    {
        probe = default;
        while (_isSearching)
        {
            if (_lane.IsIdle)
            {
                int next = _search.Next();
                if (next == 0)
                {
                    return false;
                }

                _lane = new ProbeLane(next, now);
            }

            if (now < _lane.Due)
            {
                return false;
            }

            if (_lane.Tries > 0)
            {
                LowerToPassed();
            }

            if (_lane.Tries < Tries)
            {
                probe = Take(ref _lane, dontFragment: true, now);
                return true;
            }

            Fail(now);
        }

        return false;
    }

    private void Pass(int size, Instant now)
    {
        if (size >= _outer)
        {
            _origin = MtuOrigin.Probe;
            _outer = size;
            _loweredUntil = Instant.Never;
        }

        if (size >= _confirmed || !IsConfirmedLately(now))
        {
            _confirmed = size;
            _confirmedAt = now;
        }

        if (_isSearching)
        {
            _search.Pass(size);
            if (size >= _lane.Size)
            {
                _lane = default;
            }
        }
    }

    private void Fail(Instant now)
    {
        _search.Fail(_lane.Size);
        _lane = default;
        if (_confirmed >= _search.Failed)
        {
            // It did pass once: whatever was known of the path is old, the verdict on fragments included.
            _confirmed = _search.Passed;
            _fragments = _fragments == Fragments.Unanswered ? _fragments : Fragments.Unknown;
            _raise = FirstRaiseInterval;
        }

        BeginPlain(now);
    }

    /// <summary>
    /// Not before a larger size has stayed unanswered for a while: most of what is between is tried within one round trip, and whoever
    /// is told of a small MTU believes it for minutes.
    /// </summary>
    private void LowerToPassed()
    {
        if (_search.Passed > 0 && _search.Failed <= _outer)
        {
            _outer = _search.Passed;
            _origin = MtuOrigin.Probe;
            _confirmed = _outer;
            _loweredUntil = Instant.Never;
        }
    }

    /// <returns>True if the search goes on after all.</returns>
    private bool TryEnd(Instant now)
    {
        if (!_isSearching || !_lane.IsIdle || _search.Next() != 0)
        {
            return false;
        }

        LowerToPassed();
        if (!_plain.IsIdle)
        {
            return false;
        }

        if (_fragments == Fragments.Unanswered)
        {
            // What was answered was sent before the plain probes: is anybody still there?
            if (_search.Passed > 0)
            {
                Begin(PathSearch.Confirmation(_outer, Floor, 0));
                return true;
            }

            _fragments = Fragments.Unknowable;
        }

        _isSearching = false;
        Schedule(now);
        return false;
    }

    private void Schedule(Instant now)
    {
        _hint = 0;
        _nextConfirmation = _confirmed > 0 ? now + ConfirmInterval : Instant.Never;
        if (_confirmed >= _route)
        {
            _isHard = _isHard && _wanted > _outer;
            _raise = RaiseInterval;
            _nextSearch = now + _raise;
        }
        else if (_nextSearch <= now || _search.LargestFailed > 0)
        {
            _nextSearch = now + _raise;
            _raise = Min(_raise * 2, RaiseInterval);
        }
    }

    // ---- fragments ----

    private void BeginPlain(Instant now)
    {
        bool hasFailed = _isSearching && _search.LargestFailed > 0;
        if (!Probes || _fragments != Fragments.Unknown || !_plain.IsIdle || !(hasFailed || (_confirmed > 0 && _wanted > _outer)))
        {
            return;
        }

        _plain = new ProbeLane(hasFailed ? Math.Max(_wanted, _search.LargestFailed) : _wanted, now);
        _plainSince = now;
    }

    private bool TryTakePlainProbe(Instant now, out PathProbe probe)
    {
        probe = default;
        BeginPlain(now);
        if (_plain.IsIdle || now < _plain.Due)
        {
            return false;
        }

        if (_plain.Tries < PlainTries)
        {
            probe = Take(ref _plain, dontFragment: false, now);
            return true;
        }

        _plain = default;
        _fragments = Fragments.Unanswered;
        JudgeFragments();
        if (_fragments == Fragments.Unanswered && !_isSearching)
        {
            Begin(PathSearch.Confirmation(_outer, Floor, 0));
            return TryTakeSearchProbe(now, out probe);
        }

        return false;
    }

    private void JudgeFragments()
    {
        if (_fragments == Fragments.Unanswered && _answeredSentAt >= _plainSince && _confirmed > 0)
        {
            _fragments = Fragments.Dropped;
            _isHard = true;
            if (_isSearching)
            {
                LowerToPassed();
            }
        }
    }

    // ---- what others say ----

    private bool IsConfirmedLately(Instant now) => _confirmed > 0 && !_confirmedAt.IsOlderThan(RaiseInterval, now);

    /// <returns>False if a probe has confirmed more than that lately.</returns>
    private bool Lower(int size, MtuOrigin origin, Instant now)
    {
        if (IsConfirmedLately(now) && size < _confirmed)
        {
            return false;
        }

        _outer = size;
        _origin = origin;
        _loweredUntil = now + RaiseInterval;
        return true;
    }

    private void Expire(Instant now)
    {
        if (_loweredUntil <= now)
        {
            _loweredUntil = Instant.Never;
            _outer = _route;
            _origin = MtuOrigin.Route;
        }

        if (_inboundUntil <= now)
        {
            _inboundUntil = Instant.Never;
            _inbound = int.MaxValue;
        }

        if (!IsBusy && NextLook <= now)
        {
            _isArmed = true;
        }
    }

    // ---- the rest ----

    private void Restart(Instant now)
    {
        StopSearching();
        _outer = _configured == 0 ? _route : Math.Min(_route, _configured);
        _origin = _configured == 0 ? MtuOrigin.Route : MtuOrigin.Configured;
        _isHard = false;
        _fragments = Fragments.Unknown;
        _confirmed = 0;
        _confirmedAt = default;
        _answeredSentAt = default;
        _loweredUntil = Instant.Never;
        _inbound = int.MaxValue;
        _inboundUntil = Instant.Never;
        _hint = 0;
        _wanted = 0;
        _sent = null;
        SearchSoon(now);
        Publish();
    }

    private void StopSearching()
    {
        _isSearching = false;
        _lane = default;
        _plain = default;
        _nextConfirmation = Instant.Never;
    }

    private int BelowTop(Instant now) => _outer < Top(now) ? _outer : 0;

    private PathProbe Take(ref ProbeLane lane, bool dontFragment, Instant now)
    {
        lane.Tries++;
        lane.Due = now + TryTimeout;
        _sent ??= new SentProbe[16];
        _sent[++_lastId % (uint)_sent.Length] = new SentProbe(now, _lastId, (ushort)lane.Size, dontFragment);
        ProbesSent++;
        return new PathProbe(_lastId, lane.Size, dontFragment);
    }

    /// <summary>Each probe is answered once.</summary>
    private bool TryFind(uint id, out SentProbe sent)
    {
        sent = default;
        if (_sent is null || id == 0 || _sent[id % (uint)_sent.Length].Id != id)
        {
            return false;
        }

        sent = _sent[id % (uint)_sent.Length];
        _sent[id % (uint)_sent.Length] = default;
        return true;
    }

    private void Publish()
    {
        if (!_budget.Says(_outer, _origin, ConfirmedAt, _isHard, _inbound, TellAbove()))
        {
            Volatile.Write(ref _budget, MakeBudget());
        }
    }

    private PathBudget MakeBudget() => new(_outer, _origin, ConfirmedAt, _isHard, _inbound, TellAbove());

    private Instant ConfirmedAt => _origin == MtuOrigin.Probe ? _confirmedAt : default;

    private int TellAbove()
    {
        if (!Probes || IsBusy)
        {
            return int.MaxValue;
        }

        if (_isArmed)
        {
            return Floor;
        }

        return _fragments == Fragments.Unknown && _confirmed > 0 ? _outer : int.MaxValue;
    }

    private static Instant Min(Instant left, Instant right) => left < right ? left : right;

    private static TimeSpan Min(TimeSpan left, TimeSpan right) => left < right ? left : right;

    /// <summary>One size under way. At any time there is at most one probe of each kind unanswered and not timed out.</summary>
    private struct ProbeLane(int size, Instant due)
    {
        public readonly int Size = size;
        public int Tries;
        public Instant Due = due;

        public readonly bool IsIdle => Size == 0;
    }

    [StructLayout(LayoutKind.Auto)]
    private readonly record struct SentProbe(Instant At, uint Id, ushort Size, bool DontFragment);
}
