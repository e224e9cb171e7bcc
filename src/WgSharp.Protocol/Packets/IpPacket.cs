using System.Buffers.Binary;

namespace WgSharp.Protocol;

/// <summary>What an IP packet carries, behind its options or extension headers.</summary>
/// <param name="Protocol">Of what is carried: 6 is TCP, 17 UDP, 1 ICMP, 58 ICMPv6.</param>
/// <param name="Offset">Where that begins; not beyond the packet's end.</param>
/// <param name="IsFragment">The packet is one of several fragments.</param>
/// <param name="IsLaterFragment">And not the first: what stands there is not the beginning of what is carried.</param>
internal readonly record struct IpPayload(byte Protocol, int Offset, bool IsFragment, bool IsLaterFragment);

/// <summary>The header fields of an inner IP packet that WireGuard needs: version, length, source, destination, ECN.</summary>
internal readonly ref struct IpPacket
{
    public const int IPv4HeaderSize = 20;
    public const int IPv6HeaderSize = 40;

    private readonly ReadOnlySpan<byte> _bytes;

    private IpPacket(ReadOnlySpan<byte> bytes, int totalLength)
    {
        _bytes = bytes;
        TotalLength = totalLength;
    }

    /// <summary>The packet's own idea of its length in bytes, header included; never more than was parsed.</summary>
    public int TotalLength { get; }

    public bool IsIPv4 => _bytes[0] >> 4 == 4;

    /// <summary>4 or 16 bytes.</summary>
    public ReadOnlySpan<byte> Source => IsIPv4 ? _bytes.Slice(12, 4) : _bytes.Slice(8, 16);

    /// <summary>4 or 16 bytes.</summary>
    public ReadOnlySpan<byte> Destination => IsIPv4 ? _bytes.Slice(16, 4) : _bytes.Slice(24, 16);

    /// <summary>The DS field: DSCP in the upper six bits, ECN in the lower two.</summary>
    public byte TrafficClass => IsIPv4 ? _bytes[1] : (byte)((_bytes[0] << 4) | (_bytes[1] >> 4));

    /// <summary>Reads the header; trailing bytes behind the total length are padding.</summary>
    /// <returns>False if this is not IPv4 or IPv6, or the length is shorter than the header or longer than the bytes.</returns>
    public static bool TryParse(ReadOnlySpan<byte> bytes, out IpPacket packet)
    {
        packet = default;
        if (bytes.Length < IPv4HeaderSize)
        {
            return false;
        }

        int totalLength;
        int headerLength;
        switch (bytes[0] >> 4)
        {
            case 4:
                totalLength = BinaryPrimitives.ReadUInt16BigEndian(bytes[2..]);
                headerLength = IPv4HeaderSize;
                break;
            case 6 when bytes.Length >= IPv6HeaderSize:
                totalLength = BinaryPrimitives.ReadUInt16BigEndian(bytes[4..]) + IPv6HeaderSize;
                headerLength = IPv6HeaderSize;
                break;
            default:
                return false;
        }

        if (totalLength < headerLength || totalLength > bytes.Length)
        {
            return false;
        }

        packet = new IpPacket(bytes, totalLength);
        return true;
    }

    /// <summary>Walks IPv4's options and IPv6's extension headers (RFC 8200, section 4; RFC 4302; RFC 6275) to what they extend. Each step goes forward by at least 8 bytes.</summary>
    /// <returns>False where the headers end before they should.</returns>
    public bool TryFindPayload(out IpPayload payload)
    {
        const int FragmentOffset = 0x1fff, MoreFragments = 0x2000;
        payload = default;
        if (!IsIPv4)
        {
            return TryWalkExtensions(out payload);
        }

        int header = (_bytes[0] & 15) * 4;
        ushort fragment = BinaryPrimitives.ReadUInt16BigEndian(_bytes[6..]);
        payload = new IpPayload(_bytes[9], header, (fragment & (FragmentOffset | MoreFragments)) != 0, (fragment & FragmentOffset) != 0);
        return header >= IPv4HeaderSize && header <= TotalLength;
    }

    private bool TryWalkExtensions(out IpPayload payload)
    {
        const byte hopByHop = 0, routing = 43, fragment = 44, authentication = 51, options = 60, mobility = 135, hip = 139, shim6 = 140;
        ReadOnlySpan<byte> packet = _bytes[..TotalLength];
        payload = new IpPayload(packet[6], IPv6HeaderSize, IsFragment: false, IsLaterFragment: false);
        while (payload.Protocol is hopByHop or routing or fragment or authentication or options or mobility or hip or shim6)
        {
            if (packet.Length - payload.Offset < 8)
            {
                return false;
            }

            ReadOnlySpan<byte> header = packet[payload.Offset..];
            bool isFragment = payload.Protocol == fragment;
            bool isLater = isFragment && (BinaryPrimitives.ReadUInt16BigEndian(header[2..]) & 0xfff8) != 0;
            int length = payload.Protocol switch
            {
                fragment => 8,
                authentication => (header[1] + 2) * 4,
                _ => (header[1] + 1) * 8,
            };
            payload = new IpPayload(header[0], payload.Offset + length, payload.IsFragment || isFragment, payload.IsLaterFragment || isLater);
            if (isLater)
            {
                break;
            }
        }

        return payload.Offset <= packet.Length;
    }
}
