using System.Buffers;
using System.Diagnostics;

namespace WgSharp.Protocol;

// Packets wait here while there is no session. Two bounds hold: 128 packets per peer, as in the kernel, and a budget of bytes over all
// peers, because 25,000 peers times 128 packets would be gigabytes. Where a bound is reached, the oldest packet goes: the peer's oldest for the
// first bound, the device's oldest for the second, so that peers that never answer can't keep the others from staging.
//
// The packets of all peers are slots of one table, each slot in two lists: its peer's and the device's, both in order of arrival. One lock guards
// them all. It is off the fast path: who has a session never comes here, beyond reading IsEmpty.

/// <summary>What the staged packets of one device may take together, and where they are kept. Shared by all of its peers.</summary>
/// <param name="limit">Bytes of memory, at least 64 KiB.</param>
internal sealed class StagingBudget(int limit = StagingBudget.DefaultLimit)
{
    public const int DefaultLimit = 16 << 20;

    private const int MinLimit = 1 << 16;
    private const int MinSlots = 16;

    private Slot[] _slots = [];
    private int _free = None;
    private int _count;
    private long _pushedOut;
    private List _all = List.Empty;

    internal const int None = -1;

    /// <summary>Bytes of memory that may be taken.</summary>
    public int Limit { get; } = limit >= MinLimit
        ? limit
        : throw new ArgumentOutOfRangeException(nameof(limit), limit, $"At least {MinLimit} bytes are needed, so that any packet fits.");

    /// <summary>Bytes of memory taken now.</summary>
    public int Used { get; private set; }

    /// <summary>Packets that wait now. Any thread, for people.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>Any thread: packets that went because a bound was reached.</summary>
    public long PushedOut => Volatile.Read(ref _pushedOut);

    internal Lock Lock { get; } = new();

    /// <summary>The lock is held. Copies a packet in as its owner's newest; makes room by dropping the device's oldest.</summary>
    internal void Add(StagedPackets owner, ReadOnlySpan<byte> packet)
    {
        Debug.Assert(Lock.IsHeldByCurrentThread);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(packet.Length);
        if (buffer.Length > Limit)
        {
            ArrayPool<byte>.Shared.Return(buffer);
            return;
        }

        while (Used + buffer.Length > Limit)
        {
            PushOut(_all.First);
        }

        packet.CopyTo(buffer);
        int index = TakeSlot();
        ref Slot slot = ref _slots[index];
        slot = new Slot { Owner = owner, Buffer = buffer, Length = packet.Length, NextOfOwner = None, Next = None, Previous = _all.Last };
        if (_all.Last == None)
        {
            _all.First = index;
        }
        else
        {
            _slots[_all.Last].Next = index;
        }

        _all.Last = index;
        if (owner.Slots.Last == None)
        {
            owner.Slots.First = index;
        }
        else
        {
            _slots[owner.Slots.Last].NextOfOwner = index;
        }

        owner.Slots.Last = index;
        owner.ChangeCount(1);
        Used += buffer.Length;
    }

    /// <summary>The lock is held. The bytes of a slot; valid until it is removed.</summary>
    internal ReadOnlySpan<byte> Read(int index) => _slots[index].Buffer.AsSpan(0, _slots[index].Length);

    /// <summary>The lock is held. Removes a packet that a younger one needs the place of.</summary>
    internal void PushOut(int index)
    {
        _slots[index].Owner.NotePushedOut();
        Remove(index);
        Volatile.Write(ref _pushedOut, _pushedOut + 1);
    }

    /// <summary>The lock is held. Wipes a packet and gives its memory back. It must be its owner's oldest: every drop is from that end.</summary>
    internal void Remove(int index)
    {
        Debug.Assert(Lock.IsHeldByCurrentThread);
        Slot slot = _slots[index];
        Debug.Assert(slot.Owner.Slots.First == index);
        slot.Owner.Slots.First = slot.NextOfOwner;
        if (slot.NextOfOwner == None)
        {
            slot.Owner.Slots.Last = None;
        }

        if (slot.Previous == None)
        {
            _all.First = slot.Next;
        }
        else
        {
            _slots[slot.Previous].Next = slot.Next;
        }

        if (slot.Next == None)
        {
            _all.Last = slot.Previous;
        }
        else
        {
            _slots[slot.Next].Previous = slot.Previous;
        }

        slot.Owner.ChangeCount(-1);
        Used -= slot.Buffer.Length;
        slot.Buffer.AsSpan(0, slot.Length).Clear();
        ArrayPool<byte>.Shared.Return(slot.Buffer);
        FreeSlot(index);
    }

    private int TakeSlot()
    {
        if (_free == None)
        {
            int size = _slots.Length;
            Array.Resize(ref _slots, Math.Max(MinSlots, size * 2));
            for (int index = _slots.Length - 1; index >= size; index--)
            {
                _slots[index].Next = _free;
                _free = index;
            }
        }

        int taken = _free;
        _free = _slots[taken].Next;
        _count++;
        return taken;
    }

    private void FreeSlot(int index)
    {
        _slots[index] = new Slot { Next = _free };
        _free = index;
        _count--;
        if (_count == 0)
        {
            // Nothing waits any more: the table goes too.
            _slots = [];
            _free = None;
        }
    }

    /// <summary>First and last slot of a list, oldest first; <see cref="None"/> if it is empty.</summary>
    internal struct List
    {
        public int First;
        public int Last;

        public static List Empty => new() { First = None, Last = None };
    }

    private struct Slot
    {
        public StagedPackets Owner;
        public byte[] Buffer;
        public int Length;
        public int NextOfOwner;
        public int Previous;

        /// <summary>The device's next younger packet; for a free slot, the next free one.</summary>
        public int Next;
    }
}

/// <summary>
/// Packets of one peer that wait for a session: at most 128, and no more bytes over all peers than the device's budget; the oldest go first.
/// Small lock inside; any thread.
/// </summary>
internal sealed class StagedPackets(StagingBudget budget)
{
    /// <summary>Oldest first. Guarded by the budget's lock.</summary>
    internal StagingBudget.List Slots = StagingBudget.List.Empty;

    /// <summary>Written under the lock, read by anyone.</summary>
    private volatile int _count;

    private long _pushedOut;
    private bool _closed;

    /// <summary>Written by the control loop, read by anyone: packets that were taken out are not on the wire yet.</summary>
    private volatile bool _draining;

    /// <summary>Read without the lock: a hint that is right as soon as the writer is done.</summary>
    public bool IsEmpty => _count == 0;

    public int Count => _count;

    /// <summary>Any thread: packets that went because a bound was reached.</summary>
    public long PushedOut => Volatile.Read(ref _pushedOut);

    /// <summary>Something stands before a packet that comes now: staged packets, or such as were taken out and are not sent yet.</summary>
    public bool ComeFirst => _count > 0 || _draining;

    /// <summary>Control loop: from here to <see cref="EndDrain"/>, what is taken out still comes before everything new.</summary>
    public void BeginDrain() => _draining = true;

    public void EndDrain() => _draining = false;

    /// <summary>Appends a copy of an inner packet; drops the oldest ones where a bound is reached. No-op once the peer was removed.</summary>
    public void Add(ReadOnlySpan<byte> packet)
    {
        lock (budget.Lock)
        {
            if (_closed)
            {
                return;
            }

            if (_count >= Limits.MaxStagedPackets)
            {
                budget.PushOut(Slots.First);
            }

            budget.Add(this, packet);
        }
    }

    /// <summary>Takes the oldest packet out.</summary>
    /// <param name="destination">At least 65,535 bytes, or as long as the longest packet that was added.</param>
    /// <param name="length">Bytes written; 0 if there was none.</param>
    /// <exception cref="ArgumentException">The destination is too short; the packet stays.</exception>
    public bool TryTake(Span<byte> destination, out int length)
    {
        length = 0;
        if (IsEmpty)
        {
            return false;
        }

        lock (budget.Lock)
        {
            if (_count == 0)
            {
                return false;
            }

            ReadOnlySpan<byte> packet = budget.Read(Slots.First);
            packet.CopyTo(destination);
            length = packet.Length;
            budget.Remove(Slots.First);
            return true;
        }
    }

    public void Clear()
    {
        lock (budget.Lock)
        {
            while (_count > 0)
            {
                budget.Remove(Slots.First);
            }
        }
    }

    /// <summary>The peer is removed: what waits is wiped, and nothing is staged any more.</summary>
    internal void Close()
    {
        lock (budget.Lock)
        {
            _closed = true;
            Clear();
        }
    }

    /// <summary>Called by the budget, which holds the lock.</summary>
    internal void ChangeCount(int change) => _count += change;

    /// <summary>Called by the budget, which holds the lock.</summary>
    internal void NotePushedOut() => Volatile.Write(ref _pushedOut, _pushedOut + 1);
}
