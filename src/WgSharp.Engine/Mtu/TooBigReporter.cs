using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

/// <summary>
/// Tells the sender of an inner packet that is too long for the path what would fit, by ICMP fragmentation needed or ICMPv6 packet too big into the TUN,
/// rate-limited (<see cref="TooBigLimiter"/>). What becomes of the packet is the caller's business: with a soft budget it is forwarded all the same.
/// </summary>
internal sealed class TooBigReporter(ITunDevice tun, FillRandom random)
{
    private readonly Lock _lock = new();
    private readonly TooBigLimiter _limiter = new(random);
    private readonly IcmpWriter _writer = new(tun);
    private long _sent;

    /// <summary>Errors that went into the TUN.</summary>
    public long Sent => Volatile.Read(ref _sent);

    /// <summary>Any thread. Senders that are not to be told (IPv4 without DF, IPv6 at 1280 bytes, multicast, ICMP errors …) are passed over in silence.</summary>
    /// <param name="offending">The whole inner packet; of a super-packet, one that its sender would have segmented.</param>
    /// <param name="mtu">The longest inner packet that fits: <see cref="PathBudget.MaxInner"/>.</param>
    public void Report(ReadOnlySpan<byte> offending, int mtu, Instant now)
    {
        if (!IpPacket.TryParse(offending, out IpPacket packet))
        {
            return;
        }

        int told = packet.IsIPv4 ? mtu : Math.Max(mtu, IcmpErrors.MaxIPv6Length);
        if (packet.TotalLength <= told)
        {
            return;
        }

        lock (_lock)
        {
            if (IcmpErrors.TryBuildPacketTooBig(offending, told, _writer.Buffer, out int length) && _limiter.Allow(packet.Source, packet.Destination, told, now))
            {
                _writer.Write(length);
                Volatile.Write(ref _sent, _sent + 1);
            }
        }
    }
}
