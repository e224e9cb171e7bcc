using System.Buffers.Binary;
using System.Numerics;

namespace WgSharp.Protocol;

// A path-compressed binary trie, one per address family. A node stands for a prefix: either one that a peer owns, or the place where two of
// them part (Peer is null, and then there are always two children). The bits from a node down to its child are not spelled out in
// nodes of their own: each node carries its whole prefix, and a reader compares it.
//
// Writers and readers share nodes without a lock. A node that belongs to a published snapshot is never written again; a change copies the
// path from the root down to it. Nodes made since the last publication belong to the writer alone (their Generation is the
// trie's) and are changed in place, so that a bulk of n prefixes costs n nodes and not n paths.

/// <summary>The bits of an address, most significant first. Implemented by structs only, so that each family gets its own machine code.</summary>
internal interface IAddressBits<TSelf>
    where TSelf : struct, IAddressBits<TSelf>
{
    /// <summary>Do the first <paramref name="length"/> bits agree?</summary>
    bool Agrees(TSelf other, int length);

    /// <summary>The bit at a position below the width: false leads left, true leads right.</summary>
    bool BitAt(int position);

    /// <summary>How many leading bits agree.</summary>
    int CommonLength(TSelf other);
}

internal readonly struct IPv4Bits(uint bits) : IAddressBits<IPv4Bits>
{
    private readonly uint _bits = bits;

    public static IPv4Bits Read(ReadOnlySpan<byte> address) => new(BinaryPrimitives.ReadUInt32BigEndian(address));

    // Widened, because shifting 32 bits by 32 shifts by nothing.
    public bool Agrees(IPv4Bits other, int length) => (ulong)(_bits ^ other._bits) >> (32 - length) == 0;

    public bool BitAt(int position) => (int)(_bits << position) < 0;

    public int CommonLength(IPv4Bits other) => BitOperations.LeadingZeroCount(_bits ^ other._bits);
}

internal readonly struct IPv6Bits(ulong high, ulong low) : IAddressBits<IPv6Bits>
{
    private readonly ulong _high = high;
    private readonly ulong _low = low;

    public static IPv6Bits Read(ReadOnlySpan<byte> address) =>
        new(BinaryPrimitives.ReadUInt64BigEndian(address), BinaryPrimitives.ReadUInt64BigEndian(address[8..]));

    public bool Agrees(IPv6Bits other, int length) => CommonLength(other) >= length;

    public bool BitAt(int position) => (long)((position < 64 ? _high : _low) << position) < 0;

    public int CommonLength(IPv6Bits other)
    {
        int common = BitOperations.LeadingZeroCount(_high ^ other._high);
        return common < 64 ? common : 64 + BitOperations.LeadingZeroCount(_low ^ other._low);
    }
}

/// <summary>One prefix that a peer owns. The links are its place among the peer's prefixes; only the control loop follows them.</summary>
internal sealed class OwnedPrefix(IpPrefix prefix, PeerPrefixes owner)
{
    public readonly IpPrefix Prefix = prefix;
    public PeerPrefixes Owner = owner;
    public OwnedPrefix? Previous;
    public OwnedPrefix? Next;
}

/// <summary>A node of the trie: immutable once its generation was published.</summary>
internal sealed class PrefixNode<TBits>(TBits bits, byte length, long generation)
    where TBits : struct, IAddressBits<TBits>
{
    public PrefixNode<TBits>? Left;
    public PrefixNode<TBits>? Right;

    /// <summary>What a lookup is after; null where two prefixes only part.</summary>
    public Peer? Peer;

    /// <summary>The control loop's side of the same fact: null exactly if <see cref="Peer"/> is.</summary>
    public OwnedPrefix? Owned;

    /// <summary>Compared up to <see cref="Length"/>; what is behind is of no meaning.</summary>
    public readonly TBits Bits = bits;
    public readonly byte Length = length;
    public readonly long Generation = generation;

    public PrefixNode<TBits> CopyFor(long generation) => new(Bits, Length, generation)
    {
        Left = Left,
        Right = Right,
        Peer = Peer,
        Owned = Owned,
    };

    /// <summary>The child towards <paramref name="bits"/>, as a place to read or to write.</summary>
    public ref PrefixNode<TBits>? ChildTowards(TBits bits)
    {
        if (bits.BitAt(Length))
        {
            return ref Right;
        }

        return ref Left;
    }
}

/// <summary>The operations on a root. Every one walks down once, in a loop: at most as many steps as an address has bits.</summary>
internal sealed class PrefixTrie<TBits>
    where TBits : struct, IAddressBits<TBits>
{
    private PrefixNode<TBits>? _root;
    private long _generation;

    /// <summary>Everything up to now becomes immutable.</summary>
    public PrefixNode<TBits>? Publish()
    {
        _generation++;
        return _root;
    }

    public void Clear() => _root = null;

    /// <summary>The owner of the longest prefix that holds the address.</summary>
    public static Peer? Lookup(PrefixNode<TBits>? node, TBits address, int width)
    {
        Peer? found = null;
        while (node is not null && node.Bits.Agrees(address, node.Length))
        {
            found = node.Peer ?? found;
            if (node.Length == width)
            {
                break;
            }

            node = address.BitAt(node.Length) ? node.Right : node.Left;
        }

        return found;
    }

    /// <summary>Exactly this prefix, or null if nobody owns it.</summary>
    public OwnedPrefix? Find(TBits bits, int length)
    {
        PrefixNode<TBits>? node = _root;
        while (node is not null && node.Length < length && node.Bits.Agrees(bits, node.Length))
        {
            node = bits.BitAt(node.Length) ? node.Right : node.Left;
        }

        return node is not null && node.Length == length && node.Bits.Agrees(bits, length) ? node.Owned : null;
    }

    /// <summary>Gives a prefix to a peer, whoever had it.</summary>
    public void Set(TBits bits, int length, Peer peer, OwnedPrefix owned)
    {
        ref PrefixNode<TBits>? place = ref _root;
        while (place is not null && place.Length < length && place.Bits.Agrees(bits, place.Length))
        {
            place = ref Own(ref place).ChildTowards(bits);
        }

        PrefixNode<TBits> target;
        if (place is null)
        {
            target = place = NewNode(bits, length);
        }
        else if (Math.Min(length, place.Bits.CommonLength(bits)) is var common && common >= place.Length)
        {
            // The walk ended because this prefix has a node already.
            target = Own(ref place);
        }
        else
        {
            // The new prefix goes above what stands here: as its parent, or beside it under a node where the two part.
            PrefixNode<TBits> below = place;
            target = NewNode(bits, length);
            PrefixNode<TBits> above = common == length ? target : NewNode(bits, common);
            if (common < length)
            {
                above.ChildTowards(bits) = target;
            }

            above.ChildTowards(below.Bits) = below;
            place = above;
        }

        target.Peer = peer;
        target.Owned = owned;
    }

    /// <summary>Removes a prefix that somebody owns; ask <see cref="Find"/> first, because the path is copied on the way down.</summary>
    public void Remove(TBits bits, int length)
    {
        ref PrefixNode<TBits>? parent = ref _root;
        ref PrefixNode<TBits>? place = ref _root;
        bool hasParent = false;
        while (place!.Length < length)
        {
            parent = ref place;
            place = ref Own(ref place).ChildTowards(bits);
            hasParent = true;
        }

        if (place.Left is not null && place.Right is not null)
        {
            PrefixNode<TBits> fork = Own(ref place);
            fork.Peer = null;
            fork.Owned = null;
            return;
        }

        place = place.Left ?? place.Right;

        // A fork that lost one of its two ways is no fork any more. Its own parent keeps both of its children, so this ends here.
        if (place is null && hasParent && parent!.Peer is null)
        {
            parent = parent.Left ?? parent.Right;
        }
    }

    private PrefixNode<TBits> NewNode(TBits bits, int length) => new(bits, (byte)length, _generation);

    /// <summary>Makes the node at a place writable: itself if it was made since the last publication, else a copy put in its place.</summary>
    private PrefixNode<TBits> Own(ref PrefixNode<TBits>? place)
    {
        PrefixNode<TBits> node = place!;
        if (node.Generation != _generation)
        {
            node = place = node.CopyFor(_generation);
        }

        return node;
    }
}
