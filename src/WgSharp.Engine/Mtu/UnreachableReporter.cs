using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

/// <summary>
/// Answers an inner packet that has no peer, or whose peer has no endpoint, with ICMP host unreachable or ICMPv6 address unreachable into the TUN
/// (device.c, wg_xmit), rate-limited. Packets that must not be answered (ICMP errors, multicast, later fragments) are passed over in silence.
/// </summary>
internal sealed class UnreachableReporter
{
    private readonly ITunDevice _tun;
    private readonly Lock _lock = new();
    private readonly IcmpRateLimiter _limiter;
    private readonly PacketBatch _batch = new(IcmpErrors.MaxIPv6Length, packets: 1, frames: 1, trains: 0);

    public UnreachableReporter(ITunDevice tun, FillRandom random)
    {
        _tun = tun;
        _limiter = new IcmpRateLimiter(random);
    }

    /// <summary>Any thread.</summary>
    /// <param name="offending">The whole inner packet.</param>
    public void Report(ReadOnlySpan<byte> offending, Instant now)
    {
        lock (_lock)
        {
            if (!IcmpErrors.TryBuildHostUnreachable(offending, _batch.Buffer, out int length) || !_limiter.Allow(DestinationOf(offending), now))
            {
                return;
            }

            _batch.Clear();
            _batch.Slices[0] = new BufferSlice(0, length);
            _batch.SliceCount = 1;
            _batch.Frames[0] = new TunFrame { Length = length, FirstSlice = 0, SliceCount = 1 };
            _batch.FrameCount = 1;
            _tun.Write(_batch);
        }
    }

    private static InetAddress DestinationOf(ReadOnlySpan<byte> packet) =>
        IpPacket.TryParse(packet, out IpPacket parsed) ? new InetAddress(parsed.Destination) : InetAddress.None;
}
