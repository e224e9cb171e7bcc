using System.Diagnostics.CodeAnalysis;
using System.Numerics;
using System.Runtime.InteropServices;

namespace WgSharp.Protocol;

// Receivers look up every transport message here while the control loop inserts and removes. Chains hang from an array of buckets; an entry
// that was removed keeps its own link, so that a reader who stands on it still finds the rest of its chain. When the table is resized, the
// entries are made anew for the new array: a reader of the old array sees the old chains, whole. The indices are random, so their low bits
// are the hash.

/// <summary>
/// Receiver index → what it stands for (a handshake or a keypair). Lookups from any thread, without a lock and without allocation;
/// changes by the control loop only. Grows and shrinks with what it holds.
/// </summary>
internal sealed class IndexTable<T>(FillRandom random)
    where T : class
{
    private const int MinBuckets = 16;

    /// <summary>With 2^20 peers and three entries each, a second try happens once in 1,400 times; a hundred in a row mean that the source is broken.</summary>
    private const int MaxTries = 100;

    private volatile Entry?[] _buckets = new Entry?[MinBuckets];

    /// <summary>Entries alive.</summary>
    public int Count { get; private set; }

    /// <summary>Any thread.</summary>
    public bool TryFind(uint index, [MaybeNullWhen(false)] out T value)
    {
        Entry? entry = FindEntry(index);
        value = entry?.Value;
        return entry is not null;
    }

    /// <summary>Gives a value a random index that nothing alive has.</summary>
    /// <exception cref="InvalidOperationException">The random source repeats itself.</exception>
    public uint Insert(T value)
    {
        uint index = NewIndex();
        if (Count >= _buckets.Length)
        {
            Resize(_buckets.Length * 2);
        }

        Entry?[] buckets = _buckets;
        ref Entry? head = ref buckets[Bucket(buckets, index)];
        Volatile.Write(ref head, new Entry(index, value) { Next = head });
        Count++;
        return index;
    }

    /// <summary>Puts a value in another's place, under the same index (the kernel's wg_index_hashtable_replace).</summary>
    /// <returns>False if the index does not stand for <paramref name="expected"/> any more; nothing is changed then.</returns>
    public bool Replace(uint index, T expected, T value)
    {
        Entry? entry = FindEntry(index);
        if (entry is null || !ReferenceEquals(entry.Value, expected))
        {
            return false;
        }

        entry.Value = value;
        return true;
    }

    /// <summary>Frees an index if it stands for this very value; a later holder of the same number is left alone.</summary>
    public bool Remove(uint index, T value)
    {
        Entry?[] buckets = _buckets;
        ref Entry? link = ref buckets[Bucket(buckets, index)];
        while (link is not null && link.Index != index)
        {
            link = ref link.Next;
        }

        if (link is null || !ReferenceEquals(link.Value, value))
        {
            return false;
        }

        Volatile.Write(ref link, link.Next);
        Count--;
        if (buckets.Length > MinBuckets && Count < buckets.Length / 8)
        {
            Resize(buckets.Length / 2);
        }

        return true;
    }

    private static int Bucket(Entry?[] buckets, uint index) => (int)(index & (uint)(buckets.Length - 1));

    private Entry? FindEntry(uint index)
    {
        Entry?[] buckets = _buckets;
        Entry? entry = Volatile.Read(ref buckets[Bucket(buckets, index)]);
        while (entry is not null && entry.Index != index)
        {
            entry = Volatile.Read(ref entry.Next);
        }

        return entry;
    }

    private uint NewIndex()
    {
        uint index = 0;
        for (int tries = 0; tries < MaxTries; tries++)
        {
            random(MemoryMarshal.AsBytes(new Span<uint>(ref index)));
            if (FindEntry(index) is null)
            {
                return index;
            }
        }

        throw new InvalidOperationException("The random source repeats itself: no free receiver index found.");
    }

    private void Resize(int size)
    {
        var buckets = new Entry?[BitOperations.RoundUpToPowerOf2((uint)size)];
        foreach (Entry? head in _buckets)
        {
            for (Entry? entry = head; entry is not null; entry = entry.Next)
            {
                ref Entry? place = ref buckets[Bucket(buckets, entry.Index)];
                place = new Entry(entry.Index, entry.Value) { Next = place };
            }
        }

        _buckets = buckets;
    }

    private sealed class Entry(uint index, T value)
    {
        public readonly uint Index = index;
        public volatile T Value = value;

        /// <summary>Written by the control loop, followed by readers.</summary>
        public Entry? Next;
    }
}
