using System.Net;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>Sticky sources: which address a message leaves from, and when it is given up (socket.c, send4 and send6).</summary>
public sealed class UdpSourceTests : IDisposable
{
    private readonly TestNamespace _namespace = new();

    public void Dispose() => _namespace.Dispose();

    [Theory]
    [InlineData("127.0.0.1", "127.0.0.77", "127.0.0.88")]
    [InlineData("fd00::1", "fd00::77", "fd00::88")]
    public void The_source_address_is_the_one_asked_for_and_the_addressed_one_is_told(string first, string source, string destination)
    {
        if (first.Contains(':', StringComparison.Ordinal))
        {
            foreach (string address in (string[])[first, source, destination])
            {
                _namespace.AddIPv6(address + "/128", "lo");
            }
        }

        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort aPort);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort bPort);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(3000), 1000, Packets.Endpoint(destination, bPort, source, sourceInterface: 1));
        a.Send(batch, 0, 1);
        Assert.Equal(SendOutcome.Sent, a.SendOne([9], Packets.Endpoint(destination, bPort, source, sourceInterface: 1), 0));
        foreach (ReceivedDatagram datagram in UdpDatagrams.Receive(b, 4))
        {
            Assert.Equal(new InetEndpoint(InetAddress.From(IPAddress.Parse(source)), aPort), datagram.Train.Source);
            Assert.Equal(destination, datagram.Train.LocalAddress.ToString());
            Assert.Equal(1, datagram.Train.LocalInterface);
        }
    }

    [Theory]
    [InlineData("127.0.0.1", "10.77.0.1", false)]
    [InlineData("127.0.0.1", "10.77.0.1", true)]
    [InlineData("::1", "fd77::1", false)]
    [InlineData("::1", "fd77::1", true)]
    public void A_source_that_is_not_ours_is_refused_as_such_and_the_runs_around_it_arrive(string address, string stranger, bool segmented)
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        PacketBatch batch = Packets.OutboundBatch();
        byte[] run = Packets.Payload(segmented ? 3000 : 1000);
        Packets.AddRun(batch, run, 1000, Packets.Endpoint(address, port));
        Packets.AddRun(batch, run, 1000, Packets.Endpoint(address, port, stranger, sourceInterface: 1));
        Packets.AddRun(batch, run, 1000, Packets.Endpoint(address, port));
        a.Send(batch, 0, 3);
        Assert.Equal([SendOutcome.Sent, SendOutcome.SourceRefused, SendOutcome.Sent], batch.OutboundRuns.Take(3).Select(r => r.Outcome));
        Assert.Equal(SendOutcome.SourceRefused, a.SendOne(run, Packets.Endpoint(address, port, stranger), 0));
        Assert.Equal([.. run, .. run], UdpDatagrams.Receive(b, segmented ? 6 : 2).SelectMany(datagram => datagram.Bytes).ToArray());
    }

    [Theory]
    [InlineData(KernelFeature.None, true)]
    [InlineData(KernelFeature.Routes, false)]
    public void A_better_route_moves_the_source_with_it_and_back(KernelFeature disabled, bool moves)
    {
        using var far = new TestNamespace();
        TwoCables(far);
        using UdpSocket a = UdpDatagrams.Open(_namespace, disabled, out _);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        Endpoint endpoint = Packets.Endpoint("10.0.0.2", port, "10.0.0.1", 0, _namespace.IndexOf("up1"));
        Assert.Equal("10.0.0.1", SourceSeen(a, b, endpoint));

        _namespace.Ip("route add 10.0.0.0/24 dev up3 src 10.0.0.3 metric 1");
        waiter.Wait(SystemClock.Now);
        Assert.Equal(moves ? "10.0.0.3" : "10.0.0.1", SourceSeen(a, b, endpoint));
        Assert.Equal(moves ? "10.0.0.3" : "10.0.0.1", SourceSeen(a, b, endpoint));

        _namespace.Ip("route delete 10.0.0.0/24 dev up3 metric 1");
        waiter.Wait(SystemClock.Now);
        Assert.Equal("10.0.0.1", SourceSeen(a, b, endpoint));
    }

    [Fact]
    public void A_rule_for_the_mark_counts_among_the_routes()
    {
        using var far = new TestNamespace();
        TwoCables(far);
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        Endpoint endpoint = Packets.Endpoint("10.0.0.2", port, "10.0.0.1", 0, _namespace.IndexOf("up1"));
        _namespace.Ip("route add 10.0.0.0/24 dev up3 src 10.0.0.3 table 77");
        _namespace.Ip("rule add fwmark 7 table 77");
        waiter.Wait(SystemClock.Now);
        Assert.Equal("10.0.0.1", SourceSeen(a, b, endpoint));
        a.SetMark(7);
        Assert.Equal("10.0.0.3", SourceSeen(a, b, endpoint));
    }

    [Fact]
    public void A_link_local_source_goes_through_its_interface()
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        uint scope = (uint)_namespace.IndexOf("up0");
        uint farScope = (uint)far.IndexOf("up0");
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort aPort);
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort bPort = far.Run(() => b.Open(0, 0));
        Assert.Equal(SendOutcome.Sent, a.SendOne([1], Packets.Endpoint("fe80::2", bPort, "fe80::1", scope, (int)scope), 0));
        ReceivedDatagram datagram = UdpDatagrams.Receive(b, 1)[0];
        Assert.Equal("[fe80::1%" + farScope + "]:" + aPort, datagram.Train.Source.ToString());

        // And back, from what was learned.
        var endpoint = new Endpoint(datagram.Train.Source, datagram.Train.LocalAddress, datagram.Train.LocalInterface);
        Assert.Equal(SendOutcome.Sent, b.SendOne([2], endpoint, 0));
        Assert.Equal([2], UdpDatagrams.Receive(a, 1)[0].Bytes);
    }

    /// <summary>10.0.0.1 on up1 and 10.0.0.3 on up3, both cables to the far side's 10.0.0.2; the route is up1.</summary>
    private void TwoCables(TestNamespace far)
    {
        foreach (int host in (int[])[1, 3])
        {
            _namespace.Ip($"link add up{host} type veth peer name up{host} netns {far.Path}");
            far.Ip($"link set up{host} up");
            _namespace.Ip($"address add 10.0.0.{host}/24 dev up{host} noprefixroute");
            _namespace.Ip($"link set up{host} up");
            far.Sysctl($"net/ipv4/conf/up{host}/rp_filter", "0");
        }

        far.Sysctl("net/ipv4/conf/all/rp_filter", "0");
        far.Ip("address add 10.0.0.2/24 dev up1");
        _namespace.Ip("route add 10.0.0.0/24 dev up1 src 10.0.0.1 metric 2");
    }

    private static string SourceSeen(UdpSocket from, UdpSocket to, Endpoint endpoint)
    {
        Assert.Equal(SendOutcome.Sent, from.SendOne([1], endpoint, 0));
        return UdpDatagrams.Receive(to, 1)[0].Train.Source.Address.ToString();
    }
}
