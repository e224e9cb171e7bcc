using WgSharp.Engine;
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

    [Fact]
    public void An_answer_stands_for_a_second_whatever_is_announced()
    {
        Link("up0", "10.9.0.1/24");
        using RouteNews news = _namespace.Run(() => new RouteNews(new KernelFeatures()));
        using var mtus = new PathMtus(news);
        Endpoint[] one = [Packets.Endpoint("10.9.0.2", 9)];
        var now = new Instant(1_000_000_000_000);
        Assert.Equal([1400], AskAll(mtus, one, now));
        _namespace.Ip("link set up0 mtu 1300");
        news.Read();
        Assert.Equal([1400], AskAll(mtus, one, now + TimeSpan.FromMilliseconds(999)));
        Assert.Equal(1, mtus.Questions);
        Assert.Equal([1300], AskAll(mtus, one, now + TimeSpan.FromSeconds(1)));
        Assert.Equal(2, mtus.Questions);

        // And so does the next one, from then on.
        _namespace.Ip("link set up0 mtu 1350");
        news.Read();
        Assert.Equal([1300], AskAll(mtus, one, now + TimeSpan.FromMilliseconds(1999)));
        Assert.Equal([1350], AskAll(mtus, one, now + TimeSpan.FromSeconds(2)));
    }

    [Theory]
    [InlineData("10.9.0.1/24", "10.9.0.2", "10.9.1.1/24", "10.9.1.2", "10.77.0.1")]
    [InlineData("fd09::1/64", "fd09::2", "fd0a::1/64", "fd0a::2", "fd77::1")]
    public void No_question_has_a_say_in_the_next_one(string address, string remote, string otherAddress, string otherRemote, string nowhere)
    {
        Link("up0", address);
        Link("down0", otherAddress);
        _namespace.Ip("link set down0 mtu 1300");
        using RouteNews news = _namespace.Run(() => new RouteNews(new KernelFeatures()));
        using var mtus = new PathMtus(news);
        var now = new Instant(1_000_000_000_000);
        Assert.Equal(address.Split('/')[0], Source(mtus, remote));
        Assert.Equal(otherAddress.Split('/')[0], Source(mtus, otherRemote));
        Assert.Equal([1400, 1300], AskAll(mtus, [Packets.Endpoint(remote, 9), Packets.Endpoint(otherRemote, 9)], now));
        Assert.Equal(address.Split('/')[0], Source(mtus, remote));

        // Where there is no way, nothing is known.
        Assert.Equal([PacketBatch.MaxPacket], AskAll(mtus, [Packets.Endpoint(nowhere, 9)], now));
        Assert.Equal("(none)", Source(mtus, nowhere));
        Assert.Equal(otherAddress.Split('/')[0], Source(mtus, otherRemote));
    }

    [Fact]
    public void Who_is_disposed_of_asks_nothing()
    {
        Link("up0", "10.9.0.1/24");
        using RouteNews news = _namespace.Run(() => new RouteNews(new KernelFeatures()));
        var mtus = new PathMtus(news);
        var now = new Instant(1_000_000_000_000);
        Assert.Equal([1400], AskAll(mtus, [Packets.Endpoint("10.9.0.2", 9)], now));
        Assert.Equal("10.9.0.1", Source(mtus, "10.9.0.2"));
        mtus.Dispose();
        Assert.Equal("(none)", Source(mtus, "10.9.0.2"));
        Assert.Equal([PacketBatch.MaxPacket], AskAll(mtus, [Packets.Endpoint("10.9.0.3", 9)], now));
    }

    private void Link(string name, string address)
    {
        _namespace.Ip($"link add {name} mtu 1400 type veth peer name {name}.end");
        _namespace.Ip($"link set {name}.end up");
        _namespace.Ip($"link set {name} up");
        if (address.Contains(':', StringComparison.Ordinal))
        {
            _namespace.AddIPv6(address, name);
        }
        else
        {
            _namespace.Ip($"address add {address} dev {name}");
        }
    }

    private string Source(PathMtus mtus, string remote) => _namespace.Run(() => mtus.SourceTo(Packets.Endpoint(remote, 9).Remote)).ToString();

    private int[] AskAll(PathMtus mtus, Endpoint[] endpoints, Instant now) => _namespace.Run(() => endpoints.Select(endpoint => mtus.Of(endpoint, now)).ToArray());
}
