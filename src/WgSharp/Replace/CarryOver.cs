using System.Globalization;
using System.Text;
using WgSharp.Doctor;

namespace WgSharp.Replace;

/// <summary>
/// Sets again what an interface has lost with its restart because no file says it: what somebody has set by hand, the port that was any, where peers were last
/// seen. So it was another program's, and is otherwise the same. An address or a route that only the file has stays, too.
/// </summary>
/// <param name="peerByPeer">
/// boringtun panics when a peer is changed that it has (device/mod.rs, update_peer), and what a request says of one peer it believes of those behind it as well
/// (device/api.rs): so it is told of one at a time.
/// </param>
internal sealed class CarryOver(IMachine machine, string name, bool peerByPeer)
{
    /// <summary>A session lives so long (whitepaper 6.1, Reject-After-Time): before, a peer goes on sending with it.</summary>
    private const int SessionSeconds = 180;

    /// <summary>So many keys fit easily into the arguments of one command.</summary>
    private const int KeysAtOnce = 500;

    private readonly record struct Step(string Program, string[] Arguments, string Input = "");

    /// <returns>What could not be set again; null: it is as it was.</returns>
    public string? Run(InterfaceState was, InterfaceState now)
    {
        foreach (Step step in Steps(was, now))
        {
            if (machine.Run(step.Program, step.Arguments, step.Input) is { Succeeded: false } refused)
            {
                return $"it cannot be as it was ({step.Program} {string.Join(' ', step.Arguments.Take(4))}): {refused.Complaint}";
            }
        }

        return null;
    }

    /// <summary>
    /// Peers that had a session go on using it, and find out after 15 s (whitepaper 6.5) that nobody knows it any more. So they are called, by a keepalive, which is
    /// sent at once when it is switched on.
    /// </summary>
    /// <returns>Why they could not be; then they come by themselves.</returns>
    public string? Call(InterfaceState was)
    {
        long oldest = machine.Now.ToUnixTimeSeconds() - SessionSeconds;
        LivePeer[] peers = [.. was.Peers.Values.Where(peer => peer.Endpoint is not null && (peer.LatestHandshake >= oldest || peer.LatestHandshake is > 0 and < SessionSeconds))];
        if (peerByPeer || peers.Length == 0)
        {
            return null;
        }

        // Not by addconf: a section of a peer without allowed IPs takes those away that it has.
        foreach (Func<LivePeer, int> keepalive in new Func<LivePeer, int>[] { _ => 0, peer => Math.Max(1, peer.Keepalive), peer => peer.Keepalive })
        {
            foreach (LivePeer[] some in peers.Chunk(KeysAtOnce))
            {
                string[] arguments = ["set", name, .. some.SelectMany(peer => new[] { "peer", peer.PublicKey, "persistent-keepalive", $"{keepalive(peer)}" })];
                if (machine.Run("wg", arguments) is { Succeeded: false } refused)
                {
                    return refused.Complaint;
                }
            }
        }

        return null;
    }

    private IEnumerable<Step> Steps(InterfaceState was, InterfaceState now)
    {
        // Whoever differs is made anew, see peerByPeer.
        IEnumerable<string> gone = now.Peers.Values.Where(peer => !IsSame(was.Peers.GetValueOrDefault(peer.PublicKey), peer)).Select(peer => peer.PublicKey);
        foreach (string[] keys in gone.Chunk(peerByPeer ? 1 : KeysAtOnce))
        {
            yield return new Step("wg", ["set", name, .. keys.SelectMany(key => new[] { "peer", key, "remove" })]);
        }

        if (Identity(was, now) is { Length: > 0 } lines)
        {
            yield return new Step("wg", ["addconf", name, "/dev/stdin"], $"[Interface]\n{lines}");
        }

        IEnumerable<LivePeer> back = was.Peers.Values.Where(peer => !IsSame(peer, now.Peers.GetValueOrDefault(peer.PublicKey)));
        foreach (LivePeer[] peers in back.Chunk(peerByPeer ? 1 : int.MaxValue))
        {
            yield return new Step("wg", ["addconf", name, "/dev/stdin"], string.Concat(peers.Select(Text)));
        }

        if (was.Mtu is not null && was.Mtu != now.Mtu)
        {
            yield return new Step("ip", ["link", "set", "dev", name, "mtu", was.Mtu]);
        }

        foreach (string address in was.Addresses.Except(now.Addresses))
        {
            yield return new Step("ip", ["address", "add", .. address.Split(' '), "dev", name]);
        }

        foreach (string[] words in was.Routes.Except(now.Routes).Select(route => route.Split(' ')))
        {
            yield return new Step("ip", [words[0], "route", "add", .. words[1..], "dev", name]);
        }
    }

    private static string Identity(InterfaceState was, InterfaceState now)
    {
        var lines = new StringBuilder();
        if (was.PrivateKey is not null && was.PrivateKey != now.PrivateKey)
        {
            lines.Append(CultureInfo.InvariantCulture, $"PrivateKey = {was.PrivateKey}\n");
        }

        if (was.ListenPort != 0 && was.ListenPort != now.ListenPort)
        {
            lines.Append(CultureInfo.InvariantCulture, $"ListenPort = {was.ListenPort}\n");
        }

        // A mark that is there now is the one that wg-quick's rules of this time are made for.
        if (was.FwMark != 0 && now.FwMark == 0)
        {
            lines.Append(CultureInfo.InvariantCulture, $"FwMark = {was.FwMark}\n");
        }

        return lines.ToString();
    }

    // Who has come meanwhile is known better now; and an endpoint that only the file knows does no harm.
    private static bool IsSame(LivePeer? was, LivePeer? now) =>
        was is not null && now is not null && was.PresharedKey == now.PresharedKey && was.AllowedIps == now.AllowedIps && was.Keepalive == now.Keepalive
        && (was.Endpoint is null || was.Endpoint == now.Endpoint || now.LatestHandshake != 0);

    private static string Text(LivePeer peer) =>
        $"[Peer]\nPublicKey = {peer.PublicKey}\nAllowedIPs = {peer.AllowedIps}\nPersistentKeepalive = {peer.Keepalive}\n"
        + (peer.PresharedKey is null ? string.Empty : $"PresharedKey = {peer.PresharedKey}\n")
        + (peer.Endpoint is null ? string.Empty : $"Endpoint = {peer.Endpoint}\n");
}
