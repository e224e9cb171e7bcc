namespace WgSharp.Protocol.Tests;

/// <summary>What is believed of a path, on whose word, and for how long.</summary>
public sealed class PathEstimateTests
{
    private static readonly Instant Begin = new(1_000_000_000_000);

    // ---- alone ----

    [Fact]
    public void What_others_say_is_believed_for_ten_minutes()
    {
        var estimate = new PathEstimate(1500);
        Assert.True(estimate.TryLower(1400, MtuOrigin.Icmp, Begin));
        estimate.NoteInbound(1300, Begin);
        Instant end = Begin + TimeSpan.FromMinutes(10);
        Assert.Equal(end, estimate.NextDeadline);
        estimate.Expire(new Instant(end.Nanoseconds - 1));
        Assert.Equal((1400, MtuOrigin.Icmp, 1300), (estimate.Outer, estimate.Origin, estimate.Inbound));
        estimate.Expire(end);
        Assert.Equal((1500, MtuOrigin.Route, int.MaxValue), (estimate.Outer, estimate.Origin, estimate.Inbound));
        Assert.Equal(Instant.Never, estimate.NextDeadline);
    }

    [Fact]
    public void What_a_probe_has_confirmed_is_lowered_by_nobody_for_ten_minutes()
    {
        var estimate = new PathEstimate(1500);
        estimate.NotePassed(1500, Begin);
        Instant end = Begin + TimeSpan.FromMinutes(10);
        Assert.False(estimate.TryLower(1499, MtuOrigin.Icmp, new Instant(end.Nanoseconds - 1)));
        Assert.Equal((1500, MtuOrigin.Probe, Begin), (estimate.Outer, estimate.Origin, estimate.ConfirmedAt));
        Assert.True(estimate.TryLower(1499, MtuOrigin.Icmp, end));
        Assert.Equal((1499, MtuOrigin.Icmp, default(Instant)), (estimate.Outer, estimate.Origin, estimate.ConfirmedAt));
    }

    [Fact]
    public void A_smaller_probe_confirms_nothing_of_a_larger_size_while_that_is_confirmed_lately()
    {
        var estimate = new PathEstimate(1500);
        estimate.NotePassed(1500, Begin);
        estimate.NotePassed(1400, Begin + TimeSpan.FromSeconds(1));
        Assert.Equal((1500, 1500, Begin), (estimate.Outer, estimate.Confirmed, estimate.ConfirmedAt));
        estimate.NotePassed(1400, Begin + TimeSpan.FromMinutes(10));
        Assert.Equal((1500, 1400), (estimate.Outer, estimate.Confirmed));
    }

    [Fact]
    public void Where_the_route_shrinks_below_what_is_confirmed_it_is_followed_only_if_nobody_can_be_asked()
    {
        var estimate = new PathEstimate(1500);
        estimate.NotePassed(1500, Begin);
        Assert.False(estimate.TryFollowRoute(1400, isConfirmable: true, Begin));
        Assert.Equal((1500, 1400, 1500), (estimate.Outer, estimate.Route, estimate.Top(Begin)));
        Assert.Equal(1400, estimate.Top(Begin + TimeSpan.FromMinutes(10)));
        Assert.True(estimate.TryFollowRoute(1300, isConfirmable: false, Begin));
        Assert.Equal((1300, MtuOrigin.Route, 1300), (estimate.Outer, estimate.Origin, estimate.Confirmed));
    }

    [Fact]
    public void A_size_that_was_confirmed_is_believed_of_the_route_and_of_others_in_the_middle_of_a_search_for_more()
    {
        var estimate = new PathEstimate(9000);
        estimate.NotePassed(1500, Begin);
        Assert.Equal((9000, 1500), (estimate.Outer, estimate.Confirmed));
        PathEstimate other = estimate;
        Assert.True(estimate.TryFollowRoute(1500, isConfirmable: true, Begin));
        Assert.Equal((1500, MtuOrigin.Route), (estimate.Outer, estimate.Origin));
        Assert.True(other.TryLower(1500, MtuOrigin.Icmp, Begin));
        Assert.Equal((1500, MtuOrigin.Icmp), (other.Outer, other.Origin));
    }

    [Fact]
    public void A_route_that_comes_to_what_a_probe_has_confirmed_does_not_take_its_place()
    {
        var estimate = new PathEstimate(1400);
        estimate.NotePassed(1400, Begin);
        Assert.True(estimate.TryFollowRoute(1500, isConfirmable: true, Begin));
        Assert.True(estimate.TryFollowRoute(1400, isConfirmable: true, Begin));
        Assert.Equal((1400, MtuOrigin.Probe, Begin), (estimate.Outer, estimate.Origin, estimate.ConfirmedAt));
    }

    [Fact]
    public void What_a_search_has_found_replaces_what_was_believed_only_if_that_has_failed()
    {
        var estimate = new PathEstimate(1500);
        PathSearch found = PathSearch.Full(1500, 576, 0);
        found.Fail(1500);
        estimate.LowerToPassed(found);
        Assert.Equal(1500, estimate.Outer);
        found.Pass(1400);
        estimate.LowerToPassed(found);
        Assert.Equal((1400, MtuOrigin.Probe, 1400), (estimate.Outer, estimate.Origin, estimate.Confirmed));
        Assert.False(estimate.NoteFailed(found));
        found.Fail(1400);
        Assert.True(estimate.NoteFailed(found));
        Assert.Equal((1400, 0), (estimate.Outer, estimate.Confirmed));
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
}
