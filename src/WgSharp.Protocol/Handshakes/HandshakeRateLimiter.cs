namespace WgSharp.Protocol;

/// <summary>
/// Handshake messages per source while under load, counted after mac2 proved the source (whitepaper, section 5.3; the kernel's
/// ratelimiter.c): 20 a second, 5 at once, keyed by IPv4 address or IPv6 /64. Control loop only.
/// </summary>
internal sealed class HandshakeRateLimiter(FillRandom random, int capacity = HandshakeRateLimiter.DefaultCapacity)
{
    public const int PacketsPerSecond = 20;
    public const int PacketsBurstable = 5;

    /// <summary>The kernel's max_entries on a machine with more than 1 GiB; 2.5 MiB here, taken only when as many addresses knock within a second.</summary>
    public const int DefaultCapacity = 8192 * 8;

    private readonly AddressRateLimiter _buckets = new(random, TimeSpan.FromSeconds(1) / PacketsPerSecond, PacketsBurstable, capacity);

    /// <summary>Sources known now.</summary>
    public int Count => _buckets.Count;

    /// <summary>When to call <see cref="Collect"/>; Never while no source is known.</summary>
    public Instant NextCollection => _buckets.NextCollection;

    /// <returns>False if the source sends too fast, or is new while the table is full.</returns>
    public bool Allow(in InetAddress source, Instant now) => _buckets.TryTake(source, now);

    /// <summary>Forgets sources that were silent for a second. Does nothing before <see cref="NextCollection"/>.</summary>
    public void Collect(Instant now) => _buckets.Collect(now);
}
