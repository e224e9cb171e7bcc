using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

/// <summary>
/// How many ICMP errors go back into the TUN: 100 a second over all, 50 at once, and 10 a second, 6 at once, for each address that could not
/// be reached. Keyed by that address and not, as the kernel does, by the one that is told: behind a tunnel the latter is nearly always this one
/// host. Any thread: errors are rare, a small lock does.
/// </summary>
public sealed class IcmpRateLimiter(FillRandom random)
{
    public const int PerSecond = 100;
    public const int Burst = 50;
    public const int PerSecondAndDestination = 10;
    public const int BurstPerDestination = 6;

    /// <summary>Destinations known at most; the global limit lets no more than 150 through per second anyway.</summary>
    public const int MaxDestinations = 1024;

    private const long Cost = 1_000_000_000 / PerSecond;
    private const long FullBucket = Cost * Burst;

    private readonly Lock _lock = new();
    private readonly AddressRateLimiter _destinations =
        new(random, TimeSpan.FromSeconds(1) / PerSecondAndDestination, BurstPerDestination, MaxDestinations);

    private long _tokens = FullBucket;
    private Instant _last;

    /// <summary>Destinations known now.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _destinations.Count;
            }
        }
    }

    /// <summary>May one more error be sent that speaks for this destination? Collects what is old on the way, at most once a second.</summary>
    /// <param name="destination">The inner destination that could not be reached.</param>
    public bool Allow(in InetAddress destination, Instant now)
    {
        lock (_lock)
        {
            _destinations.Collect(now);

            // The clock may have been read on another thread a little earlier.
            long elapsed = Math.Max(0, now.Nanoseconds - _last.Nanoseconds);
            _tokens = Math.Min(FullBucket, _tokens + Math.Min(elapsed, FullBucket));
            _last = now > _last ? now : _last;

            // Who floods one destination spends its own tokens first, and everybody's only while it has some.
            if (_tokens < Cost || !_destinations.TryTake(destination, _last))
            {
                return false;
            }

            _tokens -= Cost;
            return true;
        }
    }
}
