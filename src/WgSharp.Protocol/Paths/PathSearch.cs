namespace WgSharp.Protocol;

// Which size to try next (RFC 8899, section 5.3). Nearly every path has one of a few sizes, so those are tried before anything between them:
//
// - the largest first: most paths have no bottleneck, and this is then the only probe;
// - then, going down until something passes: what somebody hinted at (ICMP, received fragments, the result of the last search), 1500 (below jumbo
//   frames), 1400, 1280, and the floor. Each that fails costs some seconds, so there are few steps;
// - from what passed, up: after a hint one step above it, which ends the search if the hint was right; else the likely sizes by halves; at last halves
//   of what is between two of them, until the step is 8 bytes: IP fragments are no finer.

/// <summary>One search for the largest size that passes: outer sizes in, the next size to try out. No clock, no probes.</summary>
internal struct PathSearch
{
    /// <summary>A search ends this close below what passes, in bytes.</summary>
    public const int Step = 8;

    /// <summary>No size has failed.</summary>
    public const int None = int.MaxValue;

    private int _first;
    private int _floor;
    private bool _upwards;
    private int _hint;

    /// <summary>Largest first: jumbo frames, FDDI, Ethernet, PPPoE, tunnels of all sorts, and RFC 791's smallest.</summary>
    private static ReadOnlySpan<int> LikelySizes =>
        [9000, 4352, 1500, 1492, 1480, 1472, 1460, 1420, 1412, 1400, 1360, 1280, 1200, 1100, 1000, 900, 800, 700, 640, 576];

    private static ReadOnlySpan<int> WaysDown => [1500, 1400, 1280];

    /// <summary>The largest size that passed, or 0.</summary>
    public int Passed { get; private set; }

    /// <summary>The smallest size that failed, or <see cref="None"/>.</summary>
    public int Failed { get; private set; }

    /// <summary>The largest size that failed, or 0.</summary>
    public int LargestFailed { get; private set; }

    /// <param name="top">The largest size that can leave: the route's MTU.</param>
    /// <param name="floor">Nothing below is tried.</param>
    /// <param name="hint">Tried when the top has failed; 0 for none.</param>
    public static PathSearch Full(int top, int floor, int hint) =>
        new() { _first = top, _floor = Math.Min(floor, top), _hint = hint, _upwards = true, Failed = None };

    /// <summary>Does this size still pass? If so, nothing above it is tried; if not, it is searched for below.</summary>
    public static PathSearch Confirmation(int size, int floor, int hint) =>
        new() { _first = size, _floor = Math.Min(floor, size), _hint = hint, Failed = None };

    /// <summary>The next size to try, or 0: the search is over. Asking changes nothing.</summary>
    public readonly int Next()
    {
        if (Passed == 0)
        {
            return NextDown();
        }

        if (Passed >= _first || (!_upwards && Failed == None))
        {
            return 0;
        }

        if (Failed == None)
        {
            return _first;
        }

        if (Failed - Passed <= Step)
        {
            return 0;
        }

        return Passed == _hint ? Passed + Step : Halfway();
    }

    public void Pass(int size)
    {
        Passed = Math.Max(Passed, size);
        if (Passed >= Failed)
        {
            // Of two answers that contradict each other the better one is true: something was lost, or is late.
            Failed = None;
            LargestFailed = 0;
        }
    }

    public void Fail(int size)
    {
        Failed = Math.Min(Failed, size);
        LargestFailed = Math.Max(LargestFailed, size);
        if (Passed >= Failed)
        {
            Passed = 0;
        }
    }

    /// <summary>Somebody says that this size passes: tried next, where it is between what passed and what failed.</summary>
    public void Hint(int size) => _hint = size;

    private readonly int NextDown()
    {
        if (Failed == None)
        {
            return _first;
        }

        if (_hint >= _floor && _hint < Failed)
        {
            return _hint;
        }

        foreach (int size in WaysDown)
        {
            if (size < Failed && size > _floor)
            {
                return size;
            }
        }

        return _floor < Failed ? _floor : 0;
    }

    /// <summary>The middle one of the likely sizes between what passed and what failed, or the middle of the gap.</summary>
    private readonly int Halfway()
    {
        int begin = 0;
        while (begin < LikelySizes.Length && LikelySizes[begin] >= Failed)
        {
            begin++;
        }

        int end = begin;
        while (end < LikelySizes.Length && LikelySizes[end] > Passed)
        {
            end++;
        }

        return end > begin ? LikelySizes[(begin + end) / 2] : ((Passed + Failed) / 2) & ~1;
    }

    /// <summary>Fragments carry multiples of 8 bytes: the likely size that makes fragments of this one, or the fragment's own.</summary>
    public static int HintOfFragments(int fragment)
    {
        for (int i = LikelySizes.Length - 1; i >= 0; i--)
        {
            if (LikelySizes[i] >= fragment)
            {
                return LikelySizes[i] - fragment < Step ? LikelySizes[i] : fragment;
            }
        }

        return fragment;
    }
}
