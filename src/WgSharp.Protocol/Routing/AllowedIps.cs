namespace WgSharp.Protocol;

/// <summary>Cryptokey routing: an immutable longest-prefix trie over both families. Reads need no lock and never allocate.</summary>
internal sealed class AllowedIps
{
    private readonly PrefixNode<IPv4Bits>? _root4;
    private readonly PrefixNode<IPv6Bits>? _root6;

    internal AllowedIps(PrefixNode<IPv4Bits>? root4, PrefixNode<IPv6Bits>? root6)
    {
        _root4 = root4;
        _root6 = root6;
    }

    public static AllowedIps Empty { get; } = new(null, null);

    /// <summary>The peer that owns the longest prefix around an address, or null if nobody does.</summary>
    /// <param name="address">4 or 16 bytes, network order; an address of any other length belongs to nobody.</param>
    public Peer? Lookup(ReadOnlySpan<byte> address) => address.Length switch
    {
        4 => PrefixTrie<IPv4Bits>.Lookup(_root4, IPv4Bits.Read(address), 32),
        16 => PrefixTrie<IPv6Bits>.Lookup(_root6, IPv6Bits.Read(address), 128),
        _ => null,
    };
}

/// <summary>
/// The writer's side of <see cref="AllowedIps"/>: which peer owns which prefix, and each peer's prefixes in the order they were given.
/// Control loop only. Changes show when <see cref="Publish"/> is called and its result handed out with a volatile write.
/// </summary>
internal sealed class AllowedIpsTable
{
    private readonly PrefixTrie<IPv4Bits> _trie4 = new();
    private readonly PrefixTrie<IPv6Bits> _trie6 = new();
    private readonly Dictionary<Peer, PeerPrefixes> _byPeer = new(ReferenceEqualityComparer.Instance);
    private AllowedIps? _published = AllowedIps.Empty;

    /// <summary>Prefixes of all peers together.</summary>
    public int Count { get; private set; }

    /// <summary>
    /// Gives a prefix to a peer and takes it from whoever had it. It becomes the last of the peer's prefixes, also if it was the peer's before
    /// (as the kernel's list_move_tail has it).
    /// </summary>
    /// <exception cref="ArgumentException">The prefix has no address.</exception>
    public void Set(in IpPrefix prefix, Peer peer)
    {
        if (prefix.Address.IsNone)
        {
            throw new ArgumentException("A prefix needs an address.", nameof(prefix));
        }

        OwnedPrefix? before = Find(prefix);
        if (before is not null)
        {
            Unlink(before);
        }

        if (!_byPeer.TryGetValue(peer, out PeerPrefixes? prefixes))
        {
            _byPeer.Add(peer, prefixes = new PeerPrefixes(peer));
        }

        _published = null;
        OwnedPrefix owned = before ?? new OwnedPrefix(prefix, prefixes);
        prefixes.Append(owned);
        Count++;
        Span<byte> address = stackalloc byte[16];
        prefix.Address.CopyTo(address);
        if (prefix.Address.IsIPv4)
        {
            _trie4.Set(IPv4Bits.Read(address), prefix.Length, peer, owned);
        }
        else
        {
            _trie6.Set(IPv6Bits.Read(address), prefix.Length, peer, owned);
        }
    }

    /// <summary>Removes a prefix if this peer owns exactly it.</summary>
    public bool Remove(in IpPrefix prefix, Peer peer)
    {
        OwnedPrefix? owned = prefix.Address.IsNone ? null : Find(prefix);
        if (owned is null || !ReferenceEquals(owned.Owner.Peer, peer))
        {
            return false;
        }

        RemoveFromTrie(prefix);
        Unlink(owned);
        return true;
    }

    /// <summary>Removes every prefix of a peer: cost grows with its own prefixes only.</summary>
    public void RemoveAll(Peer peer)
    {
        if (!_byPeer.Remove(peer, out PeerPrefixes? prefixes))
        {
            return;
        }

        for (OwnedPrefix? owned = prefixes.First; owned is not null; owned = owned.Next)
        {
            RemoveFromTrie(owned.Prefix);
        }

        Count -= prefixes.Count;
    }

    /// <summary>Removes the prefixes of all peers.</summary>
    public void Clear()
    {
        _trie4.Clear();
        _trie6.Clear();
        _byPeer.Clear();
        Count = 0;
        _published = null;
    }

    /// <summary>A copy of a peer's prefixes in the order they were given.</summary>
    public IpPrefix[] PrefixesOf(Peer peer) => PrefixesOf(peer, int.MaxValue, out _);

    /// <summary>A copy of a peer's first prefixes in the order they were given.</summary>
    /// <param name="most">No more than these.</param>
    /// <param name="count">How many there are.</param>
    public IpPrefix[] PrefixesOf(Peer peer, int most, out int count)
    {
        count = 0;
        if (!_byPeer.TryGetValue(peer, out PeerPrefixes? prefixes))
        {
            return [];
        }

        count = prefixes.Count;
        var copy = new IpPrefix[Math.Min(count, most)];
        OwnedPrefix? owned = prefixes.First;
        for (int i = 0; i < copy.Length; i++, owned = owned.Next)
        {
            copy[i] = owned!.Prefix;
        }

        return copy;
    }

    /// <summary>The present state as an immutable snapshot; the same one as long as nothing changes.</summary>
    public AllowedIps Publish() => _published ??= new AllowedIps(_trie4.Publish(), _trie6.Publish());

    private OwnedPrefix? Find(in IpPrefix prefix)
    {
        Span<byte> address = stackalloc byte[16];
        prefix.Address.CopyTo(address);
        return prefix.Address.IsIPv4
            ? _trie4.Find(IPv4Bits.Read(address), prefix.Length)
            : _trie6.Find(IPv6Bits.Read(address), prefix.Length);
    }

    private void RemoveFromTrie(in IpPrefix prefix)
    {
        _published = null;
        Span<byte> address = stackalloc byte[16];
        prefix.Address.CopyTo(address);
        if (prefix.Address.IsIPv4)
        {
            _trie4.Remove(IPv4Bits.Read(address), prefix.Length);
        }
        else
        {
            _trie6.Remove(IPv6Bits.Read(address), prefix.Length);
        }
    }

    private void Unlink(OwnedPrefix owned)
    {
        PeerPrefixes prefixes = owned.Owner;
        prefixes.Unlink(owned);
        Count--;
        if (prefixes.Count == 0)
        {
            _byPeer.Remove(prefixes.Peer);
        }
    }
}

/// <summary>One peer's prefixes: a list through the prefixes themselves, so that any of them leaves in one step.</summary>
internal sealed class PeerPrefixes(Peer peer)
{
    private OwnedPrefix? _last;

    public Peer Peer { get; } = peer;

    public OwnedPrefix? First { get; private set; }

    public int Count { get; private set; }

    public void Append(OwnedPrefix owned)
    {
        owned.Owner = this;
        owned.Previous = _last;
        owned.Next = null;
        if (_last is null)
        {
            First = owned;
        }
        else
        {
            _last.Next = owned;
        }

        _last = owned;
        Count++;
    }

    public void Unlink(OwnedPrefix owned)
    {
        if (owned.Previous is null)
        {
            First = owned.Next;
        }
        else
        {
            owned.Previous.Next = owned.Next;
        }

        if (owned.Next is null)
        {
            _last = owned.Previous;
        }
        else
        {
            owned.Next.Previous = owned.Previous;
        }

        Count--;
    }
}
