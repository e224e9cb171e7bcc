namespace WgSharp.Protocol;

/// <summary>What an interface does about path MTU (<c>mtu_policy</c>).</summary>
internal enum MtuPolicy
{
    /// <summary>Everything: learn, probe, clamp, tell the senders, fragment inside.</summary>
    Auto,

    /// <summary>Learn what comes by itself and clamp the MSS; no probes, and nothing is told or dropped.</summary>
    ClampOnly,

    /// <summary>As the kernel module: the route's MTU, DF clear, nothing else touched.</summary>
    Kernel,
}

/// <summary>Where a path's MTU is known from.</summary>
internal enum MtuOrigin
{
    /// <summary>The MTU of the route or local link: an upper bound, not confirmed.</summary>
    Route,

    /// <summary>An ICMP packet-too-big that quoted a message of ours.</summary>
    Icmp,

    /// <summary>The peer's messages come in fragments of this size: a guess that the way there is like the way back.</summary>
    Fragments,

    /// <summary>A probe of this size was answered.</summary>
    Probe,
}

/// <summary>
/// How large messages to a peer's present endpoint may be. An immutable object (but for one latch) that the control loop replaces and the data path
/// reads, once per frame or run. All sizes are outer IP packets: IP and UDP header, message.
/// </summary>
/// <param name="outerMtu">The largest packet that passes unfragmented, as far as is known.</param>
/// <param name="inboundMtu">The same for what the peer sends, for the MSS that this side's SYNs announce to it.</param>
/// <param name="tellAbove">See <see cref="Tell"/>.</param>
internal sealed class PathBudget(
    int outerMtu, MtuOrigin origin, Instant confirmedAt = default, bool isHard = false, int inboundMtu = int.MaxValue, int tellAbove = int.MaxValue)
{
    public const int IPv4HeaderSize = 20;
    public const int IPv6HeaderSize = 40;
    public const int UdpHeaderSize = 8;

    private int _told;

    /// <summary>Bytes of the largest outer packet that needs no fragments.</summary>
    public int OuterMtu { get; } = outerMtu;

    /// <summary>As <see cref="OuterMtu"/> for the way from the peer to here: never more than that.</summary>
    public int InboundMtu { get; } = Math.Min(outerMtu, inboundMtu);

    public MtuOrigin Origin { get; } = origin;

    /// <summary>When a probe of <see cref="OuterMtu"/> bytes was answered last; 0 if none was.</summary>
    public Instant ConfirmedAt { get; } = confirmedAt;

    /// <summary>
    /// Fragments do not pass: what is larger would be lost on the way. So it is dropped here, and its sender told; else (soft) its sender is told and it
    /// is forwarded all the same.
    /// </summary>
    public bool IsHard { get; } = isHard;

    /// <summary>The control loop wants to hear of messages larger than this.</summary>
    public int TellAbove { get; } = tellAbove;

    /// <summary>What the latch of <see cref="Tell"/> caught, or 0: the control loop reads it.</summary>
    public int Told => Volatile.Read(ref _told);

    /// <summary>The longest inner packet that fits, IP header included. May be less than an IP header, of nonsensical MTUs.</summary>
    public int MaxInner(bool outerIPv6) => InnerOf(OuterMtu, outerIPv6);

    /// <summary>As <see cref="MaxInner"/>, of what the peer sends.</summary>
    public int MaxInnerInbound(bool outerIPv6) => InnerOf(InboundMtu, outerIPv6);

    /// <summary>
    /// Any thread, for every message or run that data asks for, before anything is done about its size: one comparison, mostly. True once per budget
    /// object: the control loop is to be woken, to hand <see cref="Told"/> to <see cref="PathMtu.NoteTraffic"/>.
    /// </summary>
    /// <param name="outerSize">Of one message, not of a run.</param>
    public bool Tell(int outerSize) =>
        outerSize > TellAbove && Volatile.Read(ref _told) == 0 && Interlocked.CompareExchange(ref _told, outerSize, 0) == 0;

    /// <summary>The outer packet around an inner one, without padding.</summary>
    public static int OuterSize(int innerLength, bool outerIPv6) => innerLength + Overhead(outerIPv6);

    /// <summary>Whether an object made of these would say the same.</summary>
    internal bool Says(int outerMtu, MtuOrigin origin, Instant confirmedAt, bool isHard, int inboundMtu, int tellAbove) =>
        OuterMtu == outerMtu
        && InboundMtu == Math.Min(outerMtu, inboundMtu)
        && Origin == origin
        && ConfirmedAt == confirmedAt
        && IsHard == isHard
        && TellAbove == tellAbove;

    private static int InnerOf(int outer, bool outerIPv6) => outer - Overhead(outerIPv6);

    private static int Overhead(bool outerIPv6) =>
        (outerIPv6 ? IPv6HeaderSize : IPv4HeaderSize) + UdpHeaderSize + MessageSize.TransportHeader + MessageSize.Tag;
}
