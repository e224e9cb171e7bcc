namespace WgSharp.Protocol.Tests;

public sealed class ReplayWindowTests
{
    /// <summary>A counter this far behind the newest is the oldest that is still taken.</summary>
    private const ulong Reach = Limits.ReplayWindowUsable;
    private const ulong Reject = Limits.RejectAfterMessages;

    private readonly ReplayWindow _window = new();

    [Fact]
    public void The_numbers_are_the_kernels()
    {
        Assert.Equal(8128UL, Reach);
        Assert.Equal(ulong.MaxValue - 8128 - 1, Reject);
    }

    [Fact]
    public void A_counter_is_taken_once()
    {
        Accept(0, 1, 2);
        Refuse(0, 1, 2);
    }

    [Fact]
    public void Counters_in_any_order_are_taken_once()
    {
        Accept(9, 8, 7, 0, 64, 63, 65, 5);
        Refuse(7, 9, 64, 63, 65, 0, 5);
        Accept(6);
    }

    [Fact]
    public void The_window_reaches_back_8128_counters_and_no_further()
    {
        Accept(0, 1, 2);
        Accept(Reach + 4);
        Refuse(0, 1, 2, 3);
        Accept(4, 5);
        Refuse(4, 5);
        Accept(Reach + 5);
        Refuse(5, 4);
        Accept(6);
    }

    [Fact]
    public void The_first_counter_stays_acceptable_for_as_long_as_the_window_reaches()
    {
        for (ulong counter = 1; counter <= Reach; counter++)
        {
            Accept(counter);
        }

        Accept(0);
        Refuse(0);
        Accept(Reach + 1);
        Refuse(0);
        Refuse(1);
    }

    [Fact]
    public void A_counter_that_fell_out_unseen_is_refused()
    {
        for (ulong counter = 2; counter <= Reach + 1; counter++)
        {
            Accept(counter);
        }

        Accept(1);
        Refuse(0);
    }

    [Fact]
    public void A_whole_window_backwards_is_taken()
    {
        for (ulong counter = Reach + 1; counter-- > 0;)
        {
            Accept(counter);
        }

        for (ulong counter = 0; counter <= Reach; counter++)
        {
            Refuse(counter);
        }
    }

    [Fact]
    public void A_leap_forgets_everything_before_it()
    {
        for (ulong counter = 0; counter < 300; counter++)
        {
            Accept(counter);
        }

        const ulong far = 1UL << 40;
        Accept(far);
        Refuse(far, 0, 299, far - Reach - 1);
        for (ulong counter = far - Reach; counter < far; counter++)
        {
            Accept(counter);
        }
    }

    [Theory]
    [InlineData(8191)]
    [InlineData(8192)]
    [InlineData(8193)]
    [InlineData(8128)]
    [InlineData(8064)]
    [InlineData(64)]
    [InlineData(63)]
    public void A_leap_of_any_size_clears_the_bits_it_reuses(ulong leap)
    {
        ulong counter = 0;
        for (int round = 0; round < 300; round++)
        {
            Accept(counter);
            Refuse(counter);
            counter += leap;
        }
    }

    [Fact]
    public void Counters_end_at_REJECT_AFTER_MESSAGES()
    {
        Refuse(Reject, Reject + 1, Reject + 2, ulong.MaxValue);
        Accept(0);
        Accept(Reject - 1);
        Refuse(Reject, Reject - 1, Reject + 1, ulong.MaxValue);
        Accept(Reject - 2);
        Refuse(Reject - 2);
        Accept(Reject - 3, Reject - 1 - Reach);
        Refuse(0, Reject - 2 - Reach);
    }

    [Theory]
    [InlineData(1, 0UL)]
    [InlineData(2, 1UL << 32)]
    [InlineData(3, Reject - 40_000)]
    public void Random_arrivals_agree_with_a_set_of_everything_seen(int seed, ulong start)
    {
        var random = new Random(seed);
        var seen = new HashSet<ulong>();
        ulong newest = start;
        bool any = false;
        for (int i = 0; i < 60_000; i++)
        {
            ulong back = (ulong)(random.Next(4) == 0 ? random.Next(9000) : random.Next(200));
            ulong ahead = (ulong)(random.Next(500) == 0 ? random.Next(9000) : random.Next(3));
            ulong counter = random.Next(2) == 0 ? newest + ahead : newest - Math.Min(back, newest);
            bool expected = counter < Reject && (!any || counter + Reach >= newest) && seen.Add(counter);
            Assert.Equal(expected, _window.TryAccept(counter));
            if (expected)
            {
                newest = Math.Max(newest, counter);
                any = true;
            }
        }
    }

    [Fact]
    public void Accepting_allocates_nothing()
    {
        ulong counter = 0;
        bool all = true;
        Allocations.AssertNone(20_000, () => all &= _window.TryAccept(counter++));
        Assert.True(all);
    }

    private void Accept(params ReadOnlySpan<ulong> counters)
    {
        foreach (ulong counter in counters)
        {
            Assert.True(_window.TryAccept(counter), $"{counter} was refused");
        }
    }

    private void Refuse(params ReadOnlySpan<ulong> counters)
    {
        foreach (ulong counter in counters)
        {
            Assert.False(_window.TryAccept(counter), $"{counter} was accepted");
        }
    }
}
