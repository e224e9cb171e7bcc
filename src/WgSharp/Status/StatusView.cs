using System.Diagnostics;
using System.Net;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Status;

/// <summary>A peer as it is shown.</summary>
/// <param name="RxRate">Bytes a second between two looks; null where there was one.</param>
internal sealed record PeerView(PeerStatus Status, double? RxRate, double? TxRate);

/// <summary>An interface as it is shown.</summary>
/// <param name="Peers">Those that were asked for, in the order that was.</param>
/// <param name="NotShown">How many of those are left out.</param>
internal sealed record InterfaceView(InterfaceStatus Status, IReadOnlyList<PeerView> Peers, int NotShown = 0)
{
    /// <summary>The first of the peers alone.</summary>
    public InterfaceView Top(int most) => Peers.Count <= most ? this : this with { Peers = [.. Peers.Take(most)], NotShown = NotShown + Peers.Count - most };
}

/// <summary>In which order peers are shown.</summary>
internal enum PeerOrder
{
    /// <summary>Youngest session first, as <c>wg show</c> has it.</summary>
    Handshake,

    /// <summary>Most bytes a second first; most bytes where that is not known.</summary>
    Rate,

    /// <summary>Those that something is wrong with first.</summary>
    Trouble,

    /// <summary>As they were configured.</summary>
    Config,
}

/// <summary>Which peers are shown, and in which order.</summary>
/// <param name="Peer">The beginning of a public key, an endpoint or its address, or an address or prefix in the tunnel; null: all.</param>
internal sealed record PeerChoice(string? Peer, PeerOrder Order, int Most = int.MaxValue)
{
    public bool Includes(PeerStatus peer)
    {
        if (Peer is null || peer.PublicKey.ToString().StartsWith(Peer, StringComparison.Ordinal))
        {
            return true;
        }

        if (peer.Endpoint is { } endpoint && (endpoint.ToString() == Peer || endpoint.Address.ToString() == Peer))
        {
            return true;
        }

        if (peer.AllowedIps.Any(prefix => prefix.ToString() == Peer))
        {
            return true;
        }

        return IPAddress.TryParse(Peer, out IPAddress? address) && InetAddress.From(address) is var inner && peer.AllowedIps.Any(prefix => Contains(prefix, inner));
    }

    public IEnumerable<PeerView> Sort(IEnumerable<PeerView> peers) => Order switch
    {
        PeerOrder.Handshake => peers.OrderByDescending(peer => peer.Status.LastHandshake.Nanoseconds),
        PeerOrder.Rate => peers.OrderByDescending(peer => (peer.RxRate ?? 0) + (peer.TxRate ?? 0)).ThenByDescending(peer => peer.Status.RxBytes + peer.Status.TxBytes),
        PeerOrder.Trouble => peers.OrderByDescending(peer => peer.Status.Trouble != HandshakeTrouble.None).ThenByDescending(peer => peer.Status.HandshakeAttempts),
        _ => peers,
    };

    private static bool Contains(in IpPrefix prefix, in InetAddress address) =>
        prefix.Address.Length == address.Length && IpPrefix.Of(address, prefix.Length) == prefix;
}

/// <summary>Makes views of looks: of two in a row, with rates.</summary>
internal sealed class StatusViewer(PeerChoice choice)
{
    private readonly Dictionary<string, Look> _looks = [];

    /// <param name="timestamp">When it was looked at, as <see cref="Stopwatch.GetTimestamp"/>.</param>
    public InterfaceView View(InterfaceStatus status, long timestamp)
    {
        var look = new Look(timestamp, status.Peers.ToDictionary(peer => peer.PublicKey, peer => (peer.RxBytes, peer.TxBytes)));
        _looks.TryGetValue(status.Name, out Look? former);
        _looks[status.Name] = look;
        double seconds = former is null ? 0 : Stopwatch.GetElapsedTime(former.Timestamp, timestamp).TotalSeconds;
        IEnumerable<PeerView> peers = status.Peers.Where(choice.Includes).Select(peer =>
        {
            // One that was removed and added again has begun to count anew.
            return seconds > 0 && former!.Bytes.TryGetValue(peer.PublicKey, out (long Rx, long Tx) then) && peer.RxBytes >= then.Rx && peer.TxBytes >= then.Tx
                ? new PeerView(peer, (peer.RxBytes - then.Rx) / seconds, (peer.TxBytes - then.Tx) / seconds)
                : new PeerView(peer, null, null);
        });
        return new InterfaceView(status, [.. choice.Sort(peers)]).Top(choice.Most);
    }

    private sealed record Look(long Timestamp, Dictionary<PublicKey, (long Rx, long Tx)> Bytes);
}
