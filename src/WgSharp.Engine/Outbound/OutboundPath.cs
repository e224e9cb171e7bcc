using Microsoft.Extensions.Logging;
using WgSharp.Engine.Mtu;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Outbound;

/// <summary>
/// A packet's way out, stage by stage; each takes a batch.
/// <code>
/// 1 Read      super-packets of up to 64 KiB from the TUN                          (one thread at a time)
/// 2 Route     each frame once: headers -> peer -> endpoint -> hop limit -> path budget, or dropped
/// 3 Split     a frame into messages of equal strides; they make a run, or several
/// 4 Number    a run takes its counters from the keypair to send with; without one it is staged      (RunSender, from here on)
/// 5 Seal      header and AEAD over the whole run                                  (any thread, in parallel)
/// 6 Transmit  one system call for all runs; account, and look for a rekey         (in order)
/// </code>
/// The object holds no state of a packet: everything travels in the batch.
/// </summary>
internal sealed class OutboundPath(TunnelIo io, Device device, TunnelLink link, RunSender sender, ILogger log)
{
    private const int ReadCapacity = 4 * (PacketBatch.MaxPacket + VirtioNetHeader.Size);
    private const int MessageCapacity = 512 * 1024;

    private static readonly TimeSpan _loopReportPace = TimeSpan.FromSeconds(10);

    private readonly PathBudgets _budgets = new(io.Udp, link);
    private readonly FrameFitter _fitter = new(io, link);
    private readonly UnreachableReporter _unreachable = new(io.Tun, io.Random);
    private Instant _nextLoopReport;

    /// <summary>A batch that fits the outbound stages.</summary>
    public static PacketBatch CreateBatch() =>
        new(ReadCapacity + MessageCapacity, packets: 1024, frames: 256, trains: 0) { ReadCapacity = ReadCapacity };

    // ---- 1 ----

    public IoStatus Read(PacketBatch batch)
    {
        batch.Clear();
        return io.Tun.Read(batch);
    }

    // ---- 2, 3, 4 ----

    /// <summary>Routes, splits and numbers as many frames as the batch has room for.</summary>
    /// <param name="position">Where to go on; starts as <c>default</c>.</param>
    /// <returns>True while frames are left: seal and transmit, then call again.</returns>
    /// <exception cref="InvalidOperationException">The batch is too small for even one packet of its frames.</exception>
    public bool Prepare(PacketBatch batch, ref SplitPosition position, Instant now)
    {
        batch.ClearPackets();
        bool more = RouteAndSplit(batch, ref position, now);
        sender.Number(batch, now);
        return more;
    }

    // ---- 5, 6 ----

    public static void Seal(PacketBatch batch) => RunSender.Seal(batch);

    public void Transmit(PacketBatch batch, Instant now) => sender.Transmit(batch, now);

    private bool RouteAndSplit(PacketBatch batch, ref SplitPosition position, Instant now)
    {
        AllowedIps allowedIps = device.AllowedIps;
        var budget = new BudgetOfLast();
        for (; position.Frame < batch.FrameCount; position.NextFrame())
        {
            ref readonly TunFrame frame = ref batch.Frames[position.Frame];
            Span<byte> bytes = batch.Buffer.AsSpan(frame.Offset, frame.Length);
            if (!IpPacket.TryParse(bytes, out IpPacket packet))
            {
                batch.Drops.Add(DropReason.MalformedFrame);
                continue;
            }

            if (!TryRoute(batch, bytes[..packet.TotalLength], in packet, allowedIps, ref budget, now, out FrameRoute route))
            {
                continue;
            }

            int first = batch.PacketCount;
            SplitResult result = FitAndSplit(batch, bytes[..packet.TotalLength], in packet, in frame.Header, in route, ref position, now);
            OutboundRuns.Append(batch, first, in route, link.Refusals, now);
            if (result == SplitResult.Malformed)
            {
                batch.Drops.Add(route.Peer, DropReason.MalformedFrame);
            }
            else if (result == SplitResult.NoRoom)
            {
                return batch.PacketCount > 0 ? true : throw new InvalidOperationException("The batch has no room for one packet.");
            }
        }

        return false;
    }

    private SplitResult FitAndSplit(
        PacketBatch batch,
        Span<byte> bytes,
        in IpPacket packet,
        in VirtioNetHeader header,
        in FrameRoute route,
        ref SplitPosition position,
        Instant now)
    {
        SuperPacket super = default;
        bool isSuper = header.GsoType != VirtioNetHeader.GsoNone;
        if (isSuper && !SuperPacket.TryParse(bytes, packet, header, out super))
        {
            return SplitResult.Malformed;
        }

        int largest = isSuper ? Math.Min(bytes.Length, super.HeaderLength + super.SegmentSize) : bytes.Length;
        if (position.Fit is not { } fit)
        {
            fit = _fitter.Fit(bytes, largest, in header, in route, now);
            position.Fit = fit;
            position.MaxInner = route.Padding.Budget;
        }

        switch (fit)
        {
            case FrameFit.Dropped:
                batch.Drops.Add(route.Peer, DropReason.TooBig);
                return SplitResult.Whole;
            case FrameFit.Fragmented:
                return GsoSplitter.AppendFragments(batch, bytes, in header, position.MaxInner, route.Padding, ref position);
            default:
                return isSuper
                    ? GsoSplitter.Split(batch, bytes, in super, fit == FrameFit.Resegmented ? position.MaxInner : 0, route.Padding, ref position)
                    : GsoSplitter.Append(batch, bytes, in header, route.Padding);
        }
    }

    private bool TryRoute(
        PacketBatch batch,
        ReadOnlySpan<byte> content,
        in IpPacket packet,
        AllowedIps allowedIps,
        ref BudgetOfLast budget,
        Instant now,
        out FrameRoute route)
    {
        route = default;
        Peer? peer = allowedIps.Lookup(packet.Destination);
        Endpoint? endpoint = peer?.Endpoint;
        if (peer is null)
        {
            batch.Drops.Add(DropReason.NoPeer);
            _unreachable.Report(content, now);
            return false;
        }

        if (endpoint is null)
        {
            batch.Drops.Add(peer, DropReason.NoEndpoint);
            _unreachable.Report(content, now);
            return false;
        }

        if (RoutingLoop.IsOwnMessage(content, in packet, peer, endpoint)
            || !RoutingLoop.TryHopLimit(content, in packet, out byte hopLimit))
        {
            batch.Drops.Add(peer, DropReason.RoutingLoop);
            ReportLoop(peer, endpoint, now);
            return false;
        }

        PathBudget path = budget.Of(peer, endpoint, _budgets, now);
        route = new FrameRoute(peer, endpoint)
        {
            TrafficClass = Ecn.Encapsulate(packet.TrafficClass),
            HopLimit = hopLimit,
            Padding = new Padding(link.Mtu, path.MaxInner(endpoint.Remote.Address.IsIPv6)),
            Budget = path,
        };
        return true;
    }

    /// <summary>A loop drops as many messages as the machine can send: one of them is told of from time to time.</summary>
    private void ReportLoop(Peer peer, Endpoint endpoint, Instant now)
    {
        if (now >= _nextLoopReport)
        {
            _nextLoopReport = now + _loopReportPace;
            Log.RoutingLoop(log, peer.PublicKey, endpoint.Remote);
        }
    }

    /// <summary>Most frames of a batch go where the one before went: asked once.</summary>
    private struct BudgetOfLast
    {
        private Peer? _peer;
        private Endpoint? _endpoint;
        private PathBudget _budget;

        public PathBudget Of(Peer peer, Endpoint endpoint, PathBudgets budgets, Instant now)
        {
            if (!ReferenceEquals(endpoint, _endpoint) || !ReferenceEquals(peer, _peer))
            {
                _peer = peer;
                _endpoint = endpoint;
                _budget = budgets.Of(peer, endpoint, now);
            }

            return _budget;
        }
    }
}
