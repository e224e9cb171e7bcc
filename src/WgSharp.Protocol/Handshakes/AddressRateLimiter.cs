using System.Buffers.Binary;
using WgSharp.Crypto;

namespace WgSharp.Protocol;

// Buckets live in one array of structs, chained from an array of heads by index: no object per stranger. The hash is keyed, so nobody can choose
// addresses that fall into one chain. The table doubles up to its cap and then refuses newcomers, as the kernel does: who spoofs
// a million addresses gains nothing, and memory stays bounded. An idle bucket is full again before it is collected, so forgetting it
// changes nothing.

/// <summary>
/// Token buckets keyed by IPv4 address or IPv6 /64, because whoever has one IPv6 address has its whole /64.
/// Not thread-safe; time is an argument and must not run backwards.
/// </summary>
internal sealed class AddressRateLimiter
{
    private const int MinCapacity = 64;
    private const int None = -1;

    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    private readonly SipHash _hash;
    private readonly long _cost;
    private readonly long _fullBucket;
    private readonly int _maxCapacity;

    private int[] _heads = [];
    private Bucket[] _buckets = [];
    private int _free = None;

    /// <param name="interval">One token comes in this time.</param>
    /// <param name="burst">Tokens in a full bucket. It must be full again within a second.</param>
    /// <param name="capacity">Addresses known at most; a power of two, at least 64.</param>
    public AddressRateLimiter(FillRandom random, TimeSpan interval, int burst, int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(interval, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThan(burst, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(interval * burst, Second);
        if (capacity < MinCapacity || !int.IsPow2(capacity))
        {
            throw new ArgumentOutOfRangeException(nameof(capacity), capacity, "A power of two, at least 64.");
        }

        Span<byte> key = stackalloc byte[SipHash.KeySize];
        random(key);
        _hash = new SipHash(key);
        key.Clear();
        _cost = interval.Ticks * TimeSpan.NanosecondsPerTick;
        _fullBucket = _cost * burst;
        _maxCapacity = capacity;
    }

    /// <summary>Addresses known now.</summary>
    public int Count { get; private set; }

    /// <summary>When <see cref="Collect"/> has something to look at; Never while no address is known.</summary>
    public Instant NextCollection { get; private set; } = Instant.Never;

    /// <summary>Takes a token from the address's bucket.</summary>
    /// <returns>False if the bucket is empty, or the address is new and the table full. No address at all is never allowed.</returns>
    public bool TryTake(in InetAddress address, Instant now)
    {
        if (address.IsNone)
        {
            return false;
        }

        Key key = KeyOf(address);
        if (_heads.Length > 0)
        {
            for (int index = _heads[Head(key)]; index != None; index = _buckets[index].Next)
            {
                if (_buckets[index].Key == key)
                {
                    return TryTake(ref _buckets[index], now);
                }
            }
        }

        return TryAdd(key, now);
    }

    /// <summary>Once a second: forgets who was idle for longer than that, and gives memory back when nobody is left.</summary>
    public void Collect(Instant now)
    {
        if (now < NextCollection)
        {
            return;
        }

        for (int head = 0; head < _heads.Length; head++)
        {
            ref int link = ref _heads[head];
            while (link != None)
            {
                int index = link;
                ref Bucket bucket = ref _buckets[index];
                if (now - bucket.Last <= Second)
                {
                    link = ref bucket.Next;
                    continue;
                }

                link = bucket.Next;
                bucket.Next = _free;
                _free = index;
                Count--;
            }
        }

        if (Count > 0)
        {
            NextCollection = now + Second;
            return;
        }

        NextCollection = Instant.Never;
        _heads = [];
        _buckets = [];
        _free = None;
    }

    private bool TryTake(ref Bucket bucket, Instant now)
    {
        long tokens = Math.Min(_fullBucket, bucket.Tokens + (now.Nanoseconds - bucket.Last.Nanoseconds));
        bool allowed = tokens >= _cost;
        bucket.Last = now;
        bucket.Tokens = allowed ? tokens - _cost : tokens;
        return allowed;
    }

    private bool TryAdd(Key key, Instant now)
    {
        if (_free == None && !TryGrow())
        {
            return false;
        }

        if (Count == 0)
        {
            NextCollection = now + Second;
        }

        int index = _free;
        ref Bucket bucket = ref _buckets[index];
        _free = bucket.Next;
        ref int head = ref _heads[Head(key)];
        bucket = new Bucket { Key = key, Last = now, Tokens = _fullBucket - _cost, Next = head };
        head = index;
        Count++;
        return true;
    }

    private bool TryGrow()
    {
        int used = _buckets.Length;
        if (used == _maxCapacity)
        {
            return false;
        }

        Array.Resize(ref _buckets, Math.Max(MinCapacity, used * 2));
        _heads = new int[_buckets.Length];
        foreach (ref int head in _heads.AsSpan())
        {
            head = None;
        }

        for (int index = 0; index < used; index++)
        {
            // Growth happens only when no slot is free: every one of them is somebody's.
            ref int head = ref _heads[Head(_buckets[index].Key)];
            _buckets[index].Next = head;
            head = index;
        }

        for (int index = _buckets.Length - 1; index >= used; index--)
        {
            _buckets[index].Next = _free;
            _free = index;
        }

        return true;
    }

    private static Key KeyOf(in InetAddress address)
    {
        Span<byte> bytes = stackalloc byte[16];
        address.CopyTo(bytes);
        return address.IsIPv4
            ? new Key(BinaryPrimitives.ReadUInt32BigEndian(bytes), 4)
            : new Key(BinaryPrimitives.ReadUInt64BigEndian(bytes), 8);
    }

    private int Head(Key key)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, key.Prefix);
        return (int)(_hash.Hash(bytes[..key.Length]) & (uint)(_heads.Length - 1));
    }

    /// <param name="Length">4 for an IPv4 address, 8 for an IPv6 /64: keeps the families apart.</param>
    private readonly record struct Key(ulong Prefix, byte Length);

    private struct Bucket
    {
        public Key Key;
        public Instant Last;

        /// <summary>In nanoseconds: a token costs the interval, and every nanosecond earns one.</summary>
        public long Tokens;

        /// <summary>The next of its chain, or the next free one.</summary>
        public int Next;
    }
}
