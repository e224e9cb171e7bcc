using Microsoft.Extensions.Logging;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Outbound;

/// <summary>
/// What every transport message passes, whoever sends it (keepalives and staged packets included): the last three stages of the way out. Any
/// thread; everything travels in the batch.
/// </summary>
internal sealed class RunSender(IUdpSocket udp, TunnelLink link, ILogger log)
{
    // ---- 4 Number ----

    /// <summary>Leases keypairs and takes counters; the runs of peers that have no session are staged, and leave the batch.</summary>
    /// <param name="areStaged">These were staged, so nothing that is staged stands before them.</param>
    public void Number(PacketBatch batch, Instant now, bool areStaged = false)
    {
        int kept = 0;
        for (int r = 0; r < batch.RunCount; r++)
        {
            ref OutboundRun run = ref batch.OutboundRuns[r];
            if (TryNumber(batch, ref run, areStaged, now))
            {
                if (kept != r)
                {
                    batch.OutboundRuns[kept] = run;
                }

                kept++;
            }
            else
            {
                Stage(batch, in run, now);
            }
        }

        batch.OutboundRuns.AsSpan(kept, batch.RunCount - kept).Clear();
        batch.RunCount = kept;
    }

    /// <summary>Leases the keypair to send with and takes counters for the run. A run never overtakes what is staged before it.</summary>
    private static bool TryNumber(PacketBatch batch, ref OutboundRun run, bool isStaged, Instant now)
    {
        Keypair? keypair = run.Peer!.Keypairs.Sending;
        if (keypair is null || (!isStaged && run.Peer.Staged.ComeFirst) || !keypair.TryLease())
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
            batch.Packets[run.FirstPacket + i].Counter = counter + (ulong)i;
        }

        return true;
    }

    /// <summary>
    /// Keeps copies until there is a session. No wake-up is lost: the control loop publishes a keypair first and drains then,
    /// and here the keypair is looked at again after the packets were staged.
    /// </summary>
    private void Stage(PacketBatch batch, in OutboundRun run, Instant now)
    {
        Peer peer = run.Peer!;
        foreach (ref readonly AeadPacket packet in batch.Packets.AsSpan(run.FirstPacket, run.Count))
        {
            // Without its padding; and a keepalive is nothing to be kept.
            if (IpPacket.TryParse(batch.Buffer.AsSpan(packet.Offset, packet.Length), out IpPacket inner))
            {
                peer.Staged.Add(batch.Buffer.AsSpan(packet.Offset, inner.TotalLength));
            }
        }

        if (peer.Keypairs.Sending is { } current && current.MaySend(now))
        {
            link.QueueWork(peer, PeerWork.Staged);
        }
        else if (peer.WantsHandshake(now))
        {
            link.QueueWork(peer, PeerWork.Handshake);
        }
    }

    // ---- 5 Seal ----

    public static void Seal(PacketBatch batch)
    {
        for (int r = 0; r < batch.RunCount; r++)
        {
            ref OutboundRun run = ref batch.OutboundRuns[r];
            Span<AeadPacket> packets = batch.Packets.AsSpan(run.FirstPacket, run.Count);
            foreach (ref readonly AeadPacket packet in packets)
            {
                Span<byte> header = batch.Buffer.AsSpan(packet.Offset - MessageSize.TransportHeader, MessageSize.TransportHeader);
                TransportData.WriteHeader(header, run.Keypair!.RemoteIndex, packet.Counter);
            }

            run.Keypair!.SendKey.Seal(batch.Buffer, packets);
        }
    }

    // ---- 6 Transmit ----

    /// <summary>Sends all runs, accounts them, gives their keypairs back, and empties the batch of them.</summary>
    public void Transmit(PacketBatch batch, Instant now)
    {
        if (batch.RunCount == 0)
        {
            return;
        }

        udp.Send(batch, 0, batch.RunCount);
        for (int r = 0; r < batch.RunCount; r++)
        {
            ref OutboundRun run = ref batch.OutboundRuns[r];
            if (run.Outcome is SendOutcome.SourceRefused or SendOutcome.SegmentationRefused)
            {
                Retry(batch, r, now);
            }

            Peer peer = run.Peer!;
            Keypair keypair = run.Keypair!;
            bool sent = run.Outcome == SendOutcome.Sent;
            if (!sent)
            {
                batch.Drops.Add(peer, DropReason.SocketRefused, run.Count);
            }

            bool carriesData = sent && run.Length > run.Count * MessageSize.Keepalive;
            PeerWork work = peer.NoteSent(keypair, run.Count, sent ? run.Length : 0, carriesData, now);
            keypair.Release();
            link.QueueWork(peer, work);
        }

        batch.OutboundRuns.AsSpan(0, batch.RunCount).Clear();
        batch.RunCount = 0;
    }

    /// <summary>Numbers, seals and sends the one message of a batch that probes the path.</summary>
    /// <param name="dontFragment">Nobody may fragment it, nor is it sent where it is larger than the local link takes.</param>
    /// <param name="header">Takes its header.</param>
    public SendOutcome SendProbe(PacketBatch batch, bool dontFragment, Instant now, Span<byte> header)
    {
        ref OutboundRun run = ref batch.OutboundRuns[0];
        if (!TryNumber(batch, ref run, isStaged: true, now))
        {
            batch.ClearPackets();
            return SendOutcome.Lost;
        }

        Seal(batch);
        ReadOnlySpan<byte> message = batch.Buffer.AsSpan(run.Offset, run.Length);
        message[..MessageSize.TransportHeader].CopyTo(header);
        if (dontFragment)
        {
            run.Outcome = udp.SendWhole(message, run.Endpoint!, run.TrafficClass);
        }
        else
        {
            // Whether fragments pass is the question. These are small enough for any path, and smaller than what the other end may take for one's MTU.
            run.FragmentAt = run.Endpoint!.Remote.Address.IsIPv6 ? PathMtu.FloorIPv6 - 8 : 0;
            udp.Send(batch, 0, 1);
        }

        SendOutcome outcome = run.Outcome;
        run.Peer!.NoteProbeSent(outcome == SendOutcome.Sent ? run.Length : 0);
        run.Keypair!.Release();
        batch.OutboundRuns[0] = default;
        batch.ClearPackets();
        return outcome;
    }

    /// <summary>Sends a refused run again at once, another way: without its sticky source, or message by message. Each refusal can happen once.</summary>
    private void Retry(PacketBatch batch, int index, Instant now)
    {
        ref OutboundRun run = ref batch.OutboundRuns[index];
        for (int attempt = 0; attempt < 2; attempt++)
        {
            if (run.Outcome == SendOutcome.SourceRefused)
            {
                run.Endpoint = run.Peer!.ForgetSource(run.Endpoint!);
            }
            else if (run.Outcome == SendOutcome.SegmentationRefused)
            {
                link.Refusals.Refuse(run.Endpoint!.Remote, run.Stride, now);
                run.Unsegmented = true;
                Log.SegmentationRefused(log, run.Endpoint!.Remote, run.Stride);
            }
            else
            {
                return;
            }

            udp.Send(batch, index, 1);
        }
    }
}
