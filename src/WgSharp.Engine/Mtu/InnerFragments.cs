using System.Buffers.Binary;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

/// <summary>
/// An inner IPv4 packet without DF, cut into pieces that fit through the tunnel (RFC 791, section 2.3), of even size, so that no tiny one is at the end.
/// Whoever receives them puts them together, as with any fragments. A plan is made once per packet; pure, nothing allocated.
/// </summary>
public readonly struct InnerFragments
{
    private const ushort DontFragment = 0x4000;
    private const ushort MoreFragments = 0x2000;
    private const ushort OffsetMask = 0x1fff;
    private const int Unit = 8;

    private const byte EndOfOptions = 0;
    private const byte NoOperation = 1;

    /// <summary>The option is carried by every fragment (RFC 791, section 3.1).</summary>
    private const byte Copied = 0x80;

    private readonly int _header;
    private readonly int _laterHeader;
    private readonly int _payload;
    private readonly int _piece;

    private InnerFragments(int header, int laterHeader, int payload, int piece, int count)
    {
        _header = header;
        _laterHeader = laterHeader;
        _payload = payload;
        _piece = piece;
        Count = count;
    }

    /// <summary>How many pieces.</summary>
    public int Count { get; }

    /// <summary>Bytes of the longest piece: never more than the plan was made for.</summary>
    public int MaxLength => Math.Max(_header + _piece, _laterHeader + _payload - ((Count - 1) * _piece));

    /// <summary>Bytes of a piece, its header included.</summary>
    public int LengthOf(int index) => index == Count - 1
        ? (index == 0 ? _header : _laterHeader) + _payload - (index * _piece)
        : (index == 0 ? _header : _laterHeader) + _piece;

    /// <param name="packet">The inner packet, its transport checksum complete. It may be a fragment itself.</param>
    /// <param name="maxInner">The longest packet that fits.</param>
    /// <returns>
    /// False if there is nothing to cut (it fits), if it must not be cut (IPv6, DF), or can't be (malformed options, hardly any room): then it goes as it is.
    /// </returns>
    public static bool TryPlan(ReadOnlySpan<byte> packet, int maxInner, out InnerFragments plan)
    {
        plan = default;
        if (!IpPacket.TryParse(packet, out IpPacket parsed) || !parsed.IsIPv4 || parsed.TotalLength <= maxInner)
        {
            return false;
        }

        int header = (packet[0] & 15) * 4;
        ushort flags = BinaryPrimitives.ReadUInt16BigEndian(packet[6..]);
        int payload = parsed.TotalLength - header;
        bool isCut = (flags & MoreFragments) != 0;
        if (header < IpPacket.IPv4HeaderSize || payload <= 0 || (flags & DontFragment) != 0 || (isCut && payload % Unit != 0))
        {
            return false;
        }

        int room = maxInner - header;
        int most = room / Unit * Unit;
        if (most <= 0 || !TryMeasureCopied(packet[IpPacket.IPv4HeaderSize..header], out int copied))
        {
            return false;
        }

        // The last piece may have any length.
        int count = 1 + ((payload - room + most - 1) / most);
        int even = (payload + count - 1) / count;
        int piece = Math.Min(most, (even + Unit - 1) / Unit * Unit);
        if ((flags & OffsetMask) + ((count - 1) * piece / Unit) > OffsetMask)
        {
            return false;
        }

        plan = new InnerFragments(header, IpPacket.IPv4HeaderSize + copied, payload, piece, count);
        return true;
    }

    /// <summary>Writes one piece, header checksum included.</summary>
    /// <param name="packet">The packet that the plan was made for.</param>
    /// <param name="index">From 0 to <see cref="Count"/> - 1.</param>
    /// <param name="destination">At least <see cref="MaxLength"/> bytes, apart from the packet.</param>
    /// <returns>Its length.</returns>
    public int Write(ReadOnlySpan<byte> packet, int index, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)Count, nameof(index));
        bool isLast = index == Count - 1;
        int start = index * _piece;
        int payload = isLast ? _payload - start : _piece;
        int header = index == 0 ? _header : _laterHeader;
        packet[..(index == 0 ? header : IpPacket.IPv4HeaderSize)].CopyTo(destination);
        if (index > 0)
        {
            CopyOptions(packet[IpPacket.IPv4HeaderSize.._header], destination[IpPacket.IPv4HeaderSize..header]);
        }

        // What is a fragment already has an offset, and its last piece is followed by more.
        ushort flags = (ushort)(BinaryPrimitives.ReadUInt16BigEndian(packet[6..]) + (start / Unit));
        destination[0] = (byte)(0x40 | (header / 4));
        BinaryPrimitives.WriteUInt16BigEndian(destination[2..], (ushort)(header + payload));
        BinaryPrimitives.WriteUInt16BigEndian(destination[6..], (ushort)(isLast ? flags : flags | MoreFragments));
        BinaryPrimitives.WriteUInt16BigEndian(destination[10..], 0);
        BinaryPrimitives.WriteUInt16BigEndian(destination[10..], (ushort)~InternetChecksum.Fold(InternetChecksum.Sum(destination[..header])));
        packet.Slice(_header + start, payload).CopyTo(destination[header..]);
        return header + payload;
    }

    /// <summary>Bytes of the options that later fragments carry, as whole words.</summary>
    private static bool TryMeasureCopied(ReadOnlySpan<byte> options, out int length)
    {
        length = 0;
        for (int at = 0; at < options.Length && options[at] != EndOfOptions;)
        {
            if (!TryMeasure(options[at..], out int option))
            {
                return false;
            }

            length += (options[at] & Copied) != 0 ? option : 0;
            at += option;
        }

        length = (length + 3) & ~3;
        return true;
    }

    private static void CopyOptions(ReadOnlySpan<byte> options, Span<byte> destination)
    {
        destination.Clear(); // the end of options is 0
        for (int at = 0; at < options.Length && options[at] != EndOfOptions && TryMeasure(options[at..], out int option); at += option)
        {
            if ((options[at] & Copied) != 0)
            {
                options.Slice(at, option).CopyTo(destination);
                destination = destination[option..];
            }
        }
    }

    private static bool TryMeasure(ReadOnlySpan<byte> options, out int length)
    {
        length = options[0] == NoOperation ? 1 : options.Length > 1 ? options[1] : 0;
        return options[0] == NoOperation || (length >= 2 && length <= options.Length);
    }
}
