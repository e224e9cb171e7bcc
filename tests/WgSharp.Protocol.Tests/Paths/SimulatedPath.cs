namespace WgSharp.Protocol.Tests;

/// <summary>
/// A path on virtual time and what is at its ends: a <see cref="PathMtu"/>, data that it is told of, and a peer that answers echo requests. The path has
/// an MTU, which may change, loses, filters ICMP, drops fragments; somebody may forge ICMP.
/// </summary>
internal sealed class SimulatedPath
{
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(20);

    private readonly PriorityQueue<Action, long> _arriving = new();
    private readonly Random _random;

    public SimulatedPath(int mtu, int route = 1500, bool isIPv6 = false, int seed = 1, MtuPolicy policy = MtuPolicy.Auto)
    {
        Mtu = mtu;
        Link = route;
        IsIPv6 = isIPv6;
        _random = new Random(seed);
        Path = new PathMtu(policy, isIPv6, route);
    }

    public PathMtu Path { get; }

    public PathBudget Budget => Path.Budget;

    public Instant Now { get; private set; } = new(1_000_000_000_000);

    public bool IsIPv6 { get; }

    /// <summary>Of the narrowest hop behind the local link.</summary>
    public int Mtu { get; set; }

    /// <summary>MTU of the local link.</summary>
    public int Link { get; set; }

    /// <summary>Outer size that data would like to have; 0: no data.</summary>
    public int Wanted { get; set; } = 1480;

    public bool PassesFragments { get; set; } = true;

    public bool PassesIcmp { get; set; }

    public bool AnswersEcho { get; set; } = true;

    /// <summary>Probes with DF clear come to their end, whatever their size.</summary>
    public bool PassesPlain { get; set; } = true;

    /// <summary>Of every packet, fragment and answer.</summary>
    public double Loss { get; set; }

    public TimeSpan RoundTrip { get; set; } = TimeSpan.FromMilliseconds(30);

    /// <summary>Forged packets-too-big per second.</summary>
    public double Forged { get; set; }

    public List<PathProbe> Probes { get; } = [];

    /// <summary>Every budget that was published, and when.</summary>
    public List<(Instant At, PathBudget Budget)> Published { get; } = [];

    /// <summary>How often the data path woke the control loop.</summary>
    public int Told { get; private set; }

    public void Run(double seconds)
    {
        Instant end = Now + TimeSpan.FromSeconds(seconds);
        while (Now < end)
        {
            Now += Tick;
            while (_arriving.TryPeek(out Action? arrival, out long at) && at <= Now.Nanoseconds)
            {
                _arriving.Dequeue();
                arrival();
            }

            if (Wanted > 0 && Budget.Tell(Wanted))
            {
                Told++;
                Path.NoteTraffic(Budget.Told, Now);
            }

            if (_random.NextDouble() < Forged * Tick.TotalSeconds)
            {
                Path.NoteTooBig(_random.Next(0, 1600), Now);
            }

            Serve();
            if (Published.Count == 0 || Published[^1].Budget != Budget)
            {
                Published.Add((Now, Budget));
            }
        }
    }

    /// <summary>Runs until the budget is so, and says how many seconds it took.</summary>
    public double SecondsUntil(Func<PathBudget, bool> isSo, double atMost = 2000)
    {
        Instant begin = Now;
        while (!isSo(Budget))
        {
            Assert.True((Now - begin).TotalSeconds < atMost, $"Still {Budget.OuterMtu} by {Budget.Origin}, hard: {Budget.IsHard}.");
            Run(Tick.TotalSeconds);
        }

        return (Now - begin).TotalSeconds;
    }

    private void Serve()
    {
        int probes = 0;
        if (Path.NextDeadline > Now)
        {
            return;
        }

        while (Path.TryTakeProbe(Now, out PathProbe probe))
        {
            Assert.InRange(probe.OuterSize, 1, PathMtu.MaxOuter);
            Probes.Add(probe);
            Assert.InRange(++probes, 0, 50);
            Send(probe);
        }

        Assert.True(Path.NextDeadline > Now, "The control loop would spin.");
    }

    private void Send(PathProbe probe)
    {
        if (probe.DontFragment && probe.OuterSize > Link)
        {
            Path.NoteRefused(probe.Id, Now);
            return;
        }

        int narrowest = Math.Min(Mtu, Link);
        int fragments = probe.OuterSize <= narrowest ? 1 : (probe.OuterSize / narrowest) + 1;
        for (int i = 0; i < fragments; i++)
        {
            if (_random.NextDouble() < Loss)
            {
                return;
            }
        }

        if (fragments > 1 && probe.DontFragment)
        {
            if (PassesIcmp && _random.NextDouble() >= Loss)
            {
                Arrive(RoundTrip / 2, () => Path.NoteTooBig(narrowest, Now));
            }

            return;
        }

        if (AnswersEcho && (PassesPlain || probe.DontFragment) && (fragments == 1 || PassesFragments) && _random.NextDouble() >= Loss)
        {
            Arrive(RoundTrip, () => Path.NoteAnswered(probe.Id, Now));
        }
    }

    private void Arrive(TimeSpan after, Action what) => _arriving.Enqueue(what, (Now + after).Nanoseconds);
}
