using System.Globalization;
using System.Text;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Status;

// What a daemon answers to `status=1`, in the manner of `get=1`: lines of name and value, those of the interface first, then each peer's, which begin
// with public_key. Zeros and what has never been are left out; a reader leaves out what it does not know, so either end may be the younger one.
// Ages are milliseconds. The names are between the daemon and its commands: what is promised to others is the JSON and the metrics.

/// <summary>A number that has a line.</summary>
/// <param name="None">The value that is left out.</param>
internal sealed record NumberLine<T>(string Name, Func<T, long> Get, Action<T, long> Set, long None = 0);

/// <summary>Interfaces and peers to lines, and back.</summary>
internal static class StatusLines
{
    /// <summary>More than the longest line: a sentence about a feature.</summary>
    public const int MaxLine = 640;

    private const int LongestText = 512;

    private static readonly NumberLine<InterfaceStatus>[] _ofInterface =
    [
        new("pid", s => s.ProcessId, (s, v) => s.ProcessId = (int)v),
        new("uptime", s => Milliseconds(s.Uptime), (s, v) => s.Uptime = TimeSpan.FromMilliseconds(v)),
        new("tasks", s => s.Tasks, (s, v) => s.Tasks = v),
        new("resident_bytes", s => s.ResidentBytes, (s, v) => s.ResidentBytes = v),
        new("heap_bytes", s => s.HeapBytes, (s, v) => s.HeapBytes = v),
        new("processor_time", s => Milliseconds(s.ProcessorTime), (s, v) => s.ProcessorTime = TimeSpan.FromMilliseconds(v)),
        new("listen_port", s => s.Tunnel.ListenPort, (s, v) => s.Tunnel.ListenPort = (int)v),
        new("fwmark", s => s.Tunnel.Fwmark, (s, v) => s.Tunnel.Fwmark = v),
        new("link_up", s => s.Tunnel.LinkIsUp ? 1 : 0, (s, v) => s.Tunnel.LinkIsUp = v != 0),
        new("mtu", s => s.Tunnel.Mtu, (s, v) => s.Tunnel.Mtu = (int)v),
        new("peers", s => s.Tunnel.PeerCount, (s, v) => s.Tunnel.PeerCount = (int)v),
        new("staged_packets", s => s.Tunnel.StagedPackets, (s, v) => s.Tunnel.StagedPackets = (int)v),
        new("staged_bytes", s => s.Tunnel.StagedBytes, (s, v) => s.Tunnel.StagedBytes = (int)v),
        new("handshakes_waiting", s => s.Tunnel.HandshakesWaiting, (s, v) => s.Tunnel.HandshakesWaiting = (int)v),
        new("lanes", s => s.Tunnel.Lanes, (s, v) => s.Tunnel.Lanes = (int)v),
        new("strangers", s => s.Tunnel.StrangerCount, (s, v) => s.Tunnel.StrangerCount = v),
        new("stranger_age", s => Milliseconds(s.Tunnel.StrangerAge), (s, v) => s.Tunnel.StrangerAge = TimeSpan.FromMilliseconds(v), -1),
        .. Words<DropReason>.Values.Select(reason => new NumberLine<InterfaceStatus>(
            "drop_" + Words<DropReason>.Of(reason), s => s.Tunnel.Drops[reason], (s, v) => s.Tunnel.Drops.Add(reason, v))),
    ];

    private static readonly NumberLine<PeerStatus>[] _ofPeer =
    [
        new("preshared", p => p.HasPresharedKey ? 1 : 0, (p, v) => p.HasPresharedKey = v != 0),
        new("keepalive", p => p.PersistentKeepalive, (p, v) => p.PersistentKeepalive = (int)v),
        new("allowed_ips", p => p.AllowedIpCount, (p, v) => p.AllowedIpCount = (int)v),
        new("last_handshake_ns", p => p.LastHandshake.Nanoseconds, (p, v) => p.LastHandshake = new UnixTime(v)),
        new("rx_bytes", p => p.RxBytes, (p, v) => p.RxBytes = v),
        new("tx_bytes", p => p.TxBytes, (p, v) => p.TxBytes = v),
        new("keypair_age", p => Milliseconds(p.KeypairAge), (p, v) => p.KeypairAge = TimeSpan.FromMilliseconds(v), -1),
        new("initiator", p => p.IsInitiator ? 1 : 0, (p, v) => p.IsInitiator = v != 0),
        new("messages_sent", p => p.MessagesSent, (p, v) => p.MessagesSent = v),
        new("session", p => p.HasSession ? 1 : 0, (p, v) => p.HasSession = v != 0),
        new("attempts", p => p.HandshakeAttempts, (p, v) => p.HandshakeAttempts = (int)v),
        new("attempts_age", p => Milliseconds(p.HandshakeSince), (p, v) => p.HandshakeSince = TimeSpan.FromMilliseconds(v), -1),
        new("trouble_age", p => Milliseconds(p.TroubleAge), (p, v) => p.TroubleAge = TimeSpan.FromMilliseconds(v), -1),
        new("trouble_errno", p => p.TroubleErrno, (p, v) => p.TroubleErrno = (int)v),
        new("staged", p => p.StagedPackets, (p, v) => p.StagedPackets = (int)v),
        new("path_mtu", p => p.PathMtu, (p, v) => p.PathMtu = (int)v),
        new("path_confirmed_age", p => Milliseconds(p.PathConfirmedAge), (p, v) => p.PathConfirmedAge = TimeSpan.FromMilliseconds(v), -1),
        new("fragments_lost", p => p.AreFragmentsLost ? 1 : 0, (p, v) => p.AreFragmentsLost = v != 0),
        new("inbound_mtu", p => p.InboundMtu, (p, v) => p.InboundMtu = (int)v),
        new("route_mtu", p => p.RouteMtu, (p, v) => p.RouteMtu = (int)v),
        new("probes_sent", p => p.ProbesSent, (p, v) => p.ProbesSent = v),
        new("probes_answered", p => p.ProbesAnswered, (p, v) => p.ProbesAnswered = v),
        new("probing", p => p.IsProbing ? 1 : 0, (p, v) => p.IsProbing = v != 0),
        new("unsegmented_from", p => p.UnsegmentedFrom, (p, v) => p.UnsegmentedFrom = (int)v),
        new("lane", p => p.HasLane ? 1 : 0, (p, v) => p.HasLane = v != 0),
        .. Words<DropReason>.Values.Select(reason => new NumberLine<PeerStatus>(
            "drop_" + Words<DropReason>.Of(reason), p => p.Drops?[reason] ?? 0, (p, v) => p.AddDrops(reason, v))),
    ];

    /// <summary>An interface's lines, without its peers'.</summary>
    public static IEnumerable<string> Of(InterfaceStatus status)
    {
        yield return $"name={status.Name}";
        yield return $"version={status.Version}";
        yield return $"features={status.Features}";
        yield return $"aead={status.Aead}";
        yield return $"threads={status.Tunnel.Threads}";
        yield return $"mtu_policy={Words<MtuPolicy>.Of(status.Tunnel.MtuPolicy)}";
        foreach (string sentence in status.Missing)
        {
            yield return $"missing={OneLine(sentence)}";
        }

        if (status.Tunnel.PublicKey is { } own)
        {
            yield return $"own_key={Hex(own)}";
        }

        if (status.Tunnel.StrangerKey is { } stranger)
        {
            yield return $"stranger_key={Hex(stranger)}";
            yield return $"stranger_source={status.Tunnel.StrangerSource}";
        }

        foreach (string line in Numbers(_ofInterface, status))
        {
            yield return line;
        }
    }

    /// <summary>A peer's lines.</summary>
    public static IEnumerable<string> Of(PeerStatus peer)
    {
        yield return $"public_key={Hex(peer.PublicKey)}";
        if (peer.Endpoint is { } endpoint)
        {
            yield return $"endpoint={endpoint}";
        }

        if (!peer.Source.IsNone)
        {
            yield return $"source={peer.Source}";
        }

        if (peer.Trouble != HandshakeTrouble.None)
        {
            yield return $"trouble={Words<HandshakeTrouble>.Of(peer.Trouble)}";
        }

        if (peer.PathMtu != 0)
        {
            yield return $"path_origin={Words<MtuOrigin>.Of(peer.PathMtuOrigin)}";
        }

        foreach (string line in Numbers(_ofPeer, peer))
        {
            yield return line;
        }

        foreach (IpPrefix prefix in peer.AllowedIps)
        {
            yield return $"allowed_ip={prefix}";
        }
    }

    /// <summary>Takes a line of a peer in; one that says nothing to this version is left out.</summary>
    public static void Read(PeerStatus peer, string name, string value)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(value);
        switch (name)
        {
            case "endpoint":
                peer.Endpoint = UapiValues.TryParseEndpoint(bytes, out InetEndpoint endpoint) ? endpoint : null;
                break;
            case "source":
                peer.Source = System.Net.IPAddress.TryParse(value, out System.Net.IPAddress? source) ? InetAddress.From(source) : InetAddress.None;
                break;
            case "allowed_ip" when UapiValues.TryParseAllowedIp(bytes, out AllowedIpChange change):
                peer.AllowedIps.Add(change.Prefix);
                break;
            case "trouble" when Words<HandshakeTrouble>.TryParse(value, out HandshakeTrouble trouble):
                peer.Trouble = trouble;
                break;
            case "path_origin" when Words<MtuOrigin>.TryParse(value, out MtuOrigin origin):
                peer.PathMtuOrigin = origin;
                break;
            default:
                Read(_ofPeer, peer, name, value);
                break;
        }
    }

    /// <summary>Takes a line of the interface in.</summary>
    public static void Read(InterfaceStatus status, string name, string value)
    {
        switch (name)
        {
            case "name":
                status.Name = value;
                break;
            case "version":
                status.Version = value;
                break;
            case "features":
                status.Features = value;
                break;
            case "aead":
                status.Aead = value;
                break;
            case "threads":
                status.Tunnel.Threads = value;
                break;
            case "missing":
                status.Missing.Add(value);
                break;
            case "mtu_policy" when Words<MtuPolicy>.TryParse(value, out MtuPolicy policy):
                status.Tunnel.MtuPolicy = policy;
                break;
            case "own_key":
                status.Tunnel.PublicKey = Key(value);
                break;
            case "stranger_key":
                status.Tunnel.StrangerKey = Key(value);
                break;
            case "stranger_source":
                status.Tunnel.StrangerSource = UapiValues.TryParseEndpoint(Encoding.UTF8.GetBytes(value), out InetEndpoint source) ? source : null;
                break;
            default:
                Read(_ofInterface, status, name, value);
                break;
        }
    }

    /// <exception cref="FormatException">It is none.</exception>
    public static PublicKey Key(string hex) =>
        UapiValues.TryParsePublicKey(Encoding.UTF8.GetBytes(hex), out PublicKey key) ? key : throw new FormatException($"'{hex}' is no public key.");

    private static string Hex(in PublicKey key) => Convert.ToHexStringLower(key.Span);

    private static string OneLine(string sentence)
    {
        string line = sentence.ReplaceLineEndings(" ");
        return line.Length > LongestText ? line[..LongestText] : line;
    }

    private static IEnumerable<string> Numbers<T>(NumberLine<T>[] numbers, T of)
    {
        foreach (NumberLine<T> number in numbers)
        {
            if (number.Get(of) is var value && value != number.None)
            {
                yield return $"{number.Name}={value}";
            }
        }
    }

    private static void Read<T>(NumberLine<T>[] numbers, T into, string name, string value)
    {
        if (Array.Find(numbers, number => number.Name == name) is { } known
            && long.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number))
        {
            known.Set(into, number);
        }
    }

    private static long Milliseconds(TimeSpan? age) => age is { } span ? (long)span.TotalMilliseconds : -1;
}
