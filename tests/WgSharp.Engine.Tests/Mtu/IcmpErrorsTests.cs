using System.Buffers.Binary;
using System.Net;
using WgSharp.Engine.Mtu;

namespace WgSharp.Engine.Tests.Mtu;

public sealed class IcmpErrorsTests
{
    private const byte Udp = 17;
    private const byte Icmp = 1;
    private const byte IcmpV6 = 58;

    private readonly byte[] _answer = new byte[IcmpErrors.MaxIPv6Length];

    [Fact]
    public void An_IPv4_packet_without_a_peer_is_answered_with_host_unreachable_from_its_destination()
    {
        byte[] offending = IPv4("10.0.0.1", "10.9.9.9", Udp, payload: 40);
        ReadOnlySpan<byte> answer = HostUnreachable(offending);
        Assert.Equal(20 + 8 + 60, answer.Length);
        AssertIPv4(answer, from: "10.9.9.9", to: "10.0.0.1");
        Assert.Equal((3, 1), (answer[20], answer[21]));
        Assert.Equal(0u, BinaryPrimitives.ReadUInt32BigEndian(answer[24..]));
        Assert.Equal(offending, answer[28..].ToArray());
    }

    [Fact]
    public void An_IPv6_packet_without_a_peer_is_answered_with_address_unreachable_from_its_destination()
    {
        byte[] offending = IPv6("2001:db8::1", "2001:db8:9::9", Udp, payload: 41);
        ReadOnlySpan<byte> answer = HostUnreachable(offending);
        Assert.Equal(40 + 8 + 81, answer.Length);
        AssertIPv6(answer, from: "2001:db8:9::9", to: "2001:db8::1");
        Assert.Equal((1, 3), (answer[40], answer[41]));
        Assert.Equal(0u, BinaryPrimitives.ReadUInt32BigEndian(answer[44..]));
        Assert.Equal(offending, answer[48..].ToArray());
    }

    [Theory]
    [InlineData(1380, 1380u)]
    [InlineData(500, 500u)]
    [InlineData(1, 68u)]
    [InlineData(100_000, 65535u)]
    public void A_too_long_IPv4_packet_with_DF_is_told_what_fits(int mtu, uint told)
    {
        byte[] offending = IPv4("10.0.0.1", "10.9.9.9", Udp, payload: 1480, flags: 0x4000);
        Assert.True(IcmpErrors.TryBuildPacketTooBig(offending, mtu, _answer, out int length));
        ReadOnlySpan<byte> answer = _answer.AsSpan(0, length);
        AssertIPv4(answer, from: "10.9.9.9", to: "10.0.0.1");
        Assert.Equal((3, 4), (answer[20], answer[21]));
        Assert.Equal(told, BinaryPrimitives.ReadUInt32BigEndian(answer[24..]));
        Assert.Equal(offending[..(576 - 28)], answer[28..].ToArray());
    }

    [Fact]
    public void A_too_long_IPv4_packet_without_DF_is_not_told_anything()
    {
        Assert.False(IcmpErrors.TryBuildPacketTooBig(IPv4("10.0.0.1", "10.9.9.9", Udp, 1480), 1380, _answer, out int length));
        Assert.Equal(0, length);
    }

    [Theory]
    [InlineData(1380, 1380u)]
    [InlineData(1280, 1280u)]
    [InlineData(1279, 1280u)]
    [InlineData(0, 1280u)]
    public void A_too_long_IPv6_packet_is_told_what_fits_but_never_less_than_1280(int mtu, uint told)
    {
        byte[] offending = IPv6("2001:db8::1", "2001:db8:9::9", Udp, payload: 1460);
        Assert.True(IcmpErrors.TryBuildPacketTooBig(offending, mtu, _answer, out int length));
        ReadOnlySpan<byte> answer = _answer.AsSpan(0, length);
        AssertIPv6(answer, from: "2001:db8:9::9", to: "2001:db8::1");
        Assert.Equal((2, 0), (answer[40], answer[41]));
        Assert.Equal(told, BinaryPrimitives.ReadUInt32BigEndian(answer[44..]));
        Assert.Equal(offending[..(1280 - 48)], answer[48..].ToArray());
    }

    [Fact]
    public void As_much_is_quoted_as_fits_and_nothing_behind_the_packet()
    {
        for (int payload = 0; payload < 1500; payload += 7)
        {
            byte[] four = [.. IPv4("10.0.0.1", "10.9.9.9", Udp, payload), 0xaa, 0xaa, 0xaa];
            Assert.Equal(Math.Min(576, 28 + 20 + payload), HostUnreachable(four).Length);
            byte[] six = [.. IPv6("2001:db8::1", "2001:db8:9::9", Udp, payload), 0xaa, 0xaa, 0xaa];
            Assert.Equal(Math.Min(1280, 48 + 40 + payload), HostUnreachable(six).Length);
        }
    }

    [Fact]
    public void A_super_packet_of_64_KiB_is_answered_like_any_other()
    {
        Assert.Equal(576, HostUnreachable(IPv4("10.0.0.1", "10.9.9.9", 6, 65515)).Length);
        Assert.Equal(1280, HostUnreachable(IPv6("2001:db8::1", "2001:db8:9::9", 6, 65495)).Length);
    }

    [Theory]
    [InlineData("10.0.0.1", "224.0.0.1")]
    [InlineData("10.0.0.1", "239.255.255.255")]
    [InlineData("10.0.0.1", "255.255.255.255")]
    [InlineData("10.0.0.1", "240.0.0.1")]
    [InlineData("10.0.0.1", "127.0.0.1")]
    [InlineData("10.0.0.1", "0.0.0.0")]
    [InlineData("0.0.0.0", "10.0.0.1")]
    [InlineData("0.1.2.3", "10.0.0.1")]
    [InlineData("127.0.0.1", "10.0.0.1")]
    [InlineData("224.0.0.1", "10.0.0.1")]
    [InlineData("255.255.255.255", "10.0.0.1")]
    [InlineData("10.0.0.1", "10.0.0.1")]
    public void IPv4_packets_from_or_to_no_single_host_are_never_answered(string source, string destination) =>
        AssertSilence(IPv4(source, destination, Udp, 40, flags: 0x4000));

    [Theory]
    [InlineData("2001:db8::1", "ff02::1")]
    [InlineData("2001:db8::1", "ff0e::1")]
    [InlineData("2001:db8::1", "::")]
    [InlineData("2001:db8::1", "::1")]
    [InlineData("::", "2001:db8::1")]
    [InlineData("::1", "2001:db8::1")]
    [InlineData("::10.0.0.1", "2001:db8::1")]
    [InlineData("::ffff:10.0.0.1", "2001:db8::1")]
    [InlineData("ff02::1", "2001:db8::1")]
    [InlineData("2001:db8::1", "2001:db8::1")]
    public void IPv6_packets_from_or_to_no_single_host_are_never_answered(string source, string destination) =>
        AssertSilence(IPv6(source, destination, Udp, 40));

    [Fact]
    public void ICMP_errors_are_never_answered_and_queries_are()
    {
        int[] queries = [0, 8, 9, 10, 13, 14, 15, 16, 17, 18];
        for (int type = 0; type < 256; type++)
        {
            byte[] offending = IPv4("10.0.0.1", "10.9.9.9", Icmp, 40);
            offending[20] = (byte)type;
            Assert.Equal(queries.Contains(type), IcmpErrors.TryBuildHostUnreachable(offending, _answer, out _));
        }
    }

    [Fact]
    public void ICMPv6_errors_and_redirects_are_never_answered_and_the_rest_is()
    {
        for (int type = 0; type < 256; type++)
        {
            byte[] offending = IPv6("2001:db8::1", "2001:db8:9::9", IcmpV6, 40);
            offending[40] = (byte)type;
            Assert.Equal(type >= 128 && type != 137, IcmpErrors.TryBuildHostUnreachable(offending, _answer, out _));
        }
    }

    [Fact]
    public void ICMP_behind_IPv4_options_is_recognised()
    {
        byte[] offending = IPv4("10.0.0.1", "10.9.9.9", Icmp, 40);
        offending[0] = 0x47;
        offending[20] = 8;
        offending[28] = 3;
        AssertSilence(offending);
        offending[28] = 8;
        Assert.True(IcmpErrors.TryBuildHostUnreachable(offending, _answer, out _));
    }

    [Fact]
    public void ICMP_too_short_to_show_its_type_is_never_answered()
    {
        AssertSilence(IPv4("10.0.0.1", "10.9.9.9", Icmp, 0));
        AssertSilence(IPv6("2001:db8::1", "2001:db8:9::9", IcmpV6, 0));
    }

    [Theory]
    [InlineData(0x2000, true)]
    [InlineData(0x0000, true)]
    [InlineData(0x2001, false)]
    [InlineData(0x0001, false)]
    [InlineData(0x1fff, false)]
    public void Only_the_first_IPv4_fragment_is_answered(int fragment, bool answered) => Assert.Equal(
        answered,
        IcmpErrors.TryBuildHostUnreachable(IPv4("10.0.0.1", "10.9.9.9", Udp, 40, (ushort)fragment), _answer, out _));

    [Theory]
    [InlineData(0x0001, true)]
    [InlineData(0x0000, true)]
    [InlineData(0x0008, false)]
    [InlineData(0xfff9, false)]
    public void Only_the_first_IPv6_fragment_is_answered(int fragment, bool answered)
    {
        byte[] offending = IPv6("2001:db8::1", "2001:db8:9::9", 44, 40);
        offending[40] = Udp;
        BinaryPrimitives.WriteUInt16BigEndian(offending.AsSpan(42), (ushort)fragment);
        Assert.Equal(answered, IcmpErrors.TryBuildHostUnreachable(offending, _answer, out _));
    }

    [Fact]
    public void ICMPv6_errors_are_recognised_behind_every_extension_header()
    {
        // Hop-by-hop (16 bytes), destination options (8), routing (8), authentication (12), fragment (8), mobility, HIP, shim6 (8 each).
        (byte Type, int Length, byte LengthField)[] chain =
            [(0, 16, 1), (60, 8, 0), (43, 8, 0), (51, 12, 1), (44, 8, 0), (135, 8, 0), (139, 8, 0), (140, 8, 0)];
        for (int count = 1; count <= chain.Length; count++)
        {
            byte[] offending = IPv6("2001:db8::1", "2001:db8:9::9", chain[0].Type, 120);
            int offset = 40;
            for (int i = 0; i < count; i++)
            {
                offending[offset] = i + 1 < count ? chain[i + 1].Type : IcmpV6;
                offending[offset + 1] = chain[i].LengthField;
                offset += chain[i].Length;
            }

            offending[offset] = 128;
            Assert.True(IcmpErrors.TryBuildHostUnreachable(offending, _answer, out _));
            offending[offset] = 1;
            AssertSilence(offending);
        }
    }

    [Fact]
    public void Extension_headers_that_lead_out_of_the_packet_are_never_answered()
    {
        byte[] offending = IPv6("2001:db8::1", "2001:db8:9::9", 60, 40);
        offending[40] = Udp;
        offending[41] = 200;
        AssertSilence(offending);
        AssertSilence(IPv6("2001:db8::1", "2001:db8:9::9", 0, 7));
        AssertSilence(IPv6("2001:db8::1", "2001:db8:9::9", 0, 40));
    }

    [Fact]
    public void What_is_no_packet_is_never_answered()
    {
        AssertSilence([]);
        AssertSilence(new byte[100]);
        byte[] shortHeader = IPv4("10.0.0.1", "10.9.9.9", Udp, 40);
        shortHeader[0] = 0x44;
        AssertSilence(shortHeader);
        byte[] longHeader = IPv4("10.0.0.1", "10.9.9.9", Udp, 4);
        longHeader[0] = 0x4f;
        AssertSilence(longHeader);
    }

    [Fact]
    public void A_destination_that_is_too_short_is_a_mistake_of_the_caller()
    {
        byte[] offending = IPv4("10.0.0.1", "10.9.9.9", Udp, 40);
        Assert.Throws<ArgumentOutOfRangeException>(() => IcmpErrors.TryBuildHostUnreachable(offending, new byte[1279], out _));
    }

    [Fact]
    public void Answers_to_mutated_packets_are_well_formed_and_never_answered_themselves()
    {
        var random = new Random(1);
        int answered = 0;
        for (int i = 0; i < 100_000; i++)
        {
            byte protocol = (byte)(random.Next(3) switch { 0 => Udp, 1 => random.Next(256), _ => random.Next(2) == 0 ? Icmp : IcmpV6 });
            byte[] offending = random.Next(2) == 0
                ? IPv4("10.0.0.1", "10.9.9.9", protocol, random.Next(100), 0x4000)
                : IPv6("2001:db8::1", "2001:db8:9::9", protocol, random.Next(100));
            for (int flips = random.Next(6); flips > 0; flips--)
            {
                offending[random.Next(offending.Length)] ^= (byte)(1 << random.Next(8));
            }

            ReadOnlySpan<byte> cut = offending.AsSpan(0, random.Next(4) == 0 ? random.Next(offending.Length + 1) : offending.Length);
            bool tooBig = random.Next(2) == 0;
            bool built = tooBig
                ? IcmpErrors.TryBuildPacketTooBig(cut, random.Next(2000), _answer, out int length)
                : IcmpErrors.TryBuildHostUnreachable(cut, _answer, out length);
            Assert.Equal(built, length > 0);
            if (!built)
            {
                continue;
            }

            answered++;
            byte[] answer = _answer[..length];
            if (cut[0] >> 4 == 4)
            {
                AssertIPv4(answer, new IPAddress(cut.Slice(16, 4)).ToString(), new IPAddress(cut.Slice(12, 4)).ToString());
            }
            else
            {
                AssertIPv6(answer, new IPAddress(cut.Slice(24, 16)).ToString(), new IPAddress(cut.Slice(8, 16)).ToString());
            }

            AssertSilence(answer);
        }

        Assert.InRange(answered, 10_000, 90_000);
    }

    [Fact]
    public void Random_bytes_do_no_harm()
    {
        var random = new Random(2);
        var buffer = new byte[2000];
        for (int i = 0; i < 100_000; i++)
        {
            Span<byte> bytes = buffer.AsSpan(0, random.Next(random.Next(8) == 0 ? 2000 : 100));
            random.NextBytes(bytes);
            if (bytes.Length > 6)
            {
                bytes[0] = (byte)((random.Next(2) == 0 ? 0x40 : 0x60) | (bytes[0] & 15));
                bytes[2] = bytes[4] = 0;
            }

            IcmpErrors.TryBuildHostUnreachable(bytes, _answer, out int length);
            Assert.InRange(length, 0, 1280);
        }
    }

    [Fact]
    public void Building_allocates_nothing()
    {
        byte[] four = IPv4("10.0.0.1", "10.9.9.9", Udp, 1400);
        byte[] six = IPv6("2001:db8::1", "2001:db8:9::9", Udp, 1400);
        bool built = true;
        Allocations.AssertNone(100, () =>
        {
            built &= IcmpErrors.TryBuildHostUnreachable(four, _answer, out _);
            built &= IcmpErrors.TryBuildPacketTooBig(six, 1400, _answer, out _);
        });
        Assert.True(built);
    }

    private ReadOnlySpan<byte> HostUnreachable(byte[] offending)
    {
        Assert.True(IcmpErrors.TryBuildHostUnreachable(offending, _answer, out int length));
        return _answer.AsSpan(0, length);
    }

    private void AssertSilence(byte[] offending)
    {
        Assert.False(IcmpErrors.TryBuildHostUnreachable(offending, _answer, out int length));
        Assert.Equal(0, length);
        Assert.False(IcmpErrors.TryBuildPacketTooBig(offending, 1400, _answer, out length));
        Assert.Equal(0, length);
    }

    private static void AssertIPv4(ReadOnlySpan<byte> answer, string from, string to)
    {
        Assert.InRange(answer.Length, 28, 576);
        Assert.Equal(0x45, answer[0]);
        Assert.Equal(answer.Length, BinaryPrimitives.ReadUInt16BigEndian(answer[2..]));
        Assert.Equal(64, answer[8]);
        Assert.Equal(Icmp, answer[9]);
        Assert.Equal(IPAddress.Parse(from).GetAddressBytes(), answer.Slice(12, 4).ToArray());
        Assert.Equal(IPAddress.Parse(to).GetAddressBytes(), answer.Slice(16, 4).ToArray());
        Assert.Equal(0xffff, PlainSum(answer[..20]));
        Assert.Equal(0xffff, PlainSum(answer[20..]));
    }

    private static void AssertIPv6(ReadOnlySpan<byte> answer, string from, string to)
    {
        Assert.InRange(answer.Length, 48, 1280);
        Assert.Equal(0x60, answer[0]);
        Assert.Equal(answer.Length - 40, BinaryPrimitives.ReadUInt16BigEndian(answer[4..]));
        Assert.Equal(IcmpV6, answer[6]);
        Assert.Equal(64, answer[7]);
        Assert.Equal(IPAddress.Parse(from).GetAddressBytes(), answer.Slice(8, 16).ToArray());
        Assert.Equal(IPAddress.Parse(to).GetAddressBytes(), answer.Slice(24, 16).ToArray());
        byte[] pseudoHeader = [.. answer[8..40], 0, 0, (byte)((answer.Length - 40) >> 8), (byte)(answer.Length - 40), 0, 0, 0, IcmpV6];
        Assert.Equal(0xffff, PlainSum([.. pseudoHeader, .. answer[40..]]));
    }

    /// <summary>RFC 1071 word by word, as plain as it gets.</summary>
    private static int PlainSum(ReadOnlySpan<byte> bytes)
    {
        int sum = 0;
        for (int i = 0; i < bytes.Length; i++)
        {
            sum += i % 2 == 0 ? bytes[i] << 8 : bytes[i];
            sum = (sum & 0xffff) + (sum >> 16);
        }

        return sum;
    }

    private static byte[] IPv4(string source, string destination, byte protocol, int payload, ushort flags = 0)
    {
        var packet = new byte[20 + payload];
        Array.Fill(packet, (byte)0x11);
        packet[0] = 0x45;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(2), (ushort)packet.Length);
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(6), flags);
        packet[9] = protocol;
        IPAddress.Parse(source).GetAddressBytes().CopyTo(packet, 12);
        IPAddress.Parse(destination).GetAddressBytes().CopyTo(packet, 16);
        return packet;
    }

    private static byte[] IPv6(string source, string destination, byte nextHeader, int payload)
    {
        var packet = new byte[40 + payload];
        packet[0] = 0x60;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(4), (ushort)payload);
        packet[6] = nextHeader;
        packet[7] = 64;
        IPAddress.Parse(source).GetAddressBytes().CopyTo(packet, 8);
        IPAddress.Parse(destination).GetAddressBytes().CopyTo(packet, 24);
        return packet;
    }
}
