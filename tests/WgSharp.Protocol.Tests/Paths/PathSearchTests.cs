namespace WgSharp.Protocol.Tests;

/// <summary>Which sizes are tried, in which order.</summary>
public sealed class PathSearchTests
{
    [Fact]
    public void Where_the_largest_passes_nothing_else_is_tried() => Assert.Equal([1500], Tried(PathSearch.Full(1500, 576, 0), 1500));

    [Theory]
    [InlineData(1500, 0, 1492, "1500 1400 1460 1480 1492")]
    [InlineData(1500, 0, 1400, "1500 1400 1460 1412 1406")]
    [InlineData(1500, 1450, 1450, "1500 1450 1458")]
    [InlineData(1500, 1450, 1460, "1500 1450 1458 1472 1460 1466")]
    [InlineData(1500, 1450, 1300, "1500 1450 1400 1280 1360 1320 1300 1310 1304")]
    [InlineData(1500, 0, 600, "1500 1400 1280 576 900 700 640 608 592 600")]
    [InlineData(1500, 0, 500, "1500 1400 1280 576")]
    [InlineData(9000, 0, 1500, "9000 1500 4352 2926 2212 1856 1678 1588 1544 1522 1510 1504")]
    [InlineData(1400, 0, 1380, "1400 1280 1360 1380 1390 1384")]
    [InlineData(500, 0, 500, "500")]
    [InlineData(1500, 576, 580, "1500 576 584")]
    public void The_sizes_are_tried_in_this_order(int top, int hint, int mtu, string expected) =>
        Assert.Equal(expected, string.Join(' ', Tried(PathSearch.Full(top, 576, hint), mtu)));

    [Theory]
    [InlineData(1420, 0, 1500, "1420")]
    [InlineData(1420, 0, 1410, "1420 1400 1412 1406")]
    [InlineData(1420, 1404, 1404, "1420 1404 1412")]
    public void A_confirmation_goes_down_and_never_up(int size, int hint, int mtu, string expected) =>
        Assert.Equal(expected, string.Join(' ', Tried(PathSearch.Confirmation(size, 576, hint), mtu)));

    [Fact]
    public void Below_all_likely_sizes_it_goes_by_halves() => Assert.Equal([570, 500, 534, 552, 542], Tried(PathSearch.Full(570, 500, 0), 541));

    [Fact]
    public void Every_search_ends_within_one_step_below_what_passes_after_few_failures()
    {
        foreach (int top in (int[])[1500, 1492, 1430, 9000, 65535, 1280])
        {
            foreach (int hint in (int[])[0, 1400, 1450, 576, 1])
            {
                for (int mtu = 576; mtu <= top; mtu += top > 1500 ? 13 : 1)
                {
                    PathSearch search = PathSearch.Full(top, 576, hint);
                    List<int> tried = Tried(ref search, mtu);
                    Assert.InRange(search.Passed, Math.Max(mtu - PathSearch.Step + 1, 576), mtu);
                    Assert.Equal(tried.Count, tried.Distinct().Count());
                    Assert.InRange(tried.Count(size => size > mtu), 0, top > 1500 ? 16 : 10);
                }
            }
        }
    }

    [Fact]
    public void IPv6_is_not_tried_below_its_floor() => Assert.Equal([1500, 1400, 1280], Tried(PathSearch.Full(1500, 1280, 0), 900));

    [Fact]
    public void Of_two_answers_that_contradict_each_other_the_better_one_is_true()
    {
        PathSearch search = PathSearch.Full(1500, 576, 0);
        search.Fail(1500);
        search.Pass(1400);
        Assert.Equal(1460, search.Next());
        search.Pass(1500);
        Assert.Equal(0, search.Next());
        Assert.Equal((1500, PathSearch.None, 0), (search.Passed, search.Failed, search.LargestFailed));

        search = PathSearch.Full(1500, 576, 0);
        search.Fail(1500);
        search.Fail(1400);
        search.Pass(1420);
        Assert.Equal(1500, search.Next());
    }

    [Fact]
    public void What_passed_and_fails_now_has_to_be_found_anew()
    {
        PathSearch search = PathSearch.Full(1500, 576, 0);
        search.Fail(1500);
        search.Pass(1400);
        search.Fail(1400);
        Assert.Equal((0, 1400, 1500), (search.Passed, search.Failed, search.LargestFailed));
        Assert.Equal(1280, search.Next());
    }

    [Theory]
    [InlineData(1396, 1400)]
    [InlineData(1500, 1500)]
    [InlineData(1492, 1492)]
    [InlineData(1493, 1500)]
    [InlineData(1300, 1300)]
    [InlineData(572, 576)]
    [InlineData(1392, 1392)]
    [InlineData(8999, 9000)]
    [InlineData(9001, 9001)]
    public void A_fragment_hints_at_the_likely_size_that_makes_it(int fragment, int hint) => Assert.Equal(hint, PathSearch.HintOfFragments(fragment));

    private static List<int> Tried(PathSearch search, int mtu) => Tried(ref search, mtu);

    private static List<int> Tried(ref PathSearch search, int mtu)
    {
        List<int> tried = [];
        while (search.Next() is var size && size != 0)
        {
            tried.Add(size);
            Assert.InRange(tried.Count, 0, 60);
            if (size <= mtu)
            {
                search.Pass(size);
            }
            else
            {
                search.Fail(size);
            }
        }

        return tried;
    }
}
