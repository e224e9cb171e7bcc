using System.Buffers.Binary;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

// A probe is a short ICMP echo request inside the tunnel; the transport message around it is padded to the size that is tried, since everybody
// trims what follows the inner length. Whom to send it to:
//
// - a peer whose own tunnel address is known (a /32 or /128 of its allowed IPs, or what an answer revealed): it answers;
// - a peer that forwards: a request to our own address, through the peer. With a TTL of 64 it comes back, and a redirect may come too; with a TTL of 1 the peer
//   answers "time exceeded", before its FORWARD chain, and nothing leaves it. All but the packet that came back reveal the peer's own address.
//
// An error of any sort that quotes the probe says as well that it has arrived.

/// <summary>Where a probe goes, and how far.</summary>
public enum ProbeKind
{
    /// <summary>To the peer's tunnel address.</summary>
    Peer,

    /// <summary>To our own tunnel address, through a peer that forwards.</summary>
    Return,

    /// <summary>As <see cref="Return"/>, but its TTL ends at the peer.</summary>
    Expire,
}

/// <summary>How a probe was answered.</summary>
public enum ProbeAnswer
{
    /// <summary>This packet has nothing to do with a probe.</summary>
    None,

    EchoReply,

    /// <summary>The probe itself came back.</summary>
    Returned,
    TimeExceeded,
    Redirect,
    Unreachable,
}

/// <summary>Builds probes and knows their answers. Pure: bytes in, bytes out, nothing allocated.</summary>
internal static class MtuProbes
{
    /// <summary>Bytes of the longest probe, IPv6, without padding.</summary>
    public const int MaxLength = IpPacket.IPv6HeaderSize + EchoHeaderSize + SecretSize;

    private const int EchoHeaderSize = 8;
    private const int SecretSize = 16;
    private const byte HopLimit = 64;

    private const byte ProtocolIcmp = 1;
    private const byte EchoReply = 0;
    private const byte DestinationUnreachable = 3;
    private const byte RedirectMessage = 5;
    private const byte EchoRequest = 8;
    private const byte TimeExceeded = 11;

    private const byte ProtocolIcmpV6 = 58;
    private const byte V6DestinationUnreachable = 1;
    private const byte V6TimeExceeded = 3;
    private const byte V6EchoRequest = 128;
    private const byte V6EchoReply = 129;
    private const byte V6Redirect = 137;

    /// <summary>A redirect of IPv6 (RFC 4861, section 4.5) quotes in an option: this type, behind the two addresses, 8 bytes before the packet.</summary>
    private const byte RedirectedHeader = 4;
    private const int V6RedirectSize = 40;

    /// <summary>Writes the echo request: 44 bytes over IPv4, 64 over IPv6. The caller pads the transport message.</summary>
    /// <param name="own">Our address in the tunnel.</param>
    /// <param name="peer">The peer's address in the tunnel, of the same family; only asked for by <see cref="ProbeKind.Peer"/>.</param>
    /// <param name="destination">At least <see cref="MaxLength"/> bytes.</param>
    /// <returns>The length of the inner packet.</returns>
    public static int Write(ProbeKind kind, in ProbeToken token, in InetAddress own, in InetAddress peer, Span<byte> destination)
    {
        InetAddress target = kind == ProbeKind.Peer ? peer : own;
        if (own.IsNone || own.Length != target.Length)
        {
            throw new ArgumentException("Two addresses of one family.", nameof(peer));
        }

        int header = own.IsIPv4 ? IpPacket.IPv4HeaderSize : IpPacket.IPv6HeaderSize;
        Span<byte> packet = destination[..(header + EchoHeaderSize + SecretSize)];
        packet.Clear();
        byte hopLimit = kind == ProbeKind.Expire ? (byte)1 : HopLimit;
        Span<byte> echo = packet[header..];
        BinaryPrimitives.WriteUInt16BigEndian(echo[4..], token.Identifier);
        BinaryPrimitives.WriteUInt16BigEndian(echo[6..], token.Sequence);
        BinaryPrimitives.WriteUInt128BigEndian(echo[EchoHeaderSize..], token.Secret);
        uint pseudoHeader = 0;
        if (own.IsIPv4)
        {
            packet[0] = 0x45;
            BinaryPrimitives.WriteUInt16BigEndian(packet[2..], (ushort)packet.Length);
            packet[6] = 0x40; // DF
            packet[8] = hopLimit;
            packet[9] = ProtocolIcmp;
            own.CopyTo(packet[12..]);
            target.CopyTo(packet[16..]);
            BinaryPrimitives.WriteUInt16BigEndian(packet[10..], (ushort)~InternetChecksum.Fold(InternetChecksum.Sum(packet[..header])));
            echo[0] = EchoRequest;
        }
        else
        {
            packet[0] = 0x60;
            BinaryPrimitives.WriteUInt16BigEndian(packet[4..], (ushort)echo.Length);
            packet[6] = ProtocolIcmpV6;
            packet[7] = hopLimit;
            own.CopyTo(packet[8..]);
            target.CopyTo(packet[24..]);
            echo[0] = V6EchoRequest;
            pseudoHeader = InternetChecksum.PseudoHeader(packet[8..header], ProtocolIcmpV6, echo.Length);
        }

        BinaryPrimitives.WriteUInt16BigEndian(echo[2..], (ushort)~InternetChecksum.Fold(InternetChecksum.Sum(echo) + pseudoHeader));
        return packet.Length;
    }

    /// <summary>
    /// Whether an inner packet from a peer is the answer to a probe; if so, it is not for the TUN. Said no to most packets after a glance at one byte.
    /// </summary>
    /// <param name="packet">The inner packet, of any content.</param>
    /// <param name="pending">The probes that this peer has not answered yet.</param>
    /// <param name="index">Which of them.</param>
    /// <param name="speaker">Whose answer it is: the peer's tunnel address; none if the probe itself came back.</param>
    public static ProbeAnswer Recognise(ReadOnlySpan<byte> packet, ReadOnlySpan<ProbeToken> pending, out int index, out InetAddress speaker)
    {
        index = -1;
        speaker = InetAddress.None;
        if (pending.IsEmpty || !TryFindIcmp(packet, out ReadOnlySpan<byte> icmp, out bool isIPv4))
        {
            return ProbeAnswer.None;
        }

        ProbeAnswer answer = AnswerOf(icmp[0], isIPv4);
        bool isOurs = answer switch
        {
            ProbeAnswer.None => false,
            ProbeAnswer.EchoReply => IsPending(icmp, pending, isWhole: true, out index),
            ProbeAnswer.Returned => HasSameAddresses(packet, isIPv4) && IsPending(icmp, pending, isWhole: true, out index),
            ProbeAnswer.Redirect when !isIPv4 => TryFindRedirected(icmp, out ReadOnlySpan<byte> quote) && IsQuoted(quote, isIPv4, pending, out index),
            _ => IsQuoted(icmp[EchoHeaderSize..], isIPv4, pending, out index),
        };
        if (!isOurs)
        {
            return ProbeAnswer.None;
        }

        speaker = answer == ProbeAnswer.Returned ? InetAddress.None : new InetAddress(isIPv4 ? packet.Slice(12, 4) : packet.Slice(8, 16));
        return answer;
    }

    private static ProbeAnswer AnswerOf(byte type, bool isIPv4) => (type, isIPv4) switch
    {
        (EchoReply, true) or (V6EchoReply, false) => ProbeAnswer.EchoReply,
        (EchoRequest, true) or (V6EchoRequest, false) => ProbeAnswer.Returned,
        (TimeExceeded, true) or (V6TimeExceeded, false) => ProbeAnswer.TimeExceeded,
        (RedirectMessage, true) or (V6Redirect, false) => ProbeAnswer.Redirect,
        (DestinationUnreachable, true) or (V6DestinationUnreachable, false) => ProbeAnswer.Unreachable,
        _ => ProbeAnswer.None,
    };

    /// <summary>The ICMP message of a whole packet; at least 8 bytes. IPv6: without extension headers, which no answer has.</summary>
    private static bool TryFindIcmp(ReadOnlySpan<byte> packet, out ReadOnlySpan<byte> icmp, out bool isIPv4)
    {
        icmp = default;
        isIPv4 = packet.Length > 0 && packet[0] >> 4 == 4;
        if (packet.Length < IpPacket.IPv4HeaderSize || (isIPv4 ? packet[9] != ProtocolIcmp : packet[6] != ProtocolIcmpV6)
            || !IpPacket.TryParse(packet, out IpPacket parsed))
        {
            return false;
        }

        int header = isIPv4 ? (packet[0] & 15) * 4 : IpPacket.IPv6HeaderSize;
        bool isFragment = isIPv4 && (BinaryPrimitives.ReadUInt16BigEndian(packet[6..]) & 0x3fff) != 0;
        if (isFragment || header < IpPacket.IPv4HeaderSize || parsed.TotalLength < header + EchoHeaderSize)
        {
            return false;
        }

        icmp = packet[header..parsed.TotalLength];
        return true;
    }

    private static bool HasSameAddresses(ReadOnlySpan<byte> packet, bool isIPv4) =>
        isIPv4 ? packet.Slice(12, 4).SequenceEqual(packet.Slice(16, 4)) : packet.Slice(8, 16).SequenceEqual(packet.Slice(24, 16));

    private static bool TryFindRedirected(ReadOnlySpan<byte> icmp, out ReadOnlySpan<byte> quote)
    {
        quote = default;
        for (int at = V6RedirectSize; at + 8 <= icmp.Length && icmp[at + 1] > 0; at += icmp[at + 1] * 8)
        {
            if (icmp[at] == RedirectedHeader)
            {
                quote = icmp[(at + 8)..];
                return true;
            }
        }

        return false;
    }

    /// <summary>A quote may be cut off: 8 bytes behind the IP header is all that RFC 792 asks for. Of IPv4 it may end in padding.</summary>
    private static bool IsQuoted(ReadOnlySpan<byte> quote, bool isIPv4, ReadOnlySpan<ProbeToken> pending, out int index)
    {
        index = -1;
        int header = isIPv4 ? IpPacket.IPv4HeaderSize : IpPacket.IPv6HeaderSize;
        if (quote.Length < header + EchoHeaderSize)
        {
            return false;
        }

        // Our probes have no options.
        bool isProbe = isIPv4
            ? quote[0] == 0x45 && quote[9] == ProtocolIcmp && quote[header] == EchoRequest
            : quote[0] >> 4 == 6 && quote[6] == ProtocolIcmpV6 && quote[header] == V6EchoRequest;
        return isProbe && IsPending(quote[header..], pending, isWhole: false, out index);
    }

    private static bool IsPending(ReadOnlySpan<byte> echo, ReadOnlySpan<ProbeToken> pending, bool isWhole, out int index)
    {
        ushort identifier = BinaryPrimitives.ReadUInt16BigEndian(echo[4..]);
        ushort sequence = BinaryPrimitives.ReadUInt16BigEndian(echo[6..]);
        bool hasSecret = echo.Length >= EchoHeaderSize + SecretSize;
        UInt128 secret = hasSecret ? BinaryPrimitives.ReadUInt128BigEndian(echo[EchoHeaderSize..]) : default;
        for (index = 0; index < pending.Length; index++)
        {
            ref readonly ProbeToken token = ref pending[index];
            if (token.Identifier == identifier && token.Sequence == sequence && (hasSecret ? token.Secret == secret : !isWhole))
            {
                return true;
            }
        }

        index = -1;
        return false;
    }
}
