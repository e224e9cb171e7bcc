using WgSharp.Protocol;

namespace WgSharp.Engine.Workers;

/// <summary>
/// Two processors: one thread runs both directions, as long as that is enough. What comes in and its answer then need one wake-up instead of two,
/// which is most of what a small packet costs. Once both directions carry bulk in the same turn, the outbound one is handed to the second thread,
/// which gives it back when the bulk has ended. A direction has one owner at a time, so nothing is reordered.
/// </summary>
internal sealed class PairedWorkers(TunnelIo io, OutboundPath outbound, InboundPath inbound)
    : PacketWorkers("wg-packets", 2, io, Readiness.Tun | Readiness.Udp)
{
    /// <summary>Bytes in one turn that are bulk.</summary>
    private const int Bulk = 32 * 1024;

    /// <summary>How long the second thread keeps its direction without seeing bulk.</summary>
    private static readonly TimeSpan Linger = TimeSpan.FromMilliseconds(20);

    private readonly PacketBatch _out = OutboundPath.CreateBatch();
    private readonly PacketBatch _in = InboundPath.CreateBatch();
    private readonly IWaiter _udp = io.CreateWaiter(Readiness.Udp);
    private readonly IWaiter _tun = io.CreateWaiter(Readiness.Tun);
    private readonly IWaiter _handOver = io.CreateWaiter(Readiness.None);
    private int _entered;

    /// <summary>Who owns the outbound path: set by the first thread, taken back by the second.</summary>
    private volatile bool _handedOver;

    public override IEnumerable<PacketBatch> Batches => [_out, _in];

    public override IoStatus Run() => Interlocked.Increment(ref _entered) == 1 ? RunFirst() : RunSecond();

    public override void Stop()
    {
        base.Stop();
        _udp.Wake();
        _tun.Wake();
        _handOver.Wake();
    }

    public override void Dispose()
    {
        base.Dispose();
        _udp.Dispose();
        _tun.Dispose();
        _handOver.Dispose();
    }

    private IoStatus RunFirst()
    {
        while (!IsStopping)
        {
            // Inwards first: what is delivered often has its answer in the TUN's queue at once.
            IoStatus received = PumpIn(inbound, _in);
            bool ownsBoth = !_handedOver;
            IoStatus sent = ownsBoth ? PumpOut(outbound, _out) : IoStatus.WouldBlock;
            if (received == IoStatus.Gone || sent == IoStatus.Gone)
            {
                return IoStatus.Gone;
            }

            if (ownsBoth && received == IoStatus.Done && sent == IoStatus.Done && IsBulk(_in) && IsBulk(_out))
            {
                _handedOver = true;
                _handOver.Wake();
            }
            else if (!Rest(ownsBoth ? Waiter : _udp, goOn: MayGoOn(received, _in) || MayGoOn(sent, _out)))
            {
                return IoStatus.Gone;
            }
        }

        return IoStatus.Done;
    }

    private IoStatus RunSecond()
    {
        while (!IsStopping)
        {
            if (!_handedOver)
            {
                _handOver.Wait(Instant.Never);
            }
            else if (PumpOutUntilCalm() == IoStatus.Gone)
            {
                return IoStatus.Gone;
            }
        }

        return IoStatus.Done;
    }

    private IoStatus PumpOutUntilCalm()
    {
        Instant until = Io.Clock().Now + Linger;
        while (!IsStopping)
        {
            IoStatus status = PumpOut(outbound, _out);
            if (status == IoStatus.Gone)
            {
                return IoStatus.Gone;
            }

            Instant now = Io.Clock().Now;
            if (status == IoStatus.Done && IsBulk(_out))
            {
                until = now + Linger;
            }
            else if (now >= until)
            {
                break;
            }

            if (!MayGoOn(status, _out) && _tun.Wait(until).HasFlag(Readiness.TunGone))
            {
                return IoStatus.Gone;
            }
        }

        _handedOver = false;
        _udp.Wake();
        return IoStatus.Done;
    }

    private static bool IsBulk(PacketBatch batch)
    {
        int bytes = 0;
        foreach (ref readonly DatagramTrain train in batch.Trains.AsSpan(0, batch.TrainCount))
        {
            bytes += train.Length;
        }

        if (batch.Trains.Length == 0)
        {
            foreach (ref readonly TunFrame frame in batch.Frames.AsSpan(0, batch.FrameCount))
            {
                bytes += frame.Length;
            }
        }

        return bytes >= Bulk;
    }
}
