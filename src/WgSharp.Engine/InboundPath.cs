using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using WgSharp.Crypto;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>
/// A packet's way in, stage by stage; each takes a batch and passes over what an earlier one dropped.
/// <code>
/// 1 Receive   datagrams, or trains of equal-sized ones, from both sockets  (one thread at a time)
/// 2 Classify  transport data: find the keypair, neighbours make a run; handshake messages: mac1, then to the control loop
/// 3 Open      age limit and AEAD over the whole run                        (any thread, in parallel)
/// 4 Accept    replay window, roaming, key confirmation, inner length, allowed source
/// 5 Coalesce  segments of a flow into a super-packet
/// 6 Deliver   to the TUN                                                   (in order)
/// </code>
/// The object holds no state of a packet: everything travels in the batch.
/// </summary>
internal sealed class InboundPath(TunnelIo io, Device device, TunnelLink link, HandshakeScreen handshakes, GroCoalescer coalescer, ILogger log)
{
    private const int Trains = 8;
    private const int Slots = 1024;
    private const int Frames = 256;

    /// <summary>A batch that fits the inbound stages.</summary>
    public static PacketBatch CreateBatch() => new(Trains * (PacketBatch.MaxPacket + 1), Slots, Frames, Trains);

    /// <summary>Joins what fits into such a batch.</summary>
    public static GroCoalescer CreateCoalescer(GroFeatures features) => new(features, Slots, Frames);

    // ---- 1 ----

    public IoStatus Receive(PacketBatch batch)
    {
        batch.Clear();
        return io.Udp.Receive(batch);
    }

    // ---- 2 ----

    /// <summary>Makes slots and runs of as many datagrams as the batch has room for.</summary>
    /// <param name="next">Where to go on; moved behind the last datagram that was taken.</param>
    /// <returns>True while datagrams are left: deliver, then call again.</returns>
    public bool Classify(PacketBatch batch, ref DatagramCursor next, Instant now)
    {
        bool more = ClassifyAll(batch, ref next, now);
        handshakes.Finish(batch, now);
        return more;
    }

    private bool ClassifyAll(PacketBatch batch, ref DatagramCursor next, Instant now)
    {
        batch.SlotCount = 0;
        batch.RunCount = 0;
        for (; next.Train < batch.TrainCount; next = new DatagramCursor(next.Train + 1, 0))
        {
            ref readonly DatagramTrain train = ref batch.Trains[next.Train];
            for (; next.Offset < train.Length; next = next with { Offset = next.Offset + train.Stride })
            {
                if (batch.SlotCount == batch.Slots.Length)
                {
                    return true;
                }

                int length = Math.Min(train.Stride, train.Length - next.Offset);
                ClassifyOne(batch, next.Train, in train, train.Offset + next.Offset, length, now);
            }
        }

        return false;
    }

    private void ClassifyOne(PacketBatch batch, int trainIndex, in DatagramTrain train, int offset, int length, Instant now)
    {
        if (length < MessageSize.Keepalive)
        {
            return;
        }

        ReadOnlySpan<byte> message = batch.Buffer.AsSpan(offset, length);
        switch ((MessageType)BinaryPrimitives.ReadUInt32LittleEndian(message))
        {
            case MessageType.TransportData:
                if (device.TryFindKeypair(BinaryPrimitives.ReadUInt32LittleEndian(message[4..]), out Keypair keypair))
                {
                    Join(batch, trainIndex, keypair, offset, length, BinaryPrimitives.ReadUInt64LittleEndian(message[8..]), train.TrafficClass);
                }

                break;
            case MessageType.HandshakeInitiation when length == MessageSize.HandshakeInitiation:
            case MessageType.HandshakeResponse when length == MessageSize.HandshakeResponse:
            case MessageType.CookieReply when length == MessageSize.CookieReply:
                handshakes.Add(batch, trainIndex, offset, length, now);
                break;
        }
    }

    private static void Join(PacketBatch batch, int train, Keypair keypair, int offset, int length, ulong counter, byte trafficClass)
    {
        int slot = batch.SlotCount++;
        batch.Packets[slot] = new AeadPacket
        {
            Offset = offset + MessageSize.TransportHeader,
            Length = length - MessageSize.Keepalive,
            Counter = counter,
        };
        batch.Slots[slot] = new PacketSlot { TrafficClass = trafficClass };
        if (batch.RunCount > 0)
        {
            ref PacketRun last = ref batch.Runs[batch.RunCount - 1];
            if (ReferenceEquals(last.Keypair, keypair) && last.Train == train)
            {
                last.Count++;
                return;
            }
        }

        batch.Runs[batch.RunCount++] = new PacketRun { FirstSlot = slot, Count = 1, Peer = keypair.Peer, Keypair = keypair, Train = train };
    }

    // ---- 3 ----

    public static void Open(PacketBatch batch, Instant now)
    {
        for (int r = 0; r < batch.RunCount; r++)
        {
            ref readonly PacketRun run = ref batch.Runs[r];
            Keypair keypair = run.Keypair!;
            if (!keypair.MayReceive(now) || !keypair.TryLease())
            {
                continue;
            }

            keypair.ReceiveKey.Open(batch.Buffer, batch.Packets.AsSpan(run.FirstSlot, run.Count));
            keypair.Release();
        }
    }

    // ---- 4 ----

    public void Accept(PacketBatch batch, Instant now)
    {
        AllowedIps allowedIps = device.AllowedIps;
        for (int r = 0; r < batch.RunCount; r++)
        {
            ref readonly PacketRun run = ref batch.Runs[r];
            int accepted = AcceptCounters(batch, in run);
            if (accepted == 0)
            {
                continue;
            }

            ref readonly DatagramTrain train = ref batch.Trains[run.Train];
            run.Peer!.Learn(train.Source, train.LocalAddress, train.LocalInterface);
            (long bytes, bool carriesData) = AcceptContents(batch, in run, allowedIps);
            link.Raise(run.Peer, run.Peer.NoteReceived(run.Keypair!, accepted, bytes, carriesData, now));
        }

        batch.Runs.AsSpan(0, batch.RunCount).Clear();
        batch.RunCount = 0;
    }

    private static int AcceptCounters(PacketBatch batch, in PacketRun run)
    {
        int accepted = 0;
        ReplayWindow window = run.Keypair!.ReplayWindow;
        lock (window.Lock)
        {
            for (int i = run.FirstSlot; i < run.FirstSlot + run.Count; i++)
            {
                bool accept = batch.Packets[i].Authentic && window.TryAccept(batch.Packets[i].Counter);
                batch.Slots[i].Dropped = !accept;
                accepted += accept ? 1 : 0;
            }
        }

        return accepted;
    }

    /// <summary>Keepalives end here; everything else must be an IP packet whose source routes back to this very peer.</summary>
    /// <returns>Bytes of the messages that count as received, and whether one of them was more than a keepalive.</returns>
    private static (long Bytes, bool CarriesData) AcceptContents(PacketBatch batch, in PacketRun run, AllowedIps allowedIps)
    {
        long bytes = 0;
        bool carriesData = false;
        for (int i = run.FirstSlot; i < run.FirstSlot + run.Count; i++)
        {
            ref PacketSlot slot = ref batch.Slots[i];
            if (slot.Dropped)
            {
                continue;
            }

            int length = batch.Packets[i].Length;
            if (length == 0)
            {
                slot.Dropped = true;
                bytes += MessageSize.Keepalive;
                continue;
            }

            carriesData = true;
            Span<byte> content = batch.Buffer.AsSpan(batch.Packets[i].Offset, length);
            if (!IpPacket.TryParse(content, out IpPacket packet) || !ReferenceEquals(allowedIps.Lookup(packet.Source), run.Peer))
            {
                slot.Dropped = true;
                continue;
            }

            slot.InnerLength = packet.TotalLength;
            bytes += MessageSize.Keepalive + length;
            Ecn.Decapsulate(content, slot.TrafficClass);
        }

        return (bytes, carriesData);
    }

    // ---- 5, 6 ----

    public IoStatus Deliver(PacketBatch batch)
    {
        IoStatus status = IoStatus.Done;
        for (int slot = 0; slot < batch.SlotCount && status != IoStatus.Gone;)
        {
            slot = coalescer.Coalesce(batch, slot);
            if (batch.FrameCount == 0)
            {
                continue;
            }

            status = io.Tun.Write(batch);
            while (status == IoStatus.Done && coalescer.Uncoalesce(batch))
            {
                Log.CoalescedFrameRefused(log);
                status = io.Tun.Write(batch);
            }
        }

        return status;
    }
}

/// <summary>A place in a batch's trains: which train, and how many bytes of it are done.</summary>
internal readonly record struct DatagramCursor(int Train, int Offset);
