using System.Text.Encodings.Web;
using System.Text.Json;
using WgSharp.Engine;
using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp.Status;

/// <summary>
/// Views for programs. What stands here is promised (wgsharp-status(8)): names are added, none goes or changes its meaning within a format; what is not known or has
/// never been is null. A test holds the shape.
/// </summary>
internal static class StatusJson
{
    /// <summary>Changes when a program that reads the present format would misunderstand the next.</summary>
    private const int Format = 1;

    private const double NanosecondsPerSecond = 1e9;

    /// <param name="indented">For people too; else one line.</param>
    public static byte[] Of(IEnumerable<InterfaceView> views, bool indented)
    {
        using var buffer = new MemoryStream();
        // Base64 has a plus, which needs no escape outside of HTML.
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = indented, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, NewLine = "\n" }))
        {
            json.WriteStartObject();
            json.WriteNumber("format", Format);
            json.WriteStartArray("interfaces");
            foreach (InterfaceView view in views)
            {
                Write(json, view);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        buffer.WriteByte((byte)'\n');
        return buffer.ToArray();
    }

    private static void Write(Utf8JsonWriter json, InterfaceView view)
    {
        InterfaceStatus status = view.Status;
        TunnelStatus tunnel = status.Tunnel;
        json.WriteStartObject();
        json.WriteString("name", status.Name);
        WriteDaemon(json, status);
        json.WriteString("public_key", tunnel.PublicKey?.ToString());
        json.WriteNumber("listen_port", tunnel.ListenPort);
        json.WriteNumber("fwmark", tunnel.Fwmark);
        json.WriteBoolean("link_up", tunnel.LinkIsUp);
        json.WriteNumber("mtu_bytes", tunnel.Mtu);
        json.WriteString("mtu_policy", status.MtuPolicyWord);
        json.WriteStartObject("waiting");
        json.WriteNumber("staged_packets", tunnel.StagedPackets);
        json.WriteNumber("staged_bytes", tunnel.StagedBytes);
        json.WriteNumber("handshake_messages", tunnel.HandshakesWaiting);
        json.WriteNumber("lanes", tunnel.Lanes);
        json.WriteEndObject();
        json.WriteStartObject("dropped");
        foreach (DropReason reason in Words<DropReason>.Values)
        {
            json.WriteNumber(Words<DropReason>.Of(reason), tunnel.Drops[reason]);
        }

        json.WriteEndObject();
        json.WriteStartObject("unknown_initiations");
        json.WriteNumber("count", tunnel.StrangerCount);
        json.WriteString("last_public_key", tunnel.StrangerKey?.ToString());
        json.WriteString("last_endpoint", tunnel.StrangerSource?.ToString());
        WriteSeconds(json, "last_seconds_ago", tunnel.StrangerAge);
        json.WriteEndObject();
        json.WriteNumber("peer_count", tunnel.PeerCount);
        json.WriteNumber("peers_not_shown", tunnel.PeerCount - view.Peers.Count);
        json.WriteStartArray("peers");
        foreach (PeerView peer in view.Peers)
        {
            Write(json, peer);
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteDaemon(Utf8JsonWriter json, InterfaceStatus status)
    {
        json.WriteStartObject("daemon");
        json.WriteString("version", status.Version);
        json.WriteNumber("process_id", status.ProcessId);
        WriteSeconds(json, "uptime_seconds", status.Uptime);
        json.WriteString("features", status.Features);
        json.WriteString("aead", status.Aead);
        json.WriteStartArray("missing");
        foreach (string sentence in status.Missing)
        {
            json.WriteStringValue(sentence);
        }

        json.WriteEndArray();
        json.WriteString("packet_threads", status.Tunnel.Threads);
        json.WriteNumber("threads", status.Tasks);
        json.WriteNumber("resident_bytes", status.ResidentBytes);
        json.WriteNumber("heap_bytes", status.HeapBytes);
        WriteSeconds(json, "processor_seconds", status.ProcessorTime);
        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, PeerView view)
    {
        PeerStatus peer = view.Status;
        json.WriteStartObject();
        json.WriteString("public_key", peer.PublicKey.ToString());
        json.WriteBoolean("has_preshared_key", peer.HasPresharedKey);
        json.WriteString("endpoint", peer.Endpoint?.ToString());
        json.WriteString("source_address", peer.Source.IsNone ? null : peer.Source.ToString());
        json.WriteNumber("persistent_keepalive_seconds", peer.PersistentKeepalive);
        json.WriteNumber("allowed_ip_count", peer.AllowedIpCount);
        json.WriteStartArray("allowed_ips");
        foreach (IpPrefix prefix in peer.AllowedIps)
        {
            json.WriteStringValue(prefix.ToString());
        }

        json.WriteEndArray();
        json.WriteNumber("received_bytes", peer.RxBytes);
        json.WriteNumber("sent_bytes", peer.TxBytes);
        WriteRate(json, "received_bytes_per_second", view.RxRate);
        WriteRate(json, "sent_bytes_per_second", view.TxRate);
        json.WriteNumber("staged_packets", peer.StagedPackets);
        WriteDrops(json, peer);
        WriteSession(json, peer);
        WriteHandshake(json, peer);
        WritePath(json, peer);
        json.WriteEndObject();
    }

    /// <summary>Only what there was: seventeen zeros for each of many thousand peers tell nobody anything.</summary>
    private static void WriteDrops(Utf8JsonWriter json, PeerStatus peer)
    {
        json.WriteStartObject("dropped");
        foreach (DropReason reason in peer.Drops is null ? [] : Words<DropReason>.Values)
        {
            if (peer.Drops![reason] is var count and > 0)
            {
                json.WriteNumber(Words<DropReason>.Of(reason), count);
            }
        }

        json.WriteEndObject();
    }

    private static void WriteSession(Utf8JsonWriter json, PeerStatus peer)
    {
        json.WriteStartObject("session");
        json.WriteBoolean("usable", peer.HasSession);
        WriteSeconds(json, "keypair_age_seconds", peer.KeypairAge);
        WriteNullable(json, "initiator", peer.KeypairAge is null ? null : peer.IsInitiator);
        json.WriteNumber("messages_sent", peer.MessagesSent);
        if (peer.LastHandshake.Nanoseconds > 0)
        {
            json.WriteNumber("last_handshake_timestamp_seconds", peer.LastHandshake.Nanoseconds / NanosecondsPerSecond);
        }
        else
        {
            json.WriteNull("last_handshake_timestamp_seconds");
        }

        json.WriteEndObject();
    }

    private static void WriteHandshake(Utf8JsonWriter json, PeerStatus peer)
    {
        bool any = peer.Trouble != HandshakeTrouble.None;
        json.WriteStartObject("handshake");
        json.WriteNumber("attempts", peer.HandshakeAttempts);
        WriteSeconds(json, "attempting_seconds", peer.HandshakeSince);
        json.WriteString("trouble", any ? Words<HandshakeTrouble>.Of(peer.Trouble) : null);
        WriteSeconds(json, "trouble_seconds_ago", any ? peer.TroubleAge : null);
        json.WriteString("trouble_error", peer.TroubleErrno != 0 ? Errno.Name(peer.TroubleErrno) : null);
        json.WriteString("trouble_text", any ? StatusText.Trouble(peer) : null);
        json.WriteEndObject();
    }

    private static void WritePath(Utf8JsonWriter json, PeerStatus peer)
    {
        json.WriteStartObject("path");
        bool known = peer.PathMtu > 0;
        WriteBytes(json, "mtu_bytes", peer.PathMtu);
        json.WriteString("mtu_source", known ? Words<MtuOrigin>.Of(peer.PathMtuOrigin) : null);
        WriteSeconds(json, "confirmed_seconds_ago", peer.PathConfirmedAge);
        WriteNullable(json, "fragments_lost", known ? peer.AreFragmentsLost : null);
        WriteBytes(json, "inbound_mtu_bytes", peer.InboundMtu);
        WriteBytes(json, "route_mtu_bytes", peer.RouteMtu);
        json.WriteBoolean("probing", peer.IsProbing);
        json.WriteNumber("probes_sent", peer.ProbesSent);
        json.WriteNumber("probes_answered", peer.ProbesAnswered);
        WriteBytes(json, "segmentation_refused_from_bytes", peer.UnsegmentedFrom);
        json.WriteBoolean("own_socket", peer.HasLane);
        json.WriteEndObject();
    }

    private static void WriteBytes(Utf8JsonWriter json, string name, int bytes)
    {
        if (bytes > 0)
        {
            json.WriteNumber(name, bytes);
        }
        else
        {
            json.WriteNull(name);
        }
    }

    private static void WriteSeconds(Utf8JsonWriter json, string name, TimeSpan? span) => WriteRate(json, name, span is { } known ? Math.Round(known.TotalSeconds, 3) : null);

    private static void WriteRate(Utf8JsonWriter json, string name, double? rate)
    {
        if (rate is { } known)
        {
            json.WriteNumber(name, Math.Round(known, 3));
        }
        else
        {
            json.WriteNull(name);
        }
    }

    private static void WriteNullable(Utf8JsonWriter json, string name, bool? value)
    {
        if (value is { } known)
        {
            json.WriteBoolean(name, known);
        }
        else
        {
            json.WriteNull(name);
        }
    }
}
