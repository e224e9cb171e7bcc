using WgSharp.Engine.Mtu;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Mtu;

public sealed class SegmentRefusalsTests
{
    private static readonly InetEndpoint Near = new(TunnelPair.Address("192.0.2.1"), 1111);
    private static readonly InetEndpoint Far = new(TunnelPair.Address("192.0.2.2"), 1111);
    private static readonly TimeSpan Remembered = TimeSpan.FromSeconds(10);

    private readonly SegmentRefusals _refusals = new();
    private readonly Instant _now = new(1_000_000_000_000);

    [Fact]
    public void Nothing_is_refused_before_a_path_refused_it() => Assert.False(_refusals.Refuses(Near, 65000, _now));

    [Fact]
    public void The_size_that_was_refused_and_larger_ones_are_not_tried_again_and_smaller_ones_are()
    {
        _refusals.Refuse(Near, 1400, _now);
        Assert.False(_refusals.Refuses(Near, 1399, _now));
        Assert.True(_refusals.Refuses(Near, 1400, _now));
        Assert.True(_refusals.Refuses(Near, 1401, _now));
    }

    [Fact]
    public void The_smallest_refused_size_counts_whatever_is_refused_after_it()
    {
        _refusals.Refuse(Near, 1400, _now);
        _refusals.Refuse(Near, 1300, _now);
        _refusals.Refuse(Near, 1350, _now);
        Assert.True(_refusals.Refuses(Near, 1300, _now));
        Assert.False(_refusals.Refuses(Near, 1299, _now));
    }

    [Fact]
    public void A_refusal_is_remembered_for_ten_seconds_and_each_new_one_begins_them_again()
    {
        _refusals.Refuse(Near, 1300, _now);
        Assert.True(_refusals.Refuses(Near, 1300, _now + (Remembered - TimeSpan.FromMilliseconds(1))));
        Assert.False(_refusals.Refuses(Near, 1300, _now + Remembered));

        _refusals.Refuse(Near, 1300, _now + TimeSpan.FromSeconds(9));
        Assert.True(_refusals.Refuses(Near, 1300, _now + Remembered));

        // What was forgotten does not count against what is refused later.
        Instant later = _now + (10 * Remembered);
        _refusals.Refuse(Near, 1400, later);
        Assert.False(_refusals.Refuses(Near, 1300, later));
        Assert.True(_refusals.Refuses(Near, 1400, later));
    }

    [Fact]
    public void What_is_told_of_it_is_the_smallest_size_that_is_refused_now()
    {
        Assert.Equal(0, _refusals.RefusedFrom(Near, _now));
        _refusals.Refuse(Near, 1400, _now);
        _refusals.Refuse(Near, 1300, _now);
        Assert.Equal(1300, _refusals.RefusedFrom(Near, _now));
        Assert.Equal(0, _refusals.RefusedFrom(Far, _now));
        Assert.Equal(0, _refusals.RefusedFrom(Near, _now + Remembered));
    }

    [Fact]
    public void What_one_endpoint_refuses_is_tried_with_every_other()
    {
        _refusals.Refuse(Near, 1300, _now);
        Assert.False(_refusals.Refuses(Far, 1300, _now));
        for (ushort port = 1; port < 1000; port++)
        {
            Assert.False(_refusals.Refuses(new InetEndpoint(Far.Address, port), 1300, _now));
        }

        // Some of them share a place with it: the newer takes that, the older is only tried again.
        for (ushort port = 1; port < 1000; port++)
        {
            var endpoint = new InetEndpoint(Far.Address, port);
            _refusals.Refuse(endpoint, 1400, _now);
            Assert.True(_refusals.Refuses(endpoint, 1400, _now));
            Assert.False(_refusals.Refuses(endpoint, 1399, _now));
        }

        Assert.False(_refusals.Refuses(Near, 1300, _now));
    }
}
