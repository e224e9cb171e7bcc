using System.Buffers.Binary;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

// What goes back into the TUN when an inner packet can't go out. The error's source is the inner destination: a source of this host would
// die of rp_filter or be taken for a loop, and no other address is known to be routed through this interface. What may never be answered
// (RFC 1812, section 4.3.2.7; RFC 1122, section 3.2.2; RFC 4443, section 2.4 e) isn't: errors, later fragments, packets to
// many hosts, packets from no particular host.

/// <summary>ICMP and ICMPv6 errors as answers to inner packets. Pure: bytes in, bytes out, nothing allocated.</summary>
public static class IcmpErrors
{
    /// <summary>ICMPv4 errors end here (RFC 1812, section 4.3.2.3), so that they always arrive whole.</summary>
    public const int MaxIPv4Length = 576;

    /// <summary>ICMPv6 errors end here: the smallest MTU of IPv6 (RFC 4443, section 2.4 c).</summary>
    public const int MaxIPv6Length = 1280;

    private const int IcmpHeaderSize = 8;
    private const byte HopLimit = 64;

    /// <summary>Precedence 6, internetwork control (RFC 1812, section 4.3.2.5).</summary>
    private const byte InternetworkControl = 0xc0;
    private const ushort DontFragment = 0x4000;
    private const int MinIPv4Mtu = 68;

    private const byte ProtocolIcmp = 1;
    private const byte ProtocolIcmpV6 = 58;

    private const byte DestinationUnreachable = 3;
    private const byte HostUnreachable = 1;
    private const byte FragmentationNeeded = 4;
    private const byte V6DestinationUnreachable = 1;
    private const byte V6AddressUnreachable = 3;
    private const byte V6PacketTooBig = 2;

    /// <summary>
    /// No peer, or a peer without an endpoint: ICMPv4 host unreachable (type 3, code 1) or ICMPv6 address unreachable (type 1, code 3).
    /// </summary>
    /// <param name="offending">The inner packet; what follows its total length is not quoted.</param>
    /// <param name="destination">At least <see cref="MaxIPv6Length"/> bytes, apart from the offending packet.</param>
    /// <param name="length">Bytes written.</param>
    /// <returns>False if this packet must not be answered, or is no packet.</returns>
    public static bool TryBuildHostUnreachable(ReadOnlySpan<byte> offending, Span<byte> destination, out int length)
    {
        length = 0;
        if (!TryParseAnswerable(offending, out IpPacket packet))
        {
            return false;
        }

        length = packet.IsIPv4
            ? WriteIPv4(packet, offending, DestinationUnreachable, HostUnreachable, 0, destination)
            : WriteIPv6(packet, offending, V6DestinationUnreachable, V6AddressUnreachable, 0, destination);
        return true;
    }

    /// <summary>
    /// Too long for the path: ICMPv4 fragmentation needed (type 3, code 4; RFC 1191) for packets with DF, or ICMPv6 packet too big (type 2).
    /// </summary>
    /// <param name="mtu">What would fit, IP header included. IPv6 is never told less than 1280.</param>
    /// <inheritdoc cref="TryBuildHostUnreachable"/>
    public static bool TryBuildPacketTooBig(ReadOnlySpan<byte> offending, int mtu, Span<byte> destination, out int length)
    {
        length = 0;
        if (!TryParseAnswerable(offending, out IpPacket packet))
        {
            return false;
        }

        if (!packet.IsIPv4)
        {
            length = WriteIPv6(packet, offending, V6PacketTooBig, 0, (uint)Math.Max(mtu, MaxIPv6Length), destination);
            return true;
        }

        if ((BinaryPrimitives.ReadUInt16BigEndian(offending[6..]) & DontFragment) == 0)
        {
            return false;
        }

        uint told = (uint)Math.Clamp(mtu, MinIPv4Mtu, ushort.MaxValue);
        length = WriteIPv4(packet, offending, DestinationUnreachable, FragmentationNeeded, told, destination);
        return true;
    }

    private static bool TryParseAnswerable(ReadOnlySpan<byte> offending, out IpPacket packet)
    {
        // An error whose source is its own destination is ignored by Linux.
        return IpPacket.TryParse(offending, out packet)
            && !packet.Source.SequenceEqual(packet.Destination)
            && (packet.IsIPv4 ? IsAnswerableIPv4(packet, offending) : IsAnswerableIPv6(packet, offending));
    }

    private static bool IsAnswerableIPv4(IpPacket packet, ReadOnlySpan<byte> bytes) =>
        IsOneHost4(packet.Source)
        && IsOneHost4(packet.Destination)
        && packet.TryFindPayload(out IpPayload payload)
        && !payload.IsLaterFragment
        && (payload.Protocol != ProtocolIcmp || (payload.Offset < packet.TotalLength && IsIcmpQuery(bytes[payload.Offset])));

    private static bool IsAnswerableIPv6(IpPacket packet, ReadOnlySpan<byte> bytes) =>
        IsOneHost6(packet.Source)
        && IsOneHost6(packet.Destination)
        && packet.TryFindPayload(out IpPayload payload)
        && !payload.IsLaterFragment
        && (payload.Protocol != ProtocolIcmpV6 || (payload.Offset < packet.TotalLength && IsIcmpV6Informational(bytes[payload.Offset])));

    /// <summary>Not "this network" (0/8), loopback (127/8), multicast (224/4), reserved or broadcast (240/4).</summary>
    private static bool IsOneHost4(ReadOnlySpan<byte> address) => address[0] is not (0 or 127) and < 224;

    /// <summary>Not unspecified (::), loopback (::1), IPv4 in disguise (::/96, ::ffff:0:0/96) or multicast (ff00::/8).</summary>
    private static bool IsOneHost6(ReadOnlySpan<byte> address)
    {
        if (address[0] == 0xff)
        {
            return false;
        }

        bool tenZeros = !address[..10].ContainsAnyExcept((byte)0);
        ushort sixth = BinaryPrimitives.ReadUInt16BigEndian(address[10..]);
        return !(tenZeros && sixth is 0 or 0xffff);
    }

    /// <summary>The ICMPv4 messages known to be no errors: everything unknown is treated as one, as the kernel does.</summary>
    private static bool IsIcmpQuery(byte type) => type is 0 or 8 or 9 or 10 or (>= 13 and <= 18);

    /// <summary>Types from 128 on are no errors (RFC 4443, section 2.1), but a redirect (137) is never answered either.</summary>
    private static bool IsIcmpV6Informational(byte type) => type >= 128 && type != 137;

    private static int WriteIPv4(IpPacket packet, ReadOnlySpan<byte> offending, byte type, byte code, uint rest, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(destination.Length, MaxIPv6Length);
        int quoted = Math.Min(packet.TotalLength, MaxIPv4Length - IpPacket.IPv4HeaderSize - IcmpHeaderSize);
        int length = IpPacket.IPv4HeaderSize + IcmpHeaderSize + quoted;
        Span<byte> header = destination[..IpPacket.IPv4HeaderSize];
        header.Clear();
        header[0] = 0x45;
        header[1] = InternetworkControl;
        BinaryPrimitives.WriteUInt16BigEndian(header[2..], (ushort)length);
        BinaryPrimitives.WriteUInt16BigEndian(header[6..], DontFragment);
        header[8] = HopLimit;
        header[9] = ProtocolIcmp;
        packet.Destination.CopyTo(header[12..]);
        packet.Source.CopyTo(header[16..]);
        BinaryPrimitives.WriteUInt16BigEndian(header[10..], (ushort)~InternetChecksum.Fold(InternetChecksum.Sum(header)));
        WriteIcmp(offending[..quoted], type, code, rest, pseudoHeader: 0, destination[IpPacket.IPv4HeaderSize..length]);
        return length;
    }

    private static int WriteIPv6(IpPacket packet, ReadOnlySpan<byte> offending, byte type, byte code, uint rest, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(destination.Length, MaxIPv6Length);
        int quoted = Math.Min(packet.TotalLength, MaxIPv6Length - IpPacket.IPv6HeaderSize - IcmpHeaderSize);
        int length = IpPacket.IPv6HeaderSize + IcmpHeaderSize + quoted;
        Span<byte> header = destination[..IpPacket.IPv6HeaderSize];
        header.Clear();
        header[0] = 0x60;
        BinaryPrimitives.WriteUInt16BigEndian(header[4..], (ushort)(IcmpHeaderSize + quoted));
        header[6] = ProtocolIcmpV6;
        header[7] = HopLimit;
        packet.Destination.CopyTo(header[8..]);
        packet.Source.CopyTo(header[24..]);
        uint pseudoHeader = InternetChecksum.PseudoHeader(header[8..], ProtocolIcmpV6, IcmpHeaderSize + quoted);
        WriteIcmp(offending[..quoted], type, code, rest, pseudoHeader, destination[IpPacket.IPv6HeaderSize..length]);
        return length;
    }

    /// <param name="rest">The second word of the header: the MTU, or 0.</param>
    private static void WriteIcmp(ReadOnlySpan<byte> quoted, byte type, byte code, uint rest, uint pseudoHeader, Span<byte> message)
    {
        message[0] = type;
        message[1] = code;
        message[2] = message[3] = 0;
        BinaryPrimitives.WriteUInt32BigEndian(message[4..], rest);
        quoted.CopyTo(message[IcmpHeaderSize..]);
        BinaryPrimitives.WriteUInt16BigEndian(message[2..], (ushort)~InternetChecksum.Fold(InternetChecksum.Sum(message) + pseudoHeader));
    }
}
