using System.Net;
using System.Net.Sockets;
using WgSharp.Engine;
using WgSharp.Engine.Mtu;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>What the engine builds for path MTU, before the judge that counts: the kernel behind a TUN.</summary>
public sealed class PathMtuKernelTests : IDisposable
{
    private readonly TestNamespace _namespace = new();
    private readonly TunDevice _tun;

    public PathMtuKernelTests()
    {
        _tun = _namespace.Run(() => TunDevice.Create("wgt0", new KernelFeatures()));
        _namespace.Ip("address add 10.9.0.1/24 dev wgt0");
        _namespace.Ip("link set wgt0 mtu 1500 up");
        _namespace.AddIPv6("fd09::1/64", "wgt0");
    }

    public void Dispose()
    {
        _tun.Dispose();
        _namespace.Dispose();
    }

    [Theory]
    [InlineData("10.9.0.1", "10.9.0.2", 1320, 1320)]
    [InlineData("10.9.0.1", "10.9.0.2", 1472, 1472)]
    [InlineData("fd09::1", "fd09::2", 1320, 1320)]
    [InlineData("fd09::1", "fd09::2", 900, 1280)]
    public void A_packet_too_big_in_the_tun_becomes_the_cached_mtu_of_the_route(string own, string far, int mtu, int cached)
    {
        Assert.DoesNotContain("mtu", Route(far), StringComparison.Ordinal);
        using Socket socket = Sender(own);
        bool isIPv4 = socket.AddressFamily == AddressFamily.InterNetwork;
        SetPathMtuDiscovery(socket, isIPv4);
        int headers = isIPv4 ? 28 : 48;
        byte[] payload = Packets.Payload(1500 - headers);
        socket.Connect(IPAddress.Parse(far), 4000);
        socket.Send(payload);
        byte[] offending = Assert.Single(Read(1));
        Assert.Equal(1500, offending.Length);

        byte[] told = new byte[IcmpErrors.MaxIPv6Length];
        Assert.True(IcmpErrors.TryBuildPacketTooBig(offending, mtu, told, out int length));
        Write(told.AsSpan(0, length));
        Assert.Contains($"mtu {cached}", Route(far), StringComparison.Ordinal);

        // The program that sent it learns it, and what fits goes out.
        Assert.Equal(SocketError.MessageSize, Assert.Throws<SocketException>(() => Send(socket, payload)).SocketErrorCode);
        Send(socket, payload[..(cached - headers)]);
        Assert.Equal(cached, Assert.Single(Read(1)).Length);
    }

    [Theory]
    [InlineData(1320)]
    [InlineData(576)]
    [InlineData(68)]
    public void The_kernel_puts_inner_fragments_together(int maxInner)
    {
        using Socket socket = Sender("10.9.0.1");
        socket.ReceiveTimeout = 10_000;
        byte[] payload = Packets.Payload(4000, seed: maxInner);
        byte[] packet = Packets.Udp(new(IPAddress.Parse("10.9.0.2"), 9), (IPEndPoint)socket.LocalEndPoint!, payload);
        packet[4] = (byte)(maxInner >> 8);
        packet[5] = (byte)maxInner;
        Checksum(packet);
        Assert.True(InnerFragments.TryPlan(packet, maxInner, out InnerFragments plan));
        byte[] piece = new byte[plan.MaxLength];
        for (int i = plan.Count - 1; i >= 0; i--)
        {
            Write(piece.AsSpan(0, plan.Write(packet, i, piece)));
        }

        byte[] received = new byte[5000];
        Assert.Equal(payload, received[..socket.Receive(received)]);
        Assert.Matches("IpReasmOKs +1 ", _namespace.Command("nstat", "-asz IpReasmOKs"));
    }

    [Theory]
    [InlineData("10.9.0.2", "10.9.0.1")]
    [InlineData("fd09::2", "fd09::1")]
    public void A_peer_answers_a_probe_to_its_address(string own, string peer)
    {
        (ProbeAnswer answer, InetAddress speaker) = Assert.Single(Ask(ProbeKind.Peer, own, peer, answers: 1));
        Assert.Equal((ProbeAnswer.EchoReply, Packets.Endpoint(peer, 1).Remote.Address), (answer, speaker));
    }

    [Theory]
    [InlineData("10.9.0.2", "10.9.0.1")]
    [InlineData("fd09::2", "fd09::1")]
    public void A_peer_that_forwards_reveals_itself_when_the_ttl_ends_there(string own, string peer)
    {
        Forward();
        (ProbeAnswer answer, InetAddress speaker) = Assert.Single(Ask(ProbeKind.Expire, own, "", answers: 1));
        Assert.Equal((ProbeAnswer.TimeExceeded, Packets.Endpoint(peer, 1).Remote.Address), (answer, speaker));
    }

    [Fact]
    public void A_peer_that_forwards_sends_a_probe_to_our_own_address_back_and_a_redirect_with_it()
    {
        Forward();
        List<(ProbeAnswer Answer, InetAddress Speaker)> answers = Ask(ProbeKind.Return, "10.9.0.2", "", answers: 2);
        Assert.Contains((ProbeAnswer.Returned, InetAddress.None), answers);
        Assert.Contains((ProbeAnswer.Redirect, Packets.Endpoint("10.9.0.1", 1).Remote.Address), answers);
    }

    [Fact]
    public void Over_IPv6_the_probe_comes_back_too()
    {
        Forward();
        Assert.Equal((ProbeAnswer.Returned, InetAddress.None), Assert.Single(Ask(ProbeKind.Return, "fd09::2", "", answers: 1)));
    }

    /// <summary>Here the namespace is the peer, and the TUN is where the tunnel ends at its side.</summary>
    private List<(ProbeAnswer Answer, InetAddress Speaker)> Ask(ProbeKind kind, string own, string peer, int answers)
    {
        var pending = new PendingProbes();
        var token = ProbeToken.Draw(SystemRandom.Fill);
        pending.Add(token, 7);
        byte[] probe = new byte[MtuProbes.MaxLength];
        InetAddress target = peer.Length > 0 ? Packets.Endpoint(peer, 1).Remote.Address : default;
        Write(probe.AsSpan(0, MtuProbes.Write(kind, token, Packets.Endpoint(own, 1).Remote.Address, target, probe)));
        List<(ProbeAnswer, InetAddress)> seen = [];
        foreach (byte[] packet in Read(answers))
        {
            seen.Add((MtuProbes.Recognise(packet, pending.Tokens, out int index, out InetAddress speaker), speaker));
            Assert.Equal(0, index);
        }

        Assert.True(pending.TryTake(token, out uint id));
        Assert.Equal(7u, id);
        return seen;
    }

    private void Forward()
    {
        _namespace.Sysctl("net/ipv4/ip_forward", "1");
        _namespace.Sysctl("net/ipv4/conf/all/send_redirects", "1");
        _namespace.Sysctl("net/ipv4/conf/wgt0/send_redirects", "1");
        _namespace.Sysctl("net/ipv4/conf/wgt0/rp_filter", "0");
        _namespace.Sysctl("net/ipv6/conf/all/forwarding", "1");
    }

    /// <summary>DF on every packet, and nothing longer than the route's MTU.</summary>
    private static void SetPathMtuDiscovery(Socket socket, bool isIPv4)
    {
        const int IPPROTO_IP = 0, IP_MTU_DISCOVER = 10, IPPROTO_IPV6 = 41, IPV6_MTU_DISCOVER = 23, PMTUDISC_DO = 2;
        socket.SetRawSocketOption(isIPv4 ? IPPROTO_IP : IPPROTO_IPV6, isIPv4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, BitConverter.GetBytes(PMTUDISC_DO));
    }

    private string Route(string destination) => _namespace.Ip($"route get {destination}");

    private Socket Sender(string address) => _namespace.Run(() =>
    {
        var local = IPAddress.Parse(address);
        var socket = new Socket(local.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(local, 0));
        return socket;
    });

    /// <summary>An error that came by ICMP is reported once, by whatever call comes next, instead of what that was for.</summary>
    private static void Send(Socket socket, byte[] payload)
    {
        socket.GetSocketOption(SocketOptionLevel.Socket, SocketOptionName.Error);
        socket.Send(payload);
    }

    private void Write(ReadOnlySpan<byte> packet)
    {
        PacketBatch batch = Packets.InboundBatch();
        Packets.AddFrame(batch, packet);
        Assert.Equal(IoStatus.Done, _tun.Write(batch));
        Assert.False(batch.Frames[0].Refused);
    }

    /// <summary>Reads until so many packets came; the kernel's own (MLD, router advertisements …) are passed over.</summary>
    private List<byte[]> Read(int count)
    {
        using var waiter = new EpollWaiter(_tun, null, _tun.Features);
        PacketBatch batch = Packets.OutboundBatch();
        var packets = new List<byte[]>();
        while (packets.Count < count)
        {
            Assert.Equal(Readiness.Tun, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(10)));
            _tun.Read(batch);
            foreach (TunFrame frame in batch.Frames.AsSpan(0, batch.FrameCount))
            {
                ReadOnlySpan<byte> packet = batch.Buffer.AsSpan(frame.Offset, frame.Length);
                bool isMulticast = packet[0] >> 4 == 4 ? packet[16] >= 224 : packet[24] == 0xff;
                if (!isMulticast)
                {
                    packets.Add(packet.ToArray());
                }
            }
        }

        return packets;
    }

    private static void Checksum(byte[] packet)
    {
        packet[10] = packet[11] = 0;
        ushort checksum = (ushort)~Engine.Offload.InternetChecksum.Fold(Engine.Offload.InternetChecksum.Sum(packet.AsSpan(0, 20)));
        packet[10] = (byte)(checksum >> 8);
        packet[11] = (byte)checksum;
    }
}
