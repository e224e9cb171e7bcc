using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>
/// The packet threads of one direction (or, on one processor, of both): how the stages of the paths are spread over threads is decided here and
/// nowhere else. The loops are thin on purpose: they are never left, so they stay as they were compiled first, while the stages they call tier up.
/// </summary>
internal abstract class PacketWorkers : IDisposable
{
    private volatile bool _stopping;

    private protected PacketWorkers(string name, int threads, TunnelIo io, Readiness watched)
    {
        Name = name;
        Threads = threads;
        Io = io;
        Waiter = io.CreateWaiter(watched);
    }

    public string Name { get; }

    public int Threads { get; }

    private protected TunnelIo Io { get; }

    private protected IWaiter Waiter { get; }

    private protected bool IsStopping => _stopping;

    public static IReadOnlyList<PacketWorkers> Create(TunnelIo io, OutboundPath outbound, InboundPath inbound, TunnelOptions options)
    {
        int threads = options.Threads > 0 ? options.Threads : options.Processors;
        return threads switch
        {
            <= 1 => [new SingleWorker(io, outbound, inbound)],
            2 => [new OutboundWorker(io, outbound), new InboundWorker(io, inbound)],
            _ => [new OrderedOutboundWorkers(io, outbound, (threads + 1) / 2), new OrderedInboundWorkers(io, inbound, (threads + 1) / 2)],
        };
    }

    /// <summary>A thread's body.</summary>
    /// <returns>Gone if the device ended; Done after <see cref="Stop"/>.</returns>
    public abstract IoStatus Run();

    public virtual void Stop()
    {
        _stopping = true;
        Waiter.Wake();
    }

    public void Dispose() => Waiter.Dispose();

    /// <returns>False if the device is gone.</returns>
    private protected bool Wait() => !Waiter.Wait(Instant.Never).HasFlag(Readiness.TunGone);

    /// <summary>One read to its end: every frame split, sealed and sent.</summary>
    private protected IoStatus PumpOut(OutboundPath path, PacketBatch batch)
    {
        IoStatus status = path.Read(batch);
        if (status == IoStatus.Done)
        {
            Instant now = Io.Clock().Now;
            SplitPosition position = default;
            bool more;
            do
            {
                more = path.Prepare(batch, ref position, now);
                OutboundPath.Seal(batch);
                path.Transmit(batch, now);
            }
            while (more);
        }

        return status;
    }

    /// <summary>One receive to its end: every datagram opened and delivered.</summary>
    private protected IoStatus PumpIn(InboundPath path, PacketBatch batch)
    {
        IoStatus status = path.Receive(batch);
        if (status == IoStatus.Done)
        {
            Instant now = Io.Clock().Now;
            DatagramCursor next = default;
            bool more;
            do
            {
                more = path.Classify(batch, ref next);
                InboundPath.Open(batch, now);
                path.Accept(batch, now);
                if (path.Deliver(batch) == IoStatus.Gone)
                {
                    return IoStatus.Gone;
                }
            }
            while (more);
        }

        return status;
    }
}

/// <summary>One processor: one thread runs both directions in turn.</summary>
internal sealed class SingleWorker(TunnelIo io, OutboundPath outbound, InboundPath inbound)
    : PacketWorkers("wg-packets", 1, io, Readiness.Tun | Readiness.Udp)
{
    private readonly PacketBatch _out = OutboundPath.CreateBatch();
    private readonly PacketBatch _in = InboundPath.CreateBatch();

    public override IoStatus Run()
    {
        while (!IsStopping)
        {
            IoStatus sent = PumpOut(outbound, _out);
            IoStatus received = PumpIn(inbound, _in);
            if (sent == IoStatus.Gone || received == IoStatus.Gone)
            {
                return IoStatus.Gone;
            }

            if (sent != IoStatus.Done && received != IoStatus.Done && !Wait())
            {
                return IoStatus.Gone;
            }
        }

        return IoStatus.Done;
    }
}

/// <summary>Two processors: this thread runs everything from the TUN to the sockets.</summary>
internal sealed class OutboundWorker(TunnelIo io, OutboundPath path) : PacketWorkers("wg-outbound", 1, io, Readiness.Tun)
{
    private readonly PacketBatch _batch = OutboundPath.CreateBatch();

    public override IoStatus Run()
    {
        while (!IsStopping)
        {
            IoStatus status = PumpOut(path, _batch);
            if (status == IoStatus.Gone || (status != IoStatus.Done && !Wait()))
            {
                return IoStatus.Gone;
            }
        }

        return IoStatus.Done;
    }
}

/// <summary>Two processors: this thread runs everything from the sockets to the TUN.</summary>
internal sealed class InboundWorker(TunnelIo io, InboundPath path) : PacketWorkers("wg-inbound", 1, io, Readiness.Udp)
{
    private readonly PacketBatch _batch = InboundPath.CreateBatch();

    public override IoStatus Run()
    {
        while (!IsStopping)
        {
            IoStatus status = PumpIn(path, _batch);
            if (status == IoStatus.Gone || (status != IoStatus.Done && !Wait()))
            {
                return IoStatus.Gone;
            }
        }

        return IoStatus.Done;
    }
}

/// <summary>
/// More processors: one thread at a time takes in a batch and fixes its place in the order, any thread does the sealing or opening, and whoever
/// finishes the head of the order completes it.
/// </summary>
internal abstract class OrderedWorkers : PacketWorkers
{
    private readonly Lock _reader = new();
    private readonly OrderedBatchQueue _queue;
    private readonly PacketBatch[] _others;

    private protected OrderedWorkers(string name, int threads, TunnelIo io, Readiness watched, Func<PacketBatch> createBatch)
        : base(name, threads, io, watched)
    {
        _queue = new OrderedBatchQueue([.. Enumerable.Range(0, threads + 1).Select(_ => createBatch())], CompleteInOrder);
        _others = new PacketBatch[threads];
    }

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
                IoStatus status = Read(batch);
                if (status == IoStatus.Done)
                {
                    if (Prepare(batch, again: false))
                    {
                        CompleteInParts(batch);
                    }

                    ticket = _queue.Ticket(batch);
                    return IoStatus.Done;
                }

                if (status == IoStatus.Gone || !Wait())
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
        return path.Classify(batch, ref _next);
    }

    private protected override void WorkInParallel(PacketBatch batch) => InboundPath.Open(batch, Io.Clock().Now);

    private protected override void CompleteInOrder(PacketBatch batch)
    {
        path.Accept(batch, Io.Clock().Now);
        path.Deliver(batch);
    }
}
