using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using WgSharp.Engine;
using WgSharp.Engine.Offload;

namespace WgSharp.Linux.Tests;

public sealed class TunDeviceTests : IDisposable
{
    private readonly TestNamespace _namespace = new();

    public void Dispose() => _namespace.Dispose();

    [Fact]
    public void A_new_interface_has_its_exact_name_an_mtu_of_1420_a_queue_of_1000_and_a_link_that_is_down()
    {
        using TunDevice tun = Create("wgtest0123456-_");
        string shown = _namespace.Ip("link show wgtest0123456-_");
        Assert.Contains("mtu 1420", shown, StringComparison.Ordinal);
        Assert.Contains("qlen 1000", shown, StringComparison.Ordinal);
        Assert.DoesNotContain("UP", shown, StringComparison.Ordinal);
        Assert.Equal("wgtest0123456-_", tun.Name);
    }

    [Fact]
    public void The_interface_disappears_with_its_device()
    {
        Create("wgt0").Dispose();
        Assert.DoesNotContain("wgt0", _namespace.Ip("link show"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("..")]
    [InlineData("a/b")]
    [InlineData("a:b")]
    [InlineData("a b")]
    [InlineData("a\tb")]
    [InlineData("wg%d")]
    [InlineData("sixteen-bytes-xx")]
    [InlineData("ä-is-two-bytes-x")]
    public void A_name_the_kernel_would_refuse_is_refused_with_a_sentence(string name)
    {
        TunException refused = Assert.Throws<TunException>(() => Create(name));
        Assert.Equal(Errno.EINVAL, refused.ErrorNumber);
        Assert.Contains("cannot be the name of an interface", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_name_that_another_daemon_holds_is_in_use()
    {
        using TunDevice first = Create("wgt0");
        TunException refused = Assert.Throws<TunException>(() => Create("wgt0"));
        Assert.Equal(Errno.EBUSY, refused.ErrorNumber);
        Assert.Contains("wgt0 is in use", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_name_that_belongs_to_another_kind_of_interface_is_told_apart()
    {
        _namespace.Ip("link add wgt0 type veth peer name other");
        TunException refused = Assert.Throws<TunException>(() => Create("wgt0"));
        Assert.Equal(Errno.EINVAL, refused.ErrorNumber);
        Assert.Contains("is not a TUN device", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(KernelFeature.None)]
    [InlineData(KernelFeature.VnetHdr)]
    public void Packets_are_read_whole_with_and_without_the_virtio_header(KernelFeature disabled)
    {
        using TunDevice tun = Up("wgt0", disabled);
        byte[] payload = Packets.Payload(1000);
        SendFrom("10.9.0.1", new IPEndPoint(IPAddress.Parse("10.9.0.2"), 4000), payload);
        SendFrom("fd09::1", new IPEndPoint(IPAddress.Parse("fd09::2"), 4000), payload);

        List<byte[]> packets = ReadUdp(tun, 2);
        Assert.Equal(payload, packets[0][28..]);
        Assert.Equal(payload, packets[1][48..]);
    }

    [Theory]
    [InlineData(KernelFeature.None)]
    [InlineData(KernelFeature.VnetHdr)]
    public void Packets_are_written_from_slices_with_and_without_the_virtio_header(KernelFeature disabled)
    {
        using TunDevice tun = Up("wgt0", disabled);
        using Socket v4 = Listen("10.9.0.1", out IPEndPoint local4);
        using Socket v6 = Listen("fd09::1", out IPEndPoint local6);
        byte[] payload = Packets.Payload(1200);

        PacketBatch batch = Packets.InboundBatch();
        Packets.AddFrame(batch, Packets.Udp(new(IPAddress.Parse("10.9.0.2"), 9), local4, payload), default, 20, 28, 29, 500);
        Packets.AddFrame(batch, Packets.Udp(new(IPAddress.Parse("fd09::2"), 9), local6, payload));
        Assert.Equal(IoStatus.Done, tun.Write(batch));
        Assert.False(batch.Frames[0].Refused);
        Assert.False(batch.Frames[1].Refused);

        Assert.Equal(payload, Received(v4));
        Assert.Equal(payload, Received(v6));
    }

    [Fact]
    public void A_frame_the_kernel_refuses_is_marked_and_the_next_ones_still_go()
    {
        using TunDevice tun = Up("wgt0");
        using Socket socket = Listen("10.9.0.1", out IPEndPoint local);
        PacketBatch batch = Packets.InboundBatch();
        Packets.AddFrame(batch, [0x15, 0, 0, 0]);
        byte[] packet = Packets.Udp(new(IPAddress.Parse("10.9.0.2"), 9), local, [1, 2, 3]);
        Packets.AddFrame(batch, packet, new VirtioNetHeader { Flags = VirtioNetHeader.NeedsCsum, CsumStart = 60000, CsumOffset = 6 });
        Packets.AddFrame(batch, packet);
        Assert.Equal(IoStatus.Done, tun.Write(batch));
        Assert.True(batch.Frames[0].Refused);
        Assert.True(batch.Frames[1].Refused);
        Assert.False(batch.Frames[2].Refused);
        Assert.Equal([1, 2, 3], Received(socket));
    }

    [Fact]
    public void Without_the_virtio_header_a_super_packet_is_refused_and_not_mangled()
    {
        using TunDevice tun = Up("wgt0", KernelFeature.VnetHdr);
        PacketBatch batch = Packets.InboundBatch();
        Packets.AddFrame(
            batch,
            Packets.Udp(new(IPAddress.Parse("10.9.0.2"), 9), new(IPAddress.Parse("10.9.0.1"), 9), Packets.Payload(3000)),
            new VirtioNetHeader { GsoType = VirtioNetHeader.GsoUdpL4, GsoSize = 1000 });
        Assert.Equal(TunOffload.None, tun.Offload);
        Assert.Equal(IoStatus.Done, tun.Write(batch));
        Assert.True(batch.Frames[0].Refused);
    }

    [Fact]
    public void Writing_while_the_link_is_down_says_so_and_writing_to_a_deleted_device_says_gone()
    {
        using TunDevice tun = Create("wgt0");
        PacketBatch batch = Packets.InboundBatch();
        Packets.AddFrame(batch, Packets.Udp(new(IPAddress.Parse("10.9.0.2"), 9), new(IPAddress.Parse("10.9.0.1"), 9), [1]));
        Assert.Equal(IoStatus.LinkDown, tun.Write(batch));
        Assert.Equal(IoStatus.WouldBlock, tun.Read(Packets.OutboundBatch()));

        _namespace.Ip("link delete wgt0");
        Assert.Equal(IoStatus.Gone, tun.Write(batch));
        Assert.Equal(IoStatus.Gone, tun.Read(Packets.OutboundBatch()));
    }

    [Fact]
    public void A_closed_device_is_gone()
    {
        TunDevice tun = Create("wgt0");
        tun.Dispose();
        PacketBatch batch = Packets.InboundBatch();
        Packets.AddFrame(batch, [0x45]);
        Assert.Equal(IoStatus.Gone, tun.Read(Packets.OutboundBatch()));
        Assert.Equal(IoStatus.Gone, tun.Write(batch));
    }

    [Fact]
    public void Reading_stops_before_a_packet_could_be_truncated()
    {
        using TunDevice tun = Up("wgt0");
        for (int i = 0; i < 5; i++)
        {
            SendFrom("10.9.0.1", new IPEndPoint(IPAddress.Parse("10.9.0.2"), 4000), Packets.Payload(1000));
        }

        // Room for one packet of any size and 2,000 bytes: two small ones fit, then less than 64 KiB is left.
        var batch = new PacketBatch(65_545 + 2000, 16, 16, 0) { ReadCapacity = 65_545 + 2000 };
        Assert.Equal(IoStatus.Done, tun.Read(batch));
        Assert.Equal(2, batch.FrameCount);

        var frames = new PacketBatch(400_000, 2, 2, 0) { ReadCapacity = 400_000 };
        Assert.Equal(IoStatus.Done, tun.Read(frames));
        Assert.Equal(2, frames.FrameCount);
        Assert.Equal(IoStatus.Done, tun.Read(frames));
        Assert.Equal(1, frames.FrameCount);
        Assert.Equal(IoStatus.WouldBlock, tun.Read(frames));
    }

    [Fact]
    public void A_packet_at_the_largest_mtu_is_read_and_written_whole()
    {
        using TunDevice tun = Up("wgt0");
        _namespace.Ip("link set wgt0 mtu 65535");
        byte[] payload = Packets.Payload(65_507);
        SendFrom("10.9.0.1", new IPEndPoint(IPAddress.Parse("10.9.0.2"), 4000), payload);
        Assert.Equal(payload, ReadUdp(tun, 1)[0][28..]);

        using Socket socket = Listen("10.9.0.1", out IPEndPoint local);
        PacketBatch batch = Packets.InboundBatch();
        Packets.AddFrame(batch, Packets.Udp(new(IPAddress.Parse("10.9.0.2"), 9), local, payload));
        Assert.Equal(IoStatus.Done, tun.Write(batch));
        Assert.Equal(payload, Received(socket));
    }

    [Theory]
    [InlineData(KernelFeature.None, true)]
    [InlineData(KernelFeature.Uso, false)]
    [InlineData(KernelFeature.VnetHdr, false)]
    public void A_segmented_send_is_read_as_one_super_packet_only_with_uso(KernelFeature disabled, bool asOne)
    {
        using TunDevice tun = Up("wgt0", disabled);
        Assert.Equal(asOne, tun.Features.Has(KernelFeature.Uso));
        _namespace.Run(() =>
        {
            using var sender = new UdpSocket(new KernelFeatures());
            sender.Open(0, 0);
            PacketBatch batch = Packets.OutboundBatch();
            Packets.AddRun(batch, Packets.Payload(10_000), 1000, Packets.Endpoint("10.9.0.2", 4000));
            sender.Send(batch, 0, 1);
            Assert.Equal(SendOutcome.Sent, batch.OutboundRuns[0].Outcome);
        });

        PacketBatch read = Packets.OutboundBatch();
        Assert.Equal(IoStatus.Done, tun.Read(read));
        Assert.Equal(asOne ? 1 : 10, read.FrameCount);
        Assert.Equal(asOne ? VirtioNetHeader.GsoUdpL4 : VirtioNetHeader.GsoNone, read.Frames[0].Header.GsoType);
        Assert.Equal(asOne ? 1000 : 0, read.Frames[0].Header.GsoSize);
        Assert.Equal(asOne ? 10_028 : 1028, read.Frames[0].Length);
    }

    [Theory]
    [InlineData(KernelFeature.None, "10.9.0", VirtioNetHeader.GsoTcp4)]
    [InlineData(KernelFeature.None, "fd09::", VirtioNetHeader.GsoTcp6)]
    [InlineData(KernelFeature.Tso4, "10.9.0", VirtioNetHeader.GsoNone)]
    [InlineData(KernelFeature.Tso6, "fd09::", VirtioNetHeader.GsoNone)]
    [InlineData(KernelFeature.VnetHdr, "10.9.0", VirtioNetHeader.GsoNone)]
    [InlineData(KernelFeature.VnetHdr, "fd09::", VirtioNetHeader.GsoNone)]
    public async Task A_tcp_stream_passes_from_one_tun_to_another_as_super_packets_or_singly(KernelFeature disabled, string prefix, byte expectedGso)
    {
        using var far = new TestNamespace();
        using TunDevice a = Up("wgt0", disabled);
        using TunDevice b = Up("wgt0", disabled, far, host: 2);
        using var pumps = new TunPump(a, b);
        string separator = prefix.EndsWith(':') ? "" : ".";

        byte[] sent = Packets.Payload(4 << 20);
        var address = new IPEndPoint(IPAddress.Parse($"{prefix}{separator}2"), 5000);
        using Socket listener = far.Run(() =>
        {
            var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(address);
            socket.Listen();
            return socket;
        });
        Task<byte[]> received = Background.Run(() =>
        {
            using Socket accepted = listener.Accept();
            using var stream = new NetworkStream(accepted);
            return SHA256.HashData(stream);
        });
        _namespace.Run(() =>
        {
            using var client = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            client.Connect(address);
            client.Send(sent);
        });

        Assert.Equal(SHA256.HashData(sent), await received);
        Assert.Equal(expectedGso != VirtioNetHeader.GsoNone, pumps.SeenGsoTypes.Contains(expectedGso) && expectedGso != VirtioNetHeader.GsoNone);
        Assert.Equal(expectedGso == VirtioNetHeader.GsoNone, !pumps.SeenGsoTypes.Any(type => type is VirtioNetHeader.GsoTcp4 or VirtioNetHeader.GsoTcp6));
    }

    [Fact]
    public void Reading_and_writing_allocate_nothing()
    {
        using TunDevice tun = Up("wgt0");
        PacketBatch read = Packets.OutboundBatch();
        PacketBatch write = Packets.InboundBatch();
        byte[] packet = Packets.Udp(new(IPAddress.Parse("10.9.0.2"), 9), new(IPAddress.Parse("10.9.0.1"), 9), Packets.Payload(100));
        using Socket socket = Sender("10.9.0.1");
        var destination = new IPEndPoint(IPAddress.Parse("10.9.0.2"), 4000);
        byte[] payload = Packets.Payload(100);
        Packets.AddFrame(write, packet, default, 20, 40);

        long WhileReading()
        {
            long bytes = 0;
            for (int i = 0; i < 200; i++)
            {
                socket.SendTo(payload, destination);
                long before = GC.GetAllocatedBytesForCurrentThread();
                IoStatus status = tun.Read(read);
                bytes += GC.GetAllocatedBytesForCurrentThread() - before;
                Assert.Equal(IoStatus.Done, status);
            }

            return bytes;
        }

        WhileReading();
        Allocations.AssertNone(WhileReading);
        Allocations.AssertNone(200, () => tun.Read(read));
        Allocations.AssertNone(200, () => tun.Write(write));
        Assert.False(write.Frames[0].Refused);
    }

    [Theory]
    [InlineData(KernelFeature.None)]
    [InlineData(KernelFeature.VnetHdr)]
    public void A_descriptor_from_another_program_is_adopted_with_its_name_and_header(KernelFeature createdWithout)
    {
        using TunDevice original = Up("wgt0", createdWithout);
        int copy = Libc.fcntl(original.Descriptor, 0, 0);
        using TunDevice adopted = TunDevice.Adopt(copy, new KernelFeatures());
        Assert.Equal("wgt0", adopted.Name);
        Assert.Equal(createdWithout == KernelFeature.None, adopted.Features.Has(KernelFeature.VnetHdr));
        byte[] payload = Packets.Payload(700);
        SendFrom("10.9.0.1", new IPEndPoint(IPAddress.Parse("10.9.0.2"), 4000), payload);
        Assert.Equal(payload, ReadUdp(adopted, 1)[0][28..]);
    }

    [Fact]
    public void A_descriptor_that_is_no_tun_is_refused_and_left_open()
    {
        using FileDescriptor zero = FileDescriptor.Required(Libc.open("/dev/zero", Libc.O_RDONLY | Libc.O_CLOEXEC, 0), "open");
        int number = (int)zero.DangerousGetHandle();
        TunException refused = Assert.Throws<TunException>(() => TunDevice.Adopt(number, new KernelFeatures()));
        Assert.Contains($"descriptor {number} is not a TUN device", refused.Message, StringComparison.Ordinal);
        Assert.True(Libc.fcntl(zero, Libc.F_GETFL, 0) >= 0);
        Assert.Throws<TunException>(() => TunDevice.Adopt(-1, new KernelFeatures()));
    }

    /// <summary>TUNGETIFF answers the same for all of them.</summary>
    [Theory]
    [InlineData(0, 0, false)]
    [InlineData(0, Libc.IFF_VNET_HDR, false)]
    [InlineData(Libc.IFF_NO_PI, 0, true)]
    [InlineData(Libc.IFF_NO_PI, Libc.IFF_VNET_HDR, true)]
    public void A_descriptor_with_packet_information_is_told_apart_whether_its_link_is_up_or_down(int noPi, int vnetHdr, bool taken)
    {
        foreach (string state in (string[])["down", "up"])
        {
            using FileDescriptor theirs = Attach("wgt0", (short)(Libc.IFF_TUN | noPi | vnetHdr));
            _namespace.Ip($"link set wgt0 {state}");
            int copy = Libc.fcntl(theirs, 0, 0);
            if (taken)
            {
                using TunDevice adopted = TunDevice.Adopt(copy, new KernelFeatures());
                Assert.Equal("wgt0", adopted.Name);
            }
            else
            {
                TunException refused = Assert.Throws<TunException>(() => TunDevice.Adopt(copy, new KernelFeatures()));
                Assert.Contains("IFF_NO_PI", refused.Message, StringComparison.Ordinal);
                Assert.Equal(0, Libc.close(copy));
            }
        }
    }

    [Fact]
    public void An_interface_of_ours_has_no_multicast_and_makes_no_address_of_its_own()
    {
        using TunDevice tun = Create("wgt0");
        _namespace.Ip("link set wgt0 up");
        string shown = _namespace.Ip("-d link show wgt0");
        Assert.True(tun.Features.Has(KernelFeature.Silence));
        Assert.DoesNotContain("MULTICAST", shown, StringComparison.Ordinal);
        Assert.Contains("addrgenmode none", shown, StringComparison.Ordinal);
        Assert.Empty(_namespace.Ip("-6 address show dev wgt0"));
        Assert.Equal(IoStatus.WouldBlock, tun.Read(Packets.OutboundBatch()));
    }

    [Fact]
    public void IPv6_that_is_switched_off_and_on_again_makes_no_address_either()
    {
        _namespace.Sysctl("net/ipv6/conf/default/disable_ipv6", "1");
        using TunDevice tun = Create("wgt0");
        Assert.Empty(tun.Features.Refusals);
        _namespace.Ip("link set wgt0 up");
        _namespace.Sysctl("net/ipv6/conf/wgt0/disable_ipv6", "0");
        Assert.Empty(_namespace.Ip("-6 address show dev wgt0"));
    }

    [Fact]
    public void Without_the_feature_the_interface_is_as_the_kernel_makes_it()
    {
        using TunDevice tun = Create("wgt0", KernelFeature.Silence);
        string shown = _namespace.Ip("-d link show wgt0");
        Assert.Contains("MULTICAST", shown, StringComparison.Ordinal);
        Assert.DoesNotContain("addrgenmode none", shown, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_adopted_stays_as_its_owner_set_it_up()
    {
        using FileDescriptor theirs = Attach("wgt0", Libc.IFF_TUN | Libc.IFF_NO_PI);
        using TunDevice adopted = TunDevice.Adopt(Libc.fcntl(theirs, 0, 0), new KernelFeatures());
        string shown = _namespace.Ip("-d link show wgt0");
        Assert.Contains("MULTICAST", shown, StringComparison.Ordinal);
        Assert.DoesNotContain("addrgenmode none", shown, StringComparison.Ordinal);
    }

    /// <summary>As another program does it.</summary>
    private unsafe FileDescriptor Attach(string name, short flags) => _namespace.Run(() =>
    {
        FileDescriptor descriptor = TunSetup.OpenNode();
        ifreq request = default;
        InterfaceName.Write(name, ref request);
        request.ifr_flags = flags;
        Assert.Equal(0, Libc.ioctl(descriptor, Libc.TUNSETIFF, &request));
        return descriptor;
    });

    private TunDevice Create(string name, KernelFeature disabled = KernelFeature.None, TestNamespace? where = null) =>
        (where ?? _namespace).Run(() => TunDevice.Create(name, new KernelFeatures(disabled)));

    private TunDevice Up(string name, KernelFeature disabled = KernelFeature.None, TestNamespace? where = null, int host = 1)
    {
        where ??= _namespace;
        TunDevice tun = Create(name, disabled, where);
        where.Sysctl($"net/ipv6/conf/{name}/router_solicitations", "0");
        where.Ip($"address add 10.9.0.{host}/24 dev {name}");
        where.Ip($"link set {name} up");
        where.AddIPv6($"fd09::{host}/64", name);
        return tun;
    }

    private Socket Sender(string address) => _namespace.Run(() =>
    {
        var local = IPAddress.Parse(address);
        var socket = new Socket(local.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(local, 0));
        return socket;
    });

    private void SendFrom(string address, IPEndPoint destination, byte[] payload)
    {
        using Socket socket = Sender(address);
        socket.SendTo(payload, destination);
    }

    private Socket Listen(string address, out IPEndPoint local)
    {
        Socket socket = Sender(address);
        socket.ReceiveTimeout = 10_000;
        socket.ReceiveBufferSize = 1 << 20;
        local = (IPEndPoint)socket.LocalEndPoint!;
        return socket;
    }

    private static byte[] Received(Socket socket)
    {
        byte[] buffer = new byte[65_536];
        return buffer[..socket.Receive(buffer)];
    }

    /// <summary>Reads until this many UDP packets came; the kernel's own (MLD, router solicitations) are passed over.</summary>
    private static List<byte[]> ReadUdp(TunDevice tun, int count)
    {
        using var waiter = new EpollWaiter(tun, null, tun.Features);
        PacketBatch batch = Packets.OutboundBatch();
        var packets = new List<byte[]>();
        while (packets.Count < count)
        {
            Assert.Equal(Readiness.Tun, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(10)));
            tun.Read(batch);
            foreach (TunFrame frame in batch.Frames.AsSpan(0, batch.FrameCount))
            {
                ReadOnlySpan<byte> packet = batch.Buffer.AsSpan(frame.Offset, frame.Length);
                if ((packet[0] >> 4 == 4 ? packet[9] : packet[6]) == 17)
                {
                    packets.Add(packet.ToArray());
                }
            }
        }

        return packets;
    }
}
