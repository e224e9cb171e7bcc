using System.Buffers.Binary;
using System.Runtime.InteropServices;
using WgSharp.Protocol;

namespace WgSharp.Engine.Offload;

/// <summary>What one packet means to the flows that are being joined.</summary>
internal enum GroKind
{
    /// <summary>No part of any flow that is joined: stands alone.</summary>
    Unrelated,

    /// <summary>May belong to any flow between its addresses (a fragment, options, extension headers): stands alone, and nothing may overtake it.</summary>
    Obscure,

    /// <summary>Of a known flow, but stands alone: no payload, no checksum, or lengths that disagree.</summary>
    Single,

    /// <summary>May open a super-packet or join one.</summary>
    Joinable,
}

/// <summary>The fields of an inner TCP or UDP packet that decide what it can be joined to. Offsets are within the packet.</summary>
internal struct GroPacket
{
    public bool IsIPv4;
    public bool IsTcp;

    /// <summary>Bytes of the IP header: no options, no extension headers.</summary>
    public int TransportStart;

    /// <summary>Bytes of IP and transport header.</summary>
    public int HeaderLength;

    public int PayloadLength;

    /// <summary>TCP only.</summary>
    public uint Sequence;

    /// <summary>TCP only.</summary>
    public byte Flags;

    /// <summary>Of addresses, ports and protocol.</summary>
    public uint FlowHash;

    /// <summary>A packet after which the kernel holds nothing back (out_check_final in tcp_gro_receive).</summary>
    public readonly bool EndsSuperPacket => (Flags & (Tcp.Fin | Tcp.Syn | Tcp.Rst | Tcp.Psh | Tcp.Urg)) != 0;

    public static GroKind Classify(ReadOnlySpan<byte> packet, TunOffload features, out GroPacket fields)
    {
        fields = default;
        if (features == TunOffload.None || packet.Length < IpPacket.IPv4HeaderSize)
        {
            return GroKind.Unrelated;
        }

        fields.IsIPv4 = packet[0] >> 4 == 4;
        if (!fields.IsIPv4 && packet.Length < IpPacket.IPv6HeaderSize)
        {
            return GroKind.Unrelated;
        }

        byte protocol = fields.IsIPv4 ? packet[9] : packet[6];
        fields.IsTcp = protocol == Tcp.Protocol;
        bool isPlain = fields.IsIPv4 ? IsPlainIPv4(packet) : IsPlainIPv6(packet);
        if (!isPlain)
        {
            return GroKind.Obscure;
        }

        if (!IsEnabled(protocol, fields.IsIPv4, features))
        {
            return !fields.IsIPv4 && IsExtensionHeader(protocol) ? GroKind.Obscure : GroKind.Unrelated;
        }

        fields.TransportStart = fields.IsIPv4 ? IpPacket.IPv4HeaderSize : IpPacket.IPv6HeaderSize;
        ReadOnlySpan<byte> transport = packet[fields.TransportStart..];
        return fields.IsTcp ? ClassifyTcp(packet, transport, ref fields) : ClassifyUdp(packet, transport, ref fields);
    }

    /// <summary>
    /// Whether all checksums are right, and written the way that they would be computed anew (so that a super-packet can be taken
    /// apart bit for bit): joining replaces them, and must not make a corrupt packet look whole.
    /// </summary>
    public readonly bool HasValidChecksums(ReadOnlySpan<byte> packet)
    {
        if (IsIPv4)
        {
            ReadOnlySpan<byte> header = packet[..TransportStart];
            if (BinaryPrimitives.ReadUInt16BigEndian(header[10..]) == 0xFFFF || !InternetChecksum.Verify(header, 0))
            {
                return false;
            }
        }

        ReadOnlySpan<byte> transport = packet[TransportStart..];
        return (!IsTcp || BinaryPrimitives.ReadUInt16BigEndian(transport[Tcp.ChecksumOffset..]) != 0xFFFF)
            && InternetChecksum.Verify(transport, PseudoHeader(packet, transport.Length));
    }

    /// <param name="length">Bytes of transport header and payload.</param>
    public readonly uint PseudoHeader(ReadOnlySpan<byte> packet, int length) =>
        InternetChecksum.PseudoHeader(Addresses(packet, IsIPv4), IsTcp ? Tcp.Protocol : Udp.Protocol, length);

    /// <summary>Source and destination, side by side.</summary>
    public static ReadOnlySpan<byte> Addresses(ReadOnlySpan<byte> packet, bool isIPv4) => isIPv4 ? packet[12..20] : packet[8..40];

    /// <summary>With the lengths as constants, which makes it two or three instructions instead of a call.</summary>
    public static bool HaveSameAddresses(ReadOnlySpan<byte> one, ReadOnlySpan<byte> other, bool isIPv4) =>
        isIPv4 ? one.Slice(12, 8).SequenceEqual(other.Slice(12, 8)) : one.Slice(8, 32).SequenceEqual(other.Slice(8, 32));

    private static bool IsEnabled(byte protocol, bool isIPv4, TunOffload features) => protocol switch
    {
        Tcp.Protocol => (features & (isIPv4 ? TunOffload.Tcp4 : TunOffload.Tcp6)) != TunOffload.None,
        Udp.Protocol => (features & TunOffload.Udp) != TunOffload.None,
        _ => false,
    };

    /// <summary>20 bytes of header, no fragment, and as long as it says.</summary>
    private static bool IsPlainIPv4(ReadOnlySpan<byte> packet)
    {
        const int AllButDontFragment = 0xBFFF;
        return packet[0] == 0x45
            && BinaryPrimitives.ReadUInt16BigEndian(packet[2..]) == packet.Length
            && (BinaryPrimitives.ReadUInt16BigEndian(packet[6..]) & AllButDontFragment) == 0;
    }

    private static bool IsPlainIPv6(ReadOnlySpan<byte> packet) =>
        packet[0] >> 4 == 6 && BinaryPrimitives.ReadUInt16BigEndian(packet[4..]) + IpPacket.IPv6HeaderSize == packet.Length;

    /// <summary>Those behind which TCP or UDP may follow (RFC 8200, section 4; RFC 4302; RFC 6275).</summary>
    private static bool IsExtensionHeader(byte protocol) => protocol is 0 or 43 or 44 or 51 or 60 or 135 or 139 or 140;

    private static GroKind ClassifyTcp(ReadOnlySpan<byte> packet, ReadOnlySpan<byte> tcp, ref GroPacket fields)
    {
        if (tcp.Length < Tcp.MinHeaderSize)
        {
            return GroKind.Obscure;
        }

        int headerLength = (tcp[Tcp.DataOffsetOffset] >> 4) * 4;
        fields.HeaderLength = fields.TransportStart + headerLength;
        fields.PayloadLength = tcp.Length - headerLength;
        fields.Sequence = BinaryPrimitives.ReadUInt32BigEndian(tcp[Tcp.SequenceOffset..]);
        fields.Flags = tcp[Tcp.FlagsOffset];
        fields.FlowHash = Hash(packet, tcp, fields.IsIPv4);
        return headerLength >= Tcp.MinHeaderSize && fields.PayloadLength > 0 ? GroKind.Joinable : GroKind.Single;
    }

    private static GroKind ClassifyUdp(ReadOnlySpan<byte> packet, ReadOnlySpan<byte> udp, ref GroPacket fields)
    {
        if (udp.Length < Udp.HeaderSize)
        {
            return GroKind.Obscure;
        }

        fields.HeaderLength = fields.TransportStart + Udp.HeaderSize;
        fields.PayloadLength = udp.Length - Udp.HeaderSize;
        fields.FlowHash = Hash(packet, udp, fields.IsIPv4);
        bool isWhole = BinaryPrimitives.ReadUInt16BigEndian(udp[Udp.LengthOffset..]) == udp.Length;
        bool hasChecksum = BinaryPrimitives.ReadUInt16BigEndian(udp[Udp.ChecksumOffset..]) != 0;
        return isWhole && hasChecksum && fields.PayloadLength > 0 ? GroKind.Joinable : GroKind.Single;
    }

    /// <summary>Spreads flows over the table. Somebody who forces collisions gets less joining, nothing else.</summary>
    private static uint Hash(ReadOnlySpan<byte> packet, ReadOnlySpan<byte> transport, bool isIPv4)
    {
        const ulong Multiplier = 0x9E3779B97F4A7C15; // 2^64 divided by the golden ratio
        ulong hash = MemoryMarshal.Read<uint>(transport);
        for (ReadOnlySpan<byte> rest = Addresses(packet, isIPv4); !rest.IsEmpty; rest = rest[8..])
        {
            hash = (hash ^ MemoryMarshal.Read<ulong>(rest)) * Multiplier;
            hash ^= hash >> 32;
        }

        return (uint)(hash * Multiplier >> 32);
    }
}
