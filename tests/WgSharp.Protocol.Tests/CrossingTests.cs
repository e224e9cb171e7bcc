using Xunit.Abstractions;

namespace WgSharp.Protocol.Tests;

/// <summary>Both ends begin at once: each answers the other's initiation and keeps its own out, and one of the two sessions stays.</summary>
public sealed class CrossingTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(false, 0.02, 0.1, 0.1)]
    [InlineData(false, 0.3, 1.5, 1.5)]
    [InlineData(false, 1.0, 5, 5)]
    [InlineData(true, 0.02, 0.1, 0.1)]
    [InlineData(true, 0.3, 1.5, 2.7)]
    [InlineData(true, 1.0, 5, 7)]
    public void Two_ends_that_begin_at_once_have_a_session_soon(bool stock, double delay, double median, double worst)
    {
        var times = new List<double>();
        for (int seed = 1; seed <= 200; seed++)
        {
            var pair = new CrossingPair(seed, stock);
            TimeSpan latency = TimeSpan.FromSeconds(delay);
            pair.Delay(() => latency, () => latency);

            // From the very same moment to an offset at which the one's initiation has arrived before the other begins.
            TimeSpan offset = latency * (seed % 20 / 19.0 * 2);
            bool aFirst = seed % 40 < 20;
            times.Add(FirstAnswers(pair, offset, aFirst));
            Settle(pair);
        }

        times.Sort();
        output.WriteLine($"stock {stock}, {delay} s each way: median {times[times.Count / 2]:F2} s, worst {times[^1]:F2} s");
        Assert.InRange(times[times.Count / 2], 0, median);
        Assert.InRange(times[^1], 0, worst);
    }

    /// <returns>Seconds until both have something of the other's.</returns>
    private static double FirstAnswers(CrossingPair pair, TimeSpan offset, bool aFirst)
    {
        Instant began = pair.Wire.Now;
        (aFirst ? pair.A : pair.B).Send(1);
        pair.Wire.Advance(offset);
        (aFirst ? pair.B : pair.A).Send(2);
        while (pair.A.ReceivedCount == 0 || pair.B.ReceivedCount == 0)
        {
            pair.Wire.Advance(TimeSpan.FromMilliseconds(10));
            Assert.True((pair.Wire.Now - began).TotalSeconds < 100, "Deaf.");
        }

        return (pair.Wire.Now - began).TotalSeconds;
    }

    /// <summary>A packet each way, and both send with one session.</summary>
    private static void Settle(CrossingPair pair)
    {
        for (int i = 0; i < 2; i++)
        {
            int a = pair.A.ReceivedCount;
            int b = pair.B.ReceivedCount;
            pair.A.Send(3);
            pair.B.Send(4);
            pair.Wire.AdvanceSeconds(4);
            Assert.Equal((a + 1, b + 1), (pair.A.ReceivedCount, pair.B.ReceivedCount));
        }

        Assert.True(pair.Agrees, "They send with different sessions.");
    }
}
