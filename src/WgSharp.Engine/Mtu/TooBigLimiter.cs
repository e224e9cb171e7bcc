using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

// Whoever is told keeps it, for all connections between the same two addresses, for minutes (RFC 1191, section 6.3; Linux: ten). So once is enough, and once more
// after a second for who did not listen or has forgotten; but every pair must hear it, at once: behind a container host many senders talk to one
// server, and with a hard budget each of them stands still until it knows. A smaller MTU than was told is news.

/// <summary>
/// How often a sender is told that its packets are too long: once a second for each pair of addresses, at once if it gets smaller, and 1,000 a second, 100
/// at once, over all. A table of fixed size, direct-mapped under a keyed hash: a pair that is displaced is told again. Not thread-safe.
/// </summary>
internal sealed class TooBigLimiter
{
    public const int PerSecond = 1000;
    public const int Burst = 100;

    private const long Cost = 1_000_000_000 / PerSecond;
    private const long FullBucket = Cost * Burst;
    private const int Pairs = 256;

    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly SipHash _hash;
    private readonly Entry[] _entries = new Entry[Pairs];
    private long _tokens = FullBucket;
    private Instant _last;

    public TooBigLimiter(FillRandom random)
    {
        Span<byte> key = stackalloc byte[SipHash.KeySize];
        random(key);
        _hash = new SipHash(key);
    }

    /// <param name="source">The inner packet's: who is told. 4 or 16 bytes.</param>
    /// <param name="destination">Of the same length.</param>
    /// <param name="mtu">What is told.</param>
    /// <param name="now">May be a little older than what was seen last: it may have been read on another thread.</param>
    public bool Allow(ReadOnlySpan<byte> source, ReadOnlySpan<byte> destination, int mtu, Instant now)
    {
        Span<byte> pair = stackalloc byte[32];
        source.CopyTo(pair);
        destination.CopyTo(pair[source.Length..]);
        ulong hash = _hash.Hash(pair[..(2 * source.Length)]);
        ref Entry entry = ref _entries[hash % Pairs];
        if (entry.Pair == hash && mtu >= entry.Mtu && now < entry.Next)
        {
            return false;
        }

        long elapsed = Math.Max(0, now.Nanoseconds - _last.Nanoseconds);
        _tokens = Math.Min(FullBucket, _tokens + Math.Min(elapsed, FullBucket));
        _last = now > _last ? now : _last;
        if (_tokens < Cost)
        {
            return false;
        }

        _tokens -= Cost;
        entry = new Entry(hash, mtu, now + Interval);
        return true;
    }

    private readonly record struct Entry(ulong Pair, int Mtu, Instant Next);
}
