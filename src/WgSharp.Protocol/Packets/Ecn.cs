using System.Buffers.Binary;

namespace WgSharp.Protocol;

/// <summary>Explicit congestion notification through the tunnel (RFC 6040): copied out when a packet is wrapped, merged in when it is unwrapped.</summary>
internal static class Ecn
{
    public const byte Mask = 3;
    public const byte NotEct = 0;
    public const byte Ect1 = 1;
    public const byte Ect0 = 2;
    public const byte Ce = 3;

    /// <summary>The outer DS field for data: DSCP 0 and the inner ECN field (RFC 6040, section 4.1, normal mode).</summary>
    public static byte Encapsulate(byte innerTrafficClass) => (byte)(innerTrafficClass & Mask);

    /// <summary>
    /// Merges the outer ECN field into an inner packet (RFC 6040, section 4.2): congestion marks an ECN-capable inner packet, and ECT(1)
    /// turns ECT(0) into ECT(1). A packet that is not ECN-capable is left as it is and still delivered, as the kernel does.
    /// </summary>
    /// <param name="packet">An inner packet that <see cref="IpPacket.TryParse"/> accepted; the IPv4 header checksum is kept right.</param>
    /// <param name="outerTrafficClass">The outer DS field.</param>
    public static void Decapsulate(Span<byte> packet, byte outerTrafficClass)
    {
        int outer = outerTrafficClass & Mask;
        bool isIPv4 = packet[0] >> 4 == 4;
        int inner = (isIPv4 ? packet[1] : packet[1] >> 4) & Mask;
        bool changes = outer switch
        {
            Ce => inner is Ect0 or Ect1,
            Ect1 => inner == Ect0,
            _ => false,
        };

        if (!changes)
        {
            return;
        }

        if (isIPv4)
        {
            ushort before = BinaryPrimitives.ReadUInt16BigEndian(packet);
            packet[1] = (byte)((packet[1] & ~Mask) | outer);
            ushort after = BinaryPrimitives.ReadUInt16BigEndian(packet);
            ushort checksum = BinaryPrimitives.ReadUInt16BigEndian(packet[10..]);
            BinaryPrimitives.WriteUInt16BigEndian(packet[10..], UpdateChecksum(checksum, before, after));
        }
        else
        {
            // The traffic class straddles the first two bytes: its ECN field is bits 4 and 5 of the second.
            packet[1] = (byte)((packet[1] & ~(Mask << 4)) | (outer << 4));
        }
    }

    /// <summary>HC' = ~(~HC + ~m + m') (RFC 1624, section 3, equation 3).</summary>
    private static ushort UpdateChecksum(ushort checksum, ushort before, ushort after)
    {
        uint sum = (uint)(ushort)~checksum + (ushort)~before + after;
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        return (ushort)~sum;
    }
}
