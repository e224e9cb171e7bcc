using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Workers;

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

    /// <summary>What its threads work on; their counters may be read by anyone.</summary>
    public abstract IEnumerable<PacketBatch> Batches { get; }

    private protected TunnelIo Io { get; }

    private protected IWaiter Waiter { get; }

    private protected bool IsStopping => _stopping;

    public static IReadOnlyList<PacketWorkers> Create(TunnelIo io, OutboundPath outbound, InboundPath inbound, TunnelOptions options)
    {
        int threads = options.Threads > 0 ? options.Threads : options.Processors;
        return threads switch
        {
            <= 1 => [new SingleWorker(io, outbound, inbound)],
            2 => [new PairedWorkers(io, outbound, inbound)],
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

    public virtual void Dispose() => Waiter.Dispose();

    /// <summary>Between two turns: sleeps where there is nothing to go on with. Otherwise it only looks at what came meanwhile: a direction that never
    /// runs dry must not hide the other.</summary>
    /// <returns>False if the device is gone.</returns>
    private protected static bool Rest(IWaiter waiter, bool goOn) =>
        !(goOn ? waiter.Poll() : waiter.Wait(Instant.Never)).HasFlag(Readiness.TunGone);

    /// <summary>Whether there may be more to take without waiting.</summary>
    private protected static bool MayGoOn(IoStatus status, PacketBatch batch) => status == IoStatus.Done && !batch.Drained;

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
                more = path.Classify(batch, ref next, now);
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

    public override IEnumerable<PacketBatch> Batches => [_out, _in];

    public override IoStatus Run()
    {
        while (!IsStopping)
        {
            if (!TakeTurn(out bool more) || !Rest(Waiter, goOn: more))
            {
                return IoStatus.Gone;
            }
        }

        return IoStatus.Done;
    }

    /// <summary>One turn: both directions, as far as one batch goes.</summary>
    /// <param name="more">There may be more to take without waiting.</param>
    /// <returns>False if the device is gone.</returns>
    internal bool TakeTurn(out bool more)
    {
        // Inwards first: what is delivered often has its answer in the TUN's queue at once.
        IoStatus received = PumpIn(inbound, _in);
        IoStatus sent = PumpOut(outbound, _out);
        more = MayGoOn(sent, _out) || MayGoOn(received, _in);
        return sent != IoStatus.Gone && received != IoStatus.Gone;
    }
}
