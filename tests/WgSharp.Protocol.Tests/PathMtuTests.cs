namespace WgSharp.Protocol.Tests;

/// <summary>What is believed of a path, when, and for how long.</summary>
public sealed class PathMtuTests
{
    private static readonly Instant Begin = new(1_000_000_000_000);

    // ---- finding ----

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

    // ---- the route ----

    [Fact]
    public void A_route_that_shrinks_is_followed_where_nothing_was_confirmed()
    {
        var mtu = new PathMtu(MtuPolicy.Auto, isIPv6: false, 1500);
        mtu.NoteRouteMtu(1400, Begin);
        Assert.Equal((1400, MtuOrigin.Route), (mtu.Budget.OuterMtu, mtu.Budget.Origin));
        mtu.NoteRouteMtu(1500, Begin);
        Assert.Equal((1500, MtuOrigin.Route), (mtu.Budget.OuterMtu, mtu.Budget.Origin));
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
    public void A_route_that_the_kernel_was_talked_into_changes_nothing_that_was_confirmed()
    {
        var path = new SimulatedPath(1500);
        path.Run(60);
        path.Path.NoteRouteMtu(600, path.Now);
        path.Run(900);
        path.Path.NoteRouteMtu(1500, path.Now);
        path.Run(900);
        Assert.All(path.Published, published => Assert.Equal(1500, published.Budget.OuterMtu));
    }

    // ---- ICMP and fragments ----

    [Theory]
    [InlineData(false, 575, 1500)]
    [InlineData(false, 576, 576)]
    [InlineData(false, 0, 1500)]
    [InlineData(false, -1, 1500)]
    [InlineData(false, 1499, 1499)]
    [InlineData(false, 1500, 1500)]
    [InlineData(false, 9000, 1500)]
    [InlineData(true, 1279, 1500)]
    [InlineData(true, 1280, 1280)]
    public void Icmp_is_believed_down_to_the_floor_and_never_up(bool isIPv6, int said, int expected)
    {
        var mtu = new PathMtu(MtuPolicy.Auto, isIPv6, 1500);
        mtu.NoteTooBig(said, Begin);
        Assert.Equal(expected, mtu.Budget.OuterMtu);
        Assert.Equal(expected == 1500 ? MtuOrigin.Route : MtuOrigin.Icmp, mtu.Budget.Origin);
    }

    [Fact]
    public void Icmp_that_no_probe_can_confirm_is_forgotten_after_ten_minutes()
    {
        var path = new SimulatedPath(1500) { AnswersEcho = false };
        path.Path.NoteTooBig(1300, path.Now);
        path.Run(599);
        Assert.Equal(1300, path.Budget.OuterMtu);
        path.Run(2);
        Assert.Equal((1500, MtuOrigin.Route), (path.Budget.OuterMtu, path.Budget.Origin));
    }

    [Fact]
    public void Icmp_does_not_lower_what_a_probe_has_confirmed_and_has_it_confirmed_again_once_a_second_at_most()
    {
        var path = new SimulatedPath(1500);
        path.Run(60);
        int probes = path.Probes.Count;
        path.Forged = 1000;
        path.Run(20);
        Assert.InRange(path.Probes.Count - probes, 10, 40);
        Assert.All(path.Published, published => Assert.Equal(1500, published.Budget.OuterMtu));
    }

    [Fact]
    public void A_stranger_who_forges_before_anything_is_confirmed_is_found_out_within_a_round_trip_of_traffic()
    {
        var path = new SimulatedPath(1500);
        path.Path.NoteTooBig(600, path.Now);
        Assert.Equal(600, path.Budget.OuterMtu);
        Assert.InRange(path.SecondsUntil(budget => budget.OuterMtu == 1500), 0, 0.1);
    }

    [Fact]
    public void Received_fragments_lower_the_budget_until_a_probe_confirms_more()
    {
        var path = new SimulatedPath(1500) { Wanted = 0 };
        path.Path.NoteFragments(1396, path.Now);
        Assert.Equal((1396, MtuOrigin.Fragments, 1396), (path.Budget.OuterMtu, path.Budget.Origin, path.Budget.InboundMtu));
        path.Wanted = 1480;
        path.Run(1);
        Assert.Equal((1500, MtuOrigin.Probe, 1396), (path.Budget.OuterMtu, path.Budget.Origin, path.Budget.InboundMtu));
        Assert.Equal(1396 - 60, path.Budget.MaxInnerInbound(outerIPv6: false));
        path.Path.NoteFragments(1396, path.Now);
        Assert.Equal(1500, path.Budget.OuterMtu);
        path.Run(601);
        Assert.Equal(1500, path.Budget.InboundMtu);
    }

    [Fact]
    public void Fragments_of_full_messages_on_the_same_path_say_nothing_new()
    {
        var path = new SimulatedPath(1400);
        path.Run(30);
        path.Path.NoteFragments(path.Budget.OuterMtu - 7, path.Now);
        Assert.Equal(path.Budget.OuterMtu, path.Budget.InboundMtu);
        path.Path.NoteFragments(400, path.Now);
        Assert.Equal(path.Budget.OuterMtu, path.Budget.InboundMtu);
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

    // ---- black holes ----

    [Theory]
    [InlineData(1400, 1500, 1480)]
    [InlineData(1412, 1500, 1560)]
    [InlineData(576, 1500, 1480)]
    [InlineData(1500, 1500, 1560)]
    [InlineData(1500, 9000, 8980)]
    public void A_path_that_drops_fragments_is_recognised_within_fifteen_seconds_of_large_traffic(int mtu, int route, int wanted)
    {
        var path = new SimulatedPath(mtu, route) { PassesFragments = false, Wanted = wanted };
        Assert.InRange(path.SecondsUntil(budget => budget.IsHard), 0, 15);
        Assert.InRange(path.Budget.OuterMtu, 576, mtu);
        path.Run(300);
        Assert.True(path.Budget.IsHard);
        Assert.InRange(path.Budget.OuterMtu, mtu - PathSearch.Step + 1, mtu);
    }

    [Fact]
    public void A_path_that_shrinks_and_drops_fragments_is_recognised()
    {
        var path = new SimulatedPath(1500) { PassesFragments = false };
        path.Run(300);
        Assert.False(path.Budget.IsHard);
        path.Mtu = 1400;
        Assert.InRange(path.SecondsUntil(budget => budget.IsHard), 0, 20);
        Assert.InRange(path.Budget.OuterMtu, 1280, 1400);
    }

    [Fact]
    public void Fragments_that_pass_again_make_the_budget_soft_again()
    {
        var path = new SimulatedPath(1400) { PassesFragments = false };
        path.SecondsUntil(budget => budget.IsHard);
        path.PassesFragments = true;
        Assert.InRange(path.SecondsUntil(budget => !budget.IsHard), 0, 120);
        path.Run(60);
        Assert.InRange(path.Budget.OuterMtu, 1393, 1400);
    }

    [Fact]
    public void Nobody_who_answers_nothing_is_a_black_hole()
    {
        var path = new SimulatedPath(1400) { PassesFragments = false, AnswersEcho = false };
        path.Run(3600);
        Assert.All(path.Published, published => Assert.Equal((1500, MtuOrigin.Route, default(Instant), false), Of(published.Budget)));
        Assert.InRange(path.Probes.Count, 10, 250);
    }

    [Fact]
    public void A_peer_that_falls_silent_while_large_packets_are_wanted_is_no_black_hole()
    {
        var path = new SimulatedPath(1500) { Wanted = 1400 };
        path.Run(60);
        path.AnswersEcho = false;
        path.Wanted = 1560;
        path.Run(600);
        Assert.False(path.Budget.IsHard);
        Assert.Equal(1500, path.Budget.OuterMtu);
    }

    [Fact]
    public void Data_that_wants_more_than_passes_is_asked_about_once()
    {
        var path = new SimulatedPath(1500) { Wanted = 1400 };
        path.Run(60);
        path.Wanted = 1560;
        path.Run(300);
        Assert.False(path.Budget.IsHard);
        Assert.Equal([new PathProbe(0, 1560, false)], path.Probes.Where(probe => !probe.DontFragment).Select(probe => probe with { Id = 0 }));
        Assert.InRange(path.Told, 30, 40);
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
