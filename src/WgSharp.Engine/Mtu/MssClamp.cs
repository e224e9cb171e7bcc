using System.Buffers.Binary;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

/// <summary>
/// Lowers the maximum segment size that a TCP SYN or SYN-ACK announces to what fits through the tunnel, so that neither end
/// ever sends a segment that would not: what <c>iptables … TCPMSS --clamp-mss-to-pmtu</c> does, without it.
/// </summary>
public static class MssClamp
{
    /// <summary>What an end may assume where nothing was announced (RFC 9293, section 3.7.1): never clamped below.</summary>
    public const int FloorIPv4 = 536;

    /// <inheritdoc cref="FloorIPv4"/>
    public const int FloorIPv6 = 1220;

    private const byte EndOfOptions = 0;
    private const byte NoOperation = 1;
    private const byte MaximumSegmentSize = 2;
    private const int MaximumSegmentSizeLength = 4;

    /// <summary>A glance: false for nearly everything that is no SYN.</summary>
    /// <param name="packet">One IP packet; at least an IP header.</param>
    public static bool MayBeSyn(ReadOnlySpan<byte> packet)
    {
        bool isIPv4 = packet[0] >> 4 == 4;
        byte protocol = isIPv4 ? packet[9] : packet[6];
        if (protocol != Tcp.Protocol)
        {
            return !isIPv4 && protocol is 0 or 43 or 44 or 51 or 60; // behind extension headers
        }

        int flags = (isIPv4 ? (packet[0] & 15) * 4 : IpPacket.IPv6HeaderSize) + Tcp.FlagsOffset;
        return flags < packet.Length && (packet[flags] & Tcp.Syn) != 0;
    }

    /// <summary>Rewrites the option in place and updates the TCP checksum; a checksum that was wrong stays wrong.</summary>
    /// <param name="packet">One IP packet, or super-packet, without padding. Anything but a whole SYN is left alone.</param>
    /// <param name="maxPacket">The longest inner packet that fits through the way that the other end's segments take, in bytes.</param>
    /// <param name="isChecksumPartial">
    /// The checksum covers only the pseudo header so far (<see cref="VirtioNetHeader.NeedsCsum"/>), in which the option is not: it is not touched.
    /// </param>
    /// <returns>Whether something was changed.</returns>
    public static bool Clamp(Span<byte> packet, int maxPacket, bool isChecksumPartial = false)
    {
        if (!TryFindTcp(packet, out int start, out bool isIPv4) || packet.Length < start + Tcp.MinHeaderSize)
        {
            return false;
        }

        Span<byte> tcp = packet[start..];
        int headerLength = (tcp[Tcp.DataOffsetOffset] >> 4) * 4;
        if ((tcp[Tcp.FlagsOffset] & Tcp.Syn) == 0 || headerLength > tcp.Length)
        {
            return false;
        }

        int most = isIPv4
            ? Math.Max(maxPacket - IpPacket.IPv4HeaderSize - Tcp.MinHeaderSize, FloorIPv4)
            : Math.Max(maxPacket - IpPacket.IPv6HeaderSize - Tcp.MinHeaderSize, FloorIPv6);
        return most <= ushort.MaxValue && ClampOptions(tcp, headerLength, (ushort)most, isChecksumPartial);
    }

    private static bool ClampOptions(Span<byte> tcp, int headerLength, ushort most, bool isChecksumPartial)
    {
        bool changed = false;
        for (int at = Tcp.MinHeaderSize; at < headerLength && tcp[at] != EndOfOptions;)
        {
            if (tcp[at] == NoOperation)
            {
                at++;
                continue;
            }

            int length = at + 1 < headerLength ? tcp[at + 1] : 0;
            if (length < 2 || at + length > headerLength)
            {
                break;
            }

            if (tcp[at] == MaximumSegmentSize && length == MaximumSegmentSizeLength)
            {
                changed |= Lower(tcp, at + 2, most, isChecksumPartial);
            }

            at += length;
        }

        return changed;
    }

    private static bool Lower(Span<byte> tcp, int at, ushort most, bool isChecksumPartial)
    {
        ushort announced = BinaryPrimitives.ReadUInt16BigEndian(tcp[at..]);
        if (announced <= most)
        {
            return false;
        }

        BinaryPrimitives.WriteUInt16BigEndian(tcp[at..], most);
        if (isChecksumPartial)
        {
            return true;
        }

        // At an odd offset the two bytes belong to two words of the sum, each in the other half.
        bool isOdd = at % 2 != 0;
        ushort oldWord = isOdd ? BinaryPrimitives.ReverseEndianness(announced) : announced;
        ushort newWord = isOdd ? BinaryPrimitives.ReverseEndianness(most) : most;
        Span<byte> checksum = tcp[Tcp.ChecksumOffset..];
        BinaryPrimitives.WriteUInt16BigEndian(
            checksum, InternetChecksum.Update(BinaryPrimitives.ReadUInt16BigEndian(checksum), oldWord, newWord));
        return true;
    }

    private static bool TryFindTcp(ReadOnlySpan<byte> packet, out int start, out bool isIPv4)
    {
        start = 0;
        isIPv4 = false;
        if (!IpPacket.TryParse(packet, out IpPacket parsed)
            || !parsed.TryFindPayload(out IpPayload payload)
            || payload is not { Protocol: Tcp.Protocol, IsLaterFragment: false })
        {
            return false;
        }

        start = payload.Offset;
        isIPv4 = parsed.IsIPv4;
        return true;
    }
}
