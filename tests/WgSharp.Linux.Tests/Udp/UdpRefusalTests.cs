using System.Net;
using System.Net.Sockets;
using WgSharp.Crypto;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>What the kernel refuses, what is blamed for it, and what it does to the rest of a batch: nothing.</summary>
public sealed class UdpRefusalTests : IDisposable
{
    private readonly TestNamespace _namespace = new();

    public void Dispose() => _namespace.Dispose();

    // To port 0, udp_sendmsg sends nothing: EINVAL.
    [Theory]
    [InlineData(null, SendOutcome.Lost)]
    [InlineData("127.0.0.77", SendOutcome.SourceRefused)]
    public void A_message_that_is_invalid_is_lost_unless_its_source_may_be_why(string? source, SendOutcome expected)
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        Endpoint endpoint = Packets.Endpoint("127.0.0.1", 0, source, sourceInterface: source is null ? 0 : 1);
        Assert.Equal(expected, _namespace.Run(() => a.SendOne([1], endpoint, 0)));
        Assert.Equal(expected, _namespace.Run(() => a.SendWhole([1], endpoint, 0)));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("127.0.0.77")]
    public void A_run_that_is_invalid_is_to_be_tried_message_by_message_where_its_source_is_ours(string? source)
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(3000), 1000, Packets.Endpoint("127.0.0.1", 0, source, sourceInterface: source is null ? 0 : 1));
        Assert.Equal([SendOutcome.SegmentationRefused], Send(a, batch));
    }

    [Theory]
    [InlineData(KernelFeature.None)]
    [InlineData(KernelFeature.Mmsg)]
    public void An_unreachable_address_of_a_peers_costs_it_neither_its_next_run_nor_a_lane(KernelFeature disabled)
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, disabled, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        using var device = new Device(SystemRandom.Fill);
        var configuration = new DeviceConfiguration();
        configuration.Peers.Add(new PeerConfiguration { PublicKey = new PublicKey(Packets.Payload(PublicKey.Size)) });
        device.Apply(configuration, SystemClock.Read());
        Peer peer = device.Peers.Single();
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(3000), 1000, Packets.Endpoint("10.99.0.1", 9));
        Packets.AddRun(batch, Packets.Payload(2000), 1000, Packets.Endpoint("127.0.0.1", port));
        batch.OutboundRuns[0].Peer = batch.OutboundRuns[1].Peer = peer;
        Assert.Equal([SendOutcome.Lost, SendOutcome.Sent], Send(a, batch));
        Assert.Null(peer.SendShare);
        Assert.Equal(Packets.Payload(2000), UdpDatagrams.Receive(b, 2).SelectMany(datagram => datagram.Bytes).ToArray());
    }

    [Fact]
    public void After_a_message_that_is_lost_the_rest_is_sent_and_no_more_than_the_rest()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        for (byte i = 0; i < 3; i++)
        {
            // The first of the second batch is lost; what stood in the vector before stands there still.
            PacketBatch batch = Packets.OutboundBatch();
            Packets.AddRun(batch, [i, 0], 2, i == 1 ? Packets.Endpoint("10.99.0.1", 9) : Packets.Endpoint("127.0.0.1", port));
            Packets.AddRun(batch, [i, 1], 2, Packets.Endpoint("127.0.0.1", port));
            if (i != 1)
            {
                Packets.AddRun(batch, [i, 2], 2, Packets.Endpoint("127.0.0.1", port));
                Packets.AddRun(batch, [i, 3], 2, Packets.Endpoint("127.0.0.1", port));
            }

            Send(a, batch);
        }

        byte[][] expected = [[0, 0], [0, 1], [0, 2], [0, 3], [1, 1], [2, 0], [2, 1], [2, 2], [2, 3]];
        Assert.Equal(expected, UdpDatagrams.Receive(b, expected.Length).Select(datagram => datagram.Bytes));
    }

    [Fact]
    public void Of_a_run_that_is_refused_nothing_is_sent_that_comes_again()
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));

        // 42 of them fill a datagram: two entries that are refused, and a third with one message, which the kernel would send in fragments.
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(85 * 1532), 1532, Packets.Endpoint("10.8.0.2", port));
        Packets.AddRun(batch, [1, 2, 3], 3, Packets.Endpoint("10.8.0.2", port));
        Assert.Equal([SendOutcome.SegmentationRefused, SendOutcome.Sent], Send(a, batch));
        Assert.Equal([1, 2, 3], UdpDatagrams.Receive(b, 1)[0].Bytes);
    }

    [Theory]
    [InlineData(KernelFeature.None, true)]
    [InlineData(KernelFeature.Gso, false)]
    public void A_run_that_is_sent_one_by_one_ends_with_its_last_message(KernelFeature disabled, bool unsegmented)
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, disabled, out _);
        using Socket b = _namespace.Run(() => new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp));
        b.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        b.ReceiveTimeout = 20_000;
        Endpoint endpoint = Packets.Endpoint("127.0.0.1", ((IPEndPoint)b.LocalEndPoint!).Port);
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(3000), 1000, endpoint, unsegmented: unsegmented);
        Packets.AddRun(batch, [1, 2, 3], 3, endpoint);
        Assert.Equal([SendOutcome.Sent, SendOutcome.Sent], Send(a, batch));
        byte[] buffer = new byte[2000];
        Assert.Equal([1000, 1000, 1000, 3], Enumerable.Range(0, 4).Select(_ => b.Receive(buffer)));
    }

    [Fact]
    public void Where_no_source_can_be_named_the_routes_choose_it()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.PktInfo, out _);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        Assert.Equal(SendOutcome.Sent, _namespace.Run(() => a.SendOne([1], Packets.Endpoint("127.0.0.1", port, "127.0.0.77", sourceInterface: 1), 0)));
        Assert.Equal("127.0.0.1", UdpDatagrams.Receive(b, 1)[0].Train.Source.Address.ToString());
    }

    private SendOutcome[] Send(UdpSocket a, PacketBatch batch)
    {
        _namespace.Run(() => a.Send(batch, 0, batch.RunCount));
        return [.. batch.OutboundRuns.Take(batch.RunCount).Select(run => run.Outcome)];
    }
}
