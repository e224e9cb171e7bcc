using WgSharp.Engine;

namespace WgSharp.Linux.Tests;

/// <summary>Runs at their edges: without bytes, without a stride, of one message, with messages that no network takes.</summary>
public sealed class UdpRunTests : IDisposable
{
    private readonly TestNamespace _namespace = new();

    public void Dispose() => _namespace.Dispose();

    [Fact]
    public void A_run_without_bytes_is_lost_and_one_without_a_stride_is_one_message()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        byte[] message = Packets.Payload(1000);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, [], 1, Packets.Endpoint("127.0.0.1", port));
        Packets.AddRun(batch, message, 1000, Packets.Endpoint("127.0.0.1", port));
        batch.OutboundRuns[0].Stride = batch.OutboundRuns[1].Stride = 0;
        Assert.Equal([SendOutcome.Lost, SendOutcome.Sent], Send(a, batch));
        Assert.Equal(message, UdpDatagrams.Receive(b, 1)[0].Bytes);
    }

    [Theory]
    [InlineData(KernelFeature.None)]
    [InlineData(KernelFeature.Mmsg)]
    public void An_empty_datagram_is_as_good_as_any(KernelFeature disabled)
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, disabled, out _);
        Assert.Equal(SendOutcome.Sent, a.SendOne([], Packets.Endpoint("127.0.0.1", 9), 0));
    }

    [Fact]
    public void One_message_above_the_mtu_leaves_in_fragments_and_is_not_refused_as_several_are()
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(1532), 1532, Packets.Endpoint("10.8.0.2", port));
        Assert.Equal([SendOutcome.Sent], Send(a, batch));
        Assert.Equal(batch.Buffer[..1532], UdpDatagrams.Receive(b, 1)[0].Bytes);
    }

    [Fact]
    public void A_message_that_is_lost_takes_nothing_from_the_others_of_its_run_and_nothing_from_other_runs()
    {
        // 65,507 bytes are the most that a datagram holds.
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        PacketBatch batch = Packets.OutboundBatch(8);
        byte[] run = Packets.Payload(65_508 + 100);
        Packets.AddRun(batch, run, 65_508, Packets.Endpoint("127.0.0.1", port));
        Packets.AddRun(batch, [1, 2, 3], 3, Packets.Endpoint("127.0.0.1", port));
        Assert.Equal([SendOutcome.Lost, SendOutcome.Sent], Send(a, batch));
        Assert.Equal([run[65_508..], [1, 2, 3]], UdpDatagrams.Receive(b, 2).Select(datagram => datagram.Bytes));
    }

    [Fact]
    public void Where_the_ds_field_cannot_be_set_for_a_message_it_is_the_sockets_own()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.Tos, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        Assert.Equal(SendOutcome.Sent, a.SendOne([1], Packets.Endpoint("127.0.0.1", port), 0x88));
        Assert.Equal(0, UdpDatagrams.Receive(b, 1)[0].Train.TrafficClass);
    }

    [Theory]
    [InlineData(KernelFeature.None, "10.7.0.2", 8, 17)]
    [InlineData(KernelFeature.None, "fd07::2", 7, 17)]
    [InlineData(KernelFeature.Tos, "10.7.0.2", 8, 64)]
    public void The_hop_limit_is_the_one_asked_for_where_it_can_be_set(KernelFeature disabled, string address, int field, int seen)
    {
        using TunDevice tun = _namespace.Run(() => TunDevice.Create("wgt0", new KernelFeatures()));
        _namespace.Ip("link set wgt0 addrgenmode none up");
        _namespace.Ip("address add 10.7.0.1/24 dev wgt0");
        _namespace.AddIPv6("fd07::1/64", "wgt0");
        using UdpSocket a = UdpDatagrams.Open(_namespace, disabled, out _);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, [1, 2, 3], 3, Packets.Endpoint(address, 9));
        Packets.AddRun(batch, [1, 2, 3], 3, Packets.Endpoint(address, 9));
        batch.OutboundRuns[0].HopLimit = 17;
        Assert.Equal([SendOutcome.Sent, SendOutcome.Sent], Send(a, batch));
        PacketBatch read = Packets.OutboundBatch();
        Assert.Equal(IoStatus.Done, tun.Read(read));
        byte[][] packets = [.. read.Frames.Take(read.FrameCount).Select(frame => read.Buffer.AsSpan(frame.Offset, frame.Length).ToArray())];
        byte[][] ours = [.. packets.Where(packet => packet.AsSpan().EndsWith(new byte[] { 1, 2, 3 }))];
        Assert.Equal([seen, 64], ours.Select(packet => (int)packet[field]));
    }

    [Theory]
    [InlineData(KernelFeature.Ipv6, "::1")]
    [InlineData(KernelFeature.Ipv4, "127.0.0.1")]
    public void What_is_for_a_family_without_a_socket_is_lost_and_the_rest_is_not(KernelFeature missing, string without)
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, missing, out _);
        string with = without == "::1" ? "127.0.0.1" : "::1";
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(3000), 1000, Packets.Endpoint(without, 9));
        Packets.AddRun(batch, Packets.Payload(3000), 1000, Packets.Endpoint(with, 9));
        Packets.AddRun(batch, Packets.Payload(1000), 1000, Packets.Endpoint(without, 9, without));
        Assert.Equal([SendOutcome.Lost, SendOutcome.Sent, SendOutcome.Lost], Send(a, batch));
        Assert.Equal(SendOutcome.Lost, a.SendOne([1], Packets.Endpoint(without, 9), 0));
    }

    private static SendOutcome[] Send(UdpSocket a, PacketBatch batch)
    {
        a.Send(batch, 0, batch.RunCount);
        return [.. batch.OutboundRuns.Take(batch.RunCount).Select(run => run.Outcome)];
    }
}
