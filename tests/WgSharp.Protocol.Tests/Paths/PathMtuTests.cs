namespace WgSharp.Protocol.Tests;

/// <summary>What becomes of a path: its parts together, on virtual time.</summary>
public sealed class PathMtuTests
{
    private static readonly Instant Begin = new(1_000_000_000_000);

    // ---- finding ----

    [Theory]
    [InlineData(1400, 4.2)]
    [InlineData(1492, 3.2)]
    [InlineData(1480, 5)]
    [InlineData(1460, 8)]
    [InlineData(1412, 10)]
    [InlineData(1280, 10)]
    [InlineData(900, 18)]
    [InlineData(576, 19)]
    public void A_hop_with_icmp_filtered_is_found_within_seconds(int mtu, double seconds)
    {
        var path = new SimulatedPath(mtu);
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu <= mtu && budget.OuterMtu > mtu - PathSearch.Step), 0, seconds);
        Assert.Equal(MtuOrigin.Probe, path.Budget.Origin);
        path.Run(20);
        Assert.InRange(path.Budget.OuterMtu, mtu - PathSearch.Step + 1, mtu);
        Assert.False(path.Budget.IsHard);
    }

    [Fact]
    public void Nobody_is_told_of_a_size_that_is_only_a_step_of_the_search()
    {
        var path = new SimulatedPath(1492);
        path.Run(60);
        Assert.DoesNotContain(path.Published, published => published.Budget.OuterMtu is < 1492);
    }

    [Fact]
    public void Icmp_makes_it_a_matter_of_one_round_trip()
    {
        var path = new SimulatedPath(1436) { PassesIcmp = true };
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu == 1436), 0, 0.1);
        Assert.Equal(MtuOrigin.Icmp, path.Budget.Origin);
        path.Run(10);
        Assert.Equal((1436, MtuOrigin.Probe), (path.Budget.OuterMtu, path.Budget.Origin));
        Assert.DoesNotContain(path.Published, published => published.Budget.OuterMtu < 1436);
    }

    [Fact]
    public void Who_roams_starts_anew()
    {
        var path = new SimulatedPath(1400) { PassesFragments = false };
        path.Run(60);
        Assert.True(path.Budget.IsHard);
        path.Mtu = 1492;
        path.PassesFragments = true;
        path.Path.NoteRoamed(isIPv6: true, 1500, path.Now);
        Assert.Equal((1500, MtuOrigin.Route, default(Instant), false), Of(path.Budget));
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu == 1492), 0, 5);
        Assert.All(path.Probes.Skip(path.Probes.Count - 3), probe => Assert.InRange(probe.OuterSize, 1280, 1500));
    }

    [Fact]
    public void Answers_to_what_was_sent_before_roaming_are_not_believed()
    {
        var path = new SimulatedPath(1500) { RoundTrip = TimeSpan.FromSeconds(0.5) };
        path.Run(0.1);
        path.Path.NoteRoamed(isIPv6: false, 1500, path.Now);
        path.AnswersEcho = false;
        path.Run(2);
        Assert.Equal(MtuOrigin.Route, path.Budget.Origin);
    }

    // ---- policies ----

    [Theory]
    [InlineData(nameof(MtuPolicy.Kernel), 1500, nameof(MtuOrigin.Route))]
    [InlineData(nameof(MtuPolicy.ClampOnly), 1300, nameof(MtuOrigin.Icmp))]
    public void Only_auto_probes_and_kernel_learns_nothing(string policy, int expected, string origin)
    {
        var path = new SimulatedPath(1400, policy: Enum.Parse<MtuPolicy>(policy)) { PassesFragments = false };
        path.Run(30);
        path.Path.NoteFragments(1396, path.Now);
        path.Path.NoteTooBig(1300, path.Now);
        path.Run(30);
        Assert.Empty(path.Probes);
        Assert.Equal(0, path.Told);
        Assert.Equal((expected, Enum.Parse<MtuOrigin>(origin), default(Instant), false), Of(path.Budget));
        path.Path.NoteRouteMtu(1280, path.Now);
        Assert.Equal((1280, MtuOrigin.Route), (path.Budget.OuterMtu, path.Budget.Origin));
    }

    [Fact]
    public void A_configured_mtu_is_taken_as_it_is_but_for_the_routes()
    {
        var path = new SimulatedPath(1400);
        path.Path.SetConfigured(1380, path.Now);
        path.Path.NoteTooBig(1300, path.Now);
        path.Path.NoteFragments(1300, path.Now);
        path.Run(100);
        Assert.Empty(path.Probes);
        Assert.Equal((1380, MtuOrigin.Configured, default(Instant), false), Of(path.Budget));
        path.Path.NoteRouteMtu(1300, path.Now);
        Assert.Equal((1300, MtuOrigin.Configured), (path.Budget.OuterMtu, path.Budget.Origin));
        path.Path.NoteRouteMtu(1500, path.Now);
        Assert.Equal((1380, MtuOrigin.Configured), (path.Budget.OuterMtu, path.Budget.Origin));
        path.Path.SetConfigured(0, path.Now);
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu is > 1392 and <= 1400), 0, 5);
    }

    [Fact]
    public void Where_there_is_nobody_to_ask_nothing_is_asked_until_there_is()
    {
        var path = new SimulatedPath(1400);
        path.Path.SetAskable(false, path.Now);
        path.Run(100);
        Assert.Empty(path.Probes);
        path.Path.SetAskable(true, path.Now);
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu is > 1392 and <= 1400), 0, 5);
    }

    // ---- any path ----

    public static TheoryData<int> Seeds => [.. Enumerable.Range(1, 150)];

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Whatever_a_path_does_the_budget_ends_within_one_step_below_what_passes(int seed)
    {
        var random = new Random(seed);
        bool isIPv6 = random.Next(3) == 0;
        int floor = isIPv6 ? PathMtu.FloorIPv6 : PathMtu.FloorIPv4;
        var path = new SimulatedPath(random.Next(floor, 1501), 1500, isIPv6, seed)
        {
            RoundTrip = TimeSpan.FromMilliseconds(random.Next(1, 900)),
            Loss = random.Next(3) == 0 ? random.NextDouble() * 0.1 : 0,
            Forged = random.Next(3) == 0 ? random.NextDouble() * 100 : 0,
        };
        for (int change = random.Next(1, 8); change > 0; change--)
        {
            path.Mtu = random.Next(floor, 1501);
            path.PassesIcmp = random.Next(2) == 0;
            path.PassesFragments = random.Next(2) == 0;
            path.AnswersEcho = random.Next(8) > 0;
            path.Wanted = random.Next(4) == 0 ? 0 : random.Next(600, 1600);
            path.Run(random.NextDouble() * random.Next(1, 400));
            if (random.Next(4) == 0)
            {
                path.Path.NoteFragments(Math.Max(floor, path.Mtu & ~7), path.Now);
            }
        }

        path.AnswersEcho = true;
        path.Wanted = 1560;
        path.Run(1500);

        // Loss may make a search end too low; the next one will not.
        path.SecondsUntil(budget => budget.OuterMtu <= path.Mtu && budget.OuterMtu > path.Mtu - PathSearch.Step, path.Loss > 0 ? 3000 : 0.02);
        Assert.Equal(MtuOrigin.Probe, path.Budget.Origin);
        if (path.Loss == 0)
        {
            Assert.Equal(!path.PassesFragments, path.Budget.IsHard);
        }
    }

    // ---- cost ----

    [Fact]
    public void Reading_a_budget_allocates_nothing_and_tells_once()
    {
        var mtu = new PathMtu(MtuPolicy.Auto, isIPv6: false, 1500);
        Assert.True(mtu.Budget.Tell(1480));
        Assert.Equal(1480, mtu.Budget.Told);
        int told = 0;
        Allocations.AssertNone(1000, () => told += mtu.Budget.Tell(1500) || mtu.Budget.MaxInner(true) < 1400 || mtu.Budget.IsHard ? 1 : 0);
        Assert.Equal(0, told);
        Assert.Equal(1480, mtu.Budget.Told);
    }

    [Fact]
    public void What_says_nothing_new_allocates_nothing()
    {
        var mtu = new PathMtu(MtuPolicy.Auto, isIPv6: false, 1500);
        Allocations.AssertNone(1000, () =>
        {
            mtu.NoteRouteMtu(1500, Begin);
            mtu.NoteFragments(1500, Begin);
            mtu.NoteTooBig(9000, Begin);
            mtu.TryTakeProbe(Begin, out _);
        });
    }

    [Fact]
    public void A_path_that_nobody_uses_takes_no_more_than_half_a_kilobyte()
    {
        var paths = new PathMtu[1000];
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < paths.Length; i++)
        {
            paths[i] = new PathMtu(MtuPolicy.Auto, isIPv6: false, 1500);
        }

        Assert.InRange((GC.GetAllocatedBytesForCurrentThread() - before) / paths.Length, 1, 512);
    }

    private static (int OuterMtu, MtuOrigin Origin, Instant ConfirmedAt, bool IsHard) Of(PathBudget budget) =>
        (budget.OuterMtu, budget.Origin, budget.ConfirmedAt, budget.IsHard);
}
