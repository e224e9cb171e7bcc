using System.Net;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

public sealed class UdpSocketTests : IDisposable
{
    private readonly TestNamespace _namespace = new();

    public static TheoryData<KernelFeature, string> Ways
    {
        get
        {
            var ways = new TheoryData<KernelFeature, string>();
            foreach (string address in (string[])["127.0.0.1", "::1"])
            {
                ways.Add(KernelFeature.None, address);
                ways.Add(KernelFeature.Gso, address);
                ways.Add(KernelFeature.Gro, address);
                ways.Add(KernelFeature.Mmsg, address);
                ways.Add(KernelFeature.PktInfo, address);
                ways.Add(KernelFeature.Gso | KernelFeature.Gro | KernelFeature.Mmsg | KernelFeature.PktInfo | KernelFeature.Tos | KernelFeature.RecvFragSize, address);
            }

            return ways;
        }
    }

    public void Dispose() => _namespace.Dispose();

    [Theory]
    [MemberData(nameof(Ways))]
    public void A_run_arrives_whole_and_in_order_whatever_is_switched_off(KernelFeature disabled, string address)
    {
        using UdpSocket a = Open(disabled, out _);
        using UdpSocket b = Open(disabled, out ushort port);
        byte[] run = Packets.Payload((20 * 1452) + 700);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, run, 1452, Packets.Endpoint(address, port));
        a.Send(batch, 0, 1);
        Assert.Equal(SendOutcome.Sent, batch.Runs[0].Outcome);

        List<Datagram> received = Receive(b, 21);
        Assert.Equal(run, received.SelectMany(datagram => datagram.Bytes));
        Assert.All(received, datagram => Assert.Equal(a.Port, datagram.Train.Source.Port));
        Assert.All(received, datagram => Assert.Equal(address, datagram.Train.Source.Address.ToString()));
        bool tells = !disabled.HasFlag(KernelFeature.PktInfo);
        Assert.All(received, datagram => Assert.Equal(tells ? address : "(none)", datagram.Train.LocalAddress.ToString()));
        Assert.All(received, datagram => Assert.Equal(tells ? 1 : 0, datagram.Train.LocalInterface));
    }

    [Theory]
    [InlineData(KernelFeature.None, true)]
    [InlineData(KernelFeature.Gro, false)]
    public void A_segmented_run_is_received_as_one_train_only_with_gro(KernelFeature disabled, bool asTrain)
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = Open(disabled, out ushort port);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(2500), 1000, Packets.Endpoint("127.0.0.1", port));
        a.Send(batch, 0, 1);
        PacketBatch received = Packets.InboundBatch();
        WaitFor(b);
        Assert.Equal(IoStatus.Done, b.Receive(received));
        Assert.Equal(asTrain ? 1 : 3, received.TrainCount);
        Assert.Equal(asTrain ? 2500 : 1000, received.Trains[0].Length);
        Assert.Equal(1000, received.Trains[0].Stride);
        Assert.Equal(IoStatus.WouldBlock, b.Receive(received));
        Assert.Equal(0, received.TrainCount);
    }

    [Fact]
    public void Many_runs_of_both_families_go_out_in_one_call_each_to_its_own_destination()
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = Open(KernelFeature.None, out ushort port);
        var batch = new PacketBatch(600_000, 2000, 200, 0) { ReadCapacity = 1 };
        int expected = 0;
        for (int i = 0; i < 150; i++)
        {
            int count = 1 + (i % 3);
            expected += count;
            Packets.AddRun(batch, Packets.Payload(count * 500, i), 500, Packets.Endpoint(i % 7 < 3 ? "127.0.0.1" : "::1", port), unsegmented: i % 5 == 0);
        }

        a.Send(batch, 0, 150);
        Assert.All(batch.Runs.Take(150), run => Assert.Equal(SendOutcome.Sent, run.Outcome));
        List<Datagram> received = Receive(b, expected);
        foreach (string address in (string[])["127.0.0.1", "::1"])
        {
            byte[] sent = [.. batch.Runs.Take(150).Where(run => run.Endpoint!.Remote.Address.ToString() == address)
                .SelectMany(run => batch.Buffer.AsSpan(run.Offset, run.Length).ToArray())];
            Assert.Equal(sent, received.Where(datagram => datagram.Train.Source.Address.ToString() == address).SelectMany(datagram => datagram.Bytes));
        }
    }

    [Fact]
    public void Only_the_asked_runs_are_sent_and_the_others_keep_their_outcome()
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = Open(KernelFeature.None, out ushort port);
        PacketBatch batch = Packets.OutboundBatch();
        for (byte i = 0; i < 4; i++)
        {
            Packets.AddRun(batch, [i], 1, Packets.Endpoint("127.0.0.1", port));
            batch.Runs[i].Outcome = SendOutcome.Lost;
        }

        a.Send(batch, 1, 2);
        Assert.Equal([SendOutcome.Lost, SendOutcome.Sent, SendOutcome.Sent, SendOutcome.Lost], batch.Runs.Take(4).Select(run => run.Outcome));
        Assert.Equal([1, 2], Receive(b, 2).SelectMany(datagram => datagram.Bytes));
    }

    [Fact]
    public void A_run_beyond_what_one_call_takes_is_cut_at_a_message()
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = Open(KernelFeature.None, out ushort port);
        PacketBatch batch = Packets.OutboundBatch(8);
        byte[] many = Packets.Payload(150 * 100);
        byte[] large = Packets.Payload(90 * 1452);
        Packets.AddRun(batch, many, 100, Packets.Endpoint("127.0.0.1", port));
        Packets.AddRun(batch, large, 1452, Packets.Endpoint("127.0.0.1", port));
        a.Send(batch, 0, 2);
        Assert.Equal(SendOutcome.Sent, batch.Runs[0].Outcome);
        Assert.Equal(SendOutcome.Sent, batch.Runs[1].Outcome);
        Assert.Equal([.. many, .. large], Receive(b, 240).SelectMany(datagram => datagram.Bytes).ToArray());
    }

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public void The_ds_field_is_sent_and_seen(string address)
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = Open(KernelFeature.None, out ushort port);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(3000), 1000, Packets.Endpoint(address, port), trafficClass: 3);
        Packets.AddRun(batch, Packets.Payload(1000), 1000, Packets.Endpoint(address, port), trafficClass: 0);
        a.Send(batch, 0, 2);
        Assert.Equal(SendOutcome.Sent, a.SendOne([1, 2, 3], Packets.Endpoint(address, port), 0x88));
        List<Datagram> received = Receive(b, 5);
        Assert.Equal([3, 3, 3, 0, 0x88], received.Select(datagram => datagram.Train.TrafficClass));
    }

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

        using UdpSocket a = Open(KernelFeature.None, out ushort aPort);
        using UdpSocket b = Open(KernelFeature.None, out ushort bPort);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(3000), 1000, Packets.Endpoint(destination, bPort, source, sourceInterface: 1));
        a.Send(batch, 0, 1);
        Assert.Equal(SendOutcome.Sent, a.SendOne([9], Packets.Endpoint(destination, bPort, source, sourceInterface: 1), 0));
        foreach (Datagram datagram in Receive(b, 4))
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
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = Open(KernelFeature.None, out ushort port);
        PacketBatch batch = Packets.OutboundBatch();
        byte[] run = Packets.Payload(segmented ? 3000 : 1000);
        Packets.AddRun(batch, run, 1000, Packets.Endpoint(address, port));
        Packets.AddRun(batch, run, 1000, Packets.Endpoint(address, port, stranger, sourceInterface: 1));
        Packets.AddRun(batch, run, 1000, Packets.Endpoint(address, port));
        a.Send(batch, 0, 3);
        Assert.Equal([SendOutcome.Sent, SendOutcome.SourceRefused, SendOutcome.Sent], batch.Runs.Take(3).Select(r => r.Outcome));
        Assert.Equal(SendOutcome.SourceRefused, a.SendOne(run, Packets.Endpoint(address, port, stranger), 0));
        Assert.Equal([.. run, .. run], Receive(b, segmented ? 6 : 2).SelectMany(datagram => datagram.Bytes).ToArray());
    }

    [Theory]
    [InlineData(KernelFeature.None, true)]
    [InlineData(KernelFeature.Routes, false)]
    public void A_better_route_moves_the_source_with_it_and_back(KernelFeature disabled, bool moves)
    {
        using var far = new TestNamespace();
        TwoCables(far);
        using UdpSocket a = Open(disabled, out _);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        Endpoint endpoint = Packets.Endpoint("10.0.0.2", port, "10.0.0.1", 0, Index(_namespace, "up1"));
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
        using UdpSocket a = Open(KernelFeature.None, out _);
        using var waiter = new EpollWaiter(null, a, new KernelFeatures());
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        Endpoint endpoint = Packets.Endpoint("10.0.0.2", port, "10.0.0.1", 0, Index(_namespace, "up1"));
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
        Veth(far, 1500);
        uint scope = (uint)Index(_namespace, "up0");
        uint farScope = (uint)Index(far, "up0");
        using UdpSocket a = Open(KernelFeature.None, out ushort aPort);
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort bPort = far.Run(() => b.Open(0, 0));
        Assert.Equal(SendOutcome.Sent, a.SendOne([1], Packets.Endpoint("fe80::2", bPort, "fe80::1", scope, (int)scope), 0));
        Datagram datagram = Receive(b, 1)[0];
        Assert.Equal("[fe80::1%" + farScope + "]:" + aPort, datagram.Train.Source.ToString());

        // And back, from what was learned.
        var endpoint = new Endpoint(datagram.Train.Source, datagram.Train.LocalAddress, datagram.Train.LocalInterface);
        Assert.Equal(SendOutcome.Sent, b.SendOne([2], endpoint, 0));
        Assert.Equal([2], Receive(a, 1)[0].Bytes);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("10.8.0.1")]
    public void Segments_above_the_mtu_of_the_route_are_refused_as_segmentation_and_arrive_unsegmented(string? source)
    {
        using var far = new TestNamespace();
        Veth(far, 1500);
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        byte[] run = Packets.Payload(3 * 1532);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, run, 1532, Packets.Endpoint("10.8.0.2", port, source));
        a.Send(batch, 0, 1);
        Assert.Equal(SendOutcome.SegmentationRefused, batch.Runs[0].Outcome);

        batch.Runs[0].Unsegmented = true;
        a.Send(batch, 0, 1);
        Assert.Equal(SendOutcome.Sent, batch.Runs[0].Outcome);
        List<Datagram> received = Receive(b, 3);
        Assert.Equal(run, received.SelectMany(datagram => datagram.Bytes));
        Assert.All(received, datagram => Assert.Equal(1500, datagram.Train.FragmentSize));
    }

    [Fact]
    public void Ipv6_fragments_and_their_size_are_seen()
    {
        using var far = new TestNamespace();
        Veth(far, 1500);
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        byte[] datagram = Packets.Payload(1532);
        Assert.Equal(SendOutcome.Sent, a.SendOne(datagram, Packets.Endpoint("fd08::2", port), 0));
        Assert.Equal(SendOutcome.Sent, a.SendOne([1], Packets.Endpoint("fd08::2", port), 0));
        List<Datagram> received = Receive(b, 2);
        Assert.Equal(datagram, received[0].Bytes);
        Assert.InRange(received[0].Train.FragmentSize, 1400, 1500);
        Assert.Equal(0, received[1].Train.FragmentSize);
    }

    [Fact]
    public void Datagrams_of_every_length_up_to_the_largest_arrive_and_an_empty_one_is_passed_over()
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = Open(KernelFeature.None, out ushort port);
        int[] lengths = [0, 1, 31, 1472, 1473, 9000, 65_506, 65_507];
        foreach (int length in lengths)
        {
            Assert.Equal(SendOutcome.Sent, a.SendOne(Packets.Payload(length), Packets.Endpoint("127.0.0.1", port), 0));
        }

        Assert.Equal(lengths[1..], Receive(b, lengths.Length - 1).Select(datagram => datagram.Bytes.Length));
        Assert.Equal(SendOutcome.Lost, a.SendOne(new byte[65_508], Packets.Endpoint("127.0.0.1", port), 0));
    }

    [Fact]
    public void More_than_fits_a_batch_stays_for_the_next_receive()
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = Open(KernelFeature.Gro, out ushort port);
        for (byte i = 0; i < 10; i++)
        {
            a.SendOne([i], Packets.Endpoint(i % 2 == 0 ? "127.0.0.1" : "::1", port), 0);
        }

        PacketBatch batch = Packets.InboundBatch(slots: 4);
        var seen = new List<byte>();
        while (seen.Count < 10)
        {
            WaitFor(b);
            Assert.Equal(IoStatus.Done, b.Receive(batch));
            Assert.InRange(batch.TrainCount, 1, 4);
            seen.AddRange(batch.Trains.Take(batch.TrainCount).Select(train => batch.Buffer[train.Offset]));
        }

        Assert.Equal(Enumerable.Range(0, 10).Select(i => (byte)i), seen.Order());
    }

    [Fact]
    public void A_flood_on_one_family_does_not_shut_out_the_other()
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = Open(KernelFeature.Gro, out ushort port);
        PacketBatch batch = Packets.InboundBatch(slots: 2);
        for (int i = 0; i < 20; i++)
        {
            a.SendOne([4], Packets.Endpoint("127.0.0.1", port), 0);
        }

        a.SendOne([6], Packets.Endpoint("::1", port), 0);
        bool seen = false;
        for (int i = 0; i < 2; i++)
        {
            WaitFor(b);
            b.Receive(batch);
            seen |= batch.Trains.Take(batch.TrainCount).Any(train => train.Source.Address.IsIPv6);
        }

        Assert.True(seen);
    }

    [Fact]
    public void Runs_without_an_endpoint_or_without_an_open_socket_are_lost()
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, [1], 1, null);
        Packets.AddRun(batch, [1], 1, Packets.Endpoint("127.0.0.1", 9));
        a.Send(batch, 0, 2);
        Assert.Equal([SendOutcome.Lost, SendOutcome.Sent], batch.Runs.Take(2).Select(run => run.Outcome));
        a.Close();
        a.Send(batch, 0, 2);
        Assert.Equal([SendOutcome.Lost, SendOutcome.Lost], batch.Runs.Take(2).Select(run => run.Outcome));
        Assert.Equal(SendOutcome.Lost, a.SendOne([1], Packets.Endpoint("127.0.0.1", 9), 0));
        Assert.Equal(IoStatus.LinkDown, a.Receive(Packets.InboundBatch()));
    }

    [Fact]
    public void A_destination_without_a_route_is_lost_and_asks_for_a_new_source_only_if_one_was_given()
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        Assert.Equal(SendOutcome.Lost, a.SendOne([1], Packets.Endpoint("192.0.2.1", 9), 0));
        Assert.Equal(SendOutcome.SourceRefused, a.SendOne([1], Packets.Endpoint("192.0.2.1", 9, "127.0.0.1"), 0));
        Assert.Equal(SendOutcome.Lost, a.SendOne([1], Packets.Endpoint("2001:db8::1", 9), 0));
        Assert.Equal(SendOutcome.SourceRefused, a.SendOne([1], Packets.Endpoint("2001:db8::1", 9, "::1"), 0));
    }

    [Fact]
    public void A_closed_port_at_the_other_end_does_not_disturb_the_next_message()
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = Open(KernelFeature.None, out ushort port);
        for (int i = 0; i < 5; i++)
        {
            Assert.Equal(SendOutcome.Sent, a.SendOne([1], Packets.Endpoint("127.0.0.1", 9), 0));
            Assert.Equal(SendOutcome.Sent, a.SendOne([2], Packets.Endpoint("127.0.0.1", port), 0));
        }

        Assert.Equal([2, 2, 2, 2, 2], Receive(b, 5).SelectMany(datagram => datagram.Bytes));
        Assert.Equal(IoStatus.WouldBlock, a.Receive(Packets.InboundBatch()));
    }

    [Fact]
    public void Receiving_and_sending_allocate_nothing()
    {
        using UdpSocket a = Open(KernelFeature.None, out _);
        using UdpSocket b = Open(KernelFeature.None, out ushort port);
        PacketBatch send = Packets.OutboundBatch();
        Packets.AddRun(send, Packets.Payload(3000), 1000, Packets.Endpoint("127.0.0.1", port, "127.0.0.1", 0, 1), 1);
        Packets.AddRun(send, Packets.Payload(3000), 1000, Packets.Endpoint("::1", port, "::1", 0, 1), 1);
        Packets.AddRun(send, Packets.Payload(3000), 1000, Packets.Endpoint("::1", port), 0, unsegmented: true);
        PacketBatch receive = Packets.InboundBatch();
        Endpoint one = Packets.Endpoint("127.0.0.1", port);
        byte[] message = new byte[148];
        int trains = 0;
        Assert.Equal(0, Packets.AllocatedBy(() =>
        {
            a.Send(send, 0, 3);
            a.SendOne(message, one, 0x88);
            b.Receive(receive);
            trains += receive.TrainCount;
            b.Receive(receive);
            b.Expect(ipv6: false); // as a waiter would
            b.Expect(ipv6: true);
        }));
        Assert.Equal(SendOutcome.Sent, send.Runs[2].Outcome);
        Assert.True(trains >= 250);
    }

    private UdpSocket Open(KernelFeature disabled, out ushort port)
    {
        UdpSocket udp = _namespace.Run(() => new UdpSocket(new KernelFeatures(disabled)));
        port = _namespace.Run(() => udp.Open(0, 0));
        return udp;
    }

    private void Veth(TestNamespace far, int mtu)
    {
        _namespace.Ip($"link add up0 mtu {mtu} type veth peer name up0 mtu {mtu} netns {far.Path}");
        int host = 1;
        foreach (TestNamespace side in (TestNamespace[])[_namespace, far])
        {
            side.Ip("link set up0 addrgenmode none");
            side.Ip("link set up0 up");
            side.Ip($"address add 10.8.0.{host}/24 dev up0");
            side.AddIPv6($"fd08::{host}/64", "up0");
            side.AddIPv6($"fe80::{host}/64", "up0");
            host++;
        }
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
        return Receive(to, 1)[0].Train.Source.Address.ToString();
    }

    private static int Index(TestNamespace side, string name) => int.Parse(side.Ip($"-o link show {name}").Split(':')[0]);

    private static void WaitFor(UdpSocket udp)
    {
        using var waiter = new EpollWaiter(null, udp, new KernelFeatures());
        Assert.Equal(Readiness.Udp, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(20)));
    }

    private static List<Datagram> Receive(UdpSocket udp, int count)
    {
        PacketBatch batch = Packets.InboundBatch();
        var datagrams = new List<Datagram>();
        while (datagrams.Count < count)
        {
            WaitFor(udp);
            udp.Receive(batch);
            foreach (DatagramTrain train in batch.Trains.AsSpan(0, batch.TrainCount))
            {
                for (int at = 0; at < train.Length; at += train.Stride)
                {
                    datagrams.Add(new Datagram(batch.Buffer.AsSpan(train.Offset + at, Math.Min(train.Stride, train.Length - at)).ToArray(), train));
                }
            }
        }

        Assert.Equal(count, datagrams.Count);
        return datagrams;
    }

    private sealed record Datagram(byte[] Bytes, DatagramTrain Train);
}
