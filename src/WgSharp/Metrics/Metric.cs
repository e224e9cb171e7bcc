using WgSharp.Protocol;
using WgSharp.Status;

namespace WgSharp.Metrics;

/// <summary>A figure beside the labels of its interface or peer.</summary>
/// <param name="Labels"><c>reason="replayed"</c>, or none.</param>
internal readonly record struct Sample(double Value, string Labels = "");

/// <summary>A metric: its name and meaning, and where its figures come from, either per interface or per peer.</summary>
/// <param name="Type">counter or gauge.</param>
internal sealed record Metric(string Name, string Type, string Help)
{
    public Func<InterfaceStatus, IEnumerable<Sample>>? OfInterface { get; private init; }

    public Func<PeerStatus, IEnumerable<Sample>>? OfPeer { get; private init; }

    /// <summary>All there are, in the order in which they are told. The names are promised: dashboards and alerts are made of them.</summary>
    public static IReadOnlyList<Metric> All { get; } =
    [
        new("wgsharp_info", "gauge", "The daemon that serves the interface; always 1.")
        {
            OfInterface = s => [new(1, $"version={Quote(s.Version)},features={Quote(s.Features)},aead={Quote(s.Aead)},threads={Quote(s.Tunnel.Threads)},mtu_policy=\"{s.MtuPolicyWord}\"")],
        },
        Gauge("wgsharp_uptime_seconds", "Time since the daemon was started.", s => s.Uptime.TotalSeconds),
        Gauge("wgsharp_link_up", "Whether the link is up (1) or down (0).", s => s.Tunnel.LinkIsUp ? 1 : 0),
        Gauge("wgsharp_mtu_bytes", "MTU of the interface.", s => s.Tunnel.Mtu),
        Gauge("wgsharp_threads", "Threads of the daemon.", s => s.Tasks),
        Gauge("wgsharp_resident_memory_bytes", "Resident memory of the daemon.", s => s.ResidentBytes),
        Gauge("wgsharp_heap_bytes", "Memory that the daemon's objects take, garbage included.", s => s.HeapBytes),
        Counter("wgsharp_cpu_seconds_total", "Processor time of the daemon, user and system.", s => s.ProcessorTime.TotalSeconds),
        Gauge("wgsharp_peers", "Peers that are configured.", s => s.Tunnel.PeerCount),
        Gauge("wgsharp_peers_with_session", "Peers with a session that may be sent with.", s => s.PeersWithSession),
        Gauge("wgsharp_peers_in_trouble", "Peers that there should be a session with, and is none.", s => s.PeersInTrouble),
        Gauge("wgsharp_peers_omitted", "Peers that have no metrics of their own (metrics_peers).", s => s.Tunnel.PeerCount - s.Peers.Count),
        Gauge("wgsharp_staged_packets", "Packets that wait for a session.", s => s.Tunnel.StagedPackets),
        Gauge("wgsharp_staged_bytes", "Memory of the packets that wait for a session.", s => s.Tunnel.StagedBytes),
        Gauge("wgsharp_handshakes_waiting", "Handshake messages that wait to be read.", s => s.Tunnel.HandshakesWaiting),
        Gauge("wgsharp_lanes", "Peers behind full links, which have a socket of their own.", s => s.Tunnel.Lanes),
        Counter("wgsharp_unknown_initiations_total", "Handshake initiations whose senders are no peers.", s => s.Tunnel.StrangerCount),
        new("wgsharp_dropped_packets_total", "counter", "Packets, and messages, that were dropped, by reason.")
        {
            OfInterface = s => Words<DropReason>.Values.Select(reason => new Sample(s.Tunnel.Drops[reason], $"reason=\"{Words<DropReason>.Of(reason)}\"")),
        },
        OfPeers("wgsharp_peer_received_bytes_total", "counter", "Bytes of messages received from the peer.", p => p.RxBytes),
        OfPeers("wgsharp_peer_sent_bytes_total", "counter", "Bytes of messages sent to the peer.", p => p.TxBytes),
        OfPeers("wgsharp_peer_last_handshake_timestamp_seconds", "gauge", "When the last session began, in seconds since 1970; 0: never.", p => p.LastHandshake.Nanoseconds / 1e9),
        OfPeers("wgsharp_peer_session", "gauge", "Whether there is a session that may be sent with (1).", p => p.HasSession ? 1 : 0),
        OfPeers("wgsharp_peer_keypair_age_seconds", "gauge", "Age of the keypair that is sent with.", p => p.KeypairAge?.TotalSeconds),
        OfPeers("wgsharp_peer_handshake_attempts", "gauge", "Handshake initiations sent since there was a session.", p => p.HandshakeAttempts),
        new("wgsharp_peer_trouble", "gauge", "Why there is no session with the peer; only where something is known.")
        {
            OfPeer = p => p.Trouble == HandshakeTrouble.None ? [] : [new Sample(1, $"kind=\"{Words<HandshakeTrouble>.Of(p.Trouble)}\"")],
        },
        OfPeers("wgsharp_peer_staged_packets", "gauge", "Packets that wait for a session with the peer.", p => p.StagedPackets),
        new("wgsharp_peer_dropped_packets_total", "counter", "Packets, and messages, that were dropped on their way to the peer or from it, by reason; only reasons that there were.")
        {
            OfPeer = p => p.Drops is not { } drops ? []
                : Words<DropReason>.Values.Where(reason => drops[reason] > 0).Select(reason => new Sample(drops[reason], $"reason=\"{Words<DropReason>.Of(reason)}\"")),
        },
        OfPeers("wgsharp_peer_path_mtu_bytes", "gauge", "What the path to the peer is known to take, outer headers included.", p => p.PathMtu == 0 ? null : p.PathMtu),
        OfPeers("wgsharp_peer_path_fragments_lost", "gauge", "Whether fragments do not arrive (1).", p => p.PathMtu == 0 ? null : p.AreFragmentsLost ? 1 : 0),
        OfPeers("wgsharp_peer_lane", "gauge", "Whether the peer has a socket of its own, because it is behind a full link (1).", p => p.HasLane ? 1 : 0),
    ];

    /// <summary>A label's value: in quotes, with what the format wants escaped.</summary>
    public static string Quote(string value) =>
        $"\"{value.Replace("\\", @"\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal)}\"";

    private static Metric Gauge(string name, string help, Func<InterfaceStatus, double> of) => new(name, "gauge", help) { OfInterface = s => [new Sample(of(s))] };

    private static Metric Counter(string name, string help, Func<InterfaceStatus, double> of) => new(name, "counter", help) { OfInterface = s => [new Sample(of(s))] };

    private static Metric OfPeers(string name, string type, string help, Func<PeerStatus, double?> of) =>
        new(name, type, help) { OfPeer = p => of(p) is { } value ? [new Sample(value)] : [] };
}
