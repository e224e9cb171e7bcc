namespace WgSharp.Protocol;

/// <summary>
/// The moments at which the control loop wants to look at its peers: a binary heap, earliest first, in which every peer stands at most once and
/// knows its place. Setting, moving and removing a deadline cost O(log n), and nothing stale is left behind. Control loop only.
/// </summary>
internal sealed class DeadlineHeap
{
    private const int MinCapacity = 16;

    private Entry[] _entries = new Entry[MinCapacity];

    public int Count { get; private set; }

    /// <summary>Never if empty.</summary>
    public Instant Earliest => Count == 0 ? Instant.Never : _entries[0].Deadline;

    /// <summary>Who comes first; the heap is not empty.</summary>
    public Peer First => _entries[0].Peer;

    /// <summary>Sets or moves a peer's deadline; Never removes it.</summary>
    public void Set(Peer peer, Instant deadline)
    {
        int index = peer.DeadlineIndex;
        if (deadline == Instant.Never)
        {
            Remove(peer);
        }
        else if (index < 0)
        {
            if (Count == _entries.Length)
            {
                Array.Resize(ref _entries, Count * 2);
            }

            SiftUp(Count++, new Entry(peer, deadline));
        }
        else
        {
            Sift(index, new Entry(peer, deadline));
        }
    }

    public void Remove(Peer peer)
    {
        int index = peer.DeadlineIndex;
        if (index < 0)
        {
            return;
        }

        peer.DeadlineIndex = -1;
        Entry last = _entries[--Count];
        _entries[Count] = default;
        if (index < Count)
        {
            Sift(index, last);
        }

        if (_entries.Length > MinCapacity && Count < _entries.Length / 8)
        {
            Array.Resize(ref _entries, _entries.Length / 2);
        }
    }

    private void Sift(int index, in Entry entry)
    {
        if (index > 0 && entry.Deadline < _entries[(index - 1) / 2].Deadline)
        {
            SiftUp(index, entry);
        }
        else
        {
            SiftDown(index, entry);
        }
    }

    private void SiftUp(int index, in Entry entry)
    {
        while (index > 0)
        {
            int parent = (index - 1) / 2;
            if (_entries[parent].Deadline <= entry.Deadline)
            {
                break;
            }

            Place(index, _entries[parent]);
            index = parent;
        }

        Place(index, entry);
    }

    private void SiftDown(int index, in Entry entry)
    {
        while (true)
        {
            int child = (2 * index) + 1;
            if (child >= Count)
            {
                break;
            }

            if (child + 1 < Count && _entries[child + 1].Deadline < _entries[child].Deadline)
            {
                child++;
            }

            if (entry.Deadline <= _entries[child].Deadline)
            {
                break;
            }

            Place(index, _entries[child]);
            index = child;
        }

        Place(index, entry);
    }

    private void Place(int index, in Entry entry)
    {
        _entries[index] = entry;
        entry.Peer.DeadlineIndex = index;
    }

    private readonly record struct Entry(Peer Peer, Instant Deadline);
}
