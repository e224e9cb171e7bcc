using Microsoft.Extensions.Logging;
using WgSharp.Crypto;
using WgSharp.Engine.Mtu;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Inbound;

/// <summary>
/// A packet's way in, stage by stage; each takes a batch. What a stage drops has no content for the later ones.
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
    private const int Packets = 1024;
    private const int Frames = 256;

    private readonly PathBudgets _budgets = new(io.Udp, link);

    /// <summary>A batch that fits the inbound stages.</summary>
    public static PacketBatch CreateBatch() => new(Trains * (PacketBatch.MaxPacket + 1), Packets, Frames, Trains);

    /// <summary>Joins what fits into such a batch.</summary>
    public static GroCoalescer CreateCoalescer(TunOffload features) => new(features, Packets, Frames);

    // ---- 1 ----

    public IoStatus Receive(PacketBatch batch)
    {
        batch.Clear();
        IoStatus status = io.Udp.Receive(batch);
        if (io.Udp.HasPathReports)
        {
            link.AnnouncePathReports();
        }

        return status;
    }

    // ---- 2 ----

    /// <summary>Makes packets and runs of as many datagrams as the batch has room for.</summary>
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
        batch.ClearPackets();
        for (; next.Train < batch.TrainCount; next = new DatagramCursor(next.Train + 1, 0))
        {
            ref readonly DatagramTrain train = ref batch.Trains[next.Train];
            for (; next.Offset < train.Length; next = next with { Offset = next.Offset + train.Stride })
            {
                if (batch.PacketCount == batch.Packets.Length)
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
        ReadOnlySpan<byte> message = batch.Buffer.AsSpan(offset, length);
        switch (WireMessage.Classify(message))
        {
            case MessageType.TransportData when TransportData.TryParse(message, out TransportData data):
                if (device.TryFindKeypair(data.ReceiverIndex, out Keypair keypair))
                {
                    Join(batch, trainIndex, keypair, offset, in data);
                }
                else
                {
                    batch.Drops.Add(DropReason.NoSession);
                }

                break;
            case MessageType.HandshakeInitiation or MessageType.HandshakeResponse or MessageType.CookieReply:
                handshakes.Add(batch, trainIndex, offset, length, now);
                break;
            default:
                batch.Drops.Add(DropReason.MalformedMessage);
                break;
        }
    }

    private static void Join(PacketBatch batch, int train, Keypair keypair, int offset, in TransportData data)
    {
        int packet = batch.PacketCount++;
        batch.Packets[packet] = new AeadPacket
        {
            Offset = offset + MessageSize.TransportHeader,
            Length = data.Sealed.Length - MessageSize.Tag,
            Counter = data.Counter,
        };
        if (batch.RunCount > 0)
        {
            ref InboundRun last = ref batch.InboundRuns[batch.RunCount - 1];
            if (ReferenceEquals(last.Keypair, keypair) && last.Train == train)
            {
                last.Count++;
                return;
            }
        }

        batch.InboundRuns[batch.RunCount++] = new InboundRun { FirstPacket = packet, Count = 1, Keypair = keypair, Train = train };
    }

    // ---- 3 ----

    public static void Open(PacketBatch batch, Instant now)
    {
        for (int r = 0; r < batch.RunCount; r++)
        {
            ref readonly InboundRun run = ref batch.InboundRuns[r];
            Keypair keypair = run.Keypair!;
            if (!keypair.MayReceive(now) || !keypair.TryLease())
            {
                batch.Drops.Add(keypair.Peer, DropReason.SessionExpired, run.Count);
                continue;
            }

            Span<AeadPacket> packets = batch.Packets.AsSpan(run.FirstPacket, run.Count);
            keypair.ReceiveKey.Open(batch.Buffer, packets);
            keypair.Release();
            int forged = 0;
            foreach (ref readonly AeadPacket packet in packets)
            {
                forged += packet.Authentic ? 0 : 1;
            }

            if (forged > 0)
            {
                batch.Drops.Add(keypair.Peer, DropReason.NotAuthentic, forged);
            }
        }
    }

    // ---- 4 ----

    public void Accept(PacketBatch batch, Instant now)
    {
        AllowedIps allowedIps = device.AllowedIps;
        for (int r = 0; r < batch.RunCount; r++)
        {
            ref readonly InboundRun run = ref batch.InboundRuns[r];
            Span<AeadPacket> packets = batch.Packets.AsSpan(run.FirstPacket, run.Count);
            Keypair keypair = run.Keypair!;
            int accepted = AcceptCounters(packets, keypair, batch.Drops);
            if (accepted == 0)
            {
                continue;
            }

            ref readonly DatagramTrain train = ref batch.Trains[run.Train];
            Peer peer = keypair.Peer;
            if (peer.Learn(train.Source, train.LocalAddress, train.LocalInterface) && device.TakesNotes && peer.IsMoveNew())
            {
                link.QueueWork(peer, PeerWork.Moved);
            }

            if (train.FragmentSize > 0 && peer.Path is { } path && path.NoteFragment(train.FragmentSize))
            {
                link.QueueWork(peer, PeerWork.Path);
            }

            (long bytes, bool carriesData) = AcceptContents(batch, packets, peer, train.TrafficClass, allowedIps);
            TakePathMatters(batch, packets, peer, now);
            link.QueueWork(peer, peer.NoteReceived(keypair, accepted, bytes, carriesData, now));
        }

        batch.InboundRuns.AsSpan(0, batch.RunCount).Clear();
        batch.RunCount = 0;
    }

    /// <summary>What is not accepted has no content any more.</summary>
    private static int AcceptCounters(Span<AeadPacket> packets, Keypair keypair, DropCounters drops)
    {
        ReplayWindow window = keypair.ReplayWindow;
        int authentic = 0;
        int accepted = 0;
        lock (window.Lock)
        {
            foreach (ref AeadPacket packet in packets)
            {
                authentic += packet.Authentic ? 1 : 0;
                packet.Authentic = packet.Authentic && window.TryAccept(packet.Counter);
                packet.Length = packet.Authentic ? packet.Length : 0;
                accepted += packet.Authentic ? 1 : 0;
            }
        }

        if (accepted != authentic)
        {
            drops.Add(keypair.Peer, DropReason.Replayed, authentic - accepted);
        }

        return accepted;
    }

    /// <summary>Keepalives end here; everything else must be an IP packet whose source routes back to this very peer, and is trimmed to its own length.</summary>
    /// <returns>Bytes of the messages that count as received, and whether one of them was more than a keepalive.</returns>
    private static (long Bytes, bool CarriesData) AcceptContents(
        PacketBatch batch, Span<AeadPacket> packets, Peer peer, byte outerTrafficClass, AllowedIps allowedIps)
    {
        long bytes = 0;
        bool carriesData = false;
        foreach (ref AeadPacket packet in packets)
        {
            int length = packet.Length;
            if (length == 0)
            {
                bytes += packet.Authentic ? MessageSize.Keepalive : 0;
                continue;
            }

            carriesData = true;
            packet.Length = 0;
            Span<byte> content = batch.Buffer.AsSpan(packet.Offset, length);
            if (!IpPacket.TryParse(content, out IpPacket inner))
            {
                batch.Drops.Add(peer, DropReason.MalformedPacket);
                continue;
            }

            if (!ReferenceEquals(allowedIps.Lookup(inner.Source), peer))
            {
                batch.Drops.Add(peer, DropReason.SourceNotAllowed);
                continue;
            }

            packet.Length = inner.TotalLength;
            bytes += MessageSize.TransportOverhead + length;
            Ecn.Decapsulate(content, outerTrafficClass);
        }

        return (bytes, carriesData);
    }

    /// <summary>What is ours and not the TUN's: answers to probes. And SYNs announce to this side's senders no more than what the path takes.</summary>
    private void TakePathMatters(PacketBatch batch, Span<AeadPacket> packets, Peer peer, Instant now)
    {
        if (link.MtuPolicy == MtuPolicy.Kernel)
        {
            return;
        }

        PeerPath? path = peer.Path;
        ReadOnlySpan<ProbeToken> pending = path is null ? default : path.Probes.Tokens;
        foreach (ref AeadPacket packet in packets)
        {
            if (packet.Length == 0)
            {
                continue;
            }

            Span<byte> content = batch.Buffer.AsSpan(packet.Offset, packet.Length);
            if (MssClamp.MayBeSyn(content) && peer.Endpoint is { } endpoint)
            {
                int maxInner = _budgets.Of(peer, endpoint, now).MaxInner(endpoint.Remote.Address.IsIPv6);
                MssClamp.Clamp(content, Math.Min(link.Mtu, maxInner));
            }
            else if (!pending.IsEmpty && MtuProbes.Recognise(content, pending, out int index, out InetAddress speaker) != ProbeAnswer.None)
            {
                path!.Probes.NoteAnswer(pending[index], speaker);
                link.QueueWork(peer, PeerWork.Path);
                packet.Length = 0;
            }
        }
    }

    // ---- 5, 6 ----

    public IoStatus Deliver(PacketBatch batch)
    {
        IoStatus status = IoStatus.Done;
        for (int packet = 0; packet < batch.PacketCount && status != IoStatus.Gone;)
        {
            packet = coalescer.Coalesce(batch, packet);
            if (batch.FrameCount == 0)
            {
                continue;
            }

            status = Write(batch);
            while (status == IoStatus.Done && coalescer.Uncoalesce(batch))
            {
                Log.CoalescedFrameRefused(log);
                status = Write(batch);
            }
        }

        return status;
    }

    private IoStatus Write(PacketBatch batch)
    {
        IoStatus status = io.Tun.Write(batch);
        if (status == IoStatus.Done)
        {
            // A refused super-packet comes again, packet by packet; a single packet does not.
            foreach (ref readonly TunFrame frame in batch.Frames.AsSpan(0, batch.FrameCount))
            {
                if (frame.Refused && frame.SliceCount == 1)
                {
                    batch.Drops.Add(DropReason.TunRefused);
                }
            }
        }

        return status;
    }
}

/// <summary>A place in a batch's trains: which train, and how many bytes of it are done.</summary>
internal readonly record struct DatagramCursor(int Train, int Offset);
