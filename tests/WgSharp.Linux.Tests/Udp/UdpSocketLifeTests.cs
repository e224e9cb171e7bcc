using System.Net;
using System.Net.Sockets;
using WgSharp.Engine;

namespace WgSharp.Linux.Tests;

/// <summary>Opening, closing, marking: what happens around the data.</summary>
public sealed class UdpSocketLifeTests : IDisposable
{
    private readonly TestNamespace _namespace = new();

    public void Dispose() => _namespace.Dispose();

    [Fact]
    public void Port_0_gives_both_families_the_same_random_port()
    {
        using UdpSocket udp = Create();
        ushort port = Open(udp, 0);
        Assert.NotEqual(0, port);
        Assert.Equal(port, udp.Port);
        Assert.Equal(port, UdpSetup.PortOf(udp.Sockets!.V4!, ipv6: false));
        Assert.Equal(port, UdpSetup.PortOf(udp.Sockets!.V6!, ipv6: true));
    }

    [Fact]
    public void A_random_port_that_ipv6_has_already_is_thrown_again()
    {
        // Ports 40000-40003, of which three are taken in IPv6 only.
        _namespace.Sysctl("net/ipv4/ip_local_port_range", "40000 40003");
        using Socket first = Hold("::", 40000);
        using Socket second = Hold("::", 40001);
        using Socket third = Hold("::", 40003);
        using UdpSocket udp = Create();
        Assert.Equal(40002, Open(udp, 0));
    }

    [Fact]
    public void A_port_taken_in_either_family_is_an_error_with_the_errno_and_leaves_what_was_open()
    {
        using UdpSocket udp = Create();
        ushort open = Open(udp, 0);
        foreach (string address in (string[])["0.0.0.0", "::"])
        {
            using Socket other = Hold(address, 0);
            ushort taken = (ushort)((IPEndPoint)other.LocalEndPoint!).Port;
            IOException refused = Assert.Throws<IOException>(() => Open(udp, taken));
            Assert.Equal(Errno.EADDRINUSE, refused.HResult);
            Assert.Contains($"UDP port {taken} is in use", refused.Message, StringComparison.Ordinal);
            Assert.Equal(open, udp.Port);
        }
    }

    [Theory]
    [InlineData("0.0.0.0")]
    [InlineData("::")]
    public void A_port_that_is_tried_while_closed_is_refused_with_the_errno_or_free_afterwards(string address)
    {
        using UdpSocket udp = Create();
        ushort port;
        using (Socket other = Hold(address, 0))
        {
            port = (ushort)((IPEndPoint)other.LocalEndPoint!).Port;
            Assert.Equal(Errno.EADDRINUSE, Assert.Throws<IOException>(() => Try(udp, port)).HResult);
        }

        Try(udp, port);
        Assert.Equal(0, udp.Port);
        using Socket next = Hold(address, port);
        Assert.Equal(port, ((IPEndPoint)next.LocalEndPoint!).Port);
    }

    [Fact]
    public void Two_daemons_cannot_share_a_port()
    {
        using UdpSocket first = Create();
        using UdpSocket second = Create();
        ushort port = Open(first, 0);
        Assert.Equal(Errno.EADDRINUSE, Assert.Throws<IOException>(() => Open(second, port)).HResult);
    }

    [Fact]
    public void Opening_another_port_closes_the_old_one_and_the_same_port_stays_open()
    {
        using UdpSocket udp = Create();
        ushort first = Open(udp, 0);
        SocketPair pair = udp.Sockets!;
        Assert.Equal(first, Open(udp, first));
        Assert.Same(pair, udp.Sockets);
        ushort second = Open(udp, 0);
        Assert.NotEqual(first, second);
        using UdpSocket other = Create();
        Assert.Equal(first, Open(other, first));
    }

    [Theory]
    [InlineData(KernelFeature.Ipv6)]
    [InlineData(KernelFeature.Ipv4)]
    public void One_family_alone_will_do(KernelFeature missing)
    {
        using UdpSocket udp = Create(missing);
        ushort port = Open(udp, 0);
        Assert.NotEqual(0, port);
        bool ipv6 = missing == KernelFeature.Ipv4;
        Assert.Equal(ipv6, udp.Sockets!.V6 is not null);
        Assert.Equal(!ipv6, udp.Sockets!.V4 is not null);
        Assert.Equal(SendOutcome.Lost, udp.SendOne([1], Packets.Endpoint(ipv6 ? "127.0.0.1" : "::1", port), 0));
        Assert.Equal(SendOutcome.Sent, udp.SendOne([1], Packets.Endpoint(ipv6 ? "::1" : "127.0.0.1", port), 0));

        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, [1], 1, Packets.Endpoint("127.0.0.1", port));
        Packets.AddRun(batch, [1], 1, Packets.Endpoint("::1", port));
        udp.Send(batch, 0, 2);
        Assert.Equal(ipv6 ? SendOutcome.Lost : SendOutcome.Sent, batch.OutboundRuns[0].Outcome);
        Assert.Equal(ipv6 ? SendOutcome.Sent : SendOutcome.Lost, batch.OutboundRuns[1].Outcome);
    }

    [Fact]
    public void Without_any_family_opening_says_so()
    {
        using UdpSocket udp = Create(KernelFeature.Ipv4 | KernelFeature.Ipv6);
        IOException refused = Assert.Throws<IOException>(() => Open(udp, 0));
        Assert.Equal(Errno.EAFNOSUPPORT, refused.HResult);
    }

    [Fact]
    public void Ipv6_switched_off_by_sysctl_does_not_keep_ipv4_from_working()
    {
        _namespace.Sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        using UdpSocket udp = Create();
        ushort port = Open(udp, 0);
        Assert.Equal(SendOutcome.Sent, udp.SendOne([1], Packets.Endpoint("127.0.0.1", port), 0));
        Assert.NotEqual(SendOutcome.Sent, udp.SendOne([1], Packets.Endpoint("::1", port), 0));
    }

    [Fact]
    public void The_mark_is_on_both_sockets_at_creation_and_after_a_change()
    {
        using UdpSocket udp = Create();
        _namespace.Run(() => udp.Open(0, 0xca6c));
        Assert.Equal(0xca6c, Option(udp.Sockets!.V4!, Libc.SOL_SOCKET, Libc.SO_MARK));
        Assert.Equal(0xca6c, Option(udp.Sockets!.V6!, Libc.SOL_SOCKET, Libc.SO_MARK));
        udp.SetMark(0x80000001);
        Assert.Equal(unchecked((int)0x80000001), Option(udp.Sockets!.V4!, Libc.SOL_SOCKET, Libc.SO_MARK));
        Assert.Equal(unchecked((int)0x80000001), Option(udp.Sockets!.V6!, Libc.SOL_SOCKET, Libc.SO_MARK));

        // The same port with another mark is a change of the mark.
        _namespace.Run(() => udp.Open(udp.Port, 7));
        Assert.Equal(7, Option(udp.Sockets!.V4!, Libc.SOL_SOCKET, Libc.SO_MARK));
        _namespace.Run(() => udp.Open(0, 0));
        Assert.Equal(0, Option(udp.Sockets!.V6!, Libc.SOL_SOCKET, Libc.SO_MARK));
    }

    [Fact]
    public void Sockets_have_large_buffers_and_no_df_bit()
    {
        using UdpSocket udp = Create();
        Open(udp, 0);
        foreach (FileDescriptor socket in (FileDescriptor[])[udp.Sockets!.V4!, udp.Sockets!.V6!])
        {
            // The kernel doubles what it is given.
            Assert.Equal(14 << 20, Option(socket, Libc.SOL_SOCKET, Libc.SO_RCVBUF));
            Assert.Equal(14 << 20, Option(socket, Libc.SOL_SOCKET, Libc.SO_SNDBUF));
        }

        Assert.Equal(Libc.IP_PMTUDISC_OMIT, Option(udp.Sockets!.V4!, Libc.IPPROTO_IP, Libc.IP_MTU_DISCOVER));
        Assert.Equal(Libc.IPV6_PMTUDISC_OMIT, Option(udp.Sockets!.V6!, Libc.IPPROTO_IPV6, Libc.IPV6_MTU_DISCOVER));
        Assert.Equal(1, Option(udp.Sockets!.V6!, Libc.IPPROTO_IPV6, Libc.IPV6_V6ONLY));
    }

    [Fact]
    public void Sockets_stay_in_the_namespace_they_were_opened_in()
    {
        using var elsewhere = new TestNamespace();
        using UdpSocket a = Create();
        Open(a, 0);
        using UdpSocket b = Create();
        ushort port = Open(b, 0);
        Assert.Equal(SendOutcome.Sent, elsewhere.Run(() => a.SendOne([5], Packets.Endpoint("127.0.0.1", port), 0)));
        using var waiter = new EpollWaiter(null, b, new KernelFeatures());
        Assert.Equal(Readiness.Udp, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(20)));
    }

    [Fact]
    public async Task Closing_and_opening_under_senders_and_receivers_harms_nobody()
    {
        using UdpSocket udp = Create();
        ushort port = Open(udp, 0);
        using var stop = new CancellationTokenSource();
        Task[] workers =
        [
            Background.Run(() =>
            {
                PacketBatch batch = Packets.InboundBatch();
                while (!stop.IsCancellationRequested)
                {
                    Assert.NotEqual(IoStatus.Gone, udp.Receive(batch));
                }
            }),
            Background.Run(() => SendUntil(udp, port, stop.Token)),
            Background.Run(() => SendUntil(udp, port, stop.Token)),
        ];
        for (int i = 0; i < 300; i++)
        {
            udp.Close();
            Open(udp, port);
        }

        await stop.CancelAsync();
        await Task.WhenAll(workers);
    }

    [Fact]
    public void A_closed_and_disposed_socket_stays_closed()
    {
        UdpSocket udp = Create();
        Open(udp, 0);
        udp.Dispose();
        Assert.Throws<ObjectDisposedException>(() => udp.Open(0, 0));
        Assert.Equal(0, udp.Port);
        udp.Close();
        udp.Dispose();
    }

    private static void SendUntil(UdpSocket udp, ushort port, CancellationToken stop)
    {
        PacketBatch batch = Packets.OutboundBatch();
        Packets.AddRun(batch, Packets.Payload(3000), 1000, Packets.Endpoint("127.0.0.1", port));
        Packets.AddRun(batch, Packets.Payload(3000), 1000, Packets.Endpoint("::1", port));
        while (!stop.IsCancellationRequested)
        {
            udp.Send(batch, 0, 2);
        }
    }

    private static unsafe int Option(FileDescriptor socket, int level, int name)
    {
        int value;
        uint length = sizeof(int);
        Assert.Equal(0, Libc.getsockopt(socket, level, name, &value, &length));
        return value;
    }

    private Socket Hold(string address, int port) => _namespace.Run(() =>
    {
        var any = IPAddress.Parse(address);
        var socket = new Socket(any.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        if (any.AddressFamily == AddressFamily.InterNetworkV6)
        {
            socket.DualMode = false;
        }

        socket.Bind(new IPEndPoint(any, port));
        return socket;
    });

    private UdpSocket Create(KernelFeature disabled = KernelFeature.None) => _namespace.Run(() => new UdpSocket(new KernelFeatures(disabled)));

    private ushort Open(UdpSocket udp, ushort port) => _namespace.Run(() => udp.Open(port, 0));

    private bool Try(UdpSocket udp, ushort port) => _namespace.Run(() =>
    {
        udp.Try(port, 0);
        return true;
    });
}
