using System.Buffers.Binary;

namespace WgSharp.Protocol;

/// <summary>The header fields of an inner IP packet that WireGuard needs: version, length, source, destination, ECN.</summary>
public readonly ref struct IpPacket
{
    public const int IPv4HeaderSize = 20;
    public const int IPv6HeaderSize = 40;
    public const int UdpHeaderSize = 8;

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
}
