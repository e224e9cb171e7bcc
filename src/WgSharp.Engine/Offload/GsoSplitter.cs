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
using WgSharp.Protocol;

namespace WgSharp.Engine.Offload;

/// <summary>How far a batch's frames are split. Starts as <c>default</c>.</summary>
public struct SplitPosition
{
    /// <summary>The frame that comes next.</summary>
    public int Frame { get; internal set; }

    /// <summary>Payload bytes of that frame that were dealt with already.</summary>
    internal int PayloadDone { get; set; }

    /// <summary>Segments of that frame that were made already.</summary>
    internal int SegmentsDone { get; set; }

    /// <summary>Frames that were passed over: neither IPv4 nor IPv6, or with lengths that contradict each other.</summary>
    public int Malformed { get; internal set; }

    internal void NextFrame()
    {
        Frame++;
        PayloadDone = 0;
        SegmentsDone = 0;
    }
}

/// <summary>Cuts the frames of a batch into padded messages, ready for numbering and sealing.</summary>
public static class GsoSplitter
{
    private const int PaddingMultiple = 16;

    /// <summary>
    /// Fills slots 0 to <see cref="PacketBatch.SlotCount"/> from the frames at <paramref name="position"/>, until all are done or
    /// slots or buffer are full; then the caller sends what there is and calls again.
    /// </summary>
    /// <param name="mtu">The MTU of the TUN device: padding does not cross it. 0: unknown, every packet is padded to 16.</param>
    /// <param name="maxPacket">TCP super-packets are cut so that no packet is longer than this. 0: as the kernel said.</param>
    /// <returns>True while frames are left.</returns>
    /// <exception cref="InvalidOperationException">The batch is too small for even one packet of its frames.</exception>
    public static bool Split(PacketBatch batch, ref SplitPosition position, int mtu, int maxPacket = 0)
    {
        batch.SlotCount = 0;
        var messages = new MessageWriter(batch, mtu);
        while (position.Frame < batch.FrameCount)
        {
            ref readonly TunFrame frame = ref batch.Frames[position.Frame];
            bool finished = SplitFrame(batch.Buffer.AsSpan(frame.Offset, frame.Length), frame.Header, maxPacket, ref position, ref messages);
            if (!finished)
            {
                return batch.SlotCount > 0 ? true : throw new InvalidOperationException("The batch has no room for one packet.");
            }

            position.NextFrame();
        }

        return false;
    }

    /// <summary>The length that calculate_skb_padding in the kernel's send.c brings a packet to.</summary>
    public static int PaddedLength(int length, int mtu)
    {
        if (mtu <= 0)
        {
            return (length + PaddingMultiple - 1) & -PaddingMultiple;
        }

        int lastUnit = length > mtu ? length % mtu : length;
        return length - lastUnit + Math.Min(mtu, (lastUnit + PaddingMultiple - 1) & -PaddingMultiple);
    }

    /// <returns>False if there was no room; the position says how far it came.</returns>
    private static bool SplitFrame(
        ReadOnlySpan<byte> bytes, in VirtioNetHeader header, int maxPacket, ref SplitPosition position, ref MessageWriter messages)
    {
        if (!IpPacket.TryParse(bytes, out IpPacket ip))
        {
            position.Malformed++;
            return true;
        }

        ReadOnlySpan<byte> packet = bytes[..ip.TotalLength];
        if (header.GsoType != VirtioNetHeader.GsoNone)
        {
            if (SuperPacket.TryParse(packet, ip, header, out SuperPacket super))
            {
                return SplitSuperPacket(packet, super, ip.TrafficClass, maxPacket, ref position, ref messages);
            }

            position.Malformed++;
            return true;
        }

        bool completesChecksum = (header.Flags & VirtioNetHeader.NeedsCsum) != 0;
        int checksumAt = header.CsumStart + header.CsumOffset;
        if (completesChecksum && checksumAt + sizeof(ushort) > packet.Length)
        {
            position.Malformed++;
            return true;
        }

        if (!messages.TryAppend(packet.Length, ip.TrafficClass, out Span<byte> content))
        {
            return false;
        }

        packet.CopyTo(content);
        if (completesChecksum)
        {
            WriteChecksum(content[checksumAt..], InternetChecksum.Sum(content[header.CsumStart..]), zeroMeansNone: true);
        }

        return true;
    }

    private static bool SplitSuperPacket(
        ReadOnlySpan<byte> packet, in SuperPacket super, byte trafficClass, int maxPacket, ref SplitPosition position, ref MessageWriter messages)
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
            if (!messages.TryAppend(super.HeaderLength + size, trafficClass, out Span<byte> content))
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

    /// <summary>Appends messages behind each other in the sending half of the buffer, one slot each.</summary>
    private struct MessageWriter(PacketBatch batch, int mtu)
    {
        private int _end = batch.ReadCapacity;

        public bool TryAppend(int length, byte trafficClass, out Span<byte> content)
        {
            int slot = batch.SlotCount;
            int padded = PaddedLength(length, mtu);
            int start = _end + MessageSize.TransportHeader;
            int end = start + padded + MessageSize.Tag;
            if (slot == batch.Slots.Length || end > batch.Buffer.Length)
            {
                content = default;
                return false;
            }

            batch.Packets[slot] = new AeadPacket { Offset = start, Length = padded };
            batch.Slots[slot] = new PacketSlot { InnerLength = length, TrafficClass = trafficClass };
            batch.SlotCount = slot + 1;
            _end = end;
            content = batch.Buffer.AsSpan(start, padded);
            content[length..].Clear();
            content = content[..length];
            return true;
        }
    }
}
