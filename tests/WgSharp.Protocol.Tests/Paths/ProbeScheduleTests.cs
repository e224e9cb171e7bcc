namespace WgSharp.Protocol.Tests;

/// <summary>When probes are sent.</summary>
public sealed class ProbeScheduleTests
{
    private static readonly Instant Begin = new(1_000_000_000_000);

    // ---- alone ----

    [Fact]
    public void A_size_is_tried_three_times_a_second_apart()
    {
        var schedule = new ProbeSchedule();
        Assert.True(schedule.IsArmed);
        Assert.False(schedule.HasDue(Begin));
        schedule.BeginSearch(1500, 576, likely: 0);
        Assert.False(schedule.IsArmed);
        Instant now = Begin;
        for (int probe = 0; probe < 3; probe++)
        {
            Assert.True(schedule.HasDue(now));
            Assert.Equal(probe > 0, schedule.WasProbed);
            Assert.True(schedule.TryProbe(now, out int size));
            Assert.Equal(1500, size);
            Assert.True(schedule.IsProbing(1500));
            Assert.False(schedule.IsProbing(1400));
            Assert.False(schedule.HasDue(now));
            Assert.Equal(now + TimeSpan.FromSeconds(1), schedule.Due(waits: false));
            now += TimeSpan.FromSeconds(1);
        }

        Assert.True(schedule.HasDue(now));
        Assert.False(schedule.TryProbe(now, out _));
        schedule.NoteFailed();
        Assert.Equal((1500, 1500), (schedule.LargestFailed, schedule.Found.Failed));
        Assert.True(schedule.HasDue(now));
        Assert.True(schedule.TryProbe(now, out int next));
        Assert.Equal(1400, next);
        schedule.Stop();
        Assert.Equal((0, false), (schedule.LargestFailed, schedule.IsProbing(1400)));
    }

    [Fact]
    public void What_is_below_the_routes_mtu_is_searched_for_anew_after_thirty_seconds_and_ever_later_up_to_ten_minutes()
    {
        var schedule = new ProbeSchedule();
        var estimate = new PathEstimate(1500);
        estimate.NotePassed(1400, Begin);
        Assert.Equal([30, 60, 120, 240, 480, 600, 600], Enumerable.Range(0, 7).Select(_ => SecondsUntilNext()));
        schedule.RaiseSoon();
        Assert.Equal(30, SecondsUntilNext());
        schedule.SearchSoon(Begin);
        Assert.Equal(30, SecondsUntilNext());

        int SecondsUntilNext()
        {
            schedule.BeginSearch(1500, 576, likely: 0);
            schedule.HasDue(Begin);
            schedule.NoteFailed();
            schedule.End(estimate, Begin);
            return Enumerable.Range(1, 700).First(seconds => schedule.SearchIsDue(Begin + TimeSpan.FromSeconds(seconds)));
        }
    }

    [Fact]
    public void What_is_confirmed_is_confirmed_again_after_ten_seconds_and_for_a_reason_after_one()
    {
        var schedule = new ProbeSchedule();
        schedule.BeginConfirmation(1500, 576, Begin);
        schedule.NotePassed(1500);
        Assert.True(schedule.IsOver);
        Assert.False(schedule.MayConfirm(Begin + TimeSpan.FromMinutes(1)));
        var estimate = new PathEstimate(1500);
        estimate.NotePassed(1500, Begin);
        schedule.End(estimate, Begin);
        Assert.False(schedule.MayConfirm(Begin + TimeSpan.FromSeconds(0.9)));
        Assert.True(schedule.MayConfirm(Begin + TimeSpan.FromSeconds(1)));
        Assert.False(schedule.ConfirmationIsDue(Begin + TimeSpan.FromSeconds(9.9)));
        Assert.True(schedule.ConfirmationIsDue(Begin + TimeSpan.FromSeconds(10)));
        schedule.Arm(Begin + TimeSpan.FromSeconds(9.9));
        Assert.False(schedule.IsArmed);
        schedule.Arm(schedule.NextLook);
        Assert.True(schedule.IsArmed);
    }

    [Fact]
    public void A_search_that_is_over_may_wait()
    {
        var schedule = new ProbeSchedule();
        schedule.BeginLivenessCheck(1500, 576);
        schedule.NotePassed(1500);
        Assert.Equal(Instant.Never, schedule.Due(waits: true));
        Assert.NotEqual(Instant.Never, schedule.Due(waits: false));
        schedule.Stop();
        Assert.Equal(Instant.Never, schedule.Due(waits: false));
    }

    [Fact]
    public void A_hint_is_for_the_search_under_way_and_for_the_next_one()
    {
        var schedule = new ProbeSchedule();
        schedule.SearchForHint(1436, Begin);
        Assert.True(schedule.SearchIsDue(Begin));
        schedule.BeginSearch(1500, 576, likely: 1300);
        Assert.Equal(1436, SizeAfterTheTop());
        schedule.Hint(1444);
        schedule.BeginSearch(1500, 576, likely: 1300);
        Assert.Equal(1444, SizeAfterTheTop());
        schedule.End(new PathEstimate(1500), Begin);
        Assert.Equal((false, false), (schedule.IsArmed, schedule.SearchIsDue(Begin)));
        schedule.BeginSearch(1500, 576, likely: 1300);
        Assert.Equal(1300, SizeAfterTheTop());
        schedule.End(new PathEstimate(1500), Begin);
        schedule.SearchForHint(1436, Begin);
        Assert.Equal((true, true), (schedule.IsArmed, schedule.SearchIsDue(Begin)));

        int SizeAfterTheTop()
        {
            Assert.True(schedule.HasDue(Begin));
            schedule.NoteFailed();
            Assert.True(schedule.HasDue(Begin));
            Assert.True(schedule.TryProbe(Begin, out int size));
            return size;
        }
    }

    [Fact]
    public void A_probe_that_was_sent_is_found_once_and_among_the_last_sixteen()
    {
        SentProbes sent = default;
        Assert.False(sent.TryTake(0, out _, out _));
        Assert.False(sent.TryTake(1, out _, out _));
        var probes = Enumerable.Range(1, 17).Select(i => sent.Add(1000 + i, i % 2 == 0, Begin + TimeSpan.FromSeconds(i))).ToList();
        Assert.Equal(17, probes.Select(probe => probe.Id).Distinct().Count());
        Assert.False(sent.TryTake(probes[0].Id, out _, out _));
        Assert.True(sent.TryTake(probes[1].Id, out PathProbe found, out Instant at));
        Assert.Equal((probes[1], Begin + TimeSpan.FromSeconds(2)), (found, at));
        Assert.False(sent.TryTake(probes[1].Id, out _, out _));
    }

    // ---- within a path ----

    [Fact]
    public void Before_a_large_packet_leaves_the_budget_is_the_routes_and_nothing_is_planned()
    {
        var path = new SimulatedPath(1400) { Wanted = 576 };
        path.Run(100);
        Assert.Empty(path.Probes);
        Assert.Equal(0, path.Told);
        Assert.Equal((1500, MtuOrigin.Route, default(Instant), false), Of(path.Budget));
        Assert.Equal(Instant.Never, path.Path.NextDeadline);
        Assert.Equal(1440, path.Budget.MaxInner(outerIPv6: false));
        Assert.Equal(1420, path.Budget.MaxInner(outerIPv6: true));
    }

    [Fact]
    public void A_path_without_a_bottleneck_costs_one_probe_and_then_one_in_ten_seconds()
    {
        var path = new SimulatedPath(1500);
        path.Run(1);
        Assert.Single(path.Probes);
        Assert.Equal((1500, MtuOrigin.Probe), (path.Budget.OuterMtu, path.Budget.Origin));
        path.Run(599);
        Assert.InRange(path.Probes.Count, 55, 60);
        Assert.InRange(path.Told, 55, 60);
        Assert.All(path.Probes, probe => Assert.Equal(new PathProbe(probe.Id, 1500, DontFragment: true), probe));
        Assert.InRange((path.Now - path.Budget.ConfirmedAt).TotalSeconds, 0, 11);
    }

    [Fact]
    public void Slow_answers_count_although_their_time_was_over()
    {
        var path = new SimulatedPath(1500) { RoundTrip = TimeSpan.FromSeconds(4.5) };
        path.Run(60);
        Assert.Equal((1500, MtuOrigin.Probe, false), (path.Budget.OuterMtu, path.Budget.Origin, path.Budget.IsHard));
    }

    [Fact]
    public void Without_traffic_an_old_search_is_not_repeated_and_with_it_at_once()
    {
        var path = new SimulatedPath(1400);
        path.Run(30);
        path.Wanted = 0;
        path.Run(11);
        int probes = path.Probes.Count;
        path.Run(3600);
        Assert.Equal(probes, path.Probes.Count);
        Assert.Equal(Instant.Never, path.Path.NextDeadline);
        path.Mtu = 1500;
        path.Wanted = 1480;
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu == 1500), 0, 0.1);
    }

    [Fact]
    public void A_path_that_shrinks_is_noticed_and_one_that_grows_too()
    {
        var path = new SimulatedPath(1500);
        path.Run(60);
        path.Mtu = 1400;
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu is > 1392 and <= 1400), 0, 20);
        path.Mtu = 1500;
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu == 1500), 0, 45);

        // Who has been small for long is asked every ten minutes.
        path.Mtu = 1400;
        path.Run(3600);
        int probes = path.Probes.Count;
        path.Run(600);
        Assert.InRange(path.Probes.Count - probes, 60, 80);
        path.Mtu = 1500;
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu == 1500), 0, 601);
    }

    [Fact]
    public void A_link_that_shrinks_is_noticed_at_once()
    {
        var path = new SimulatedPath(1500);
        path.Run(60);
        path.Link = 1400;
        path.Path.NoteRouteMtu(1400, path.Now);
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu == 1400), 0, 0.1);
        path.Link = 1500;
        path.Path.NoteRouteMtu(1500, path.Now);
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu == 1500), 0, 0.1);
    }

    [Fact]
    public void What_fragments_hint_at_is_tried_first()
    {
        var path = new SimulatedPath(1436) { Wanted = 0 };
        path.Path.NoteFragments(1436, path.Now);
        path.Wanted = 1480;
        path.Run(20);
        Assert.Equal([1500, 1436, 1444], path.Probes.Where(probe => probe.DontFragment).Select(probe => probe.OuterSize).Distinct().Take(3));
        Assert.Equal((1436, MtuOrigin.Probe), (path.Budget.OuterMtu, path.Budget.Origin));
    }

    private static (int OuterMtu, MtuOrigin Origin, Instant ConfirmedAt, bool IsHard) Of(PathBudget budget) =>
        (budget.OuterMtu, budget.Origin, budget.ConfirmedAt, budget.IsHard);
}
