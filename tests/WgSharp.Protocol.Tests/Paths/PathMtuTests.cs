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

    // ---- events ----

    [Fact]
    public void What_an_answer_changes_is_published_at_once_and_counted()
    {
        PathMtu mtu = Confirmed(out Instant now);
        Assert.Equal((1500, MtuOrigin.Probe, now, false), Of(mtu.Budget));
        Assert.Equal((1, 1), (mtu.ProbesSent, mtu.ProbesAnswered));
        Assert.Equal(1500, mtu.Budget.TellAbove);
        mtu.NoteAnswered(77, now);
        mtu.NoteRefused(77, now);
        Assert.Equal((1, 1, 1500), (mtu.ProbesSent, mtu.ProbesAnswered, mtu.Budget.TellAbove));
    }

    [Fact]
    public void A_plain_probe_that_cannot_leave_is_asked_no_more()
    {
        PathMtu mtu = Confirmed(out Instant now);
        mtu.NoteTraffic(1560, now);
        Assert.True(mtu.IsBusy && mtu.NextDeadline <= now);
        Assert.Equal(int.MaxValue, mtu.Budget.TellAbove);
        Assert.True(mtu.TryTakeProbe(now, out PathProbe probe));
        Assert.Equal((1560, false), (probe.OuterSize, probe.DontFragment));
        mtu.NoteRefused(probe.Id, now);
        Assert.False(mtu.IsBusy);
        mtu.TryTakeProbe(now, out _);
        Assert.Equal(int.MaxValue, mtu.Budget.TellAbove);
    }

    [Fact]
    public void What_is_under_way_ends_where_there_is_nobody_to_ask_and_begins_anew_where_there_is()
    {
        var searching = new PathMtu(MtuPolicy.Auto, isIPv6: false, 1500);
        searching.NoteTraffic(1480, Begin);
        Assert.True(searching.IsBusy);
        searching.SetAskable(false, Begin);
        Assert.False(searching.IsBusy);
        Assert.Equal(Instant.Never, searching.NextDeadline);

        PathMtu asking = Confirmed(out Instant now);
        asking.NoteTraffic(1560, now);
        asking.SetAskable(false, now);
        Assert.False(asking.IsBusy);
        asking.SetAskable(true, now);
        Assert.Equal(PathMtu.FloorIPv4, asking.Budget.TellAbove);
    }

    [Fact]
    public void The_same_route_again_disturbs_no_search_and_another_one_ends_it()
    {
        var mtu = new PathMtu(MtuPolicy.Auto, isIPv6: false, 1500);
        mtu.NoteTraffic(1480, Begin);
        mtu.NoteRouteMtu(1500, Begin);
        Assert.True(mtu.IsBusy);
        mtu.NoteRouteMtu(1400, Begin);
        Assert.False(mtu.IsBusy);
        Assert.Equal(PathMtu.FloorIPv4, mtu.Budget.TellAbove);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Who_contradicts_what_is_confirmed_is_asked_about_at_once_and_the_size_said_is_tried_next(bool byRoute)
    {
        var path = new SimulatedPath(1500);
        path.Run(60);
        path.Wanted = 0;
        path.Run(2);
        path.Probes.Clear();
        path.Mtu = 1436;
        if (byRoute)
        {
            path.Path.NoteRouteMtu(1436, path.Now);
        }
        else
        {
            path.Path.NoteTooBig(1436, path.Now);
        }

        Assert.True(path.Path.IsBusy);
        Assert.Equal(1500, path.Budget.OuterMtu);
        path.Run(10);
        Assert.Equal([1500, 1436, 1444], path.Probes.Where(probe => probe.DontFragment).Select(probe => probe.OuterSize).Distinct());
        Assert.Equal((1436, MtuOrigin.Probe), (path.Budget.OuterMtu, path.Budget.Origin));
    }

    [Theory]
    [InlineData(575, 1500)]
    [InlineData(576, 576)]
    [InlineData(1492, 1492)]
    [InlineData(1493, 1500)]
    public void Fragments_say_something_from_the_floor_to_one_step_below_what_is_believed(int size, int expected)
    {
        var mtu = new PathMtu(MtuPolicy.Auto, isIPv6: false, 1500);
        mtu.NoteFragments(size, Begin);
        Assert.Equal((expected, expected), (mtu.Budget.OuterMtu, mtu.Budget.InboundMtu));
    }

    [Fact]
    public void Fragments_make_a_search_worth_while_unless_more_is_confirmed()
    {
        var path = new SimulatedPath(1500) { AnswersEcho = false };
        path.Run(20);
        Assert.False(path.Path.IsBusy);
        path.Wanted = 0;
        path.Probes.Clear();
        path.AnswersEcho = true;
        path.Mtu = 1436;
        path.Path.NoteFragments(1436, path.Now);
        Assert.Equal(PathMtu.FloorIPv4, path.Budget.TellAbove);
        path.Wanted = 1480;
        path.Run(4);
        Assert.Equal([1500, 1436, 1444], path.Probes.Where(probe => probe.DontFragment).Select(probe => probe.OuterSize).Distinct());

        PathMtu confirmed = Confirmed(out Instant now);
        confirmed.NoteFragments(1436, now);
        Assert.Equal(1500, confirmed.Budget.TellAbove);
    }

    [Fact]
    public void What_was_found_before_is_tried_when_the_top_has_failed()
    {
        var path = new SimulatedPath(1437);
        path.Run(25);
        int found = path.Budget.OuterMtu;
        path.Probes.Clear();
        path.Link = 1499;
        path.Path.NoteRouteMtu(1499, path.Now);
        path.Run(5);
        Assert.Equal([1499, found], path.Probes.Where(probe => probe.DontFragment).Select(probe => probe.OuterSize).Distinct().Take(2));
    }

    [Fact]
    public void A_black_hole_that_nobody_needs_to_avoid_any_more_is_none()
    {
        var path = new SimulatedPath(1400) { PassesFragments = false };
        path.SecondsUntil(budget => budget.IsHard);
        path.Mtu = 1500;
        path.SecondsUntil(budget => budget.OuterMtu == 1500);
        path.Run(2);
        Assert.False(path.Budget.IsHard);
    }

    [Fact]
    public void Where_all_that_the_route_takes_passes_it_does_not_matter_what_became_of_the_plain_probes()
    {
        var path = new SimulatedPath(1400) { PassesFragments = false };
        path.SecondsUntil(budget => budget.IsHard);
        path.Mtu = 1500;
        path.PassesPlain = false;
        path.SecondsUntil(budget => budget.OuterMtu == 1500);
        path.SecondsUntil(budget => !budget.IsHard, atMost: 30);
        path.Run(30);
        Assert.False(path.Budget.IsHard);

        // Less than that is no reason.
        path = new SimulatedPath(1400) { PassesFragments = false, PassesPlain = false };
        path.SecondsUntil(budget => budget.IsHard);
        path.Mtu = 1490;
        path.SecondsUntil(budget => budget.OuterMtu > 1480);
        path.Run(300);
        Assert.True(path.Budget.IsHard);
    }

    [Fact]
    public void Answers_that_come_after_the_search_do_not_make_a_black_hole()
    {
        var path = new SimulatedPath(1500) { PassesFragments = false, Wanted = 1560, RoundTrip = TimeSpan.FromSeconds(25) };
        path.Run(40);
        Assert.True(path.Path.ProbesAnswered > 0);
        Assert.False(path.Budget.IsHard);
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
        path.Path.NoteTraffic(1480, path.Now);
        Assert.False(path.Path.IsBusy);
        Assert.Empty(path.Probes);
        Assert.Equal(0, path.Told);
        Assert.Equal((expected, Enum.Parse<MtuOrigin>(origin), default(Instant), false), Of(path.Budget));
        path.Path.NoteRouteMtu(1280, path.Now);
        Assert.Equal((1280, MtuOrigin.Route), (path.Budget.OuterMtu, path.Budget.Origin));
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

    /// <summary>A path of 1500 bytes that its one probe, answered at this moment, has confirmed; whether fragments pass is not known.</summary>
    private static PathMtu Confirmed(out Instant now)
    {
        var mtu = new PathMtu(MtuPolicy.Auto, isIPv6: false, 1500);
        mtu.NoteTraffic(1480, Begin);
        Assert.True(mtu.TryTakeProbe(Begin, out PathProbe probe));
        Assert.False(mtu.TryTakeProbe(Begin, out _));
        now = Begin + TimeSpan.FromMilliseconds(30);
        mtu.NoteAnswered(probe.Id, now);
        Assert.Equal(MtuOrigin.Probe, mtu.Budget.Origin);
        Assert.False(mtu.TryTakeProbe(now, out _));
        Assert.False(mtu.IsBusy);
        return mtu;
    }

    private static (int OuterMtu, MtuOrigin Origin, Instant ConfirmedAt, bool IsHard) Of(PathBudget budget) =>
        (budget.OuterMtu, budget.Origin, budget.ConfirmedAt, budget.IsHard);
}
