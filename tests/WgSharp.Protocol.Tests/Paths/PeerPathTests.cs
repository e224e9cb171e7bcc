using System.Net;

namespace WgSharp.Protocol.Tests;

/// <summary>What a path is made of, and what it keeps of the one before.</summary>
public sealed class PeerPathTests
{
    private static readonly InetEndpoint Remote = new(InetAddress.From(IPAddress.Parse("192.0.2.1")), 51820);
    private static readonly InetEndpoint RemoteIPv6 = new(InetAddress.From(IPAddress.Parse("2001:db8::1")), 51820);
    private static readonly Instant Moment = new(1_000_000_000_000);
    private static readonly ProbeToken Token = new(1, 2, 3);

    [Fact]
    public void It_begins_with_the_routes_MTU()
    {
        PeerPath path = Path(1480);
        Assert.Equal((Remote, 1480, 1480, MtuOrigin.Route), (path.Remote, path.RouteMtu, path.Budget.OuterMtu, path.Budget.Origin));
        path.NoteRouteMtu(1400, Moment);
        Assert.Equal((1400, 1400), (path.RouteMtu, path.Budget.OuterMtu));
        Assert.Same(path.Mtu.Budget, path.Budget);
    }

    [Fact]
    public void A_packet_too_big_of_1279_is_believed_of_IPv4_only()
    {
        PeerPath path = Path(1500);
        path.Mtu.NoteTooBig(1279, Moment);
        Assert.Equal(1279, path.Budget.OuterMtu);
        path = new PeerPath(RemoteIPv6, 1500, MtuPolicy.Auto, former: null);
        path.Mtu.NoteTooBig(1279, Moment);
        Assert.Equal(1500, path.Budget.OuterMtu);
    }

    [Fact]
    public void The_policy_is_the_interfaces()
    {
        var path = new PeerPath(Remote, 1500, MtuPolicy.Kernel, former: null);
        path.Mtu.NoteTooBig(1400, Moment);
        Assert.Equal(1500, path.Budget.OuterMtu);
    }

    [Fact]
    public void Answers_from_where_the_peer_was_are_known_and_say_nothing()
    {
        PeerPath former = Path(1500);
        former.Probes.Add(Token, 5);
        var path = new PeerPath(RemoteIPv6, 1500, MtuPolicy.Auto, former);
        Assert.Equal([Token], path.Probes.Tokens.ToArray());
        Assert.False(path.Probes.TryTake(Token, out _));
    }

    [Fact]
    public void A_fragment_is_news_once_and_only_where_it_says_more_than_is_known()
    {
        PeerPath path = Path(1500);
        Assert.False(path.NoteFragment(1493));
        Assert.Equal(0, path.TakeFragment());
        Assert.True(path.NoteFragment(1492));
        Assert.False(path.NoteFragment(1492));
        Assert.True(path.NoteFragment(1400));
        Assert.Equal(1400, path.TakeFragment());
        Assert.Equal(0, path.TakeFragment());
        Assert.True(path.NoteFragment(1400));
    }

    private static PeerPath Path(int routeMtu) => new(Remote, routeMtu, MtuPolicy.Auto, former: null);
}
