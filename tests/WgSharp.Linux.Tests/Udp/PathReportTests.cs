using WgSharp.Crypto;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>What routers say of datagrams that were too large, what strangers say of them, and what that does to everybody else's.</summary>
public sealed class PathReportTests : IDisposable
{
    private readonly RoutedNamespaces _net = new();

    public void Dispose() => _net.Dispose();

    [Theory]
    [InlineData(false, KernelFeature.None)]
    [InlineData(true, KernelFeature.None)]
    [InlineData(false, KernelFeature.Mmsg)]
    [InlineData(true, KernelFeature.Mmsg)]
    [InlineData(true, KernelFeature.Raw6)]
    public void A_whole_datagram_beyond_a_hop_is_reported_and_nobody_spins(bool ipv6, KernelFeature disabled)
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, disabled, out _);
        using UdpSocket b = UdpDatagrams.Open(_net.Far, KernelFeature.None, out ushort port);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        byte[] datagram = Packets.Payload(RoutedNamespaces.Whole(ipv6));
        Endpoint endpoint = Packets.Endpoint(RoutedNamespaces.FarAddress(ipv6), port);
        Assert.True(a.CanSendWhole);
        Assert.Equal(SendOutcome.Sent, SendWhole(a, datagram, endpoint, 0));
        PathReport report = Assert.Single(AwaitReports(a, waiter, 1));
        Assert.Equal(ipv6 ? PathReportKind.PacketTooBig : PathReportKind.FragmentationNeeded, report.Kind);
        Assert.Equal(RoutedNamespaces.HopMtu, report.Mtu);
        Assert.Equal(endpoint.Remote, report.Remote);
        Assert.Equal(QuotedBytes.Size, report.QuotedLength);
        Assert.Equal(datagram[..QuotedBytes.Size], ((ReadOnlySpan<byte>)report.Quote).ToArray());
        Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now));

        // What fits goes through, from the listen port.
        datagram = datagram[..(RoutedNamespaces.HopMtu - (ipv6 ? 48 : 28))];
        Assert.Equal(SendOutcome.Sent, SendWhole(a, datagram, endpoint, 0x88));
        ReceivedDatagram received = Assert.Single(UdpDatagrams.Receive(b, 1));
        Assert.Equal(datagram, received.Bytes);
        Assert.Equal(a.Port, received.Train.Source.Port);
        Assert.Equal(0x88, received.Train.TrafficClass);
        Assert.Equal(0, received.Train.FragmentSize);
        Assert.False(a.HasPathReports);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_the_local_link_does_not_take_whole_is_too_large_whatever_the_route_says(bool ipv6)
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_net.Router, KernelFeature.None, out ushort port);
        string router = ipv6 ? "fd08::2" : "10.8.0.2";
        _net.Near.Ip($"{(ipv6 ? "-6 " : "")}route add {router} dev up0 mtu lock 1300");
        Endpoint endpoint = Packets.Endpoint(router, port);
        Assert.Equal(1300, _net.Near.Run(() => a.PathMtu(endpoint, SystemClock.Now)));
        byte[] datagram = Packets.Payload(RoutedNamespaces.Whole(ipv6) + 1);
        Assert.Equal(SendOutcome.TooLarge, SendWhole(a, datagram, endpoint, 0));
        Assert.Equal(SendOutcome.Sent, SendWhole(a, datagram[1..], endpoint, 0));
        Assert.Equal(0, Assert.Single(UdpDatagrams.Receive(b, 1)).Train.FragmentSize);
        Assert.False(a.HasPathReports);
    }

    [Fact]
    public void Without_lanes_nothing_is_sent_whole_and_nothing_claims_to_be()
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.Lanes, out _);
        Assert.False(a.CanSendWhole);
        Assert.Equal(SendOutcome.Lost, SendWhole(a, [1], Packets.Endpoint("10.8.0.2", 9), 0));
    }

    [Fact]
    public void Data_over_ipv4_is_fragmented_by_the_router_and_arrives()
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_net.Far, KernelFeature.None, out ushort port);
        byte[] datagram = Packets.Payload(RoutedNamespaces.Whole(ipv6: false));
        Assert.Equal(SendOutcome.Sent, a.SendOne(datagram, Packets.Endpoint("10.7.0.1", port), 0));
        ReceivedDatagram received = Assert.Single(UdpDatagrams.Receive(b, 1));
        Assert.Equal(datagram, received.Bytes);
        Assert.InRange(received.Train.FragmentSize, RoutedNamespaces.HopMtu - 8, RoutedNamespaces.HopMtu);
        Assert.False(a.HasPathReports);
    }

    [Fact]
    public void Without_raw_sockets_data_over_ipv6_is_reported_too_and_what_follows_arrives_in_fragments()
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.Raw6, out _);
        using UdpSocket b = UdpDatagrams.Open(_net.Far, KernelFeature.None, out ushort port);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        byte[] datagram = Packets.Payload(RoutedNamespaces.Whole(ipv6: true));
        Endpoint endpoint = Packets.Endpoint("fd07::1", port);
        Assert.Equal(SendOutcome.Sent, a.SendOne(datagram, endpoint, 0));
        Assert.Equal(RoutedNamespaces.HopMtu, Assert.Single(AwaitReports(a, waiter, 1)).Mtu);
        Assert.Equal(SendOutcome.Sent, a.SendOne(datagram, endpoint, 0));
        Assert.InRange(Assert.Single(UdpDatagrams.Receive(b, 1)).Train.FragmentSize, RoutedNamespaces.HopMtu - 8, RoutedNamespaces.HopMtu);
    }

    [Fact]
    public void Data_over_ipv6_is_reported_each_time_and_the_kernel_believes_nothing()
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.None, out _);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        byte[] datagram = Packets.Payload(RoutedNamespaces.Whole(ipv6: true));
        Endpoint endpoint = Packets.Endpoint("fd07::1", 9);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(SendOutcome.Sent, i < 2 ? a.SendOne(datagram, endpoint, 0) : SendWhole(a, datagram, endpoint, 0));
            PathReport report = Assert.Single(AwaitReports(a, waiter, 1));
            Assert.Equal(RoutedNamespaces.HopMtu, report.Mtu);
            Assert.Equal(endpoint.Remote, report.Remote);
            Assert.Equal(datagram[..QuotedBytes.Size], ((ReadOnlySpan<byte>)report.Quote).ToArray());
            Assert.Equal(1500, FreshMtu(a, ipv6: true));
        }
    }

    [Theory]
    [InlineData(KernelFeature.None, RoutedNamespaces.HopMtu)]
    [InlineData(KernelFeature.Mmsg, RoutedNamespaces.HopMtu)]
    [InlineData(KernelFeature.PktInfo, 1280)]
    [InlineData(KernelFeature.Tos, 1300)]
    public void What_is_larger_than_the_path_leaves_in_fragments_that_fit_and_in_order(KernelFeature disabled, int fragmentAt)
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, disabled, out ushort nearPort);
        using UdpSocket b = UdpDatagrams.Open(_net.Far, KernelFeature.None, out ushort port);
        Endpoint endpoint = Packets.Endpoint("fd07::1", port, source: "fd08::1");
        PacketBatch batch = Packets.OutboundBatch();
        byte[] before = Packets.Payload(100, seed: 1);
        byte[] large = Packets.Payload((2 * 1441) + 77, seed: 2);
        byte[] largest = Packets.Payload(60_001, seed: 3);
        byte[] after = Packets.Payload(200, seed: 4);
        Packets.AddRun(batch, before, before.Length, endpoint);
        Packets.AddRun(batch, large, 1441, endpoint, 0x88);
        Packets.AddRun(batch, largest, largest.Length, Packets.Endpoint("fd07::1", port));
        Packets.AddRun(batch, after, after.Length, endpoint);
        batch.OutboundRuns[1].FragmentAt = fragmentAt;
        batch.OutboundRuns[2].FragmentAt = fragmentAt;
        _net.Near.Run(() => a.Send(batch, 0, 4));
        Assert.All(batch.OutboundRuns.Take(4), run => Assert.Equal(SendOutcome.Sent, run.Outcome));

        List<ReceivedDatagram> received = UdpDatagrams.Receive(b, 6);
        byte[][] expected = [before, large[..1441], large[1441..2882], large[2882..], largest, after];
        Assert.Equal(expected, received.Select(one => one.Bytes));
        Assert.All(received, one => Assert.Equal(nearPort, one.Train.Source.Port));
        int[] fragmented = [1, 2, 4];
        Assert.All(Enumerable.Range(0, 6), i => Assert.InRange(
            received[i].Train.FragmentSize, fragmented.Contains(i) ? fragmentAt - 8 : 0, fragmented.Contains(i) ? fragmentAt : 0));
        Assert.Equal(disabled == KernelFeature.Tos ? 0 : 0x88, received[1].Train.TrafficClass);
        Assert.False(a.HasPathReports);
    }

    [Fact]
    public void A_report_that_quotes_a_first_fragment_is_understood()
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.None, out _);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        Endpoint endpoint = Packets.Endpoint("fd07::1", 9, source: "fd08::1");
        PacketBatch batch = Packets.OutboundBatch();
        byte[] message = Packets.Payload(2000);
        Packets.AddRun(batch, message, message.Length, endpoint);
        batch.OutboundRuns[0].FragmentAt = 1450;
        _net.Near.Run(() => a.Send(batch, 0, 1));
        PathReport report = Assert.Single(AwaitReports(a, waiter, 1));
        Assert.Equal(RoutedNamespaces.HopMtu, report.Mtu);
        Assert.Equal(endpoint.Remote, report.Remote);
        Assert.Equal(message[..QuotedBytes.Size], ((ReadOnlySpan<byte>)report.Quote).ToArray());
    }

    [Fact]
    public void What_routers_say_of_other_programs_wakes_nobody()
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.None, out ushort port);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        _net.ForgeTooLarge(ipv6: true, 1300, (ushort)(port ^ 1), 9, [1]);
        _net.Forge(ipv6: true, type: 1, code: 4, 0, port, 9, [1]);
        _net.ForgeTooLarge(ipv6: true, 1290, port, 9, [1]);
        Assert.Equal(1290, Assert.Single(AwaitReports(a, waiter, 1)).Mtu);
        Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_routes_mtu_is_what_the_kernel_learned_from_a_whole_datagram(bool ipv6)
    {
        // The kernel believes only while nobody listens; see ErrorQueue.
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.RecvErr | KernelFeature.Raw6, out _);
        Assert.Equal(1500, FreshMtu(a, ipv6));
        Assert.Equal(SendOutcome.Sent, SendWhole(a, new byte[RoutedNamespaces.Whole(ipv6)], Packets.Endpoint(RoutedNamespaces.FarAddress(ipv6), 9), 0));
        AwaitMtu(a, ipv6, RoutedNamespaces.HopMtu);
    }

    [Theory]
    [InlineData(false, 600)]
    [InlineData(true, 1280)]
    public void A_stranger_does_not_change_the_routes_mtu(bool ipv6, int mtu)
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.None, out ushort port);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        for (int i = 0; i < 20; i++)
        {
            _net.ForgeTooLarge(ipv6, mtu, port, (ushort)(1000 + i), [1, 2, 3]);
        }

        List<PathReport> reports = AwaitReports(a, waiter, 20);
        Assert.All(reports, report => Assert.Equal(mtu, report.Mtu));
        Assert.All(reports, report => Assert.Equal(3, report.QuotedLength));
        Assert.Equal(Enumerable.Range(1000, 20), reports.Select(report => (int)report.Remote.Port));
        Assert.Equal(1500, FreshMtu(a, ipv6));

        // The same stranger is believed by the kernel where nobody listens.
        a.ListenForPathReports(false);
        _net.ForgeTooLarge(ipv6, mtu, port, 9, [1, 2, 3]);
        AwaitMtu(a, ipv6, mtu);
        Assert.False(a.HasPathReports);
    }

    [Theory]
    [InlineData(false, KernelFeature.None)]
    [InlineData(true, KernelFeature.None)]
    [InlineData(true, KernelFeature.Raw6)]
    public void Reports_that_find_a_lane_are_heard_too(bool ipv6, KernelFeature disabled)
    {
        using var device = new Device(SystemRandom.Fill);
        using UdpSocket a = UdpDatagrams.Open(_net.Near, disabled, out ushort port);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        var configuration = new DeviceConfiguration();
        for (byte i = 1; i <= 3; i++)
        {
            byte[] key = new byte[PublicKey.Size];
            key[0] = i;
            configuration.Peers.Add(new PeerConfiguration { PublicKey = new PublicKey(key) });
        }

        device.Apply(configuration, SystemClock.Read());
        Assert.All(device.Peers, peer => Assert.NotNull(_net.Near.Run(() => a.Sockets!.Lanes.Take(peer, ipv6, SystemClock.Now))));
        for (int i = 0; i < 60; i++)
        {
            _net.ForgeTooLarge(ipv6, 1300, port, (ushort)(1000 + i), [1]);
        }

        Assert.Equal(Enumerable.Range(1000, 60), AwaitReports(a, waiter, 60).Select(report => (int)report.Remote.Port).Order());
        Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now));
    }

    public static TheoryData<bool, byte, byte> Errors
    {
        get
        {
            var errors = new TheoryData<bool, byte, byte>();
            for (byte code = 0; code <= 15; code++)
            {
                errors.Add(false, 3, code);
            }

            for (byte code = 0; code <= 6; code++)
            {
                errors.Add(true, 1, code);
            }

            errors.Add(false, 11, 0);
            errors.Add(false, 12, 0);
            errors.Add(true, 2, 0);
            errors.Add(true, 3, 0);
            errors.Add(true, 4, 1);
            return errors;
        }
    }

    [Theory]
    [MemberData(nameof(Errors))]
    public void No_message_is_lost_or_late_because_of_an_error_about_another(bool ipv6, byte type, byte code)
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.Raw6, out ushort port); // with it, IPv6 hears of no errors at all
        using UdpSocket b = UdpDatagrams.Open(_net.Far, KernelFeature.None, out ushort farPort);
        Endpoint endpoint = Packets.Endpoint(RoutedNamespaces.FarAddress(ipv6), farPort);
        for (int i = 0; i < 3; i++)
        {
            _net.Forge(ipv6, type, code, 1300, port, 9, [1]);
        }

        // Neither outwards …
        UdpDatagrams.WaitFor(a);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(1500), 500, endpoint);
        Packets.AddRun(batch, Packets.Payload(300), 300, endpoint);
        a.Send(batch, 0, 2);
        Assert.Equal([SendOutcome.Sent, SendOutcome.Sent], batch.OutboundRuns.Take(2).Select(run => run.Outcome));
        UdpDatagrams.Receive(b, 4);

        // … nor inwards.
        _net.Forge(ipv6, type, code, 1300, port, 9, [1]);
        Assert.Equal(SendOutcome.Sent, b.SendOne([7], Packets.Endpoint(ipv6 ? "fd08::1" : "10.8.0.1", port), 0));
        Assert.Equal([7], Assert.Single(UdpDatagrams.Receive(a, 1)).Bytes);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Under_a_flood_of_forged_reports_every_message_is_sent_and_received(bool ipv6)
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.None, out ushort port);
        using UdpSocket b = UdpDatagrams.Open(_net.Far, KernelFeature.None, out ushort farPort);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        using var stop = new CancellationTokenSource();

        // Ahead of us by no more than the kernel's queues hold: what those drop of the messages nobody could receive.
        using var ahead = new AutoResetEvent(true);
        Task flood = Background.Run(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                ahead.WaitOne();
                for (int i = 0; i < 64; i++)
                {
                    _net.ForgeTooLarge(ipv6, 1300, port, 9, [1]);
                }
            }
        });
        AwaitReports(a, waiter, 1);
        Endpoint endpoint = Packets.Endpoint(RoutedNamespaces.FarAddress(ipv6), farPort);
        Endpoint back = Packets.Endpoint(ipv6 ? "fd08::1" : "10.8.0.1", port);
        PacketBatch sent = Packets.OutboundBatch();
        PacketBatch received = Packets.InboundBatch();
        Packets.AddRun(sent, Packets.Payload(1500), 500, endpoint);
        Packets.AddRun(sent, Packets.Payload(300), 300, endpoint);
        var taken = new PathReport[PathReports.Capacity];
        for (int i = 0; i < 500; i++)
        {
            ahead.Set();
            a.Send(sent, 0, 2);
            Assert.Equal([SendOutcome.Sent, SendOutcome.Sent], sent.OutboundRuns.Take(2).Select(run => run.Outcome));
            Assert.Equal(4, UdpDatagrams.Receive(b, 4).Count);
            Assert.Equal(SendOutcome.Sent, b.SendOne([7], back, 0));
            do
            {
                Assert.Equal(Readiness.Udp, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(20)));
                a.Receive(received);
                Assert.InRange(a.TakePathReports(taken), 0, PathReports.Capacity);
                ahead.Set();
            }
            while (received.TrainCount == 0);
        }

        await stop.CancelAsync();
        ahead.Set();
        await flood;
    }

    [Theory]
    [InlineData(false, KernelFeature.None)]
    [InlineData(true, KernelFeature.Raw6)]
    public void Once_plenty_of_reports_wait_no_more_wake_anybody_until_they_are_taken(bool ipv6, KernelFeature disabled)
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, disabled, out ushort port);
        using UdpSocket b = UdpDatagrams.Open(_net.Far, KernelFeature.None, out _);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        PacketBatch batch = Packets.InboundBatch();
        var reports = new PathReport[PathReports.Capacity];
        for (int turn = 0; turn < 3; turn++)
        {
            int forged = 0;
            while (!a.Sockets!.IsDeaf)
            {
                Assert.InRange(++forged, 1, PathReports.Capacity);
                _net.ForgeTooLarge(ipv6, 1300, port, 9, [1]);
                Assert.Equal(Readiness.Udp, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(20)));
                a.Receive(batch);
            }

            Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now));
            for (int i = 0; i < 3; i++)
            {
                _net.ForgeTooLarge(ipv6, 1300, port, 10, [1]);
            }

            // Messages come as ever.
            Assert.Equal(SendOutcome.Sent, b.SendOne([7], Packets.Endpoint(ipv6 ? "fd08::1" : "10.8.0.1", port), 0));
            Assert.Equal(Readiness.Udp, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(20)));
            a.Receive(batch);
            Assert.Equal(1, batch.TrainCount);

            int taken = a.TakePathReports(reports);
            Assert.InRange(taken, 1, forged);
            Assert.All(reports[..taken], report => Assert.Equal(9, report.Remote.Port));
            Assert.False(a.Sockets!.IsDeaf);
            _net.ForgeTooLarge(ipv6, 1290, port, 9, [1]);
            Assert.Equal(1290, Assert.Single(AwaitReports(a, waiter, 1)).Mtu);
        }
    }

    [Theory]
    [InlineData(false, KernelFeature.None)]
    [InlineData(true, KernelFeature.Raw6)]
    public void Plenty_of_errors_that_are_no_reports_wake_no_more_either_until_somebody_came(bool ipv6, KernelFeature disabled)
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, disabled, out ushort port);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        PacketBatch batch = Packets.InboundBatch();
        var reports = new PathReport[PathReports.Capacity];
        for (int turn = 0; turn < 3; turn++)
        {
            for (int forged = 0; !a.Sockets!.IsDeaf; forged++)
            {
                Assert.InRange(forged, 0, PathReports.Capacity);
                Assert.False(a.HasPathReports);

                // Nobody has the port.
                _net.Forge(ipv6, (byte)(ipv6 ? 1 : 3), (byte)(ipv6 ? 4 : 3), 0, port, 9, [1]);
                Assert.Equal(Readiness.Udp, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(20)));
                a.Receive(batch);
            }

            _net.Forge(ipv6, (byte)(ipv6 ? 1 : 3), (byte)(ipv6 ? 4 : 3), 0, port, 9, [1]);
            Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now));
            Assert.True(a.HasPathReports);
            Assert.Equal(0, a.TakePathReports(reports));
            Assert.False(a.HasPathReports);
            Assert.False(a.Sockets!.IsDeaf);
        }
    }

    [Fact]
    public void Forged_reports_over_IPv6_wake_a_thread_once_until_they_are_taken()
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.None, out ushort port);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        PacketBatch batch = Packets.InboundBatch();
        var reports = new PathReport[PathReports.Capacity];
        for (int turn = 0; turn < 3; turn++)
        {
            _net.ForgeTooLarge(ipv6: true, 1300, port, 9, [1]);
            Assert.Equal(Readiness.Udp, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(20)));
            a.Receive(batch);
            Assert.True(a.HasPathReports);

            _net.ForgeTooLarge(ipv6: true, 1300, port, 10, [1]);
            _net.ForgeTooLarge(ipv6: true, 1300, port, 10, [1]);
            Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now));
            Assert.Equal(1, a.TakePathReports(reports));
            Assert.Equal(Readiness.Udp, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(20)));
            a.Receive(batch);
            Assert.Equal(2, a.TakePathReports(reports));
        }
    }

    [Fact]
    public void Whoever_listens_no_more_hears_nothing_and_sends_as_the_kernel_module_does()
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.None, out _);
        a.ListenForPathReports(false);
        Assert.Null(a.Sockets!.Raw);
        ushort port = _net.Near.Run(() => a.Open(0, 0));
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        foreach (bool ipv6 in (bool[])[false, true])
        {
            _net.ForgeTooLarge(ipv6, 1300, port, 9, [1]);
            AwaitMtu(a, ipv6, 1300);
            Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now));
        }

        _net.Near.Run(() => a.ListenForPathReports(true));
        foreach (bool ipv6 in (bool[])[false, true])
        {
            _net.ForgeTooLarge(ipv6, 1290, port, 9, [1]);
            Assert.Equal(1290, Assert.Single(AwaitReports(a, waiter, 1)).Mtu);
        }
    }

    [Fact]
    public void Taking_reports_allocates_nothing()
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.None, out ushort port);
        for (int i = 0; i < 2000; i++)
        {
            _net.ForgeTooLarge(i % 2 == 0, 1300, port, 9, [1]);
        }

        PacketBatch batch = Packets.InboundBatch();
        var reports = new PathReport[8];
        int taken = 0;
        Allocations.AssertNone(10, () =>
        {
            a.Note(new EpollEvent(UdpWatch.V4Key, Libc.EPOLLERR)); // as a waiter would
            a.Note(new EpollEvent(UdpWatch.V6Key, Libc.EPOLLERR));
            a.Note(new EpollEvent(UdpWatch.TooBigKey, Libc.EPOLLIN));
            a.Receive(batch);
            taken += a.TakePathReports(reports);
        });
        Assert.True(taken >= 80);
    }

    /// <summary>What makes sockets makes them in the namespace of the thread.</summary>
    private SendOutcome SendWhole(UdpSocket udp, byte[] datagram, Endpoint endpoint, byte trafficClass) =>
        _net.Near.Run(() => udp.SendWhole(datagram, endpoint, trafficClass));

    private static List<PathReport> AwaitReports(UdpSocket udp, EpollWaiter waiter, int least)
    {
        PacketBatch batch = Packets.InboundBatch();
        var found = new List<PathReport>();
        var reports = new PathReport[7];
        while (true)
        {
            // What the socket of one datagram has heard before its end stands there already, and wakes nobody.
            while (udp.HasPathReports)
            {
                found.AddRange(reports.Take(udp.TakePathReports(reports)));
            }

            if (found.Count >= least)
            {
                return found;
            }

            Assert.Equal(Readiness.Udp, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(20)));
            Assert.Equal(IoStatus.WouldBlock, udp.Receive(batch));
        }
    }

    /// <summary>Of an endpoint that nothing is remembered of.</summary>
    private int FreshMtu(UdpSocket udp, bool ipv6) =>
        _net.Near.Run(() => udp.PathMtu(Packets.Endpoint(RoutedNamespaces.FarAddress(ipv6), 9), SystemClock.Now));

    /// <summary>ICMP is on its way, and nothing announces it.</summary>
    private void AwaitMtu(UdpSocket udp, bool ipv6, int mtu) =>
        Assert.True(SpinWait.SpinUntil(() => FreshMtu(udp, ipv6) == mtu, TimeSpan.FromSeconds(20)), $"It is {FreshMtu(udp, ipv6)}, not {mtu}.");
}
