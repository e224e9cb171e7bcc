using System.Globalization;
using WgSharp.Engine;
using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp.Status;

/// <summary>Views as lines for people. A few peers have some lines each, many have one.</summary>
/// <param name="colour">For a terminal.</param>
/// <param name="columns">No line is longer; for a terminal.</param>
internal sealed class StatusText(bool colour, int columns = int.MaxValue)
{
    /// <summary>More than so many peers are a table.</summary>
    public const int MostCards = 10;

    private const string Bold = "1";
    private const string Red = "31";
    private const string Green = "32";
    private const string Faint = "2";
    private const int ShortKey = 10;

    public IEnumerable<string> Lines(InterfaceView view)
    {
        foreach (string line in Head(view))
        {
            yield return Cut(line);
        }

        IEnumerable<string> peers = view.Peers.Count > MostCards ? Table(view.Peers) : view.Peers.SelectMany(Card);
        foreach (string line in peers)
        {
            yield return Cut(line);
        }

        if (view.NotShown > 0)
        {
            yield return Cut(Paint(Faint, $"{view.NotShown.ToString("N0", CultureInfo.InvariantCulture)} more peers are not shown (--top, --peer, --sort)"));
        }
    }

    // ---- the interface ----

    private IEnumerable<string> Head(InterfaceView view)
    {
        InterfaceStatus status = view.Status;
        TunnelStatus tunnel = status.Tunnel;
        int sessions = status.Peers.Count(peer => peer.HasSession);
        int troubled = status.Peers.Count(peer => peer.Trouble != HandshakeTrouble.None);
        yield return Paint(Bold, $"interface {status.Name}") + $"  wgsharp {status.Version}, process {status.ProcessId}, for {Span(status.Uptime)}";
        string link = tunnel.LinkIsUp ? "up" : Paint(Red, "down");
        string mark = tunnel.Fwmark != 0 ? $", mark 0x{tunnel.Fwmark:x}" : string.Empty;
        yield return Row("link", $"{link}, MTU {tunnel.Mtu}, policy {status.MtuPolicyWord}; UDP port {tunnel.ListenPort}{mark}");
        yield return Row("peers", $"{tunnel.PeerCount}, {sessions} with a session" + (troubled > 0 ? ", " + Paint(Red, $"{troubled} in trouble") : string.Empty));
        yield return Row("features", $"{status.Features} | aead {status.Aead} | threads {tunnel.Threads}");
        foreach (string sentence in status.Missing)
        {
            yield return Row(string.Empty, Paint(Faint, sentence));
        }

        yield return Row("process", $"{Bytes(status.ResidentBytes)} resident, {Bytes(status.HeapBytes)} of objects; {status.Tasks} threads; {Seconds(status.ProcessorTime)} of processor time");
        yield return Row("waiting", $"{Count(tunnel.StagedPackets, "packet")} for sessions ({Bytes(tunnel.StagedBytes)}), {Count(tunnel.HandshakesWaiting, "handshake message")}; {Count(tunnel.Lanes, "lane")} in use");
        yield return Row("dropped", Dropped(tunnel.Drops) is { Length: > 0 } some ? some : "nothing");
        if (tunnel.StrangerCount > 0)
        {
            string last = tunnel.StrangerKey is { } key ? $"; the last {Ago(tunnel.StrangerAge)} by {key} from {tunnel.StrangerSource}" : string.Empty;
            yield return Row("strangers", Paint(Red, $"{Count(tunnel.StrangerCount, "initiation")} of unknown keys{last}"));
        }
    }

    private static string Dropped(DropCounters drops) =>
        string.Join(", ", Words<DropReason>.Values.Where(reason => drops[reason] > 0).Select(reason => $"{Words<DropReason>.Of(reason)} {drops[reason]}"));

    // ---- a few peers ----

    private IEnumerable<string> Card(PeerView view)
    {
        PeerStatus peer = view.Status;
        yield return Paint(Bold, $"peer {peer.PublicKey}") + $"  {peer.Endpoint?.ToString() ?? "(no endpoint)"}";
        yield return Row("session", Session(peer));
        yield return Row("path", Path(peer));
        yield return Row("traffic", $"received {Bytes(peer.RxBytes)}{Rate(view.RxRate)}, sent {Bytes(peer.TxBytes)}{Rate(view.TxRate)}"
            + (peer.StagedPackets > 0 ? $"; {Count(peer.StagedPackets, "packet")} waiting" : string.Empty));
        if (peer.Drops is { } drops)
        {
            yield return Row("dropped", Dropped(drops));
        }

        if (peer.Trouble != HandshakeTrouble.None)
        {
            yield return Row("trouble", Paint(Red, Trouble(peer)));
        }
    }

    private string Session(PeerStatus peer)
    {
        string allowed = peer.AllowedIpCount switch
        {
            0 => "no allowed IPs",
            1 => $"for {peer.AllowedIps[0]}",
            _ => $"for {peer.AllowedIps[0]} and {peer.AllowedIpCount - 1} more",
        };
        string keepalive = peer.PersistentKeepalive > 0 ? $", keepalive {peer.PersistentKeepalive} s" : string.Empty;
        string session = peer.KeypairAge is not { } age ? "none"
            : peer.HasSession ? Paint(Green, $"keys {Span(age)} old") + $", begun {(peer.IsInitiator ? "here" : "there")}"
            : $"keys {Span(age)} old: too old to send with";
        return $"{session}; {allowed}{keepalive}{(peer.HasPresharedKey ? ", preshared key" : string.Empty)}";
    }

    private static string Path(PeerStatus peer)
    {
        if (peer.PathMtu == 0)
        {
            return "nothing was sent there yet";
        }

        string confirmed = peer.PathConfirmedAge is { } age ? $" {Ago(age)}" : string.Empty;
        string route = peer.RouteMtu != peer.PathMtu ? $", route {peer.RouteMtu}" : string.Empty;
        string inbound = peer.InboundMtu > 0 ? $", from there {peer.InboundMtu}" : string.Empty;
        string fragments = peer.AreFragmentsLost ? "; fragments are lost" : string.Empty;
        string search = peer.IsProbing ? "; being probed" : string.Empty;
        string offload = peer.UnsegmentedFrom > 0 ? $"; no segmentation offload from {peer.UnsegmentedFrom} B on" : string.Empty;
        string lane = peer.HasLane ? "; full link, own socket" : string.Empty;
        return $"MTU {peer.PathMtu} by {Origin(peer.PathMtuOrigin)}{confirmed}{route}{inbound}{fragments}{search}{offload}{lane}";
    }

    private static string Origin(MtuOrigin origin) => origin == MtuOrigin.Icmp ? "ICMP" : Words<MtuOrigin>.Of(origin);

    /// <summary>What is wrong, in a sentence; empty: nothing.</summary>
    public static string Trouble(PeerStatus peer) => peer.Trouble switch
    {
        HandshakeTrouble.None => string.Empty,
        HandshakeTrouble.NoPrivateKey => "the interface has no private key",
        HandshakeTrouble.NoEndpoint => "nobody knows its endpoint, and packets want to go there",
        HandshakeTrouble.WeakKey => "its public key has low order: there cannot be a session",
        HandshakeTrouble.SendFailed => $"endpoint unreachable: {Errno.Name(peer.TroubleErrno)}, {Count(peer.HandshakeAttempts, "attempt")}",
        HandshakeTrouble.NoAnswer => $"no answer since {Span(peer.TroubleAge ?? default)}, {Count(peer.HandshakeAttempts, "attempt")}",
        HandshakeTrouble.GivenUp => $"no answer since {Span(peer.TroubleAge ?? default)}, {Count(peer.HandshakeAttempts, "attempt")}; the next packet tries again",
        HandshakeTrouble.AnswerNotAuthentic => $"its answer does not authenticate ({Ago(peer.TroubleAge)}), {Count(peer.HandshakeAttempts, "attempt")}: is the preshared key the same at both ends?",
        HandshakeTrouble.AnswerNotConfirmed => $"it began {Ago(peer.TroubleAge)} and does not go on: our answer is lost, or its preshared key is another one",
        HandshakeTrouble.InitiationForged => $"an initiation under its key is not authentic ({Ago(peer.TroubleAge)})",
        HandshakeTrouble.InitiationOld => $"an initiation is not younger than the last ({Ago(peer.TroubleAge)}): its clock was set back, or somebody repeats it",
        _ => Words<HandshakeTrouble>.Of(peer.Trouble),
    };

    // ---- many ----

    private IEnumerable<string> Table(IReadOnlyList<PeerView> peers)
    {
        bool rates = peers.Any(peer => peer.RxRate is not null);
        string[] titles = rates
            ? ["PEER", "ENDPOINT", "KEYS", "MTU", "RECEIVED", "SENT", "RECEIVED/s", "SENT/s", "TROUBLE"]
            : ["PEER", "ENDPOINT", "KEYS", "MTU", "RECEIVED", "SENT", "TROUBLE"];
        List<string[]> rows = [.. peers.Select(peer => Cells(peer, rates))];
        int[] widths = [.. titles.Select((title, i) => Math.Max(title.Length, rows.Max(row => row[i].Length)))];
        yield return Paint(Bold, Join(titles, widths));
        foreach (string[] row in rows)
        {
            string line = Join(row, widths);
            yield return row[^1].Length > 0 ? Paint(Red, line) : line;
        }
    }

    private static string[] Cells(PeerView view, bool rates)
    {
        PeerStatus peer = view.Status;
        string[] first =
        [
            peer.PublicKey.ToString()[..ShortKey],
            peer.Endpoint?.ToString() ?? "-",
            peer.KeypairAge is { } age && peer.HasSession ? Span(age) : "-",
            peer.PathMtu > 0 ? peer.PathMtu.ToString(CultureInfo.InvariantCulture) : "-",
            Bytes(peer.RxBytes),
            Bytes(peer.TxBytes),
        ];
        return rates ? [.. first, PerSecond(view.RxRate), PerSecond(view.TxRate), Trouble(peer)] : [.. first, Trouble(peer)];
    }

    // The first two and the last begin at the left, figures end at the right.
    private static string Join(string[] cells, int[] widths) => string.Join(
        "  ",
        cells.Select((cell, i) => i == cells.Length - 1 ? cell : i < 2 ? cell.PadRight(widths[i]) : cell.PadLeft(widths[i]))).TrimEnd();

    // ---- units ----

    /// <summary>1023 B, 1.5 KiB, 20 GiB: three digits or so.</summary>
    public static string Bytes(double bytes)
    {
        string[] units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        int unit = 0;
        while (Math.Round(bytes, 1) >= 1024 && unit < units.Length - 1)
        {
            bytes /= 1024;
            unit++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{Math.Round(bytes, unit > 0 && bytes < 100 ? 1 : 0)} {units[unit]}");
    }

    /// <summary>43 s, 12 min 3 s, 3 h 12 min, 2 d 4 h.</summary>
    public static string Span(TimeSpan span) => span.TotalSeconds < 60 ? $"{(long)span.TotalSeconds} s"
        : span.TotalMinutes < 60 ? $"{span.Minutes} min {span.Seconds} s"
        : span.TotalHours < 24 ? $"{span.Hours} h {span.Minutes} min"
        : $"{(long)span.TotalDays} d {span.Hours} h";

    private static string Ago(TimeSpan? age) => $"{Span(age ?? default)} ago";

    private static string Seconds(TimeSpan span) => span.TotalSeconds < 60 ? string.Create(CultureInfo.InvariantCulture, $"{span.TotalSeconds:0.0} s") : Span(span);

    private static string Rate(double? rate) => rate is { } bytes ? $" ({Bytes(bytes)}/s)" : string.Empty;

    private static string PerSecond(double? rate) => rate is { } bytes ? Bytes(bytes) : "-";

    private static string Count(long count, string what) => $"{count} {what}{(count == 1 ? string.Empty : "s")}";

    private static string Row(string name, string text) => $"  {name,-9} {text}";

    private string Paint(string code, string text) => colour ? $"\u001b[{code}m{text}\u001b[0m" : text;

    /// <summary>Escape sequences take no room; a line that is cut ends plain.</summary>
    private string Cut(string line)
    {
        int width = 0;
        for (int i = 0; i < line.Length; i++)
        {
            if (line[i] == '\u001b')
            {
                i = line.IndexOf('m', i);
            }
            else if (++width > columns)
            {
                return colour ? line[..i] + "\u001b[0m" : line[..i];
            }
        }

        return line;
    }
}
