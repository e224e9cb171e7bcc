using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>Fragments over IPv6 that are made here: their hop limit, their source, and the way that the source takes.</summary>
public sealed class UdpFragmentTests : IDisposable
{
    private readonly TestNamespace _namespace = new();

    public void Dispose() => _namespace.Dispose();

    [Theory]
    [InlineData(KernelFeature.None, 17)]
    [InlineData(KernelFeature.Tos, 64)]
    public void The_hop_limit_is_the_one_asked_for_where_it_can_be_set(KernelFeature disabled, int seen)
    {
        using TunDevice tun = _namespace.Run(() => TunDevice.Create("wgt0", new KernelFeatures()));
        _namespace.Ip("link set wgt0 addrgenmode none up");
        _namespace.AddIPv6("fd07::1/64", "wgt0");
        using UdpSocket a = UdpDatagrams.Open(_namespace, disabled, out _);
        PacketBatch batch = Fragmented(Packets.Endpoint("fd07::2", 9));
        batch.OutboundRuns[0].HopLimit = 17;
        Assert.Equal(SendOutcome.Sent, Send(a, batch));
        PacketBatch read = Packets.OutboundBatch();
        Assert.Equal(IoStatus.Done, tun.Read(read));
        byte[][] packets = [.. read.Frames.Take(read.FrameCount).Select(frame => read.Buffer.AsSpan(frame.Offset, frame.Length).ToArray())];
        Assert.Equal([seen, seen], packets.Where(packet => packet[6] == Libc.IPPROTO_FRAGMENT).Select(packet => (int)packet[7]));
    }

    [Fact]
    public void The_source_is_the_one_asked_for()
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        _namespace.AddIPv6("fd08::9/64", "up0");
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        foreach (string source in (string[])["fd08::1", "fd08::9"])
        {
            Assert.Equal(SendOutcome.Sent, Send(a, Fragmented(Packets.Endpoint("fd08::2", port, source, sourceInterface: _namespace.IndexOf("up0")))));
            ReceivedDatagram datagram = UdpDatagrams.Receive(b, 1)[0];
            Assert.Equal(source, datagram.Train.Source.Address.ToString());
            Assert.InRange(datagram.Train.FragmentSize, 1292, 1300);
        }
    }

    [Fact]
    public void They_take_the_way_of_their_source()
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        _namespace.AddIPv6("fd08::9/64", "up0");

        // Whoever comes from there goes by a neighbour that does not exist.
        _namespace.Ip("-6 rule add from fd08::9 table 77");
        _namespace.Ip("-6 route add default via fd08::77 dev up0 table 77");
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        int up0 = _namespace.IndexOf("up0");
        foreach (string source in (string[])["fd08::9", "fd08::1"])
        {
            Assert.Equal(SendOutcome.Sent, Send(a, Fragmented(Packets.Endpoint("fd08::2", port, source, sourceInterface: up0))));
        }

        Assert.Equal("fd08::1", UdpDatagrams.Receive(b, 1)[0].Train.Source.Address.ToString());
    }

    /// <summary>A run of one message of 1400 bytes, for a path of 1300.</summary>
    private static PacketBatch Fragmented(Endpoint endpoint)
    {
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(1400), 1400, endpoint);
        batch.OutboundRuns[0].FragmentAt = 1300;
        return batch;
    }

    private SendOutcome Send(UdpSocket a, PacketBatch batch)
    {
        _namespace.Run(() => a.Send(batch, 0, 1));
        return batch.OutboundRuns[0].Outcome;
    }
}
