using System.Buffers.Binary;

namespace WgSharp.Protocol.Tests;

public sealed class IpPacketTests
{
    [Fact]
    public void An_IPv4_header_is_read()
    {
        byte[] bytes = IPv4(totalLength: 30, trafficClass: 0xb9);
        Assert.True(IpPacket.TryParse(bytes, out IpPacket packet));
        Assert.True(packet.IsIPv4);
        Assert.Equal(30, packet.TotalLength);
        Assert.Equal(0xb9, packet.TrafficClass);
        Assert.Equal(new byte[] { 10, 0, 0, 1 }, packet.Source);
        Assert.Equal(new byte[] { 10, 0, 0, 2 }, packet.Destination);
    }

    [Fact]
    public void An_IPv6_header_is_read()
    {
        byte[] bytes = IPv6(payloadLength: 8, trafficClass: 0xb9);
        Assert.True(IpPacket.TryParse(bytes, out IpPacket packet));
        Assert.False(packet.IsIPv4);
        Assert.Equal(48, packet.TotalLength);
        Assert.Equal(0xb9, packet.TrafficClass);
        Assert.Equal(Enumerable.Range(1, 16).Select(i => (byte)i), packet.Source.ToArray());
        Assert.Equal(Enumerable.Range(101, 16).Select(i => (byte)i), packet.Destination.ToArray());
    }

    [Theory]
    [InlineData(20, 20, true)]
    [InlineData(20, 32, true)]
    [InlineData(32, 32, true)]
    [InlineData(33, 32, false)]
    [InlineData(19, 32, false)]
    [InlineData(0, 32, false)]
    [InlineData(65535, 32, false)]
    public void An_IPv4_length_between_its_header_and_the_bytes_is_believed(int totalLength, int available, bool accepted)
    {
        byte[] bytes = IPv4(totalLength, 0);
        Array.Resize(ref bytes, available);
        Assert.Equal(accepted, IpPacket.TryParse(bytes, out IpPacket packet));
        Assert.Equal(accepted ? totalLength : 0, packet.TotalLength);
    }

    [Theory]
    [InlineData(0, 40, true)]
    [InlineData(0, 48, true)]
    [InlineData(8, 48, true)]
    [InlineData(9, 48, false)]
    [InlineData(65535, 48, false)]
    public void An_IPv6_length_up_to_the_bytes_is_believed(int payloadLength, int available, bool accepted)
    {
        byte[] bytes = IPv6(payloadLength, 0);
        Array.Resize(ref bytes, available);
        Assert.Equal(accepted, IpPacket.TryParse(bytes, out IpPacket packet));
        Assert.Equal(accepted ? 40 + payloadLength : 0, packet.TotalLength);
    }

    [Fact]
    public void Only_versions_4_and_6_with_a_whole_header_are_packets()
    {
        for (int version = 0; version < 16; version++)
        {
            for (int length = 0; length <= 64; length++)
            {
                var bytes = new byte[length];
                if (length > 0)
                {
                    bytes[0] = (byte)((version << 4) | 5);
                }

                if (length >= 20 && version == 4)
                {
                    BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(2), 20);
                }

                bool expected = (version == 4 && length >= 20) || (version == 6 && length >= 40);
                Assert.Equal(expected, IpPacket.TryParse(bytes, out _));
            }
        }
    }

    [Fact]
    public void Random_bytes_never_lead_outside_themselves()
    {
        var random = new Random(1);
        var buffer = new byte[2048];
        int accepted = 0;
        for (int i = 0; i < 50_000; i++)
        {
            int length = random.Next(random.Next(4) == 0 ? 2048 : 80);
            Span<byte> bytes = buffer.AsSpan(0, length);
            random.NextBytes(bytes);
            if (length >= 6 && random.Next(2) == 0)
            {
                bytes[0] = (byte)((random.Next(2) == 0 ? 0x40 : 0x60) | (bytes[0] & 15));
                bytes[2] &= 3;
                bytes[4] &= 3;
            }

            if (!IpPacket.TryParse(bytes, out IpPacket packet))
            {
                continue;
            }

            accepted++;
            Assert.InRange(packet.TotalLength, packet.IsIPv4 ? 20 : 40, length);
            Assert.Equal(packet.IsIPv4 ? 4 : 16, packet.Source.Length);
            Assert.Equal(packet.Source.Length, packet.Destination.Length);
            byte[] before = bytes.ToArray();
            Ecn.Decapsulate(bytes, (byte)random.Next(256));
            before.AsSpan(1, 1).CopyTo(bytes[1..]);
            before.AsSpan(10, 2).CopyTo(bytes[10..]);
            Assert.Equal(before, bytes);
        }

        Assert.True(accepted > 1000);
    }

    [Theory]
    [InlineData(0x00, 0)]
    [InlineData(0xb8, 0)]
    [InlineData(0xb9, 1)]
    [InlineData(0xba, 2)]
    [InlineData(0xff, 3)]
    public void The_inner_ECN_field_is_copied_out_and_the_DSCP_is_not(byte inner, byte outer) =>
        Assert.Equal(outer, Ecn.Encapsulate(inner));

    /// <summary>RFC 6040, figure 4, except that nothing is dropped: a packet that is not ECN-capable is delivered as it was.</summary>
    [Theory]
    [InlineData(Ecn.NotEct, Ecn.NotEct, Ecn.NotEct)]
    [InlineData(Ecn.NotEct, Ecn.Ect0, Ecn.NotEct)]
    [InlineData(Ecn.NotEct, Ecn.Ect1, Ecn.NotEct)]
    [InlineData(Ecn.NotEct, Ecn.Ce, Ecn.NotEct)]
    [InlineData(Ecn.Ect0, Ecn.NotEct, Ecn.Ect0)]
    [InlineData(Ecn.Ect0, Ecn.Ect0, Ecn.Ect0)]
    [InlineData(Ecn.Ect0, Ecn.Ect1, Ecn.Ect1)]
    [InlineData(Ecn.Ect0, Ecn.Ce, Ecn.Ce)]
    [InlineData(Ecn.Ect1, Ecn.NotEct, Ecn.Ect1)]
    [InlineData(Ecn.Ect1, Ecn.Ect0, Ecn.Ect1)]
    [InlineData(Ecn.Ect1, Ecn.Ect1, Ecn.Ect1)]
    [InlineData(Ecn.Ect1, Ecn.Ce, Ecn.Ce)]
    [InlineData(Ecn.Ce, Ecn.NotEct, Ecn.Ce)]
    [InlineData(Ecn.Ce, Ecn.Ect0, Ecn.Ce)]
    [InlineData(Ecn.Ce, Ecn.Ect1, Ecn.Ce)]
    [InlineData(Ecn.Ce, Ecn.Ce, Ecn.Ce)]
    public void The_outer_ECN_field_is_merged_in_and_everything_else_stays(byte inner, byte outer, byte merged)
    {
        for (int dscp = 0; dscp < 64; dscp++)
        {
            foreach (byte[] packet in (byte[][])[IPv4(60, (byte)((dscp << 2) | inner)), IPv6(20, (byte)((dscp << 2) | inner))])
            {
                byte[] expected = packet.ToArray();
                SetTrafficClass(expected, (byte)((dscp << 2) | merged));
                Ecn.Decapsulate(packet, (byte)(outer | 0x88));
                Assert.Equal(expected, packet);
            }
        }
    }

    [Fact]
    public void The_updated_IPv4_checksum_is_the_recomputed_one_for_random_headers()
    {
        var random = new Random(2);
        for (int i = 0; i < 50_000; i++)
        {
            var packet = new byte[20];
            random.NextBytes(packet);
            packet[0] = 0x45;
            byte inner = (byte)((packet[1] & ~3) | (1 + random.Next(2)));
            SetTrafficClass(packet, inner);
            byte[] expected = packet.ToArray();
            SetTrafficClass(expected, (byte)(inner | 3));
            Ecn.Decapsulate(packet, Ecn.Ce);
            Assert.Equal(expected, packet);
        }
    }

    private static byte[] IPv4(int totalLength, byte trafficClass)
    {
        var packet = new byte[Math.Clamp(totalLength, 32, 64)];
        packet[0] = 0x45;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(2), (ushort)totalLength);
        packet[8] = 64;
        packet[9] = 17;
        new byte[] { 10, 0, 0, 1, 10, 0, 0, 2 }.CopyTo(packet, 12);
        SetTrafficClass(packet, trafficClass);
        return packet;
    }

    private static byte[] IPv6(int payloadLength, byte trafficClass)
    {
        var packet = new byte[60];
        packet[0] = 0x60;
        packet[1] = 0x0f;
        packet[3] = 0xff;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(4), (ushort)payloadLength);
        packet[6] = 17;
        packet[7] = 64;
        for (int i = 0; i < 16; i++)
        {
            packet[8 + i] = (byte)(1 + i);
            packet[24 + i] = (byte)(101 + i);
        }

        SetTrafficClass(packet, trafficClass);
        return packet;
    }

    private static void SetTrafficClass(byte[] packet, byte value)
    {
        if (packet[0] >> 4 == 6)
        {
            packet[0] = (byte)(0x60 | (value >> 4));
            packet[1] = (byte)((value << 4) | (packet[1] & 15));
            return;
        }

        packet[1] = value;
        packet[10] = packet[11] = 0;
        uint sum = 0;
        for (int i = 0; i < 20; i += 2)
        {
            sum += BinaryPrimitives.ReadUInt16BigEndian(packet.AsSpan(i));
        }

        while (sum >> 16 != 0)
        {
            sum = (sum & 0xffff) + (sum >> 16);
        }

        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(10), (ushort)~sum);
    }
}
