using System.Buffers.Binary;
using WgSharp.Protocol;

namespace WgSharp.Engine.Offload;

/// <summary>
/// The packets that will leave as one frame: the first one, whose headers speak for all, and those whose payload follows. The
/// rules for joining are the kernel's (tcp_gro_receive, udp_gro_receive_segment, inet_gro_flush, ipv6_gro_receive).
/// </summary>
internal struct GroChain
{
    /// <summary>UDP_GRO_CNT_MAX.</summary>
    private const int MaxDatagrams = 64;

    public GroPacket First;
    public int FirstSlot;
    public int LastSlot;
    public int Count;

    /// <summary>Bytes of the super-packet.</summary>
    public int Length;

    /// <summary>The first packet's checksums are looked at when a second one comes: most packets of small flows stay alone.</summary>
    private bool _isFirstVerified;

    /// <summary>All packets bear the same IPv4 identification (with DF it means nothing) instead of consecutive ones.</summary>
    private bool _hasFixedId;

    /// <summary>FIN and PSH of the last packet: the kernel puts them on the last segment again.</summary>
    private byte _lastFlags;

    public GroChain(in GroPacket packet, int slot)
    {
        First = packet;
        FirstSlot = slot;
        LastSlot = slot;
        Count = 1;
        Length = packet.HeaderLength + packet.PayloadLength;
    }

    /// <summary>Same protocol, addresses and ports.</summary>
    public readonly bool IsSameFlow(ReadOnlySpan<byte> first, ReadOnlySpan<byte> packet, in GroPacket fields)
    {
        if (First.FlowHash != fields.FlowHash || First.IsIPv4 != fields.IsIPv4 || First.IsTcp != fields.IsTcp)
        {
            return false;
        }

        int start = fields.TransportStart;
        return GroPacket.HaveSameAddresses(first, packet, fields.IsIPv4) && first.Slice(start, 4).SequenceEqual(packet.Slice(start, 4));
    }

    /// <summary>Whether the headers, sizes and sequence numbers of a packet of the same flow make it this chain's next one. Checksums not yet looked at.</summary>
    public readonly bool Continues(ReadOnlySpan<byte> first, ReadOnlySpan<byte> packet, in GroPacket fields, out bool hasFixedId)
    {
        hasFixedId = _hasFixedId;
        if (fields.HeaderLength != First.HeaderLength
            || fields.PayloadLength > First.PayloadLength
            || Length + fields.PayloadLength > PacketBatch.MaxPacket
            || Count == (fields.IsTcp ? GroCoalescer.MaxSlices : MaxDatagrams))
        {
            return false;
        }

        return (fields.IsIPv4 ? ContinuesIPv4(first, packet, ref hasFixedId) : HasSameIPv6Header(first, packet))
            && (!fields.IsTcp || ContinuesTcp(first[First.TransportStart..First.HeaderLength], packet[First.TransportStart..First.HeaderLength], fields));
    }

    /// <summary>Looks at the first packet's checksums, once.</summary>
    public bool VerifyFirst(ReadOnlySpan<byte> first)
    {
        _isFirstVerified = _isFirstVerified || First.HasValidChecksums(first);
        return _isFirstVerified;
    }

    /// <returns>True if nothing more can follow: a shorter packet or one with PSH or FIN is the last.</returns>
    public bool Append(in GroPacket fields, int slot, bool hasFixedId)
    {
        _hasFixedId = hasFixedId;
        _lastFlags = (byte)(fields.Flags & (Tcp.Fin | Tcp.Psh));
        LastSlot = slot;
        Count++;
        Length += fields.PayloadLength;
        return fields.PayloadLength < First.PayloadLength || fields.EndsSuperPacket;
    }

    /// <summary>Writes the super-packet's lengths, flags and partial checksum over the first packet's.</summary>
    public readonly VirtioNetHeader JoinHeaders(Span<byte> first)
    {
        WriteLengths(first, Length);
        Span<byte> transport = first[First.TransportStart..];
        int checksumOffset = First.IsTcp ? Tcp.ChecksumOffset : Udp.ChecksumOffset;
        if (First.IsTcp)
        {
            transport[Tcp.FlagsOffset] |= _lastFlags;
        }

        // What the kernel calls CHECKSUM_PARTIAL: the pseudo header's sum, not complemented; it adds the rest per segment.
        ushort partial = InternetChecksum.Fold(First.PseudoHeader(first, Length - First.TransportStart));
        BinaryPrimitives.WriteUInt16BigEndian(transport[checksumOffset..], partial);
        byte type = !First.IsTcp ? VirtioNetHeader.GsoUdpL4 : First.IsIPv4 ? VirtioNetHeader.GsoTcp4 : VirtioNetHeader.GsoTcp6;
        return new VirtioNetHeader
        {
            Flags = VirtioNetHeader.NeedsCsum,
            GsoType = (First.Flags & Tcp.Cwr) != 0 ? (byte)(type | VirtioNetHeader.GsoEcn) : type,
            HdrLen = (ushort)First.HeaderLength,
            GsoSize = (ushort)First.PayloadLength,
            CsumStart = (ushort)First.TransportStart,
            CsumOffset = (ushort)checksumOffset,
        };
    }

    /// <summary>Undoes <see cref="JoinHeaders"/>: every checksum was verified, so what is computed anew is what stood there.</summary>
    /// <param name="first">Exactly the first packet.</param>
    public readonly void RestoreHeaders(Span<byte> first)
    {
        WriteLengths(first, first.Length);
        Span<byte> transport = first[First.TransportStart..];
        if (First.IsTcp)
        {
            transport[Tcp.FlagsOffset] = First.Flags;
        }

        Span<byte> field = transport[(First.IsTcp ? Tcp.ChecksumOffset : Udp.ChecksumOffset)..];
        BinaryPrimitives.WriteUInt16BigEndian(field, 0);
        uint sum = First.PseudoHeader(first, transport.Length) + InternetChecksum.Sum(transport);
        ushort checksum = (ushort)~InternetChecksum.Fold(sum);
        BinaryPrimitives.WriteUInt16BigEndian(field, checksum == 0 && !First.IsTcp ? (ushort)0xFFFF : checksum);
    }

    private readonly void WriteLengths(Span<byte> first, int length)
    {
        if (First.IsIPv4)
        {
            Span<byte> header = first[..IpPacket.IPv4HeaderSize];
            BinaryPrimitives.WriteUInt16BigEndian(header[2..], (ushort)length);
            BinaryPrimitives.WriteUInt16BigEndian(header[10..], 0);
            BinaryPrimitives.WriteUInt16BigEndian(header[10..], (ushort)~InternetChecksum.Fold(InternetChecksum.Sum(header)));
        }
        else
        {
            BinaryPrimitives.WriteUInt16BigEndian(first[4..], (ushort)(length - IpPacket.IPv6HeaderSize));
        }

        if (!First.IsTcp)
        {
            BinaryPrimitives.WriteUInt16BigEndian(first[(First.TransportStart + Udp.LengthOffset)..], (ushort)(length - First.TransportStart));
        }
    }

    /// <summary>Same DS field, DF and TTL; identification consecutive, or, decided by the second packet and only with DF, all the same.</summary>
    private readonly bool ContinuesIPv4(ReadOnlySpan<byte> first, ReadOnlySpan<byte> packet, ref bool hasFixedId)
    {
        const byte DontFragment = 0x40;
        int distance = (ushort)(BinaryPrimitives.ReadUInt16BigEndian(packet[4..]) - BinaryPrimitives.ReadUInt16BigEndian(first[4..]));
        if (Count == 1)
        {
            hasFixedId = distance == 0 && (packet[6] & DontFragment) != 0;
        }

        return distance == (hasFixedId ? 0 : Count) && first[1] == packet[1] && first.Slice(6, 3).SequenceEqual(packet.Slice(6, 3));
    }

    /// <summary>Same traffic class, flow label and hop limit.</summary>
    private static bool HasSameIPv6Header(ReadOnlySpan<byte> first, ReadOnlySpan<byte> packet) =>
        first[..4].SequenceEqual(packet[..4]) && first[7] == packet[7];

    /// <summary>
    /// The next bytes of the stream with the same acknowledgement, window, urgent pointer, options and flags. FIN and PSH may
    /// be new, CWR may have been: it stays on the first segment alone, so a new one opens a new super-packet.
    /// </summary>
    private readonly bool ContinuesTcp(ReadOnlySpan<byte> first, ReadOnlySpan<byte> tcp, in GroPacket fields)
    {
        const int MayDiffer = Tcp.Fin | Tcp.Psh | Tcp.Cwr;
        return fields.Sequence == First.Sequence + (uint)(Length - First.HeaderLength)
            && (fields.Flags & Tcp.Cwr) == 0
            && ((fields.Flags ^ First.Flags) & ~MayDiffer) == 0
            && first[8..13].SequenceEqual(tcp[8..13])
            && first[14..16].SequenceEqual(tcp[14..16])
            && first[18..].SequenceEqual(tcp[18..]);
    }
}
