using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using WgSharp.Crypto;
using WgSharp.Engine.Mtu;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>
/// A packet's way out, stage by stage; each takes a batch and passes over what an earlier one dropped.
/// <code>
/// 1 Read      super-packets of up to 64 KiB from the TUN                  (one thread at a time)
/// 2 Split     into transport messages at one stride, with room for header and tag
/// 3 Route     destination -> allowed IPs -> peer; neighbours of one peer and size make a run
/// 4 Number    a run takes its counters from the keypair to send with; without one it is staged
/// 5 Seal      header and AEAD over the whole run                          (any thread, in parallel)
/// 6 Transmit  one system call for all runs; account, and look for a rekey (in order)
/// </code>
/// The object holds no state of a packet: everything travels in the batch.
/// </summary>
internal sealed class OutboundPath
{
    /// <summary>UDP_MAX_SEGMENTS of kernels before 6.9.</summary>
    private const int MaxSegments = 64;

    /// <summary>The largest UDP payload over IPv4, and so the longest run.</summary>
    private const int MaxRunLength = 65507;

    private const int UdpHeaderSize = 8;

    /// <summary>Runs in a portion of staged packets: one whole one of equal packets, or two packets that differ.</summary>
    private const int StagedRuns = 2;

    private static readonly TimeSpan _loopReportPace = TimeSpan.FromSeconds(10);

    private readonly TunnelIo _io;
    private readonly Device _device;
    private readonly TunnelLink _link;
    private readonly UnreachableReporter _unreachable;
    private readonly ILogger _log;
    private Instant _nextLoopReport;

    public OutboundPath(TunnelIo io, Device device, TunnelLink link, ILogger log)
    {
        _io = io;
        _device = device;
        _link = link;
        _log = log;
        _unreachable = new UnreachableReporter(io.Tun, io.Random);
    }

    /// <summary>A batch that fits the outbound stages.</summary>
    public static PacketBatch CreateBatch() => new(ReadCapacity + MessageCapacity, slots: 1024, frames: 256, trains: 0) { ReadCapacity = ReadCapacity };

    /// <summary>A batch for what the control loop sends: nothing is read into it.</summary>
    public static PacketBatch CreateControlBatch() => new(MessageCapacity / 2, slots: 128, frames: 128, trains: 0);

    private const int ReadCapacity = 4 * (PacketBatch.MaxPacket + VirtioNetHeader.Size);
    private const int MessageCapacity = 512 * 1024;

    // ---- 1 ----

    public IoStatus Read(PacketBatch batch)
    {
        batch.Clear();
        return _io.Tun.Read(batch);
    }

    // ---- 2, 3, 4 ----

    /// <summary>Splits, routes and numbers as many packets as the batch has room for.</summary>
    /// <param name="position">Where to go on; starts as <c>default</c>.</param>
    /// <returns>True while packets are left: seal and transmit, then call again.</returns>
    public bool Prepare(PacketBatch batch, ref SplitPosition position, Instant now)
    {
        batch.RunCount = 0;
        bool more = GsoSplitter.Split(batch, ref position, _link.Mtu);
        Route(batch, now);
        Number(batch, now);
        return more;
    }

    private void Route(PacketBatch batch, Instant now)
    {
        AllowedIps allowedIps = _device.AllowedIps;
        Endpoint? measured = null;
        int budget = 0;
        for (int i = 0; i < batch.SlotCount; i++)
        {
            ref PacketSlot slot = ref batch.Slots[i];
            if (slot.Dropped)
            {
                continue;
            }

            Span<byte> content = batch.Buffer.AsSpan(batch.Packets[i].Offset, slot.InnerLength);
            if (!IpPacket.TryParse(content, out IpPacket packet))
            {
                slot.Dropped = true;
                continue;
            }

            Peer? peer = allowedIps.Lookup(packet.Destination);
            Endpoint? endpoint = peer?.Endpoint;
            if (peer is null || endpoint is null)
            {
                slot.Dropped = true;
                _unreachable.Report(content, now);
                continue;
            }

            if (RoutingLoop.IsOwnMessage(content, in packet, peer, endpoint)
                || !RoutingLoop.TryHopLimit(content, in packet, out byte hopLimit))
            {
                slot.Dropped = true;
                ReportLoop(peer, endpoint, now);
                continue;
            }

            if (!ReferenceEquals(endpoint, measured))
            {
                measured = endpoint;
                budget = _io.Udp.PathMtu(endpoint, now) - InnerOverhead(endpoint);
            }

            KeepPaddingWithin(ref batch.Packets[i], slot.InnerLength, budget);
            Join(batch, i, peer, endpoint, Ecn.Encapsulate(slot.TrafficClass), hopLimit, now);
        }
    }

    /// <summary>A loop drops as many messages as the machine can send: one of them is told of from time to time.</summary>
    private void ReportLoop(Peer peer, Endpoint endpoint, Instant now)
    {
        if (now >= _nextLoopReport)
        {
            _nextLoopReport = now + _loopReportPace;
            Log.RoutingLoop(_log, peer.PublicKey, endpoint.Remote);
        }
    }

    /// <summary>Takes padding back that would cross the path's budget: it must not be what makes the outer packet a fragmented one.</summary>
    private static void KeepPaddingWithin(ref AeadPacket packet, int innerLength, int budget)
    {
        if (packet.Length > budget)
        {
            packet.Length = Math.Max(innerLength, budget);
        }
    }

    private static int InnerOverhead(Endpoint endpoint) =>
        (endpoint.Remote.Address.IsIPv6 ? IpPacket.IPv6HeaderSize : IpPacket.IPv4HeaderSize) + UdpHeaderSize + MessageSize.Keepalive;

    /// <summary>Appends a slot to the last run if that stays contiguous, of one peer, one size and one outer header; starts a new run otherwise.</summary>
    private void Join(PacketBatch batch, int slot, Peer peer, Endpoint endpoint, byte trafficClass, byte hopLimit, Instant now)
    {
        int offset = batch.Packets[slot].Offset - MessageSize.TransportHeader;
        int length = batch.Packets[slot].Length + MessageSize.Keepalive;
        if (batch.RunCount > 0)
        {
            ref PacketRun last = ref batch.Runs[batch.RunCount - 1];
            if (ReferenceEquals(last.Peer, peer)
                && last.TrafficClass == trafficClass
                && last.HopLimit == hopLimit
                && last.Offset + last.Length == offset
                && last.Length == last.Count * last.Stride
                && length <= last.Stride
                && last.Count < MaxSegments
                && last.Length + length <= MaxRunLength)
            {
                last.Count++;
                last.Length += length;
                return;
            }
        }

        batch.Runs[batch.RunCount++] = new PacketRun
        {
            FirstSlot = slot,
            Count = 1,
            Offset = offset,
            Length = length,
            Stride = length,
            Peer = peer,
            Endpoint = endpoint,
            TrafficClass = trafficClass,
            HopLimit = hopLimit,
            Unsegmented = _link.Refusals.Refuses(endpoint.Remote, length, now),
        };
    }

    private void Number(PacketBatch batch, Instant now)
    {
        int kept = 0;
        for (int r = 0; r < batch.RunCount; r++)
        {
            ref PacketRun run = ref batch.Runs[r];
            if (TryNumber(batch, ref run, now))
            {
                if (kept != r)
                {
                    batch.Runs[kept] = run;
                }

                kept++;
            }
            else
            {
                Stage(batch, in run, now);
            }
        }

        batch.Runs.AsSpan(kept, batch.RunCount - kept).Clear();
        batch.RunCount = kept;
    }

    /// <summary>Leases the keypair to send with and takes counters for the run. A run never overtakes what is staged before it.</summary>
    private static bool TryNumber(PacketBatch batch, ref PacketRun run, Instant now)
    {
        Keypair? keypair = run.Peer!.Keypairs.Sending;
        if (keypair is null || (!run.WasStaged && run.Peer.Staged.ComeFirst) || !keypair.TryLease())
        {
            return false;
        }

        if (!keypair.TryReserve(run.Count, now, out ulong counter))
        {
            keypair.Release();
            return false;
        }

        run.Keypair = keypair;
        for (int i = 0; i < run.Count; i++)
        {
            batch.Packets[run.FirstSlot + i].Counter = counter + (ulong)i;
        }

        return true;
    }

    /// <summary>
    /// Keeps copies until there is a session. No wake-up is lost: the control loop publishes a keypair first and drains then,
    /// and here the keypair is looked at again after the packets were staged.
    /// </summary>
    private void Stage(PacketBatch batch, in PacketRun run, Instant now)
    {
        Peer peer = run.Peer!;
        for (int i = run.FirstSlot; i < run.FirstSlot + run.Count; i++)
        {
            if (batch.Slots[i].InnerLength > 0)
            {
                peer.Staged.Add(batch.Buffer.AsSpan(batch.Packets[i].Offset, batch.Slots[i].InnerLength));
            }
        }

        if (peer.Keypairs.Sending is { } current && current.MaySend(now))
        {
            _link.Raise(peer, Attention.Staged);
        }
        else if (peer.WantsHandshake(now))
        {
            _link.Raise(peer, Attention.Handshake);
        }
    }

    // ---- 5 ----

    public static void Seal(PacketBatch batch)
    {
        for (int r = 0; r < batch.RunCount; r++)
        {
            ref PacketRun run = ref batch.Runs[r];
            Span<AeadPacket> packets = batch.Packets.AsSpan(run.FirstSlot, run.Count);
            foreach (ref readonly AeadPacket packet in packets)
            {
                Span<byte> header = batch.Buffer.AsSpan(packet.Offset - MessageSize.TransportHeader, MessageSize.TransportHeader);
                BinaryPrimitives.WriteUInt32LittleEndian(header, (uint)MessageType.TransportData);
                BinaryPrimitives.WriteUInt32LittleEndian(header[4..], run.Keypair!.RemoteIndex);
                BinaryPrimitives.WriteUInt64LittleEndian(header[8..], packet.Counter);
            }

            run.Keypair!.SendKey.Seal(batch.Buffer, packets);
        }
    }

    // ---- 6 ----

    public void Transmit(PacketBatch batch, Instant now)
    {
        if (batch.RunCount == 0)
        {
            return;
        }

        _io.Udp.Send(batch, 0, batch.RunCount);
        for (int r = 0; r < batch.RunCount; r++)
        {
            ref PacketRun run = ref batch.Runs[r];
            if (run.Outcome is SendOutcome.SourceRefused or SendOutcome.SegmentationRefused)
            {
                Retry(batch, r, now);
            }

            Peer peer = run.Peer!;
            Keypair keypair = run.Keypair!;
            bool sent = run.Outcome == SendOutcome.Sent;
            bool carriesData = sent && run.Length > run.Count * MessageSize.Keepalive;
            Attention attention = peer.NoteSent(keypair, run.Count, sent ? run.Length : 0, carriesData, now);
            keypair.Release();
            _link.Raise(peer, attention);
        }

        batch.Runs.AsSpan(0, batch.RunCount).Clear();
        batch.RunCount = 0;
    }

    /// <summary>Sends a refused run again at once, another way: without its sticky source, or message by message. Each refusal can happen once.</summary>
    private void Retry(PacketBatch batch, int index, Instant now)
    {
        ref PacketRun run = ref batch.Runs[index];
        for (int attempt = 0; attempt < 2; attempt++)
        {
            if (run.Outcome == SendOutcome.SourceRefused)
            {
                run.Endpoint = run.Peer!.ForgetSource(run.Endpoint!);
                if (run.Endpoint is null)
                {
                    run.Outcome = SendOutcome.Lost;
                    return;
                }
            }
            else if (run.Outcome == SendOutcome.SegmentationRefused)
            {
                _link.Refusals.Refuse(run.Endpoint!.Remote, run.Stride, now);
                run.Unsegmented = true;
                Log.SegmentationRefused(_log, run.Endpoint!.Remote, run.Stride);
            }
            else
            {
                return;
            }

            _io.Udp.Send(batch, index, 1);
        }
    }

    // ---- what the control loop sends: staged packets and keepalives ----

    /// <summary>Seals and sends a portion of what is staged for a peer, in order, if it has a session: little enough that a slow socket delays nobody else for long.</summary>
    /// <returns>False if nothing was sent.</returns>
    public bool SendStaged(PacketBatch batch, Peer peer, Instant now)
    {
        peer.Staged.BeginDrain();
        bool sent = peer.Endpoint is { } endpoint
            && peer.Keypairs.Sending is { } keypair
            && keypair.MaySend(now)
            && TakeStaged(batch, peer, endpoint, now)
            && SendRuns(batch, now);
        peer.Staged.EndDrain();
        return sent;
    }

    /// <summary>Sends an empty transport message.</summary>
    /// <returns>False if there is no session or no endpoint.</returns>
    public bool SendKeepalive(PacketBatch batch, Peer peer, Instant now)
    {
        if (peer.Endpoint is not { } endpoint)
        {
            return false;
        }

        batch.Clear();
        Place(batch, batch.ReadCapacity, 0);
        Join(batch, 0, peer, endpoint, trafficClass: 0, hopLimit: 0, now);
        return SendRuns(batch, now);
    }

    private bool TakeStaged(PacketBatch batch, Peer peer, Endpoint endpoint, Instant now)
    {
        batch.Clear();
        int budget = _io.Udp.PathMtu(endpoint, now) - InnerOverhead(endpoint);
        int offset = batch.ReadCapacity;
        while (batch.RunCount < StagedRuns
            && batch.SlotCount < batch.Runs.Length
            && offset + MessageSize.Keepalive + PacketBatch.MaxPacket + 16 <= batch.Buffer.Length
            && peer.Staged.TryTake(batch.Buffer.AsSpan(offset + MessageSize.TransportHeader, PacketBatch.MaxPacket), out int length))
        {
            int slot = Place(batch, offset, length);
            KeepPaddingWithin(ref batch.Packets[slot], length, budget);
            ReadOnlySpan<byte> content = batch.Buffer.AsSpan(offset + MessageSize.TransportHeader, length);
            byte trafficClass = 0;
            byte hopLimit = 0;
            if (IpPacket.TryParse(content, out IpPacket packet))
            {
                trafficClass = Ecn.Encapsulate(packet.TrafficClass);
                _ = RoutingLoop.TryHopLimit(content, in packet, out hopLimit); // it had hops left when it was staged
            }

            Join(batch, slot, peer, endpoint, trafficClass, hopLimit, now);
            offset += MessageSize.Keepalive + batch.Packets[slot].Length;
        }

        return batch.SlotCount > 0;
    }

    private bool SendRuns(PacketBatch batch, Instant now)
    {
        for (int r = 0; r < batch.RunCount; r++)
        {
            batch.Runs[r].WasStaged = true;
        }

        Number(batch, now);
        bool any = batch.RunCount > 0;
        Seal(batch);
        Transmit(batch, now);
        return any;
    }

    private int Place(PacketBatch batch, int offset, int length)
    {
        int slot = batch.SlotCount++;
        int content = offset + MessageSize.TransportHeader;
        int padded = GsoSplitter.PaddedLength(length, _link.Mtu);
        batch.Buffer.AsSpan(content + length, padded - length).Clear();
        batch.Packets[slot] = new AeadPacket { Offset = content, Length = padded };
        batch.Slots[slot] = new PacketSlot { InnerLength = length };
        return slot;
    }
}
