using System.Runtime.CompilerServices;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>Which ICMP message told it.</summary>
public enum PathReportKind : byte
{
    /// <summary>ICMP: destination unreachable, fragmentation needed (RFC 1191). Only datagrams of <see cref="IUdpSocket.SendWhole"/> can cause it.</summary>
    FragmentationNeeded,

    /// <summary>ICMPv6: packet too big (RFC 8201). Any large datagram can cause it.</summary>
    PacketTooBig,
}

/// <summary>
/// A router says that a datagram of ours was too large for its next link. Anybody can say so who knows our port: it is worth what the quote is worth.
/// </summary>
public struct PathReport
{
    public PathReportKind Kind;

    /// <summary>The MTU told in bytes, IP header included. 0 by a router older than RFC 1191; nothing was checked.</summary>
    public int Mtu;

    /// <summary>Where the datagram went.</summary>
    public InetEndpoint Remote;

    /// <summary>How much of <see cref="Quote"/> there is. 0 by a router that quotes no more than it has to (RFC 792: the headers).</summary>
    public int QuotedLength;

    /// <summary>The beginning of the datagram: type, receiver index and counter of a transport message.</summary>
    public QuotedBytes Quote;
}

/// <summary>The first bytes of a datagram; 16 hold the header of a transport message.</summary>
[InlineArray(Size)]
public struct QuotedBytes
{
    public const int Size = 16;

    private byte _first;
}
