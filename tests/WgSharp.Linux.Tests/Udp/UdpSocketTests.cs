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
        using UdpSocket a = UdpDatagrams.Open(_namespace, disabled, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, disabled, out ushort port);
        byte[] run = Packets.Payload((20 * 1452) + 700);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, run, 1452, Packets.Endpoint(address, port));
        a.Send(batch, 0, 1);
        Assert.Equal(SendOutcome.Sent, batch.OutboundRuns[0].Outcome);

        List<ReceivedDatagram> received = UdpDatagrams.Receive(b, 21);
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
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, disabled, out ushort port);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(2500), 1000, Packets.Endpoint("127.0.0.1", port));
        a.Send(batch, 0, 1);
        PacketBatch received = Packets.InboundBatch();
        UdpDatagrams.WaitFor(b);
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
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        var batch = new PacketBatch(600_000, 2000, 200, 0) { ReadCapacity = 1 };
        int expected = 0;
        for (int i = 0; i < 150; i++)
        {
            int count = 1 + (i % 3);
            expected += count;
            Packets.AddRun(batch, Packets.Payload(count * 500, i), 500, Packets.Endpoint(i % 7 < 3 ? "127.0.0.1" : "::1", port), unsegmented: i % 5 == 0);
        }

        a.Send(batch, 0, 150);
        Assert.All(batch.OutboundRuns.Take(150), run => Assert.Equal(SendOutcome.Sent, run.Outcome));
        List<ReceivedDatagram> received = UdpDatagrams.Receive(b, expected);
        foreach (string address in (string[])["127.0.0.1", "::1"])
        {
            byte[] sent = [.. batch.OutboundRuns.Take(150).Where(run => run.Endpoint!.Remote.Address.ToString() == address)
                .SelectMany(run => batch.Buffer.AsSpan(run.Offset, run.Length).ToArray())];
            Assert.Equal(sent, received.Where(datagram => datagram.Train.Source.Address.ToString() == address).SelectMany(datagram => datagram.Bytes));
        }
    }

    [Fact]
    public void Only_the_asked_runs_are_sent_and_the_others_keep_their_outcome()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        PacketBatch batch = Packets.OutboundBatch();
        for (byte i = 0; i < 4; i++)
        {
            Packets.AddRun(batch, [i], 1, Packets.Endpoint("127.0.0.1", port));
            batch.OutboundRuns[i].Outcome = SendOutcome.Lost;
        }

        a.Send(batch, 1, 2);
        Assert.Equal([SendOutcome.Lost, SendOutcome.Sent, SendOutcome.Sent, SendOutcome.Lost], batch.OutboundRuns.Take(4).Select(run => run.Outcome));
        Assert.Equal([1, 2], UdpDatagrams.Receive(b, 2).SelectMany(datagram => datagram.Bytes));
    }

    [Fact]
    public void A_run_beyond_what_one_call_takes_is_cut_at_a_message()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        PacketBatch batch = Packets.OutboundBatch(8);
        byte[] many = Packets.Payload(150 * 100);
        byte[] large = Packets.Payload(90 * 1452);
        Packets.AddRun(batch, many, 100, Packets.Endpoint("127.0.0.1", port));
        Packets.AddRun(batch, large, 1452, Packets.Endpoint("127.0.0.1", port));
        a.Send(batch, 0, 2);
        Assert.Equal(SendOutcome.Sent, batch.OutboundRuns[0].Outcome);
        Assert.Equal(SendOutcome.Sent, batch.OutboundRuns[1].Outcome);
        Assert.Equal([.. many, .. large], UdpDatagrams.Receive(b, 240).SelectMany(datagram => datagram.Bytes).ToArray());
    }

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public void The_ds_field_is_sent_and_seen(string address)
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(3000), 1000, Packets.Endpoint(address, port), trafficClass: 3);
        Packets.AddRun(batch, Packets.Payload(1000), 1000, Packets.Endpoint(address, port), trafficClass: 0);
        a.Send(batch, 0, 2);
        Assert.Equal(SendOutcome.Sent, a.SendOne([1, 2, 3], Packets.Endpoint(address, port), 0x88));
        List<ReceivedDatagram> received = UdpDatagrams.Receive(b, 5);
        Assert.Equal([3, 3, 3, 0, 0x88], received.Select(datagram => datagram.Train.TrafficClass));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("10.8.0.1")]
    public void Segments_above_the_mtu_of_the_route_are_refused_as_segmentation_and_arrive_unsegmented(string? source)
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        byte[] run = Packets.Payload(3 * 1532);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, run, 1532, Packets.Endpoint("10.8.0.2", port, source));
        a.Send(batch, 0, 1);
        Assert.Equal(SendOutcome.SegmentationRefused, batch.OutboundRuns[0].Outcome);

        batch.OutboundRuns[0].Unsegmented = true;
        a.Send(batch, 0, 1);
        Assert.Equal(SendOutcome.Sent, batch.OutboundRuns[0].Outcome);
        List<ReceivedDatagram> received = UdpDatagrams.Receive(b, 3);
        Assert.Equal(run, received.SelectMany(datagram => datagram.Bytes));
        Assert.All(received, datagram => Assert.Equal(1500, datagram.Train.FragmentSize));
    }

    [Fact]
    public void Ipv6_fragments_and_their_size_are_seen()
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        byte[] datagram = Packets.Payload(1532);
        Assert.Equal(SendOutcome.Sent, a.SendOne(datagram, Packets.Endpoint("fd08::2", port), 0));
        Assert.Equal(SendOutcome.Sent, a.SendOne([1], Packets.Endpoint("fd08::2", port), 0));
        List<ReceivedDatagram> received = UdpDatagrams.Receive(b, 2);
        Assert.Equal(datagram, received[0].Bytes);
        Assert.InRange(received[0].Train.FragmentSize, 1400, 1500);
        Assert.Equal(0, received[1].Train.FragmentSize);
    }

    [Theory]
    [InlineData("10.8.0.2", KernelFeature.None)]
    [InlineData("fd08::2", KernelFeature.None)]
    [InlineData("10.8.0.2", KernelFeature.Mmsg)]
    [InlineData("fd08::2", KernelFeature.Mmsg)]
    public void Trains_and_fragmented_datagrams_in_a_row_tell_each_their_own_fragment_size(string address, KernelFeature disabled)
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(far, disabled, out ushort port);
        PacketBatch batch = Packets.OutboundBatch();
        Endpoint endpoint = Packets.Endpoint(address, port);
        Packets.AddRun(batch, Packets.Payload(1532), 1532, endpoint);
        Packets.AddRun(batch, Packets.Payload(3000), 1000, endpoint);
        Packets.AddRun(batch, Packets.Payload(2000), 2000, endpoint);
        Packets.AddRun(batch, Packets.Payload(2000), 1000, endpoint);
        a.Send(batch, 0, 4);
        Assert.All(batch.OutboundRuns.Take(4), run => Assert.Equal(SendOutcome.Sent, run.Outcome));
        List<ReceivedDatagram> received = UdpDatagrams.Receive(b, 7);
        Assert.Equal([1532, 1000, 1000, 1000, 2000, 1000, 1000], received.Select(datagram => datagram.Bytes.Length));

        // A fragment's payload is a multiple of 8 bytes.
        int size = address.Contains(':', StringComparison.Ordinal) ? 1496 : 1500;
        Assert.Equal([size, 0, 0, 0, size, 0, 0], received.Select(datagram => datagram.Train.FragmentSize));
        Assert.Equal(3000, received[1].Train.Length);
    }

    [Fact]
    public void Datagrams_of_every_length_up_to_the_largest_arrive_and_an_empty_one_is_passed_over()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        int[] lengths = [0, 1, 31, 1472, 1473, 9000, 65_506, 65_507];
        foreach (int length in lengths)
        {
            Assert.Equal(SendOutcome.Sent, a.SendOne(Packets.Payload(length), Packets.Endpoint("127.0.0.1", port), 0));
        }

        Assert.Equal(lengths[1..], UdpDatagrams.Receive(b, lengths.Length - 1).Select(datagram => datagram.Bytes.Length));
        Assert.Equal(SendOutcome.Lost, a.SendOne(new byte[65_508], Packets.Endpoint("127.0.0.1", port), 0));
    }

    [Fact]
    public void More_than_fits_a_batch_stays_for_the_next_receive()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.Gro, out ushort port);
        for (byte i = 0; i < 10; i++)
        {
            a.SendOne([i], Packets.Endpoint(i % 2 == 0 ? "127.0.0.1" : "::1", port), 0);
        }

        PacketBatch batch = Packets.InboundBatch(slots: 4);
        var seen = new List<byte>();
        while (seen.Count < 10)
        {
            UdpDatagrams.WaitFor(b);
            Assert.Equal(IoStatus.Done, b.Receive(batch));
            Assert.InRange(batch.TrainCount, 1, 4);
            seen.AddRange(batch.Trains.Take(batch.TrainCount).Select(train => batch.Buffer[train.Offset]));
        }

        Assert.Equal(Enumerable.Range(0, 10).Select(i => (byte)i), seen.Order());
    }

    [Fact]
    public void A_flood_on_one_family_does_not_shut_out_the_other()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.Gro, out ushort port);
        PacketBatch batch = Packets.InboundBatch(slots: 2);
        for (int i = 0; i < 20; i++)
        {
            a.SendOne([4], Packets.Endpoint("127.0.0.1", port), 0);
        }

        a.SendOne([6], Packets.Endpoint("::1", port), 0);
        bool seen = false;
        for (int i = 0; i < 2; i++)
        {
            UdpDatagrams.WaitFor(b);
            b.Receive(batch);
            seen |= batch.Trains.Take(batch.TrainCount).Any(train => train.Source.Address.IsIPv6);
        }

        Assert.True(seen);
    }

    [Fact]
    public void Runs_without_an_endpoint_or_without_an_open_socket_are_lost()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, [1], 1, null);
        Packets.AddRun(batch, [1], 1, Packets.Endpoint("127.0.0.1", 9));
        a.Send(batch, 0, 2);
        Assert.Equal([SendOutcome.Lost, SendOutcome.Sent], batch.OutboundRuns.Take(2).Select(run => run.Outcome));
        a.Close();
        a.Send(batch, 0, 2);
        Assert.Equal([SendOutcome.Lost, SendOutcome.Lost], batch.OutboundRuns.Take(2).Select(run => run.Outcome));
        Assert.Equal(SendOutcome.Lost, a.SendOne([1], Packets.Endpoint("127.0.0.1", 9), 0));
        Assert.Equal(IoStatus.LinkDown, a.Receive(Packets.InboundBatch()));
    }

    [Fact]
    public void A_destination_without_a_route_is_lost_and_asks_for_a_new_source_only_if_one_was_given()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        Assert.Equal(SendOutcome.Lost, a.SendOne([1], Packets.Endpoint("192.0.2.1", 9), 0));
        Assert.Equal(SendOutcome.SourceRefused, a.SendOne([1], Packets.Endpoint("192.0.2.1", 9, "127.0.0.1"), 0));
        Assert.Equal(SendOutcome.Lost, a.SendOne([1], Packets.Endpoint("2001:db8::1", 9), 0));
        Assert.Equal(SendOutcome.SourceRefused, a.SendOne([1], Packets.Endpoint("2001:db8::1", 9, "::1"), 0));
    }

    [Fact]
    public void A_closed_port_at_the_other_end_does_not_disturb_the_next_message()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        for (int i = 0; i < 5; i++)
        {
            Assert.Equal(SendOutcome.Sent, a.SendOne([1], Packets.Endpoint("127.0.0.1", 9), 0));
            Assert.Equal(SendOutcome.Sent, a.SendOne([2], Packets.Endpoint("127.0.0.1", port), 0));
        }

        Assert.Equal([2, 2, 2, 2, 2], UdpDatagrams.Receive(b, 5).SelectMany(datagram => datagram.Bytes));
        Assert.Equal(IoStatus.WouldBlock, a.Receive(Packets.InboundBatch()));
    }

    [Fact]
    public void Receiving_and_sending_allocate_nothing()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        PacketBatch send = Packets.OutboundBatch();
        Packets.AddRun(send, Packets.Payload(3000), 1000, Packets.Endpoint("127.0.0.1", port, "127.0.0.1", 0, 1), 1);
        Packets.AddRun(send, Packets.Payload(3000), 1000, Packets.Endpoint("::1", port, "::1", 0, 1), 1);
        Packets.AddRun(send, Packets.Payload(3000), 1000, Packets.Endpoint("::1", port), 0, unsegmented: true);
        PacketBatch receive = Packets.InboundBatch();
        Endpoint one = Packets.Endpoint("127.0.0.1", port);
        byte[] message = new byte[148];
        int trains = 0;
        Allocations.AssertNone(200, () =>
        {
            a.Send(send, 0, 3);
            a.SendOne(message, one, 0x88);
            b.Receive(receive);
            trains += receive.TrainCount;
            b.Receive(receive);
            b.Note(new EpollEvent(UdpWatch.V4Key, Libc.EPOLLIN)); // as a waiter would
            b.Note(new EpollEvent(UdpWatch.V6Key, Libc.EPOLLIN));
        });
        Assert.Equal(SendOutcome.Sent, send.OutboundRuns[2].Outcome);
        Assert.True(trains >= 250);
    }
}
