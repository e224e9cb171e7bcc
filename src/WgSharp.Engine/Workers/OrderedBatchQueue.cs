namespace WgSharp.Engine.Workers;

/// <summary>
/// Work in parallel, completion in order: whoever takes a batch in gets a ticket; batches are completed in the order of their tickets, whatever the
/// order in which they were finished. Whoever finishes the head of the queue completes it and every finished one behind it; nobody waits for that.
/// </summary>
internal sealed class OrderedBatchQueue
{
    private readonly Action<PacketBatch> _complete;
    private readonly PacketBatch[] _batches;
    private readonly bool[] _finished;
    private readonly Stack<PacketBatch> _pool;

    // A Monitor, not a Lock: renting waits on it for a batch to come back.
    private readonly object _lock = new();
    private long _nextTicket;
    private long _head;
    private bool _completing;

    /// <param name="batches">As many as may be under way at once.</param>
    /// <param name="complete">Called in ticket order, by one thread at a time.</param>
    public OrderedBatchQueue(IReadOnlyCollection<PacketBatch> batches, Action<PacketBatch> complete)
    {
        _complete = complete;
        _pool = new Stack<PacketBatch>(batches);
        _batches = new PacketBatch[batches.Count];
        _finished = new bool[batches.Count];
    }

    /// <summary>Waits for a free batch. The caller fills it, then takes a <see cref="Ticket"/>, or gives it back with <see cref="Return"/>.</summary>
    public PacketBatch Rent()
    {
        lock (_lock)
        {
            while (_pool.Count == 0)
            {
                Monitor.Wait(_lock);
            }

            return _pool.Pop();
        }
    }

    /// <summary>Gives back a batch that got no ticket.</summary>
    public void Return(PacketBatch batch)
    {
        lock (_lock)
        {
            _pool.Push(batch);
            Monitor.Pulse(_lock);
        }
    }

    /// <summary>Fixes the batch's place in the order: called by one reader at a time.</summary>
    public long Ticket(PacketBatch batch)
    {
        lock (_lock)
        {
            long ticket = _nextTicket++;
            _batches[ticket % _batches.Length] = batch;
            _finished[ticket % _batches.Length] = false;
            return ticket;
        }
    }

    /// <summary>The parallel part of this batch is done. Completes it and its successors if it is the head's turn.</summary>
    public void Finish(long ticket)
    {
        lock (_lock)
        {
            _finished[ticket % _batches.Length] = true;
            if (_completing)
            {
                return;
            }

            _completing = true;
        }

        while (TryTakeHead() is { } batch)
        {
            _complete(batch);
            Return(batch);
        }
    }

    private PacketBatch? TryTakeHead()
    {
        lock (_lock)
        {
            int slot = (int)(_head % _batches.Length);
            if (_head == _nextTicket || !_finished[slot])
            {
                _completing = false;
                return null;
            }

            _head++;
            _finished[slot] = false;
            return _batches[slot];
        }
    }
}
