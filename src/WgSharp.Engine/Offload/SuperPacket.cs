using System.Buffers.Binary;
using WgSharp.Protocol;

namespace WgSharp.Engine.Offload;

/// <summary>What the headers of a super-packet say, checked against its length.</summary>
internal readonly struct SuperPacket
{
    public bool IsIPv4 { get; private init; }

    public bool IsTcp { get; private init; }

    /// <summary>UDP without checksum: its segments have none either.</summary>
    public bool HasNoChecksum { get; private init; }

    public int TransportStart { get; private init; }

    /// <summary>Bytes of all headers.</summary>
    public int HeaderLength { get; private init; }

    public int SegmentSize { get; private init; }

    /// <summary>The sum of an IPv4 header without the words that every segment has its own of: length, identification, checksum.</summary>
    public uint NetworkSum { get; private init; }

    /// <summary>
    /// The sum of pseudo header and transport header without what every segment has its own of: length, and of TCP the sequence number and the
    /// word with the flags.
    /// </summary>
    public uint TransportSum { get; private init; }

    public static bool TryParse(ReadOnlySpan<byte> packet, IpPacket ip, in VirtioNetHeader header, out SuperPacket super)
    {
        super = default;
        bool isTcp;
        switch (header.GsoType & ~VirtioNetHeader.GsoEcn)
        {
            case VirtioNetHeader.GsoTcp4 when ip.IsIPv4:
            case VirtioNetHeader.GsoTcp6 when !ip.IsIPv4:
                isTcp = true;
                break;
            case VirtioNetHeader.GsoUdpL4:
                isTcp = false;
                break;
            default:
                return false;
        }

        bool isPartial = (header.Flags & VirtioNetHeader.NeedsCsum) != 0;
        if (!TryFindTransport(packet, ip.IsIPv4, isTcp, isPartial ? header.CsumStart : 0, out int start)
            || !TryFindPayload(packet, isTcp, start, out int headerLength)
            || (isPartial && header.CsumOffset != (isTcp ? Tcp.ChecksumOffset : Udp.ChecksumOffset))
            || header.GsoSize == 0)
        {
            return false;
        }

        // The kernel's partial sum knows the final destination even where the IP header names a waypoint (routing header,
        // source route), so it is believed; the length in it is the super-packet's and is taken out again.
        int length = packet.Length - start;
        uint field = BinaryPrimitives.ReadUInt16BigEndian(packet[(start + (isTcp ? Tcp.ChecksumOffset : Udp.ChecksumOffset))..]);
        uint pseudoHeader = isPartial
            ? field + (ushort)~length
            : InternetChecksum.PseudoHeader(ip.IsIPv4 ? packet[12..20] : packet[8..40], Protocol(isTcp), 0);
        super = new SuperPacket
        {
            IsIPv4 = ip.IsIPv4,
            IsTcp = isTcp,
            HasNoChecksum = !isTcp && !isPartial && field == 0,
            TransportStart = start,
            HeaderLength = headerLength,
            SegmentSize = header.GsoSize,
            NetworkSum = ip.IsIPv4 ? SumIPv4(packet[..start]) : 0,
            TransportSum = pseudoHeader + (isTcp ? SumTcp(packet[start..headerLength]) : SumUdp(packet[start..headerLength])),
        };
        return true;
    }

    private static uint SumIPv4(ReadOnlySpan<byte> header) =>
        InternetChecksum.Sum(header[..2]) + InternetChecksum.Sum(header[6..10]) + InternetChecksum.Sum(header[12..]);

    private static uint SumUdp(ReadOnlySpan<byte> header) => InternetChecksum.Sum(header[..Udp.LengthOffset]);

    private static uint SumTcp(ReadOnlySpan<byte> header) =>
        InternetChecksum.Sum(header[..4]) + InternetChecksum.Sum(header[8..12]) + InternetChecksum.Sum(header[14..16]) + InternetChecksum.Sum(header[18..]);

    /// <param name="checksumStart">Where the kernel says the transport header is, or 0. Only it knows behind IPv6 extension headers.</param>
    private static bool TryFindTransport(ReadOnlySpan<byte> packet, bool isIPv4, bool isTcp, int checksumStart, out int start)
    {
        byte protocol;
        if (isIPv4)
        {
            start = (packet[0] & 0x0F) * 4;
            protocol = packet[9];
        }
        else
        {
            start = IpPacket.IPv6HeaderSize;
            protocol = packet[6];
        }

        if (!isIPv4 && checksumStart > start)
        {
            start = checksumStart;
            return true;
        }

        return start >= IpPacket.IPv4HeaderSize && (checksumStart == 0 || checksumStart == start) && protocol == Protocol(isTcp);
    }

    private static bool TryFindPayload(ReadOnlySpan<byte> packet, bool isTcp, int start, out int headerLength)
    {
        headerLength = start + Udp.HeaderSize;
        if (isTcp)
        {
            if (packet.Length < start + Tcp.MinHeaderSize)
            {
                return false;
            }

            int tcpLength = (packet[start + Tcp.DataOffsetOffset] >> 4) * 4;
            headerLength = start + tcpLength;
            if (tcpLength < Tcp.MinHeaderSize)
            {
                return false;
            }
        }

        return headerLength < packet.Length;
    }

    private static byte Protocol(bool isTcp) => isTcp ? Tcp.Protocol : Udp.Protocol;
}
