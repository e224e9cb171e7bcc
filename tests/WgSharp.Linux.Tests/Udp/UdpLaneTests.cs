using System.Net;
using System.Net.Sockets;
using WgSharp.Crypto;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>One peer behind a link that takes nothing, and everybody else.</summary>
public sealed class UdpLaneTests : IDisposable
{
    private const int Small = 4608;

    private readonly TestNamespace _namespace = new();
    private readonly Device _device = new(SystemRandom.Fill);
    private readonly List<Peer> _peers;

    public UdpLaneTests()
    {
        // A neighbour that never answers: what is sent to it waits for its address, and is charged to the socket meanwhile.
        _namespace.Ip("link add up0 type veth peer name up1");
        foreach (string family in (string[])["ipv4", "ipv6"])
        {
            _namespace.Sysctl($"net/{family}/neigh/up0/retrans_time_ms", "600000");
            _namespace.Sysctl($"net/{family}/neigh/up0/unres_qlen_bytes", "100000000");
        }

        _namespace.Ip("address add 10.9.0.1/24 dev up0");
        _namespace.AddIPv6("fd09::1/64", "up0");
        _namespace.Ip("link set up1 up");
        _namespace.Ip("link set up0 up");
        var configuration = new DeviceConfiguration();
        for (byte i = 1; i <= SendLanes.MaxLanes + 2; i++)
        {
            byte[] key = new byte[PublicKey.Size];
            key[0] = i;
            configuration.Peers.Add(new PeerConfiguration { PublicKey = new PublicKey(key) });
        }

        _device.Apply(configuration, SystemClock.Read());
        _peers = [.. _device.Peers];
    }

    public void Dispose()
    {
        _device.Dispose();
        _namespace.Dispose();
    }

    [Theory]
    [InlineData("10.9.0.2", "127.0.0.1")]
    [InlineData("fd09::2", "::1")]
    public void A_peer_that_fills_the_common_socket_takes_nothing_from_the_others(string slow, string quick)
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        using UdpSocket b = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort bPort);
        Assert.Equal(SendOutcome.Sent, FillCommon(a, slow));
        Assert.NotNull(_peers[0].SendShare);

        // Both runs of one call: one for each of the two, in the order that hurts.
        PacketBatch batch = Packets.OutboundBatch();
        AddRun(batch, _peers[0], slow, 9);
        AddRun(batch, _peers[1], quick, bPort);
        Assert.Equal([SendOutcome.Sent, SendOutcome.Sent], Send(a, batch));
        Assert.Equal(SendOutcome.Sent, _namespace.Run(() => a.SendOne([7], Packets.Endpoint(quick, bPort), 0)));
        List<ReceivedDatagram> received = UdpDatagrams.Receive(b, 4);
        Assert.All(received, datagram => Assert.Equal(port, datagram.Train.Source.Port));
    }

    [Theory]
    [InlineData("10.9.0.2", "127.0.0.1")]
    [InlineData("fd09::2", "::1")]
    public void Whatever_arrives_goes_to_the_common_socket_however_many_lanes_there_are(string slow, string here)
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out ushort port);
        FillCommon(a, slow);
        for (int i = 1; i < 9; i++)
        {
            PacketBatch batch = Packets.OutboundBatch();
            AddRun(batch, _peers[i], slow, 9);
            Assert.Equal([SendOutcome.Sent], Send(a, batch));
        }

        Assert.Equal(9, a.Sockets!.Lanes.TakenCount);
        for (int i = 0; i < 100; i++)
        {
            using Socket stranger = _namespace.Run(() => new Socket(IPAddress.Parse(here).AddressFamily, SocketType.Dgram, ProtocolType.Udp));
            stranger.SendTo([(byte)i], new IPEndPoint(IPAddress.Parse(here), port));
        }

        Assert.Equal(Enumerable.Range(0, 100).Select(i => (byte)i), UdpDatagrams.Receive(a, 100).Select(datagram => datagram.Bytes[0]));
    }

    [Fact]
    public void A_full_lane_loses_what_it_does_not_take_and_nobody_waits()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        FillCommon(a, "10.9.0.2");
        SetSendBuffer(((SendLane)_peers[0].SendShare!).Of(ipv6: false)!, Small);
        PacketBatch batch = Packets.OutboundBatch();
        for (int i = 0; i < 100; i++)
        {
            AddRun(batch, _peers[0], "10.9.0.2", 9);
        }

        SendOutcome[] outcomes = Send(a, batch);
        Assert.Equal(SendOutcome.Lost, outcomes[^1]);
    }

    [Fact]
    public void Without_lanes_a_full_socket_loses_and_nobody_waits()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.Lanes, out _);
        Assert.Equal(SendOutcome.Lost, FillCommon(a, "10.9.0.2"));
        Assert.Null(_peers[0].SendShare);
    }

    [Fact]
    public void More_peers_than_lanes_lose_only_what_the_common_socket_does_not_take()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        FillCommon(a, "10.9.0.2");
        PacketBatch batch = Packets.OutboundBatch();
        foreach (Peer peer in _peers.Skip(1))
        {
            AddRun(batch, peer, "10.9.0.2", 9);
        }

        SendOutcome[] outcomes = Send(a, batch);
        Assert.Equal(SendLanes.MaxLanes, a.Sockets!.Lanes.TakenCount);
        Assert.All(outcomes[..(SendLanes.MaxLanes - 1)], outcome => Assert.Equal(SendOutcome.Sent, outcome));
        Assert.All(outcomes[(SendLanes.MaxLanes - 1)..], outcome => Assert.Equal(SendOutcome.Lost, outcome));
    }

    [Fact]
    public void A_lane_that_is_never_full_is_given_back()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        FillCommon(a, "10.9.0.2");
        PacketBatch batch = Packets.OutboundBatch();
        AddRun(batch, _peers[1], "10.9.0.2", 9);
        Send(a, batch);
        Assert.NotNull(_peers[1].SendShare);
        for (int i = 0; _peers[1].SendShare is not null; i++)
        {
            Assert.InRange(i, 0, 5000);
            batch = Packets.OutboundBatch(1);
            AddRun(batch, _peers[1], "127.0.0.1", 9);
            Send(a, batch);
        }

        Assert.Equal(1, a.Sockets!.Lanes.TakenCount);
    }

    [Fact]
    public void Of_one_call_each_peers_runs_go_through_the_peers_own_socket()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        FillCommon(a, "10.9.0.2");
        PacketBatch batch = Packets.OutboundBatch();
        AddRun(batch, _peers[1], "127.0.0.1", 9);
        AddRun(batch, _peers[0], "10.9.0.2", 9);
        Assert.Equal([SendOutcome.Sent, SendOutcome.Sent], Send(a, batch));

        // It found the common socket full, and did not go by the other's.
        Assert.NotNull(_peers[1].SendShare);
    }

    [Fact]
    public void Fragments_that_their_socket_does_not_take_are_lost()
    {
        using UdpSocket a = UdpDatagrams.Open(_namespace, KernelFeature.None, out _);
        SendOutcome outcome = SendOutcome.Sent;
        for (int i = 0; outcome == SendOutcome.Sent; i++)
        {
            Assert.InRange(i, 0, 5000);
            PacketBatch batch = Packets.OutboundBatch(1);
            Packets.AddRun(batch, Packets.Payload(60_000), 60_000, Packets.Endpoint("fd09::2", 9));
            batch.OutboundRuns[0].FragmentAt = 1400;
            outcome = Send(a, batch)[0];
        }

        Assert.Equal(SendOutcome.Lost, outcome);
    }

    [Fact]
    public void Lanes_carry_the_mark_and_close_with_the_port()
    {
        using UdpSocket a = _namespace.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = _namespace.Run(() => a.Open(0, 0xca6c));
        FillCommon(a, "10.9.0.2");
        FileDescriptor lane = ((SendLane)_peers[0].SendShare!).Of(ipv6: false)!;
        Assert.Equal(0xca6c, Mark(lane));
        a.SetMark(5);
        Assert.Equal(5, Mark(lane));

        // While there are lanes, the port is taken for others; afterwards it is free, and the peer begins on the common socket.
        using UdpSocket other = _namespace.Run(() => new UdpSocket(new KernelFeatures()));
        Assert.Equal(Errno.EADDRINUSE, Assert.Throws<IOException>(() => _namespace.Run(() => other.Open(port, 0))).HResult);
        a.Close();
        Assert.Null(_peers[0].SendShare);
        Assert.Equal(port, _namespace.Run(() => other.Open(port, 0)));
    }

    /// <summary>Sends for the first peer until its outcome or its lane shows that the common socket is full.</summary>
    private SendOutcome FillCommon(UdpSocket a, string slow)
    {
        SetSendBuffer(slow.Contains(':', StringComparison.Ordinal) ? a.Sockets!.V6! : a.Sockets!.V4!, Small);
        while (true)
        {
            PacketBatch batch = Packets.OutboundBatch(1);
            AddRun(batch, _peers[0], slow, 9);
            SendOutcome outcome = Send(a, batch)[0];
            if (outcome != SendOutcome.Sent || _peers[0].SendShare is not null)
            {
                return outcome;
            }
        }
    }

    private SendOutcome[] Send(UdpSocket a, PacketBatch batch)
    {
        _namespace.Run(() => a.Send(batch, 0, batch.RunCount));
        return [.. batch.OutboundRuns.Take(batch.RunCount).Select(run => run.Outcome)];
    }

    private static void AddRun(PacketBatch batch, Peer peer, string address, ushort port)
    {
        Packets.AddRun(batch, Packets.Payload(1500), 500, Packets.Endpoint(address, port));
        batch.OutboundRuns[batch.RunCount - 1].Peer = peer;
    }

    private static unsafe void SetSendBuffer(FileDescriptor socket, int bytes) =>
        Assert.Equal(0, Libc.setsockopt(socket, Libc.SOL_SOCKET, Libc.SO_SNDBUF, &bytes, sizeof(int)));

    private static unsafe int Mark(FileDescriptor socket)
    {
        int value;
        uint length = sizeof(int);
        Assert.Equal(0, Libc.getsockopt(socket, Libc.SOL_SOCKET, Libc.SO_MARK, &value, &length));
        return value;
    }
}
