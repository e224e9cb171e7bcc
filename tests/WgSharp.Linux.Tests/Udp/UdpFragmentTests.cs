using System.Buffers.Binary;
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
        using TunDevice tun = Tun();
        using UdpSocket a = UdpDatagrams.Open(_namespace, disabled, out _);
        PacketBatch batch = Fragmented(Packets.Endpoint("fd07::2", 9));
        batch.OutboundRuns[0].HopLimit = 17;
        Assert.Equal(SendOutcome.Sent, Send(a, batch));
        Assert.Equal([seen, seen], Fragments(tun).Select(packet => (int)packet[7]));
    }

    [Theory]
    [InlineData(33)]
    [InlineData(255)]
    public void Where_none_is_asked_for_it_is_the_namespaces(int hopLimit)
    {
        using TunDevice tun = Tun();
        _namespace.Sysctl("net/ipv6/conf/all/hop_limit", $"{hopLimit}");
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        Assert.Equal(SendOutcome.Sent, Send(a, Fragmented(Packets.Endpoint("fd07::2", 9))));
        Assert.Equal([hopLimit, hopLimit], Fragments(tun).Select(packet => (int)packet[7]));
    }

    [Fact]
    public void A_checksum_of_zero_is_written_as_its_complement_and_identifications_are_never_the_same()
    {
        using TunDevice tun = Tun();
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        Assert.Equal(SendOutcome.Sent, Send(a, Fragmented(Packets.Endpoint("fd07::2", 9))));
        List<byte[]> fragments = Fragments(tun);
        Assert.Equal(8 + 1400, BinaryPrimitives.ReadUInt16BigEndian(fragments[0].AsSpan(48 + 4)));
        int checksum = BinaryPrimitives.ReadUInt16BigEndian(fragments[0].AsSpan(48 + 6));
        uint identification = BinaryPrimitives.ReadUInt32BigEndian(fragments[0].AsSpan(44));
        Assert.Equal(identification, BinaryPrimitives.ReadUInt32BigEndian(fragments[1].AsSpan(44)));

        // Added to the message, it makes the sum 0xffff.
        byte[] payload = Packets.Payload(1400);
        int sum = BinaryPrimitives.ReadUInt16BigEndian(payload) + checksum;
        BinaryPrimitives.WriteUInt16BigEndian(payload, (ushort)(sum + (sum >> 16)));
        Assert.Equal(SendOutcome.Sent, Send(a, Fragmented(Packets.Endpoint("fd07::2", 9), payload)));
        fragments = Fragments(tun);
        Assert.Equal(0xffff, BinaryPrimitives.ReadUInt16BigEndian(fragments[0].AsSpan(48 + 6)));
        Assert.NotEqual(identification, BinaryPrimitives.ReadUInt32BigEndian(fragments[0].AsSpan(44)));
        Assert.Equal(payload, fragments[0][56..].Concat(fragments[1][48..]));
    }

    [Fact]
    public void A_run_of_more_messages_than_have_identifications_leaves_whole()
    {
        using TunDevice tun = Tun();
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        PacketBatch batch = Packets.OutboundBatch();
        byte[] messages = Packets.Payload(20 * 1400);
        Packets.AddRun(batch, messages, 1400, Packets.Endpoint("fd07::2", 9));
        batch.OutboundRuns[0].FragmentAt = 1300;
        Assert.Equal(SendOutcome.Sent, Send(a, batch));
        List<byte[]> fragments = Fragments(tun, 40);
        Assert.Equal(20, fragments.Select(fragment => BinaryPrimitives.ReadUInt32BigEndian(fragment.AsSpan(44))).Distinct().Count());
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal(messages[(i * 1400)..((i + 1) * 1400)], fragments[2 * i][56..].Concat(fragments[(2 * i) + 1][48..]));
            Assert.Equal((1, 0), (fragments[2 * i][43] & 1, fragments[(2 * i) + 1][43] & 1));
        }
    }

    [Theory]
    [InlineData(1252, 1300)]
    [InlineData(1253, 1296, 61)]
    [InlineData(2488, 1296, 1296)]
    [InlineData(2489, 1296, 1296, 49)]
    public void What_fits_leaves_whole_and_fragments_are_as_long_as_may_be(int message, params int[] lengths)
    {
        using TunDevice tun = Tun();
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        foreach (int stride in (int[])[message, 0])
        {
            PacketBatch batch = Fragmented(Packets.Endpoint("fd07::2", 9), Packets.Payload(message));
            batch.OutboundRuns[0].Stride = stride;
            Assert.Equal(SendOutcome.Sent, Send(a, batch));
            Assert.Equal(lengths, Sent(tun, lengths.Length).Select(packet => packet.Length));
        }
    }

    [Fact]
    public void A_run_of_seventy_arrives_and_nothing_behind_it()
    {
        using TunDevice tun = Tun();
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        PacketBatch batch = Packets.OutboundBatch();
        byte[] messages = Packets.Payload(70 * 700);
        Packets.AddRun(batch, messages, 700, Packets.Endpoint("fd07::2", 9));
        batch.OutboundRuns[0].FragmentAt = 1300;
        Assert.Equal(SendOutcome.Sent, Send(a, batch));
        Assert.Equal(SendOutcome.Sent, Send(a, Fragmented(Packets.Endpoint("fd07::2", 9), Packets.Payload(9))));
        List<byte[]> sent = Sent(tun, 71);
        Assert.Equal(messages, sent.Take(70).SelectMany(packet => packet[48..]));
        Assert.Equal(57, sent[70].Length);
    }

    [Fact]
    public void The_mark_decides_by_which_way()
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        _namespace.Ip("-6 rule add fwmark 7 table 77");
        _namespace.Ip("-6 route add default via fd08::77 dev up0 table 77");
        using UdpSocket a = _namespace.Run(() => new UdpSocket(new KernelFeatures()));
        _namespace.Run(() => a.Open(0, 7));
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        byte number = 0;
        foreach (uint mark in (uint[])[7, 0, 7, 0])
        {
            if (number > 0)
            {
                a.SetMark(mark);
            }

            byte[] payload = Packets.Payload(1400);
            payload[0] = number++;
            Send(a, Fragmented(Packets.Endpoint("fd08::2", port, "fd08::1", sourceInterface: _namespace.IndexOf("up0")), payload));
        }

        List<ReceivedDatagram> received = UdpDatagrams.Receive(b, 2);
        Assert.Equal([1, 3], received.Select(datagram => (int)datagram.Bytes[0]));
        Assert.All(received, datagram => Assert.InRange(datagram.Train.FragmentSize, 1292, 1300));
    }

    [Fact]
    public void What_the_kernel_believes_of_the_route_makes_no_other_fragments()
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        _namespace.Ip("-6 route add fd08::2 dev up0 mtu lock 1280");
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        using UdpSocket b = far.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = far.Run(() => b.Open(0, 0));
        Assert.Equal(SendOutcome.Sent, Send(a, Fragmented(Packets.Endpoint("fd08::2", port, "fd08::1"), Packets.Payload(2000), 1400)));
        Assert.InRange(UdpDatagrams.Receive(b, 1)[0].Train.FragmentSize, 1392, 1400);
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
    private static PacketBatch Fragmented(Endpoint endpoint, byte[]? payload = null, int fragmentAt = 1300)
    {
        PacketBatch batch = Packets.OutboundBatch();
        payload ??= Packets.Payload(1400);
        Packets.AddRun(batch, payload, payload.Length, endpoint);
        batch.OutboundRuns[0].FragmentAt = fragmentAt;
        return batch;
    }

    /// <summary>A link without an end, fd07::/64.</summary>
    private TunDevice Tun()
    {
        TunDevice tun = _namespace.Run(() => TunDevice.Create("wgt0", new KernelFeatures()));
        _namespace.Ip("link set wgt0 addrgenmode none up");
        _namespace.AddIPv6("fd07::1/64", "wgt0");
        return tun;
    }

    private static List<byte[]> Fragments(TunDevice tun, int count = 2)
    {
        List<byte[]> fragments = Sent(tun, count);
        Assert.All(fragments, packet => Assert.Equal(Libc.IPPROTO_FRAGMENT, packet[6]));
        return fragments;
    }

    /// <summary>What was sent by us; the kernel has its own to say about neighbours.</summary>
    private static List<byte[]> Sent(TunDevice tun, int count)
    {
        var fragments = new List<byte[]>();
        PacketBatch read = Packets.OutboundBatch();
        while (fragments.Count < count)
        {
            read.Clear();
            Assert.Equal(IoStatus.Done, tun.Read(read));
            fragments.AddRange(read.Frames.Take(read.FrameCount).Select(frame => read.Buffer.AsSpan(frame.Offset, frame.Length).ToArray())
                .Where(packet => packet[6] is Libc.IPPROTO_FRAGMENT or Libc.IPPROTO_UDP));
        }

        Assert.Equal(count, fragments.Count);
        return fragments;
    }

    private SendOutcome Send(UdpSocket a, PacketBatch batch)
    {
        _namespace.Run(() => a.Send(batch, 0, 1));
        return batch.OutboundRuns[0].Outcome;
    }
}
