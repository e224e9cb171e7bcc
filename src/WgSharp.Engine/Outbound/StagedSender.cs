using WgSharp.Crypto;
using WgSharp.Engine.Mtu;
using WgSharp.Protocol;

namespace WgSharp.Engine.Outbound;

/// <summary>What the control loop sends of transport messages: staged packets and keepalives. Control loop only.</summary>
internal sealed class StagedSender(TunnelIo io, TunnelLink link, RunSender sender)
{
    /// <summary>Runs in a portion of staged packets: one whole one of equal packets and what follows it, or two packets that differ.</summary>
    private const int PortionRuns = 2;

    private readonly PathBudgets _budgets = new(io.Udp, link);

    /// <summary>Nothing is read into it. A portion fits: a run has 64 packets or 64 KiB at most, or one packet of 64 KiB.</summary>
    private readonly PacketBatch _batch = new(256 * 1024, packets: 128, frames: 0, trains: 0);

    /// <summary>What was dropped on this way.</summary>
    public DropCounters Drops => _batch.Drops;

    /// <summary>Seals and sends a portion of what is staged for a peer, in order, if it has a session: little enough that a slow socket delays nobody else for long.</summary>
    /// <returns>False if nothing was sent.</returns>
    public bool SendStaged(Peer peer, Instant now)
    {
        peer.Staged.BeginDrain();
        bool sent = peer.Endpoint is { } endpoint
            && peer.Keypairs.Sending is { } keypair
            && keypair.MaySend(now)
            && TakeStaged(peer, endpoint, now)
            && SendRuns(now);
        peer.Staged.EndDrain();
        return sent;
    }

    /// <summary>Sends an empty transport message.</summary>
    /// <returns>False if there is no session or no endpoint.</returns>
    public bool SendKeepalive(Peer peer, Instant now)
    {
        if (peer.Endpoint is not { } endpoint)
        {
            return false;
        }

        _batch.Clear();
        Append(0, new FrameRoute(peer, endpoint), now);
        return SendRuns(now);
    }

    /// <summary>Sends an inner packet in a message that is padded to make an outer packet of this size. No data as far as the timers go: that it is lost means nothing.</summary>
    /// <param name="outerSize">Bytes, IP header included.</param>
    /// <param name="header">Takes the header that it left with: 16 bytes.</param>
    /// <returns>Lost also where there is no session; TooLarge only with <paramref name="dontFragment"/>.</returns>
    public SendOutcome SendProbe(
        Peer peer, Endpoint endpoint, ReadOnlySpan<byte> packet, int outerSize, bool dontFragment, Instant now, Span<byte> header)
    {
        _batch.Clear();
        int padded = outerSize - PathBudget.OuterSize(0, endpoint.Remote.Address.IsIPv6);
        if (padded < packet.Length || peer.Keypairs.Sending is not { } keypair || !keypair.MaySend(now))
        {
            return SendOutcome.Lost;
        }

        packet.CopyTo(_batch.Buffer.AsSpan(_batch.MessagesEnd + MessageSize.TransportHeader));
        AppendPadded(packet.Length, padded, new FrameRoute(peer, endpoint), now);
        return sender.SendProbe(_batch, dontFragment, now, header);
    }

    private bool TakeStaged(Peer peer, Endpoint endpoint, Instant now)
    {
        _batch.Clear();
        PathBudget budget = _budgets.Of(peer, endpoint, now);
        var padding = new Padding(link.Mtu, budget.MaxInner(endpoint.Remote.Address.IsIPv6));
        while (_batch.RunCount < PortionRuns
            && peer.Staged.TryTake(_batch.Buffer.AsSpan(_batch.MessagesEnd + MessageSize.TransportHeader, PacketBatch.MaxPacket), out int length))
        {
            ReadOnlySpan<byte> content = _batch.Buffer.AsSpan(_batch.MessagesEnd + MessageSize.TransportHeader, length);
            var route = new FrameRoute(peer, endpoint) { Padding = padding, Budget = budget };
            if (IpPacket.TryParse(content, out IpPacket packet))
            {
                _ = RoutingLoop.TryHopLimit(content, in packet, out byte hopLimit); // it had hops left when it was staged
                route = route with { TrafficClass = Ecn.Encapsulate(packet.TrafficClass), HopLimit = hopLimit };
            }

            Append(length, in route, now);
        }

        return _batch.PacketCount > 0;
    }

    /// <summary>Makes a message of the content that lies where the next one begins.</summary>
    private void Append(int length, in FrameRoute route, Instant now) => AppendPadded(length, route.Padding.PaddedLength(length), in route, now);

    private void AppendPadded(int length, int padded, in FrameRoute route, Instant now)
    {
        int first = _batch.PacketCount++;
        int content = _batch.MessagesEnd + MessageSize.TransportHeader;
        _batch.Buffer.AsSpan(content + length, padded - length).Clear();
        _batch.Packets[first] = new AeadPacket { Offset = content, Length = padded };
        _batch.MessagesEnd = content + padded + MessageSize.Tag;
        OutboundRuns.Append(_batch, first, in route, link.Refusals, now);
    }

    private bool SendRuns(Instant now)
    {
        sender.Number(_batch, now, areStaged: true);
        bool any = _batch.RunCount > 0;
        RunSender.Seal(_batch);
        sender.Transmit(_batch, now);
        return any;
    }
}
