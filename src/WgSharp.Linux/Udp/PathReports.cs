using WgSharp.Engine;

namespace WgSharp.Linux;

/// <summary>
/// What the error queues of all sockets said, until the engine takes it. Any thread. It does not grow: whoever floods us with ICMP pushes at most the reports of
/// others out of their turn, and a probe that stays unanswered tells the same.
/// </summary>
internal sealed class PathReports
{
    internal const int Capacity = 64;

    /// <summary>After so many errors between two takings, more would be of no use: whoever sends as many lies. Well below <see cref="Capacity"/>.</summary>
    private const int Plenty = 8;

    private readonly Lock _gate = new();
    private readonly PathReport[] _reports = new PathReport[Capacity];
    private volatile bool _wanted = true;
    private volatile bool _any;
    private int _first;
    private int _count;

    /// <summary>Errors of whatever kind that the queues held since reports were taken last.</summary>
    private int _heard;

    /// <summary>Whether the sockets are to listen to ICMP.</summary>
    internal bool Wanted
    {
        get => _wanted;
        set => _wanted = value;
    }

    /// <summary>Whether somebody is to come for them; also where plenty was heard that is no report.</summary>
    internal bool Any => _any;

    /// <summary>Whether so many errors were heard that no more need be until reports are taken.</summary>
    internal bool ArePlenty
    {
        get
        {
            lock (_gate)
            {
                return _heard >= Plenty;
            }
        }
    }

    /// <summary>So many errors were taken off the queues.</summary>
    internal void NoteHeard(int errors)
    {
        lock (_gate)
        {
            _heard = Math.Min(_heard + errors, Plenty);
            _any |= _heard == Plenty;
        }
    }

    internal void Add(in PathReport report)
    {
        lock (_gate)
        {
            if (_count < Capacity)
            {
                _reports[(_first + _count++) % Capacity] = report;
                _any = true;
            }
        }
    }

    internal int Take(Span<PathReport> reports)
    {
        lock (_gate)
        {
            int taken = Math.Min(_count, reports.Length);
            for (int i = 0; i < taken; i++)
            {
                reports[i] = _reports[(_first + i) % Capacity];
            }

            _first = (_first + taken) % Capacity;
            _count -= taken;
            _heard = 0;
            _any = _count > 0;
            return taken;
        }
    }
}
