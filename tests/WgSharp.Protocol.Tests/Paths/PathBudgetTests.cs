namespace WgSharp.Protocol.Tests;

/// <summary>What the data path reads of a path.</summary>
public sealed class PathBudgetTests
{
    private static readonly Instant Moment = new(1_000_000_000_000);

    [Fact]
    public void An_inner_packet_has_sixty_bytes_around_it_over_IPv4_and_eighty_over_IPv6()
    {
        var budget = new PathBudget(1500, MtuOrigin.Route, inboundMtu: 1400);
        Assert.Equal((1440, 1420), (budget.MaxInner(outerIPv6: false), budget.MaxInner(outerIPv6: true)));
        Assert.Equal((1340, 1320), (budget.MaxInnerInbound(outerIPv6: false), budget.MaxInnerInbound(outerIPv6: true)));
        Assert.Equal((1500, 1520), (PathBudget.OuterSize(1440, outerIPv6: false), PathBudget.OuterSize(1440, outerIPv6: true)));
    }

    [Theory]
    [InlineData(1600, 1500)]
    [InlineData(int.MaxValue, 1500)]
    [InlineData(1500, 1500)]
    [InlineData(1499, 1499)]
    public void What_comes_back_is_never_more_than_what_goes(int inbound, int expected) =>
        Assert.Equal(expected, new PathBudget(1500, MtuOrigin.Probe, inboundMtu: inbound).InboundMtu);

    [Fact]
    public void Whoever_is_told_nothing_of_it_has_neither_a_latch_nor_a_limit_of_its_own()
    {
        var budget = new PathBudget(1500, MtuOrigin.Route);
        Assert.Equal((1500, default, false, int.MaxValue, 0), (budget.InboundMtu, budget.ConfirmedAt, budget.IsHard, budget.TellAbove, budget.Told));
        Assert.False(budget.Tell(int.MaxValue));
    }

    [Fact]
    public void The_first_message_beyond_the_limit_is_told_and_no_other()
    {
        var budget = new PathBudget(1500, MtuOrigin.Route, tellAbove: 576);
        Assert.False(budget.Tell(576));
        Assert.Equal(0, budget.Told);
        Assert.True(budget.Tell(577));
        Assert.False(budget.Tell(1500));
        Assert.Equal(577, budget.Told);
    }

    [Fact]
    public void Of_many_threads_one_tells()
    {
        for (int round = 0; round < 200; round++)
        {
            var budget = new PathBudget(1500, MtuOrigin.Route, tellAbove: 576);
            int told = 0;
            Parallel.For(0, 8, i => Interlocked.Add(ref told, budget.Tell(1000 + i) ? 1 : 0));
            Assert.Equal(1, told);
            Assert.InRange(budget.Told, 1000, 1007);
        }
    }

    [Fact]
    public void Two_say_the_same_if_everything_is_the_same()
    {
        var budget = new PathBudget(1500, MtuOrigin.Probe, Moment, isHard: true, inboundMtu: 1400, tellAbove: 576);
        Assert.True(budget.Says(1500, MtuOrigin.Probe, Moment, true, 1400, 576));
        Assert.False(budget.Says(1499, MtuOrigin.Probe, Moment, true, 1400, 576));
        Assert.False(budget.Says(1500, MtuOrigin.Icmp, Moment, true, 1400, 576));
        Assert.False(budget.Says(1500, MtuOrigin.Probe, default, true, 1400, 576));
        Assert.False(budget.Says(1500, MtuOrigin.Probe, Moment, false, 1400, 576));
        Assert.False(budget.Says(1500, MtuOrigin.Probe, Moment, true, 1401, 576));
        Assert.False(budget.Says(1500, MtuOrigin.Probe, Moment, true, 1400, 577));
        var both = new PathBudget(1500, MtuOrigin.Probe, Moment);
        Assert.True(both.Says(1500, MtuOrigin.Probe, Moment, false, 1600, int.MaxValue));
    }
}
