using WgSharp.Engine.Offload;

namespace WgSharp.Engine.Workers;

/// <summary>
/// More processors: one thread at a time takes in a batch and fixes its place in the order, any thread does the sealing or opening, and whoever
/// finishes the head of the order completes it.
/// </summary>
internal abstract class OrderedWorkers : PacketWorkers
{
    private readonly Lock _reader = new();
    private readonly OrderedBatchQueue _queue;
    private readonly PacketBatch[] _batches;
    private readonly PacketBatch[] _others;

    /// <summary>What the last one to read saw: that nothing was left, or that there may be more.</summary>
    private bool _drained;
    private bool _goesOn;

    private protected OrderedWorkers(string name, int threads, TunnelIo io, Readiness watched, Func<PacketBatch> createBatch)
        : base(name, threads, io, watched)
    {
        _batches = [.. Enumerable.Range(0, threads + 1).Select(_ => createBatch())];
        _queue = new OrderedBatchQueue(_batches, CompleteInOrder);
        _others = new PacketBatch[threads];
    }

    public sealed override IEnumerable<PacketBatch> Batches => _batches;

    public sealed override IoStatus Run()
    {
        IoStatus status;
        while ((status = TakeIn(out PacketBatch? batch, out long ticket)) == IoStatus.Done && batch is not null)
        {
            WorkInParallel(batch);
            _queue.Finish(ticket);
        }

        return status;
    }

    private protected abstract IoStatus Read(PacketBatch batch);

    /// <summary>The part that fixes the order. Starts anew when <paramref name="again"/> is false.</summary>
    /// <returns>True if not everything that was read fitted: complete this part, then call again.</returns>
    private protected abstract bool Prepare(PacketBatch batch, bool again);

    private protected abstract void WorkInParallel(PacketBatch batch);

    private protected abstract void CompleteInOrder(PacketBatch batch);

    private IoStatus TakeIn(out PacketBatch? batch, out long ticket)
    {
        lock (_reader)
        {
            ticket = 0;
            batch = _queue.Rent();
            while (!IsStopping)
            {
                if (_goesOn && !Rest(Waiter, goOn: true))
                {
                    break;
                }

                IoStatus status = _drained ? IoStatus.WouldBlock : Read(batch);
                _drained = status == IoStatus.Done && batch.Drained;
                _goesOn = MayGoOn(status, batch);
                if (status == IoStatus.Done)
                {
                    if (Prepare(batch, again: false))
                    {
                        CompleteInParts(batch);
                    }

                    ticket = _queue.Ticket(batch);
                    return IoStatus.Done;
                }

                if (status == IoStatus.Gone || !Rest(Waiter, goOn: false))
                {
                    break;
                }
            }

            _queue.Return(batch);
            batch = null;
            return IsStopping ? IoStatus.Done : IoStatus.Gone;
        }
    }

    /// <summary>What was read is more than a batch can describe at once (tiny segments): rare, so everyone else is waited for, by renting all other batches.</summary>
    private void CompleteInParts(PacketBatch batch)
    {
        for (int i = 0; i < _others.Length; i++)
        {
            _others[i] = _queue.Rent();
        }

        bool more;
        do
        {
            WorkInParallel(batch);
            CompleteInOrder(batch);
            more = Prepare(batch, again: true);
        }
        while (more);

        foreach (PacketBatch other in _others)
        {
            _queue.Return(other);
        }
    }
}

internal sealed class OrderedOutboundWorkers(TunnelIo io, OutboundPath path, int threads)
    : OrderedWorkers("wg-outbound", threads, io, Readiness.Tun, OutboundPath.CreateBatch)
{
    private SplitPosition _position;

    private protected override IoStatus Read(PacketBatch batch) => path.Read(batch);

    private protected override bool Prepare(PacketBatch batch, bool again)
    {
        _position = again ? _position : default;
        return path.Prepare(batch, ref _position, Io.Clock().Now);
    }

    private protected override void WorkInParallel(PacketBatch batch) => OutboundPath.Seal(batch);

    private protected override void CompleteInOrder(PacketBatch batch) => path.Transmit(batch, Io.Clock().Now);
}

internal sealed class OrderedInboundWorkers(TunnelIo io, InboundPath path, int threads)
    : OrderedWorkers("wg-inbound", threads, io, Readiness.Udp, InboundPath.CreateBatch)
{
    private DatagramCursor _next;

    private protected override IoStatus Read(PacketBatch batch) => path.Receive(batch);

    private protected override bool Prepare(PacketBatch batch, bool again)
    {
        _next = again ? _next : default;
        return path.Classify(batch, ref _next, Io.Clock().Now);
    }

    private protected override void WorkInParallel(PacketBatch batch) => InboundPath.Open(batch, Io.Clock().Now);

    private protected override void CompleteInOrder(PacketBatch batch)
    {
        path.Accept(batch, Io.Clock().Now);
        path.Deliver(batch);
    }
}
