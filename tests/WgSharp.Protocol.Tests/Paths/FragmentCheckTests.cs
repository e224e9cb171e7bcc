namespace WgSharp.Protocol.Tests;

/// <summary>When a path is held to be a black hole for fragments.</summary>
public sealed class FragmentCheckTests
{
    private static readonly Instant Begin = new(1_000_000_000_000);

    // ---- alone ----

    [Fact]
    public void It_is_asked_when_a_size_has_failed_or_more_is_wanted_than_is_confirmed()
    {
        var estimate = new PathEstimate(1500);
        FragmentCheck check = default;
        check.NoteWanted(1600);
        check.TryBegin(failed: 0, estimate, Begin);
        Assert.False(check.IsBusy);
        Assert.Equal(Instant.Never, check.Due);
        check.TryBegin(failed: 1700, estimate, Begin);
        Assert.True(check.TryProbe(Begin, out int size));
        Assert.Equal(1700, size);

        estimate.NotePassed(1500, Begin);
        FragmentCheck wanting = default;
        wanting.NoteWanted(1500);
        wanting.TryBegin(failed: 0, estimate, Begin);
        Assert.False(wanting.IsBusy);
        wanting.NoteWanted(1501);
        wanting.NoteWanted(1400);
        wanting.TryBegin(failed: 0, estimate, Begin);
        Assert.True(wanting.TryProbe(Begin, out size));
        Assert.Equal(1501, size);
    }

    [Fact]
    public void It_is_asked_five_times_a_second_apart()
    {
        FragmentCheck check = Asked(out _, out Instant end);
        Assert.True(check.IsUnanswered);
        Assert.False(check.IsBusy);
        Assert.Equal(Begin + TimeSpan.FromSeconds(5), end);
    }

    [Fact]
    public void Only_what_was_sent_after_the_question_and_answered_makes_a_black_hole()
    {
        FragmentCheck check = Asked(out PathEstimate estimate, out _);
        check.NoteAnswered(new Instant(Begin.Nanoseconds - 1));
        Assert.False(check.TryJudge(estimate));
        Assert.False(check.IsBlackHole);
        check.NoteAnswered(Begin);
        check.NoteAnswered(default);
        Assert.True(check.TryJudge(estimate));
        Assert.True(check.IsBlackHole);
        Assert.False(check.TryJudge(estimate));
    }

    [Fact]
    public void Nothing_is_judged_while_no_size_is_confirmed()
    {
        FragmentCheck check = Asked(out _, out _);
        check.NoteAnswered(Begin);
        Assert.False(check.TryJudge(new PathEstimate(1500)));
        Assert.True(check.IsUnanswered);
    }

    [Fact]
    public void A_black_hole_stays_one_until_a_fragment_arrives_or_nobody_needs_any()
    {
        FragmentCheck check = Asked(out PathEstimate estimate, out _);
        check.NoteAnswered(Begin);
        Assert.True(check.TryJudge(estimate));
        check.Forget();
        Assert.True(check.IsUnknown && check.IsBlackHole);
        check.NoteTopPassed(estimate);
        Assert.True(check.IsBlackHole);
        FragmentCheck other = check;
        other.NoteAnsweredPlain();
        Assert.False(other.IsBlackHole);
        estimate.NotePassed(1600, Begin);
        check.NoteTopPassed(estimate);
        Assert.False(check.IsBlackHole);
    }

    [Fact]
    public void Doubt_spares_what_is_to_be_judged_yet()
    {
        FragmentCheck check = Asked(out _, out _);
        check.Doubt();
        Assert.True(check.IsUnanswered);
        check.NoteUnknowable();
        Assert.False(check.IsUnknown);
        check.Doubt();
        Assert.True(check.IsUnknown);
    }

    // ---- within a path ----

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

    /// <summary>A check whose plain probes of 1600 bytes, sent from the beginning on, were not answered; the path is confirmed up to 1500.</summary>
    private static FragmentCheck Asked(out PathEstimate estimate, out Instant end)
    {
        estimate = new PathEstimate(1500);
        estimate.NotePassed(1500, Begin);
        FragmentCheck check = default;
        check.NoteWanted(1600);
        check.TryBegin(failed: 0, estimate, Begin);
        end = Begin;
        for (int probe = 0; probe < 5; probe++)
        {
            Assert.True(check.HasDue(end));
            Assert.True(check.TryProbe(end, out int size));
            Assert.Equal(1600, size);
            Assert.False(check.HasDue(end));
            Assert.Equal(end + TimeSpan.FromSeconds(1), check.Due);
            end = check.Due;
        }

        Assert.True(check.HasDue(end));
        Assert.False(check.TryProbe(end, out _));
        return check;
    }

    private static (int OuterMtu, MtuOrigin Origin, Instant ConfirmedAt, bool IsHard) Of(PathBudget budget) =>
        (budget.OuterMtu, budget.Origin, budget.ConfirmedAt, budget.IsHard);
}
