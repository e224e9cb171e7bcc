// Stage 2 of the way out: what the TUN handed us becomes transport messages.
//
// A frame is either one packet or a super-packet that stands for many equal ones (TSO, USO). Each packet of it is copied once,
// from the reading half of the buffer to the sending half, where the messages lie one behind the other:
//
//     [16 bytes for the transport header | inner packet | zeros up to a multiple of 16 | 16 bytes for the tag] [16 | ...
//
// so that equal packets are equal strides and one UDP_SEGMENT call sends them. Checksums that the kernel left to "hardware"
// are completed here: inside the tunnel there is no hardware. The rules are those of the kernel's software segmentation
// (inet_gso_segment, tcp_gso_segment, __udp_gso_segment) and of skb_checksum_help.

using System.Buffers.Binary;
using WgSharp.Crypto;
using WgSharp.Engine.Mtu;
using WgSharp.Protocol;

namespace WgSharp.Engine.Offload;

/// <summary>How far a batch's frames are dealt with. Starts as <c>default</c>.</summary>
public struct SplitPosition
{
    /// <summary>The frame that comes next.</summary>
    public int Frame { get; internal set; }

    /// <summary>Payload bytes of that frame that were dealt with already.</summary>
    internal int PayloadDone { get; set; }

    /// <summary>Segments of that frame that were made already.</summary>
    internal int SegmentsDone { get; set; }

    /// <summary>How that frame leaves; null: not decided yet. Once it has begun to leave it goes on so, though the path has changed: fragments of two plans make no packet.</summary>
    internal FrameFit? Fit { get; set; }

    /// <summary>The longest packet that is made of that frame where it has to be made to fit.</summary>
    internal int MaxInner { get; set; }

    internal void NextFrame() => this = new SplitPosition { Frame = Frame + 1 };
}

/// <summary>What became of a frame.</summary>
internal enum SplitResult
{
    /// <summary>All of it stands in the batch.</summary>
    Whole,

    /// <summary>Packets or buffer are full; the position says how far it came. Send what there is and call again.</summary>
    NoRoom,

    /// <summary>Its headers contradict each other, or what the kernel said of them: nothing was made of it.</summary>
    Malformed,
}

/// <summary>Cuts a frame into padded messages, ready for numbering and sealing.</summary>
internal static class GsoSplitter
{
    /// <summary>Appends a frame's only packet as one message.</summary>
    /// <param name="packet">A whole IP packet, of its own length.</param>
    /// <param name="header">What the kernel said of it: a checksum that it left to hardware is completed.</param>
    public static SplitResult Append(PacketBatch batch, ReadOnlySpan<byte> packet, in VirtioNetHeader header, in Padding padding)
    {
        bool completesChecksum = (header.Flags & VirtioNetHeader.NeedsCsum) != 0;
        if (completesChecksum && !HasChecksum(packet, in header))
        {
            return SplitResult.Malformed;
        }

        if (!TryAppend(batch, packet.Length, in padding, out Span<byte> content))
        {
            return SplitResult.NoRoom;
        }

        packet.CopyTo(content);
        if (completesChecksum)
        {
            CompleteChecksum(content, in header);
        }

        return SplitResult.Whole;
    }

    /// <summary>Appends an IPv4 packet without DF in pieces that fit, from <paramref name="position"/> on. A checksum that the kernel left to hardware is completed in place.</summary>
    public static SplitResult AppendFragments(
        PacketBatch batch, Span<byte> packet, in VirtioNetHeader header, int maxPacket, in Padding padding, ref SplitPosition position)
    {
        bool completesChecksum = position.SegmentsDone == 0 && (header.Flags & VirtioNetHeader.NeedsCsum) != 0;
        if (completesChecksum && !HasChecksum(packet, in header))
        {
            return SplitResult.Malformed;
        }

        if (!InnerFragments.TryPlan(packet, maxPacket, out InnerFragments plan))
        {
            return SplitResult.Malformed;
        }

        for (; position.SegmentsDone < plan.Count; position.SegmentsDone++)
        {
            if (!TryAppend(batch, plan.LengthOf(position.SegmentsDone), in padding, out Span<byte> content))
            {
                return SplitResult.NoRoom;
            }

            if (completesChecksum)
            {
                CompleteChecksum(packet, in header); // once: a second time would undo it
                completesChecksum = false;
            }

            plan.Write(packet, position.SegmentsDone, content);
        }

        return SplitResult.Whole;
    }

    /// <summary>Appends a super-packet's messages, from <paramref name="position"/> on: all of one length but the last.</summary>
    /// <param name="maxPacket">TCP is cut so that no packet is longer than this. 0: as the kernel said.</param>
    public static SplitResult Split(
        PacketBatch batch, ReadOnlySpan<byte> packet, in SuperPacket super, int maxPacket, in Padding padding, ref SplitPosition position) =>
        SplitSuperPacket(batch, packet, super, maxPacket, in padding, ref position) ? SplitResult.Whole : SplitResult.NoRoom;

    /// <returns>False if there was no room; the position says how far it came.</returns>
    private static bool SplitSuperPacket(
        PacketBatch batch, ReadOnlySpan<byte> packet, in SuperPacket super, int maxPacket, in Padding padding, ref SplitPosition position)
    {
        ReadOnlySpan<byte> headers = packet[..super.HeaderLength];
        ReadOnlySpan<byte> payload = packet[super.HeaderLength..];
        int segmentSize = super.SegmentSize;
        if (super.IsTcp && maxPacket > super.HeaderLength)
        {
            segmentSize = Math.Min(segmentSize, maxPacket - super.HeaderLength);
        }

        while (position.PayloadDone < payload.Length)
        {
            int size = Math.Min(segmentSize, payload.Length - position.PayloadDone);
            if (!TryAppend(batch, super.HeaderLength + size, in padding, out Span<byte> content))
            {
                return false;
            }

            headers.CopyTo(content);
            uint payloadSum = InternetChecksum.CopyAndSum(payload.Slice(position.PayloadDone, size), content[super.HeaderLength..]);
            if (super.IsIPv4)
            {
                FinishIPv4Header(content, super, position.SegmentsDone);
            }
            else
            {
                BinaryPrimitives.WriteUInt16BigEndian(content[4..], (ushort)(content.Length - IpPacket.IPv6HeaderSize));
            }

            if (super.IsTcp)
            {
                FinishTcpHeader(content, super, payloadSum, position.PayloadDone, isLast: position.PayloadDone + size == payload.Length);
            }
            else
            {
                FinishUdpHeader(content, super, payloadSum);
            }

            position.PayloadDone += size;
            position.SegmentsDone++;
        }

        return true;
    }

    // The headers of a segment differ in few words from those of the super-packet: their sums take the rest from it.

    private static void FinishIPv4Header(Span<byte> content, in SuperPacket super, int segment)
    {
        ushort id = (ushort)(BinaryPrimitives.ReadUInt16BigEndian(content[4..]) + segment);
        BinaryPrimitives.WriteUInt16BigEndian(content[2..], (ushort)content.Length);
        BinaryPrimitives.WriteUInt16BigEndian(content[4..], id);
        WriteChecksum(content[10..], super.NetworkSum + (uint)content.Length + id, zeroMeansNone: false);
    }

    private static void FinishTcpHeader(Span<byte> content, in SuperPacket super, uint payloadSum, int payloadDone, bool isLast)
    {
        Span<byte> tcp = content[super.TransportStart..];
        uint sequence = BinaryPrimitives.ReadUInt32BigEndian(tcp[Tcp.SequenceOffset..]) + (uint)payloadDone;
        BinaryPrimitives.WriteUInt32BigEndian(tcp[Tcp.SequenceOffset..], sequence);
        if (!isLast)
        {
            tcp[Tcp.FlagsOffset] &= unchecked((byte)~(Tcp.Fin | Tcp.Psh));
        }

        if (payloadDone > 0)
        {
            tcp[Tcp.FlagsOffset] &= unchecked((byte)~Tcp.Cwr);
        }

        uint own = (uint)tcp.Length + (sequence >> 16) + (sequence & 0xFFFF) + BinaryPrimitives.ReadUInt16BigEndian(tcp[Tcp.DataOffsetOffset..]);
        WriteChecksum(tcp[Tcp.ChecksumOffset..], super.TransportSum + own + payloadSum, zeroMeansNone: false);
    }

    private static void FinishUdpHeader(Span<byte> content, in SuperPacket super, uint payloadSum)
    {
        Span<byte> udp = content[super.TransportStart..];
        BinaryPrimitives.WriteUInt16BigEndian(udp[Udp.LengthOffset..], (ushort)udp.Length);
        if (!super.HasNoChecksum)
        {
            // The length counts twice: in the header and in the pseudo header.
            WriteChecksum(udp[Udp.ChecksumOffset..], super.TransportSum + (2 * (uint)udp.Length) + payloadSum, zeroMeansNone: true);
        }
    }

    /// <param name="zeroMeansNone">UDP: a checksum that comes out as 0 is sent as 0xFFFF (RFC 768). skb_checksum_help does it for all.</param>
    private static void WriteChecksum(Span<byte> field, uint sum, bool zeroMeansNone)
    {
        ushort checksum = (ushort)~InternetChecksum.Fold(sum);
        BinaryPrimitives.WriteUInt16BigEndian(field, checksum == 0 && zeroMeansNone ? (ushort)0xFFFF : checksum);
    }

    private static bool HasChecksum(ReadOnlySpan<byte> packet, in VirtioNetHeader header) =>
        header.CsumStart + header.CsumOffset + sizeof(ushort) <= packet.Length;

    private static void CompleteChecksum(Span<byte> packet, in VirtioNetHeader header) =>
        WriteChecksum(packet[(header.CsumStart + header.CsumOffset)..], InternetChecksum.Sum(packet[header.CsumStart..]), zeroMeansNone: true);

    /// <summary>Appends a message behind the last one: room for the header, the content with its padding wiped, room for the tag.</summary>
    private static bool TryAppend(PacketBatch batch, int length, in Padding padding, out Span<byte> content)
    {
        int index = batch.PacketCount;
        int padded = padding.PaddedLength(length);
        int start = batch.MessagesEnd + MessageSize.TransportHeader;
        int end = start + padded + MessageSize.Tag;
        if (index == batch.Packets.Length || end > batch.Buffer.Length)
        {
            content = default;
            return false;
        }

        batch.Packets[index] = new AeadPacket { Offset = start, Length = padded };
        batch.PacketCount = index + 1;
        batch.MessagesEnd = end;
        content = batch.Buffer.AsSpan(start, padded);
        content[length..].Clear();
        content = content[..length];
        return true;
    }
}
