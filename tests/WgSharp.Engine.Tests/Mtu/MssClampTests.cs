using System.Buffers.Binary;
using WgSharp.Engine.Mtu;
using WgSharp.Engine.Tests.Offload;

namespace WgSharp.Engine.Tests.Mtu;

public sealed class MssClampTests
{
    private const byte SynAck = InnerPackets.Syn | InnerPackets.Ack;

    /// <summary>What Linux puts on a SYN: MSS, SACK permitted, timestamps, NOP, window scale.</summary>
    private static byte[] LinuxOptions(ushort mss) => [2, 4, (byte)(mss >> 8), (byte)mss, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

    private static byte[] Packet(bool isIPv6, byte[] options, byte flags = InnerPackets.Syn, byte[]? payload = null) =>
        InnerPackets.Build(new Flow { IsIPv6 = isIPv6, TcpOptions = options }, payload ?? [], flags: flags);

    private static ushort AnnouncedAt(byte[] packet, bool isIPv6, int option = 0) =>
        BinaryPrimitives.ReadUInt16BigEndian(packet.AsSpan((isIPv6 ? 60 : 40) + option + 2));

    [Theory]
    [InlineData(false, InnerPackets.Syn, 1420, 1380)]
    [InlineData(false, SynAck, 1420, 1380)]
    [InlineData(true, InnerPackets.Syn, 1420, 1360)]
    [InlineData(true, SynAck, 1280, 1220)]
    [InlineData(false, InnerPackets.Syn, 500, MssClamp.FloorIPv4)]
    [InlineData(true, InnerPackets.Syn, 1000, MssClamp.FloorIPv6)]
    [InlineData(false, InnerPackets.Syn, -5, MssClamp.FloorIPv4)]
    public void The_announced_size_comes_down_to_what_fits(bool isIPv6, byte flags, int maxPacket, int expected)
    {
        byte[] packet = Packet(isIPv6, LinuxOptions(1460), flags);
        Assert.True(MssClamp.Clamp(packet, maxPacket));
        Assert.Equal(Packet(isIPv6, LinuxOptions((ushort)expected), flags), packet);
    }

    [Theory]
    [InlineData(1380, 1420)]
    [InlineData(536, 576)]
    [InlineData(100, 1420)]
    [InlineData(100, 100)]
    [InlineData(1460, 70_000)]
    public void It_never_goes_up(ushort announced, int maxPacket)
    {
        byte[] packet = Packet(false, LinuxOptions(announced));
        Assert.False(MssClamp.Clamp(packet, maxPacket));
        Assert.Equal(Packet(false, LinuxOptions(announced)), packet);
    }

    [Fact]
    public void Every_such_option_is_lowered_at_odd_offsets_too()
    {
        byte[] packet = Packet(false, [1, 2, 4, 0xFF, 0xFF, 1, 1, 2, 4, 5, 0xB4, 0], payload: [1, 2, 3]);
        Assert.True(MssClamp.Clamp(packet, 1420));
        Assert.Equal(1380, AnnouncedAt(packet, false, 1));
        Assert.Equal(1380, AnnouncedAt(packet, false, 7));
        InnerPackets.AssertWellFormed(packet);
    }

    [Fact]
    public void A_wrong_checksum_stays_wrong()
    {
        byte[] packet = Packet(false, LinuxOptions(1460));
        packet[36] ^= 0x40;
        Assert.True(MssClamp.Clamp(packet, 1420));
        Assert.NotEqual(0, InnerPackets.NaiveChecksum(packet.AsSpan(20), InnerPackets.NaivePseudoHeader(packet, packet.Length - 20)));
    }

    [Theory]
    [InlineData(false, InnerPackets.Syn, 0)]
    [InlineData(true, SynAck, 0)]
    [InlineData(false, SynAck, 3000)]
    public void A_checksum_that_covers_only_the_pseudo_header_is_not_touched_and_is_right_when_it_is_completed(bool isIPv6, byte flags, int payload)
    {
        // As the kernel hands it over, of a super-packet too: not complemented, and the hardware adds the rest.
        byte[] packet = Packet(isIPv6, LinuxOptions(1460), flags, new byte[payload]);
        int start = isIPv6 ? 40 : 20;
        ushort partial = (ushort)~InnerPackets.NaiveChecksum([], InnerPackets.NaivePseudoHeader(packet, packet.Length - start));
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(start + 16), partial);
        Assert.True(MssClamp.Clamp(packet, 1400, isChecksumPartial: true));
        Assert.Equal(isIPv6 ? 1340 : 1360, AnnouncedAt(packet, isIPv6));
        Assert.Equal(partial, BinaryPrimitives.ReadUInt16BigEndian(packet.AsSpan(start + 16)));
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(start + 16), InnerPackets.NaiveChecksum(packet.AsSpan(start)));
        InnerPackets.AssertWellFormed(packet);
    }

    [Theory]
    [InlineData(new byte[] { 4, 2, 2, 4, 0xFF, 0xFF, 1, 1 }, 2)]
    [InlineData(new byte[] { 1, 1, 1, 1, 2, 4, 0xFF, 0xFF }, 4)]
    public void It_is_found_behind_an_option_without_a_value_and_at_the_very_end(byte[] options, int at)
    {
        byte[] packet = Packet(false, options);
        Assert.True(MssClamp.Clamp(packet, 1420));
        Assert.Equal(1380, AnnouncedAt(packet, false, at));
    }

    [Fact]
    public void What_only_looks_like_one_is_no_tcp()
    {
        // A UDP datagram from 172.2.0.1, whose bytes stand where those of a SYN would, with ports that look like the option.
        byte[] packet = InnerPackets.Build(new Flow { IsTcp = false }, new byte[40]);
        new byte[] { 172, 2, 0, 1 }.CopyTo(packet, 12);
        new byte[] { 2, 4, 0xFF, 0xFF }.CopyTo(packet, 20);
        byte[] before = [.. packet];
        Assert.False(MssClamp.Clamp(packet, 600));
        Assert.Equal(before, packet);

        // And TCP that ends before its flags.
        byte[] cut = Packet(false, LinuxOptions(1460))[..30];
        BinaryPrimitives.WriteUInt16BigEndian(cut.AsSpan(2), 30);
        Assert.False(MssClamp.Clamp(cut, 600));
    }

    [Fact]
    public void A_glance_lets_hardly_anything_pass_but_syns()
    {
        Assert.True(MssClamp.MayBeSyn(Packet(false, [])));
        Assert.True(MssClamp.MayBeSyn(Packet(true, [], SynAck)));
        Assert.False(MssClamp.MayBeSyn(Packet(false, [], InnerPackets.Ack)));
        Assert.False(MssClamp.MayBeSyn(Packet(true, [], InnerPackets.Ack)));
        Assert.False(MssClamp.MayBeSyn(Packet(false, []).AsSpan(0, 33)));
        Assert.True(MssClamp.MayBeSyn(Packet(false, []).AsSpan(0, 34)));
        foreach (byte next in (byte[])[0, 43, 44, 51, 60, 17, 58])
        {
            byte[] packet4 = Packet(false, []);
            byte[] packet6 = Packet(true, []);
            packet4[9] = packet6[6] = next;
            Assert.False(MssClamp.MayBeSyn(packet4));
            Assert.Equal(next is not (17 or 58), MssClamp.MayBeSyn(packet6));
        }
    }

    [Fact]
    public void Clamping_allocates_nothing()
    {
        byte[] packet = Packet(false, LinuxOptions(1460));
        Allocations.AssertNone(1000, () =>
        {
            packet[22] = 0xff;
            MssClamp.Clamp(packet, 1400);
        });
    }

    public static TheoryData<string, byte[]> LeftAlone => new()
    {
        { "no SYN", Packet(false, LinuxOptions(1460), InnerPackets.Ack) },
        { "UDP", InnerPackets.Build(new Flow { IsTcp = false }, new byte[40]) },
        { "no options", Packet(false, []) },
        { "after the end of options", Packet(false, [0, 2, 4, 5, 0xB4, 0, 0, 0]) },
        { "inside another option", Packet(false, [253, 8, 2, 4, 5, 0xB4, 0, 0]) },
        { "option of length 0", Packet(false, [9, 0, 2, 4, 5, 0xB4, 0, 0]) },
        { "option of length 1", Packet(false, [9, 1, 2, 4, 5, 0xB4, 0, 0]) },
        { "option behind the header", Packet(false, [1, 1, 2, 4], payload: [0xFF, 0xFF]) },
        { "length of the option missing", Packet(false, [1, 1, 1, 2], payload: [4, 0xFF, 0xFF]) },
        { "wrong length", Packet(false, [2, 3, 0xFF, 2, 5, 0xFF, 0xFF, 0]) },
        { "later fragment", LaterFragment() },
        { "empty", [] },
        { "header of 16 bytes", [0x44, .. Packet(false, LinuxOptions(1460))[1..]] },
        { "cut off", Packet(false, LinuxOptions(1460))[..59] },
        { "IPv6 fragment header, later", WithExtension(44, [6, 0, 0, 8, 1, 2, 3, 4]) },
        { "IPv6 unknown header", WithExtension(50, [6, 0, 0, 0, 1, 2, 3, 4]) },
        { "IPv6 header longer than the packet", WithExtension(0, [6, 200, 0, 0, 1, 2, 3, 4]) },
        { "IPv6 headers without end", WithExtension(0, [0, 0, 0, 0, 0, 0, 0, 0])[..48] },
    };

    [Theory]
    [MemberData(nameof(LeftAlone))]
    public void Everything_else_is_left_alone(string what, byte[] packet)
    {
        byte[] before = [.. packet];
        Assert.False(MssClamp.Clamp(packet, 600), what);
        Assert.Equal(before, packet);
    }

    [Theory]
    [InlineData(0, new byte[] { 6, 0, 1, 4, 0, 0, 0, 0 })]
    [InlineData(60, new byte[] { 6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 })]
    [InlineData(43, new byte[] { 6, 0, 4, 0, 0, 0, 0, 0 })]
    [InlineData(44, new byte[] { 6, 0, 0, 1, 1, 2, 3, 4 })]
    [InlineData(51, new byte[] { 6, 2, 0, 0, 1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 0 })]
    [InlineData(0, new byte[] { 60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0 })]
    public void IPv6_extension_headers_are_passed_over(byte next, byte[] extension)
    {
        byte[] packet = WithExtension(next, extension);
        Assert.True(MssClamp.Clamp(packet, 1400));
        byte[] tcp = packet[(40 + extension.Length)..];
        Assert.Equal(1340, BinaryPrimitives.ReadUInt16BigEndian(tcp.AsSpan(22)));
        byte[] plain = Packet(true, LinuxOptions(1340));
        Assert.Equal(plain[40..], tcp);
    }

    [Fact]
    public void Random_options_keep_the_checksum_right_and_change_nothing_but_announced_sizes()
    {
        Random random = new(11);
        int changes = 0;
        for (int i = 0; i < 30_000; i++)
        {
            byte[] options = new byte[random.Next(0, 11) * 4];
            random.NextBytes(options);
            for (int j = 0; j < options.Length && random.Next(4) > 0; j++)
            {
                options[j] = (byte)random.Next(6);
            }

            int at = random.Next(8);
            if (options.Length >= at + 4 && random.Next(2) == 0)
            {
                options.AsSpan(0, at).Fill(1);
                new byte[] { 2, 4 }.CopyTo(options, at);
            }

            byte[] packet = Packet(random.Next(2) == 0, options, (byte)random.Next(256), new byte[random.Next(3)]);
            byte[] before = [.. packet];
            bool changed = MssClamp.Clamp(packet, random.Next(500, 1500));
            Assert.Equal(changed, !before.AsSpan().SequenceEqual(packet));
            InnerPackets.AssertWellFormed(packet);
            changes += changed ? 1 : 0;
        }

        Assert.InRange(changes, 2000, 30_000);
    }

    [Fact]
    public void Noise_is_survived()
    {
        Random random = new(12);
        for (int i = 0; i < 100_000; i++)
        {
            byte[] noise = new byte[random.Next(120)];
            random.NextBytes(noise);
            if (noise.Length > 9)
            {
                noise[0] = (byte)((random.Next(2) == 0 ? 0x40 : 0x60) | (noise[0] & 15));
                noise[random.Next(2) == 0 ? 6 : 9] = (byte)random.Next(65);
            }

            byte[] before = [.. noise];
            if (!MssClamp.Clamp(noise, 1280))
            {
                Assert.Equal(before, noise);
            }
        }
    }

    private static byte[] LaterFragment()
    {
        byte[] packet = Packet(false, LinuxOptions(1460));
        packet[7] = 1;
        return packet;
    }

    private static byte[] WithExtension(byte next, byte[] extension)
    {
        byte[] plain = Packet(true, LinuxOptions(1460));
        byte[] packet = [.. plain[..40], .. extension, .. plain[40..]];
        packet[6] = next;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(4), (ushort)(packet.Length - 40));
        return packet;
    }
}
