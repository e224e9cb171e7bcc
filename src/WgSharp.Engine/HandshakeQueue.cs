using System.Buffers.Binary;
using System.Diagnostics;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>Where a handshake message came from and what address it was sent to.</summary>
internal readonly record struct HandshakeOrigin(InetEndpoint Source, InetAddress LocalAddress, int LocalInterface);

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
    private const int AddressBuckets = 128;

    /// <summary>Messages of one address turned away since the control loop was not behind, or waiting from everybody together, that are a load.</summary>
    private const int Load = 128;

    private static readonly TimeSpan LoadLasts = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly SipHash _hash;
    private readonly FairTable _awaited = new(buckets: 256, depth: 2);
    private readonly FairTable _proven = new(buckets: 64, depth: 4);
    private readonly FairTable _byAddress = new(AddressBuckets, depth: 4);
    private readonly FairTable _byPort = new(buckets: 128, depth: 4);
    private readonly int[] _turnedAway = new int[AddressBuckets];
    private readonly Instant[] _loadUntil = new Instant[AddressBuckets];
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

    /// <summary>Any thread: whether messages from this source need a cookie now.</summary>
    public bool IsUnderLoad(in InetAddress source, Instant now)
    {
        int place = Place(source, AddressBuckets);
        lock (_lock)
        {
            return NeedsCookie(place, now);
        }
    }

    /// <summary>Any thread.</summary>
    /// <param name="message">At most 148 bytes.</param>
    /// <returns>True if the control loop may be asleep over it and must be woken.</returns>
    public bool Add(ReadOnlySpan<byte> message, in HandshakeOrigin origin, HandshakeStanding standing, Instant now)
    {
        int address = Place(origin.Source.Address, AddressBuckets);
        int port = Place(origin.Source, 128);
        lock (_lock)
        {
            bool added = standing switch
            {
                HandshakeStanding.Awaited => _awaited.TryAdd((int)(ReceiverIndex(message) % 256), message, origin),
                HandshakeStanding.Proven => _proven.TryAdd(address % 64, message, origin),
                HandshakeStanding.Honest => _byAddress.TryAdd(address, message, origin) || _byPort.TryAdd(port, message, origin),
                _ => throw new UnreachableException("A message that is for nobody is not queued."),
            };
            if (standing == HandshakeStanding.Honest)
            {
                NoteLoad(address, added, now);
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
            bool needsCookie = standing != HandshakeStanding.Awaited && NeedsCookie(Place(origin.Source.Address, AddressBuckets), now);
            taken = new QueuedHandshake(length, origin, standing, needsCookie);
            return true;
        }
    }

    /// <summary>Drops everything: the sockets were closed.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            foreach (FairTable table in (ReadOnlySpan<FairTable>)[_awaited, _proven, _byAddress, _byPort])
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

    private void NoteLoad(int address, bool added, Instant now)
    {
        if (!added && ++_turnedAway[address] >= Load)
        {
            _turnedAway[address] = Load;
            _loadUntil[address] = now + LoadLasts;
        }

        if (_byAddress.Count + _byPort.Count >= Load)
        {
            _wholeLoadUntil = now + LoadLasts;
        }
    }

    private bool NeedsCookie(int address, Instant now) => now < _wholeLoadUntil || now < _loadUntil[address];

    private static uint ReceiverIndex(ReadOnlySpan<byte> response) => BinaryPrimitives.ReadUInt32LittleEndian(response[8..]);

    private int Place(in InetAddress source, int buckets)
    {
        Span<byte> bytes = stackalloc byte[16];
        source.CopyTo(bytes);
        return (int)(_hash.Hash(bytes[..(source.IsIPv4 ? 4 : 8)]) % (uint)buckets);
    }

    private int Place(in InetEndpoint source, int buckets)
    {
        Span<byte> bytes = stackalloc byte[16 + sizeof(ushort)];
        source.Address.CopyTo(bytes);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[source.Address.Length..], source.Port);
        return (int)(_hash.Hash(bytes[..(source.Address.Length + sizeof(ushort))]) % (uint)buckets);
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
