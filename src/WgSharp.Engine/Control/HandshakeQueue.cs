using System.Buffers.Binary;
using System.Diagnostics;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Control;

/// <summary>Keyed hashes of a source: by its address (IPv4, or IPv6 /64), and by its address and port.</summary>
internal readonly record struct SourceHash(uint Address, uint Port);

/// <summary>A handshake message as it is taken out: its bytes lie with the taker.</summary>
/// <param name="NeedsCookie">Its source is among those that make the load: without a valid mac2 it is answered with a cookie (whitepaper, section 5.3).</param>
internal readonly record struct QueuedHandshake(int Length, HandshakeOrigin Origin, HandshakeStanding Standing, bool NeedsCookie);

/// <summary>
/// Handshake messages on their way from the inbound path to the control loop. Bounded, and no place is taken from anybody by somebody else:
/// <code>
/// 1 awaited   answers to our initiations             places by receiver index
/// 2 proven    mac2 is right                          places by source address, which is proven
/// 3 honest    mac1 is right, nothing else is known   places by source address; where those are taken, by source address and port
/// </code>
/// In this order they are taken out; within each, the sources take turns. Strangers who know no public key never come here.
/// A source of which many are turned away while the control loop is behind is a load (as is everybody together when many wait), for a
/// second, and is asked for a cookie; who has nothing to do with that is not. Places are by IPv4 address or IPv6 /64, as in the rate limiter, and
/// by a keyed hash: nobody can aim at anybody.
/// </summary>
internal sealed class HandshakeQueue
{
    private const int PlaceBuckets = 128;
    private const int ProvenBuckets = 64;

    /// <summary>More than for places: who shares a bucket with a load is asked for a cookie too.</summary>
    private const int LoadBuckets = 1024;

    /// <summary>Messages of one address turned away since the control loop was not behind, or waiting from everybody together, that are a load.</summary>
    private const int Load = 128;

    /// <summary>Looks at mac2 for one source within <see cref="Mac2WindowLasts"/>.</summary>
    private const int MostMac2Checks = 64;

    private static readonly TimeSpan Mac2WindowLasts = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan LoadLasts = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly SipHash _hash;
    private readonly AnswerRing _awaited = new();
    private readonly FairTable _proven = new(ProvenBuckets, depth: 4);
    private readonly FairTable _byAddress = new(PlaceBuckets, depth: 4);
    private readonly FairTable _byPort = new(PlaceBuckets, depth: 4);
    private readonly int[] _turnedAway = new int[LoadBuckets];
    private readonly Instant[] _loadUntil = new Instant[LoadBuckets];
    private readonly Mac2Window[] _mac2Windows = new Mac2Window[LoadBuckets];
    private Instant _wholeLoadUntil;
    private volatile int _count;

    /// <summary>Of those, awaited or proven.</summary>
    private int _sure;
    private bool _byPortNext;

    public HandshakeQueue(FillRandom random)
    {
        Span<byte> key = stackalloc byte[SipHash.KeySize];
        random(key);
        _hash = new SipHash(key);
    }

    public bool IsEmpty => _count == 0;

    /// <summary>Any thread, for people.</summary>
    public int Count => _count;

    /// <summary>Any thread.</summary>
    public SourceHash HashOf(in InetEndpoint source)
    {
        Span<byte> bytes = stackalloc byte[16 + sizeof(ushort)];
        int length = source.Address.Length;
        source.Address.CopyTo(bytes);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[length..], source.Port);
        return new SourceHash((uint)_hash.Hash(bytes[..(length == 16 ? 8 : length)]), (uint)_hash.Hash(bytes[..(length + sizeof(ushort))]));
    }

    /// <summary>Any thread: whether messages from this source need a cookie now. A hint, read without the lock.</summary>
    public bool IsUnderLoad(SourceHash source, Instant now) => NeedsCookie(LoadBucket(source.Address), now);

    /// <summary>
    /// Any thread: a merely honest message from this source would be turned away, and is no news about the load either, so that it need not even be
    /// looked at. A hint, read without the lock: at worst one message of a source that is a load is lost.
    /// </summary>
    public bool IsHopeless(SourceHash source, Instant now) => NeedsCookie(LoadBucket(source.Address), now)
        && _byAddress.IsFull((int)(source.Address % PlaceBuckets))
        && _byPort.IsFull((int)(source.Port % PlaceBuckets));

    /// <summary>Receiving thread: a look at mac2 costs several hashes, and whoever likes may write something there.</summary>
    public bool MayCheckMac2(SourceHash source, Instant now)
    {
        ref Mac2Window window = ref _mac2Windows[LoadBucket(source.Address)];
        if (now >= window.Ends)
        {
            window = new Mac2Window { Ends = now + Mac2WindowLasts };
        }

        return window.Checks++ < MostMac2Checks;
    }

    /// <summary>Any thread.</summary>
    /// <param name="message">At most 148 bytes.</param>
    /// <param name="hash">Of the origin's source.</param>
    /// <returns>True if the control loop may be asleep over it and must be woken.</returns>
    public bool Add(ReadOnlySpan<byte> message, in HandshakeOrigin origin, SourceHash hash, HandshakeStanding standing, Instant now)
    {
        lock (_lock)
        {
            bool added = standing switch
            {
                HandshakeStanding.Awaited => _awaited.TryAdd(message, origin),
                HandshakeStanding.Proven => _proven.TryAdd((int)(hash.Address % ProvenBuckets), message, origin),
                HandshakeStanding.Honest => _byAddress.TryAdd((int)(hash.Address % PlaceBuckets), message, origin)
                    || _byPort.TryAdd((int)(hash.Port % PlaceBuckets), message, origin),
                _ => throw new UnreachableException("A message that is for nobody is not queued."),
            };
            if (standing == HandshakeStanding.Honest)
            {
                NoteLoad(LoadBucket(hash.Address), added, now);
            }

            if (!added)
            {
                return false;
            }

            bool wakes = _count++ == 0;
            return standing == HandshakeStanding.Honest ? wakes : _sure++ == 0 || wakes;
        }
    }

    /// <summary>Control loop only.</summary>
    /// <param name="message">148 bytes.</param>
    /// <param name="onlySure">Leave those that are merely honest for later.</param>
    public bool TryTake(Span<byte> message, Instant now, bool onlySure, out QueuedHandshake taken)
    {
        lock (_lock)
        {
            taken = default;
            HandshakeStanding standing;
            int length;
            HandshakeOrigin origin;
            if (_awaited.TryTake(message, out length, out origin))
            {
                standing = HandshakeStanding.Awaited;
            }
            else if (_proven.TryTake(message, out length, out origin))
            {
                standing = HandshakeStanding.Proven;
            }
            else if (!onlySure && TryTakeHonest(message, out length, out origin))
            {
                standing = HandshakeStanding.Honest;
            }
            else
            {
                return false;
            }

            _count--;
            _sure -= standing == HandshakeStanding.Honest ? 0 : 1;
            bool needsCookie = standing != HandshakeStanding.Awaited && NeedsCookie(LoadBucket(HashOf(origin.Source).Address), now);
            taken = new QueuedHandshake(length, origin, standing, needsCookie);
            return true;
        }
    }

    /// <summary>Drops everything: the sockets were closed.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            _awaited.Clear();
            foreach (FairTable table in (ReadOnlySpan<FairTable>)[_proven, _byAddress, _byPort])
            {
                table.Clear();
            }

            Array.Clear(_turnedAway);
            _count = 0;
            _sure = 0;
        }
    }

    private bool TryTakeHonest(Span<byte> message, out int length, out HandshakeOrigin origin)
    {
        _byPortNext = !_byPortNext;
        (FairTable first, FairTable second) = _byPortNext ? (_byAddress, _byPort) : (_byPort, _byAddress);
        bool taken = first.TryTake(message, out length, out origin) || second.TryTake(message, out length, out origin);
        if (_byAddress.Count + _byPort.Count == 0)
        {
            // The control loop is not behind: nobody is a load.
            Array.Clear(_turnedAway);
        }

        return taken;
    }

    private void NoteLoad(int bucket, bool added, Instant now)
    {
        if (!added && ++_turnedAway[bucket] >= Load)
        {
            _turnedAway[bucket] = Load;
            _loadUntil[bucket] = now + LoadLasts;
        }

        if (_byAddress.Count + _byPort.Count >= Load)
        {
            _wholeLoadUntil = now + LoadLasts;
        }
    }

    private bool NeedsCookie(int bucket, Instant now) => now < _wholeLoadUntil || now < _loadUntil[bucket];

    /// <summary>By other bits than the places: who shares those need not share this.</summary>
    private static int LoadBucket(uint address) => (int)((address >> 16) % LoadBuckets);

    private struct Mac2Window
    {
        public Instant Ends;
        public int Checks;
    }

    /// <summary>
    /// Answers in order of arrival. Nobody but who saw our initiation knows an index to answer to; who does may send a few copies and no more. We are
    /// answered no faster than we ask, so that there is room for all.
    /// </summary>
    private sealed class AnswerRing
    {
        private const int Capacity = 1024;
        private const int Counters = 4 * Capacity;
        private const int MostCopies = 4;

        private readonly byte[] _bytes = new byte[Capacity * MessageSize.HandshakeResponse];
        private readonly HandshakeOrigin[] _origins = new HandshakeOrigin[Capacity];

        /// <summary>How many wait, by receiver index: ours, and so random.</summary>
        private readonly byte[] _copies = new byte[Counters];
        private int _head;
        private int _count;

        public bool TryAdd(ReadOnlySpan<byte> response, in HandshakeOrigin origin)
        {
            ref byte copies = ref _copies[Counter(response)];
            if (_count == Capacity || copies == MostCopies)
            {
                return false;
            }

            copies++;
            int slot = (_head + _count++) % Capacity;
            response.CopyTo(_bytes.AsSpan(slot * MessageSize.HandshakeResponse));
            _origins[slot] = origin;
            return true;
        }

        public bool TryTake(Span<byte> message, out int length, out HandshakeOrigin origin)
        {
            length = 0;
            origin = default;
            if (_count == 0)
            {
                return false;
            }

            length = MessageSize.HandshakeResponse;
            origin = _origins[_head];
            ReadOnlySpan<byte> response = _bytes.AsSpan(_head * MessageSize.HandshakeResponse, length);
            response.CopyTo(message);
            _copies[Counter(response)]--;
            _head = (_head + 1) % Capacity;
            _count--;
            return true;
        }

        public void Clear()
        {
            Array.Clear(_copies);
            _count = 0;
        }

        private static int Counter(ReadOnlySpan<byte> response) => (int)(BinaryPrimitives.ReadUInt32LittleEndian(response[8..]) % Counters);
    }

    /// <summary>Buckets of a few places each; those that hold something take turns. Memory is taken once.</summary>
    private sealed class FairTable(int buckets, int depth)
    {
        private readonly byte[] _bytes = new byte[buckets * depth * MessageSize.HandshakeInitiation];
        private readonly byte[] _lengths = new byte[buckets * depth];
        private readonly HandshakeOrigin[] _origins = new HandshakeOrigin[buckets * depth];
        private readonly byte[] _heads = new byte[buckets];
        private readonly byte[] _counts = new byte[buckets];

        /// <summary>The buckets that hold something, in the order of their turns.</summary>
        private readonly int[] _turns = new int[buckets];
        private int _firstTurn;
        private int _turnCount;

        public int Count { get; private set; }

        public bool IsFull(int bucket) => Volatile.Read(ref _counts[bucket]) == depth;

        public bool TryAdd(int bucket, ReadOnlySpan<byte> message, in HandshakeOrigin origin)
        {
            if (_counts[bucket] == depth)
            {
                return false;
            }

            int slot = (bucket * depth) + ((_heads[bucket] + _counts[bucket]) % depth);
            message.CopyTo(_bytes.AsSpan(slot * MessageSize.HandshakeInitiation));
            _lengths[slot] = (byte)message.Length;
            _origins[slot] = origin;
            Count++;
            if (_counts[bucket]++ == 0)
            {
                _turns[(_firstTurn + _turnCount++) % buckets] = bucket;
            }

            return true;
        }

        public bool TryTake(Span<byte> message, out int length, out HandshakeOrigin origin)
        {
            length = 0;
            origin = default;
            if (Count == 0)
            {
                return false;
            }

            int bucket = _turns[_firstTurn];
            _firstTurn = (_firstTurn + 1) % buckets;
            _turnCount--;
            int slot = (bucket * depth) + _heads[bucket];
            length = _lengths[slot];
            origin = _origins[slot];
            _bytes.AsSpan(slot * MessageSize.HandshakeInitiation, length).CopyTo(message);
            _heads[bucket] = (byte)((_heads[bucket] + 1) % depth);
            Count--;
            if (--_counts[bucket] > 0)
            {
                _turns[(_firstTurn + _turnCount++) % buckets] = bucket;
            }

            return true;
        }

        public void Clear()
        {
            Array.Clear(_counts);
            _turnCount = 0;
            Count = 0;
        }
    }
}
