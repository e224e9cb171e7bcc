using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>How often the kernel is asked for a route's MTU.</summary>
public sealed class PathMtuTests : IDisposable
{
    private readonly TestNamespace _namespace = new();

    public void Dispose() => _namespace.Dispose();

    [Fact]
    public void Ten_thousand_active_endpoints_cost_one_question_each_until_something_changes()
    {
        _namespace.Ip("link add up0 mtu 1400 type veth peer name up1");
        _namespace.Ip("address add 10.0.0.1/8 dev up0");
        _namespace.Ip("link set up1 up");
        _namespace.Ip("link set up0 up");
        using RouteNews news = _namespace.Run(() => new RouteNews(new KernelFeatures()));
        using var mtus = new PathMtus(news);
        Endpoint[] endpoints = [.. Enumerable.Range(0, 10_000).Select(i => Packets.Endpoint($"10.1.{i / 250}.{(i % 250) + 1}", 51820))];
        var now = new Instant(1_000_000_000_000);
        Assert.All(AskAll(mtus, endpoints, now), mtu => Assert.Equal(1400, mtu));
        Assert.Equal(10_000, mtus.Questions);

        // A busy second, ten seconds later, and the next one.
        for (int second = 0; second < 20; second++)
        {
            AskAll(mtus, endpoints, now + TimeSpan.FromSeconds(second));
        }

        Assert.Equal(10_000, mtus.Questions);
        _namespace.Ip("link set up0 mtu 1300");
        news.Read();
        Assert.All(AskAll(mtus, endpoints, now + TimeSpan.FromSeconds(21)), mtu => Assert.Equal(1300, mtu));
        Assert.Equal(20_000, mtus.Questions);

        // What ICMP taught the kernel is not announced: half a minute at most.
        AskAll(mtus, endpoints, now + TimeSpan.FromSeconds(60));
        Assert.Equal(30_000, mtus.Questions);
    }

    [Fact]
    public void Where_nothing_is_announced_an_answer_stands_for_a_second()
    {
        using RouteNews news = _namespace.Run(() => new RouteNews(new KernelFeatures(KernelFeature.Routes)));
        using var mtus = new PathMtus(news);
        Endpoint[] here = [Packets.Endpoint("127.0.0.1", 9), Packets.Endpoint("::1", 9)];
        var now = new Instant(1_000_000_000_000);
        Assert.Equal([65535, 65535], AskAll(mtus, here, now).Select(mtu => Math.Min(mtu, 65535)));
        AskAll(mtus, here, now + TimeSpan.FromMilliseconds(999));
        Assert.Equal(2, mtus.Questions);
        AskAll(mtus, here, now + TimeSpan.FromSeconds(1));
        Assert.Equal(4, mtus.Questions);
    }

    [Theory]
    [InlineData("", "10.9.0.2", "10.9.0.1/24")]
    [InlineData("-6", "fd09::2", "fd09::1/64")]
    public void The_mark_decides_by_which_rules_the_route_is_found(string family, string remote, string address)
    {
        _namespace.Ip("link add up0 mtu 1400 type veth peer name up1");
        _namespace.Ip("link set up1 up");
        _namespace.Ip("link set up0 up");
        _namespace.Ip($"address add {address} dev up0 {(family.Length > 0 ? "nodad" : string.Empty)}");
        _namespace.Ip($"{family} route add {remote} dev up0 mtu lock 1300 table 77");
        _namespace.Ip($"{family} rule add fwmark 7 table 77");
        using RouteNews news = _namespace.Run(() => new RouteNews(new KernelFeatures()));
        using var mtus = new PathMtus(news);
        var now = new Instant(1_000_000_000_000);
        Assert.Equal([1400], AskAll(mtus, [Packets.Endpoint(remote, 9)], now));
        mtus.SetMark(7);
        Assert.Equal([1300], AskAll(mtus, [Packets.Endpoint(remote, 9)], now));
        mtus.SetMark(8);
        Assert.Equal([1400], AskAll(mtus, [Packets.Endpoint(remote, 9)], now));
        mtus.SetMark(0);
        Assert.Equal([1400], AskAll(mtus, [Packets.Endpoint(remote, 9)], now));
    }

    private int[] AskAll(PathMtus mtus, Endpoint[] endpoints, Instant now) => _namespace.Run(() => endpoints.Select(endpoint => mtus.Of(endpoint, now)).ToArray());
}
