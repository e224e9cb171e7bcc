using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

/// <summary>How a frame leaves that is, or is not, too long for the path.</summary>
internal enum FrameFit
{
    /// <summary>As it is: it fits, or nothing else can be done and outer fragments carry it.</summary>
    Whole,

    /// <summary>A TCP super-packet, cut into shorter segments than the kernel asked for.</summary>
    Resegmented,

    /// <summary>IPv4 without DF: fragments inside the tunnel.</summary>
    Fragmented,

    /// <summary>It would not arrive, and its sender was told.</summary>
    Dropped,
}

/// <summary>
/// What is done about a frame's size before it is cut into messages. A packet that is too long is made to fit where it may be; else its sender is told
/// (soft: and it leaves all the same, since DF is clear outside; hard, where fragments do not arrive: it is dropped). SYNs announce no more than
/// what comes back through the tunnel unfragmented.
/// </summary>
internal sealed class FrameFitter(TunnelIo io, TunnelLink link)
{
    private readonly TooBigReporter _tooBig = new(io.Tun, io.Random);

    /// <summary>ICMP errors that told a sender of the path's MTU.</summary>
    public long TooBigSent => _tooBig.Sent;

    /// <param name="packet">The frame's packet, or super-packet; a SYN's option is rewritten in place.</param>
    /// <param name="largest">Bytes of the longest packet that it stands for.</param>
    /// <param name="header">What the kernel said of it.</param>
    public FrameFit Fit(Span<byte> packet, int largest, in VirtioNetHeader header, in FrameRoute route, Instant now)
    {
        if (link.MtuPolicy == MtuPolicy.Kernel)
        {
            return FrameFit.Whole;
        }

        PathBudget budget = route.Budget!;
        bool outerIPv6 = route.Endpoint.Remote.Address.IsIPv6;
        if (budget.Tell(PathBudget.OuterSize(largest, outerIPv6)))
        {
            link.QueueWork(route.Peer, PeerWork.Path);
        }

        bool isSuper = header.GsoType != VirtioNetHeader.GsoNone;
        if (!isSuper && MssClamp.MayBeSyn(packet))
        {
            MssClamp.Clamp(packet, MaxAnswer(budget.MaxInnerInbound(outerIPv6)), (header.Flags & VirtioNetHeader.NeedsCsum) != 0);
        }

        int maxInner = budget.MaxInner(outerIPv6);
        return largest <= maxInner || link.MtuPolicy != MtuPolicy.Auto ? FrameFit.Whole
            : isSuper ? FitSuperPacket(packet, largest, maxInner, in header, budget.IsHard, now)
            : FitPacket(packet, maxInner, budget.IsHard, now);
    }

    /// <summary>
    /// What the peer should send at most. Unlike us it pads to 16 wherever its interface's MTU lets it, also beyond what the path takes. That MTU is not known
    /// here; mostly both ends have the same.
    /// </summary>
    private int MaxAnswer(int maxInner) => link.Mtu <= maxInner ? link.Mtu : maxInner & ~15;

    private FrameFit FitSuperPacket(ReadOnlySpan<byte> packet, int largest, int maxInner, in VirtioNetHeader header, bool isHard, Instant now)
    {
        if ((header.GsoType & ~VirtioNetHeader.GsoEcn) != VirtioNetHeader.GsoUdpL4)
        {
            return FrameFit.Resegmented;
        }

        // Datagrams are what their sender made of them.
        if (IsLeftToOuterFragments(packet, largest))
        {
            return FrameFit.Whole;
        }

        _tooBig.Report(packet, maxInner, now);
        return isHard ? FrameFit.Dropped : FrameFit.Whole;
    }

    private FrameFit FitPacket(ReadOnlySpan<byte> packet, int maxInner, bool isHard, Instant now)
    {
        if (InnerFragments.TryPlan(packet, maxInner, out _))
        {
            return FrameFit.Fragmented;
        }

        if (IsLeftToOuterFragments(packet, packet.Length))
        {
            return FrameFit.Whole;
        }

        _tooBig.Report(packet, maxInner, now);
        return isHard ? FrameFit.Dropped : FrameFit.Whole;
    }

    /// <summary>Nobody may be told less than 1280 by IPv6: what is not longer is left to outer fragments, whatever they come to.</summary>
    private static bool IsLeftToOuterFragments(ReadOnlySpan<byte> packet, int length) => packet[0] >> 4 == 6 && length <= IcmpErrors.MaxIPv6Length;
}
