using System.Buffers.Binary;

namespace WgSharp.Engine.Tests.Offload;

/// <summary>One direction of a TCP connection or UDP flow, and the header fields its packets share.</summary>
internal sealed record Flow
{
    public bool IsIPv6 { get; init; }

    public bool IsTcp { get; init; } = true;

    public ushort SourcePort { get; init; } = 40000;

    public ushort DestinationPort { get; init; } = 443;

    public byte TrafficClass { get; init; }

    public byte HopLimit { get; init; } = 64;

    public bool DontFragment { get; init; } = true;

    public uint FlowLabel { get; init; } = 0x12345;

    /// <summary>As Linux sends them in every established connection: two NOPs and a timestamp.</summary>
    public byte[] TcpOptions { get; init; } = [1, 1, 8, 10, 0x5e, 0x0a, 0x11, 0x22, 0x13, 0x37, 0x42, 0x99];

    public uint Acknowledgement { get; init; } = 0x01020304;

    public ushort Window { get; init; } = 502;

    public byte Host { get; init; } = 1;

    public int HeaderLength => (IsIPv6 ? 40 : 20) + (IsTcp ? 20 + TcpOptions.Length : 8);

    public int TransportStart => IsIPv6 ? 40 : 20;
}

/// <summary>Builds packets byte by byte and checks them word by word, without any code under test.</summary>
internal static class InnerPackets
{
    public const byte Ack = 0x10;
    public const byte Psh = 0x08;
    public const byte Fin = 0x01;
    public const byte Syn = 0x02;
    public const byte Rst = 0x04;
    public const byte Urg = 0x20;
    public const byte Ece = 0x40;
    public const byte Cwr = 0x80;

    public static byte[] Build(Flow flow, ReadOnlySpan<byte> payload, ushort id = 1, uint sequence = 1000, byte flags = Ack)
    {
        byte[] packet = new byte[flow.HeaderLength + payload.Length];
        Span<byte> transport = packet.AsSpan(flow.TransportStart);
        if (flow.IsIPv6)
        {
            BinaryPrimitives.WriteUInt32BigEndian(packet, (6u << 28) | ((uint)flow.TrafficClass << 20) | flow.FlowLabel);
            BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(4), (ushort)(packet.Length - 40));
            packet[6] = flow.IsTcp ? (byte)6 : (byte)17;
            packet[7] = flow.HopLimit;
            packet[8] = packet[24] = 0xfd;
            packet[23] = flow.Host;
            packet[39] = 2;
        }
        else
        {
            packet[0] = 0x45;
            packet[1] = flow.TrafficClass;
            BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(2), (ushort)packet.Length);
            BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(4), id);
            packet[6] = flow.DontFragment ? (byte)0x40 : (byte)0;
            packet[8] = flow.HopLimit;
            packet[9] = flow.IsTcp ? (byte)6 : (byte)17;
            new byte[] { 10, 0, 0, flow.Host, 10, 0, 0, 200 }.CopyTo(packet.AsSpan(12));
        }

        BinaryPrimitives.WriteUInt16BigEndian(transport, flow.SourcePort);
        BinaryPrimitives.WriteUInt16BigEndian(transport[2..], flow.DestinationPort);
        if (flow.IsTcp)
        {
            BinaryPrimitives.WriteUInt32BigEndian(transport[4..], sequence);
            BinaryPrimitives.WriteUInt32BigEndian(transport[8..], flow.Acknowledgement);
            transport[12] = (byte)((5 + (flow.TcpOptions.Length / 4)) << 4);
            transport[13] = flags;
            BinaryPrimitives.WriteUInt16BigEndian(transport[14..], flow.Window);
            flow.TcpOptions.CopyTo(transport[20..]);
        }
        else
        {
            BinaryPrimitives.WriteUInt16BigEndian(transport[4..], (ushort)transport.Length);
        }

        payload.CopyTo(packet.AsSpan(flow.HeaderLength));
        WriteChecksums(packet);
        return packet;
    }

    /// <summary>A stream of packets as one sender makes it: consecutive sequence numbers and identifications, PSH on the last.</summary>
    public static List<byte[]> Stream(Flow flow, int count, int segment, int lastSegment, Random random, ushort id = 1, uint sequence = 1000, bool push = true)
    {
        List<byte[]> packets = [];
        for (int i = 0; i < count; i++)
        {
            byte[] payload = new byte[i == count - 1 ? lastSegment : segment];
            random.NextBytes(payload);
            byte flags = push && i == count - 1 ? (byte)(Ack | Psh) : Ack;
            packets.Add(Build(flow, payload, (ushort)(id + i), sequence, flags));
            sequence += (uint)payload.Length;
        }

        return packets;
    }

    /// <summary>RFC 1071 by the book.</summary>
    public static ushort NaiveChecksum(ReadOnlySpan<byte> data, uint start = 0)
    {
        uint sum = start;
        for (int i = 0; i < data.Length; i++)
        {
            sum += i % 2 == 0 ? (uint)data[i] << 8 : data[i];
            sum = (sum & 0xFFFF) + (sum >> 16);
        }

        return (ushort)~((sum & 0xFFFF) + (sum >> 16));
    }

    public static uint NaivePseudoHeader(ReadOnlySpan<byte> packet, int length)
    {
        bool isIPv6 = packet[0] >> 4 == 6;
        uint sum = (uint)length + (isIPv6 ? packet[6] : packet[9]);
        ReadOnlySpan<byte> addresses = isIPv6 ? packet[8..40] : packet[12..20];
        for (int i = 0; i < addresses.Length; i += 2)
        {
            sum += BinaryPrimitives.ReadUInt16BigEndian(addresses[i..]);
        }

        return sum;
    }

    /// <summary>IPv4 header checksum and TCP or UDP checksum.</summary>
    public static void WriteChecksums(Span<byte> packet)
    {
        bool isIPv6 = packet[0] >> 4 == 6;
        int start = isIPv6 ? 40 : (packet[0] & 15) * 4;
        if (!isIPv6)
        {
            BinaryPrimitives.WriteUInt16BigEndian(packet[10..], 0);
            BinaryPrimitives.WriteUInt16BigEndian(packet[10..], NaiveChecksum(packet[..start]));
        }

        bool isTcp = (isIPv6 ? packet[6] : packet[9]) == 6;
        Span<byte> field = packet[(start + (isTcp ? 16 : 6))..];
        BinaryPrimitives.WriteUInt16BigEndian(field, 0);
        ushort checksum = NaiveChecksum(packet[start..], NaivePseudoHeader(packet, packet.Length - start));
        BinaryPrimitives.WriteUInt16BigEndian(field, checksum == 0 && !isTcp ? (ushort)0xFFFF : checksum);
    }

    /// <summary>Lengths and checksums of a packet without extension headers.</summary>
    public static void AssertWellFormed(ReadOnlySpan<byte> packet)
    {
        bool isIPv6 = packet[0] >> 4 == 6;
        int start = isIPv6 ? 40 : (packet[0] & 15) * 4;
        int length = isIPv6 ? BinaryPrimitives.ReadUInt16BigEndian(packet[4..]) + 40 : BinaryPrimitives.ReadUInt16BigEndian(packet[2..]);
        Assert.Equal(packet.Length, length);
        Assert.Equal(0, isIPv6 ? 0 : NaiveChecksum(packet[..start]));
        Assert.Equal(0, NaiveChecksum(packet[start..], NaivePseudoHeader(packet, packet.Length - start)));
        if ((isIPv6 ? packet[6] : packet[9]) == 17)
        {
            Assert.Equal(packet.Length - start, BinaryPrimitives.ReadUInt16BigEndian(packet[(start + 4)..]));
        }
    }
}
