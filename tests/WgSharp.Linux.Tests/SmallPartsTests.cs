using System.Net;
using System.Runtime.InteropServices;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>Structures, names, lists, bytes: what needs no kernel object.</summary>
public sealed unsafe class SmallPartsTests
{
    [Fact]
    public void Structures_have_the_sizes_of_the_c_headers()
    {
        Assert.Equal(16, sizeof(iovec));
        Assert.Equal(56, sizeof(msghdr));
        Assert.Equal(64, sizeof(mmsghdr));
        Assert.Equal(16, sizeof(sock_fprog));
        Assert.Equal(8, sizeof(pollfd));
        Assert.Equal(16, sizeof(timespec));
        Assert.Equal(32, sizeof(itimerspec));
        Assert.Equal(40, sizeof(ifreq));
        Assert.Equal(32, (int)Marshal.OffsetOf<msghdr>(nameof(msghdr.msg_control)));
        Assert.Equal(48, (int)Marshal.OffsetOf<msghdr>(nameof(msghdr.msg_flags)));
    }

    [Fact]
    public void The_limits_of_a_test_run_are_enough() => Assert.Null(ProcessLimits.Prepare());

    [Fact]
    public void Nested_attributes_count_what_is_in_them()
    {
        var request = new NetlinkRequest(stackalloc byte[64], Libc.RTM_SETLINK, Libc.NLM_F_REQUEST, 7, bodySize: 16);
        int outer = request.Begin(Libc.IFLA_AF_SPEC);
        int inner = request.Begin(Libc.AF_INET6);
        request.Add(Libc.IFLA_INET6_ADDR_GEN_MODE, [Libc.IN6_ADDR_GEN_MODE_NONE]);
        request.End(inner);
        request.End(outer);

        ReadOnlySpan<byte> finished = request.Finish();
        Assert.Equal([16, 0, 26, 0, 12, 0, 10, 0, 5, 0, 8, 0, 1, 0, 0, 0], finished[32..].ToArray());
        Assert.Equal(48, finished[0]);
    }

    [Fact]
    public void The_c_library_agrees_to_one_arena() => Assert.True(NativeHeap.UseOneArena());

    [Theory]
    [InlineData(Errno.EACCES, "Permission denied (EACCES)")]
    [InlineData(Errno.EADDRINUSE, "Address already in use (EADDRINUSE)")]
    [InlineData(Errno.EBADFD, "File descriptor in bad state (EBADFD)")]
    public void An_errno_is_told_as_a_sentence_and_a_name(int errno, string expected) => Assert.Equal(expected, Errno.Describe(errno));

    [Fact]
    public void Every_errno_constant_has_its_own_name()
    {
        foreach (var constant in typeof(Errno).GetFields())
        {
            Assert.Equal(constant.Name, Errno.Name((int)constant.GetRawConstantValue()!));
        }

        Assert.Equal("errno 4711", Errno.Name(4711));
    }

    [Fact]
    public void The_disable_list_takes_commas_blanks_any_case_and_returns_what_it_does_not_know()
    {
        var unknown = new List<string>();
        KernelFeature disabled = KernelFeatures.ParseDisabled(" GSO,gro tso\tIPv6,avx512,,vnet_hdr ", unknown);
        Assert.Equal(
            KernelFeature.Gso | KernelFeature.Gro | KernelFeature.Tso4 | KernelFeature.Tso6 | KernelFeature.Ipv6 | KernelFeature.VnetHdr,
            disabled);
        Assert.Equal(["avx512"], unknown);
        Assert.Equal(KernelFeature.None, KernelFeatures.ParseDisabled(null));
    }

    [Fact]
    public void Every_feature_can_be_switched_off_by_a_name()
    {
        KernelFeature all = KernelFeatures.ParseDisabled("vnet_hdr,tso,uso,gso,gro,mmsg,pktinfo,tos,recvfragsize,ipv4,ipv6,timerfd,boottimer,devnetns,routes,silence,lanes,recverr,raw6");
        Assert.Equal(Enum.GetValues<KernelFeature>().Aggregate((a, b) => a | b), all);
    }

    [Fact]
    public void The_start_up_text_shows_what_was_found()
    {
        using var place = new TestNamespace();
        using LinuxTunnelIo all = place.Run(() => LinuxTunnelIo.Create("wgt0"));
        Assert.Equal("tun vnet_hdr+ tso4+ tso6+ uso+ | udp gso+ gro+ mmsg+ pktinfo+ | ipv6+", all.Features.ToString());
        Assert.Empty(all.Features.Refusals);
        using LinuxTunnelIo none = place.Run(() => LinuxTunnelIo.Create("wgt1", KernelFeatures.ParseDisabled("vnet_hdr,gso,gro,mmsg,pktinfo,ipv6")));
        Assert.Equal("tun vnet_hdr- tso4- tso6- uso- | udp gso- gro- mmsg- pktinfo- | ipv6-", none.Features.ToString());
        Assert.Empty(none.Features.Refusals);
    }

    [Fact]
    public void A_refusal_is_one_sentence_with_the_reason()
    {
        var features = new KernelFeatures();
        features.Found(KernelFeature.Gro);
        features.Refused(KernelFeature.Gro, "UDP_GRO", Errno.ENOPROTOOPT);
        Assert.Equal(["gro is not available: UDP_GRO: Protocol not available (ENOPROTOOPT)"], features.Refusals);
        Assert.False(features.Has(KernelFeature.Gro));
    }

    [Theory]
    [InlineData("192.0.2.7", 0u)]
    [InlineData("2001:db8::7", 0u)]
    [InlineData("fe80::7", 3u)]
    public void Socket_addresses_are_what_the_runtime_builds_too(string address, uint scope)
    {
        var endpoint = new InetEndpoint(InetAddress.From(IPAddress.Parse(address)), 51820, scope);
        Span<byte> bytes = stackalloc byte[32];
        int length = SocketAddress.Write(bytes, endpoint);
        IPAddress expected = scope == 0 ? IPAddress.Parse(address) : new IPAddress(IPAddress.Parse(address).GetAddressBytes(), scope);
        var reference = new IPEndPoint(expected, 51820).Serialize();
        Assert.Equal(reference.Buffer[..reference.Size].ToArray(), bytes[..length].ToArray());
        Assert.Equal(endpoint, SocketAddress.Read(bytes, endpoint.Address.IsIPv6));
    }

    [Fact]
    public void Control_messages_that_lie_about_their_length_are_passed_over()
    {
        var random = new Random(1);
        byte[] control = new byte[ControlMessages.ReceiveSpace];
        for (int i = 0; i < 200_000; i++)
        {
            random.NextBytes(control);

            // Mostly plausible: a small length, a known level and type.
            control.AsSpan(0, 16).Clear();
            control[0] = (byte)random.Next(0, 160);
            control[8] = (byte)random.Next(3) switch { 0 => Libc.IPPROTO_IP, 1 => Libc.IPPROTO_UDP, _ => Libc.IPPROTO_IPV6 };
            control[12] = (byte)random.Next(3) switch { 0 => Libc.IP_PKTINFO, 1 => Libc.UDP_GRO, _ => Libc.IPV6_PKTINFO };
            var train = new DatagramTrain { Length = 1000, Stride = 1000 };
            ControlMessages.Read(control.AsSpan(0, random.Next(control.Length + 1)), ref train);
            Assert.InRange(train.Stride, 1, 1000);
        }
    }

    [Fact]
    public void Netlink_messages_of_random_bytes_are_passed_over()
    {
        var random = new Random(1);
        byte[] bytes = new byte[256];
        for (int i = 0; i < 200_000; i++)
        {
            random.NextBytes(bytes);
            bytes.AsSpan(0, 8).Clear();
            bytes[0] = (byte)random.Next(256);
            bytes[4] = (byte)(Libc.RTM_NEWLINK + random.Next(2));
            bytes[16] = 0;
            bytes[33] = 0;
            ReadOnlySpan<byte> rest = bytes.AsSpan(0, random.Next(bytes.Length + 1));
            int before = rest.Length;
            while (NetlinkMessage.TryTake(ref rest, out NetlinkMessage message))
            {
                Assert.True(rest.Length < before);
                before = rest.Length;
                message.TryReadLink(out _, out _, out _);
                message.TryReadNamespaceId(out _);
                message.ReadError();
            }
        }
    }

    [Fact]
    public void The_clocks_run_and_count_from_where_they_should()
    {
        Moment first = SystemClock.Read();
        Moment second = SystemClock.Read();
        Assert.True(second.Now >= first.Now);
        Assert.InRange(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - (first.Wall.Nanoseconds / 1_000_000_000), -2, 2);
        Assert.Equal(Libc.CLOCK_BOOTTIME, SystemClock.ClockId);
    }

    [Fact]
    public void Random_bytes_come_from_the_call_and_from_the_device()
    {
        byte[] called = new byte[1000];
        byte[] read = new byte[1000];
        SystemRandom.Fill(called);
        SystemRandom.FillFromDevice(read);
        Assert.InRange(called.Distinct().Count(), 200, 256);
        Assert.InRange(read.Distinct().Count(), 200, 256);
        Assert.NotEqual(called, read);
        SystemRandom.Fill([]);
    }

    [Theory]
    [InlineData(Errno.EPERM, "device c 10:200")]
    [InlineData(Errno.ENODEV, "modprobe tun")]
    [InlineData(Errno.ENXIO, "modprobe tun")]
    [InlineData(Errno.EMFILE, "could not be opened")]
    public void Each_failure_to_open_the_node_has_its_own_sentence(int errno, string expected)
    {
        TunException failure = TunException.Open(errno);
        Assert.Contains(expected, failure.Message, StringComparison.Ordinal);
        Assert.Equal(errno, failure.ErrorNumber);
    }

    [Fact]
    public void A_missing_node_tells_to_enable_tun_in_the_panel()
    {
        Assert.Contains("control panel", TunException.NoNode(0).Message, StringComparison.Ordinal);
        Assert.Contains("EPERM", TunException.NoNode(Errno.EPERM).Message, StringComparison.Ordinal);
        Assert.Contains("CAP_NET_ADMIN", TunException.Create("wg0", Errno.EPERM).Message, StringComparison.Ordinal);
    }
}
