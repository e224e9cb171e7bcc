using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

/// <summary>
/// Answers an inner packet that has no peer, or whose peer has no endpoint, with ICMP host unreachable or ICMPv6 address unreachable into the TUN
/// (device.c, wg_xmit), rate-limited. Packets that must not be answered (ICMP errors, multicast, later fragments) are passed over in silence.
/// </summary>
internal sealed class UnreachableReporter(ITunDevice tun, FillRandom random)
{
    private readonly Lock _lock = new();
    private readonly IcmpRateLimiter _limiter = new(random);
    private readonly IcmpWriter _writer = new(tun);

    /// <summary>Any thread.</summary>
    /// <param name="offending">The whole inner packet.</param>
    public void Report(ReadOnlySpan<byte> offending, Instant now)
    {
        lock (_lock)
        {
            if (IcmpErrors.TryBuildHostUnreachable(offending, _writer.Buffer, out int length) && _limiter.Allow(DestinationOf(offending), now))
            {
                _writer.Write(length);
            }
        }
    }

    private static InetAddress DestinationOf(ReadOnlySpan<byte> packet) =>
        IpPacket.TryParse(packet, out IpPacket parsed) ? new InetAddress(parsed.Destination) : InetAddress.None;
}
