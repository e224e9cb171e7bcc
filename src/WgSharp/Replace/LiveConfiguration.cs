using System.Globalization;
using System.Net;
using WgSharp.Doctor;

namespace WgSharp.Replace;

/// <summary>A peer, as wg(8) writes it.</summary>
/// <param name="PresharedKey">Null: none.</param>
/// <param name="Endpoint">As it was written, or null.</param>
/// <param name="Keepalive">In seconds; 0: off.</param>
/// <param name="LatestHandshake">In seconds since 1970; 0: none.</param>
internal sealed record ConfiguredPeer(string PublicKey, string? PresharedKey, string? Endpoint, int Keepalive, long LatestHandshake)
{
    /// <summary>Each as ADDRESS/LENGTH, without bits behind the length.</summary>
    public SortedSet<string> AllowedIps { get; init; } = new(StringComparer.Ordinal);
}

/// <summary>
/// What an interface has, or what its file gives it, and how the two differ: whatever somebody has set by hand since the file was read goes with the
/// interface when the unit is started again. There are secrets in it.
/// </summary>
/// <param name="PrivateKey">Null: none, or the daemon does not tell (boringtun).</param>
/// <param name="ListenPort">0: any.</param>
/// <param name="FwMark">0: none.</param>
internal sealed record LiveConfiguration(string? PrivateKey, string? PublicKey, int ListenPort, uint FwMark)
{
    private const string None = "(none)";

    private readonly Dictionary<string, ConfiguredPeer> _owners = new(StringComparer.Ordinal);

    public Dictionary<string, ConfiguredPeer> Peers { get; } = new(StringComparer.Ordinal);

    /// <summary>From <c>wg show IF dump</c>.</summary>
    /// <returns>Null if it is none.</returns>
    public static LiveConfiguration? ParseDump(string text)
    {
        string[][] lines = [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split('\t'))];
        if (lines is not [[var privateKey, var publicKey, var port, var mark], ..])
        {
            return null;
        }

        var live = new LiveConfiguration(Given(privateKey), Given(publicKey), Number(port), LiveTunnel.ParseMark(mark));
        foreach (string[] fields in lines.Skip(1).Where(fields => fields.Length == 8))
        {
            // public-key preshared-key endpoint allowed-ips latest-handshake received sent keepalive
            live.Add(
                new ConfiguredPeer(fields[0], Given(fields[1]), Given(fields[2]), Number(fields[7]), long.Parse(fields[4], CultureInfo.InvariantCulture)),
                fields[3].Split(','));
        }

        return live;
    }

    /// <summary>From <c>wg-quick strip IF</c>, which has no comments and no keys but wg's.</summary>
    public static LiveConfiguration ParseFile(string text)
    {
        var file = new LiveConfiguration(null, null, 0, 0);
        ConfiguredPeer? peer = null;
        var prefixes = new List<string>();
        foreach (string line in text.Split('\n', StringSplitOptions.TrimEntries).Append("[End]"))
        {
            if (line.StartsWith('['))
            {
                if (peer is { PublicKey.Length: > 0 })
                {
                    file.Add(peer, prefixes);
                }

                peer = line.Equals("[Peer]", StringComparison.OrdinalIgnoreCase) ? new ConfiguredPeer(string.Empty, null, null, 0, 0) : null;
                prefixes.Clear();
            }
            else if (line.Split('=', 2, StringSplitOptions.TrimEntries) is [var key, var value])
            {
                switch (key.ToUpperInvariant())
                {
                    case "PRIVATEKEY": file = file with { PrivateKey = value }; break;
                    case "LISTENPORT": file = file with { ListenPort = Number(value) }; break;
                    case "FWMARK": file = file with { FwMark = value.StartsWith("0x", StringComparison.Ordinal) ? LiveTunnel.ParseMark(value) : (uint)Number(value) }; break;
                    case "PUBLICKEY" when peer is not null: peer = peer with { PublicKey = value }; break;
                    case "PRESHAREDKEY" when peer is not null: peer = peer with { PresharedKey = value }; break;
                    case "ENDPOINT" when peer is not null: peer = peer with { Endpoint = value }; break;
                    case "PERSISTENTKEEPALIVE" when peer is not null: peer = peer with { Keepalive = Number(value) }; break;
                    case "ALLOWEDIPS": prefixes.AddRange(value.Split(',', StringSplitOptions.TrimEntries)); break;
                }
            }
        }

        return file;
    }

    /// <summary>What would not be the same after the file was read again, in words. What the file leaves open, or sets by commands of its own, is no difference.</summary>
    public IEnumerable<string> DifferencesFrom(LiveConfiguration file, IReadOnlyList<Hook> hooks)
    {
        bool setsKey = hooks.Any(hook => hook.ComesUp && hook.Text.Contains("private-key", StringComparison.Ordinal));
        if (PrivateKey is not null && PrivateKey != file.PrivateKey && !(file.PrivateKey is null && setsKey))
        {
            yield return "the private key";
        }

        if (file.ListenPort != 0 && file.ListenPort != ListenPort)
        {
            yield return $"the listen port ({ListenPort}, in the file {file.ListenPort})";
        }

        if (file.FwMark != 0 && file.FwMark != FwMark)
        {
            yield return $"the mark (0x{FwMark:x}, in the file 0x{file.FwMark:x})";
        }

        if (hooks.Any(SetsPeers))
        {
            yield break;
        }

        foreach (string key in Peers.Keys.Except(file.Peers.Keys).Order(StringComparer.Ordinal))
        {
            yield return $"peer {key}, which is not in the file";
        }

        foreach ((string key, ConfiguredPeer wanted) in file.Peers)
        {
            if (!Peers.TryGetValue(key, out ConfiguredPeer? peer))
            {
                yield return $"peer {key}, which is only in the file";
            }
            else if (Differs(peer, wanted) is { } what)
            {
                yield return $"{what} of peer {key}";
            }
        }
    }

    private static string? Differs(ConfiguredPeer one, ConfiguredPeer other) =>
        !one.AllowedIps.SetEquals(other.AllowedIps) ? "the allowed IPs"
        : one.PresharedKey != other.PresharedKey ? "the preshared key"
        : one.Keepalive != other.Keepalive ? "the persistent keepalive"
        : null;

    // They run again, and do again what they did.
    private static bool SetsPeers(Hook hook) =>
        hook.ComesUp && hook.Commands.Any(words => Programs.BaseName(words[0]) == "wg" && words.Any(word => word is "peer" or "addconf" or "setconf" or "syncconf"));

    // A prefix belongs to the peer that was given it last.
    private void Add(ConfiguredPeer peer, IEnumerable<string> prefixes)
    {
        Peers[peer.PublicKey] = peer;
        foreach (string word in prefixes)
        {
            if (Prefix.TryParse(word.TrimStart('+'), out Prefix prefix))
            {
                string plain = Masked(prefix);
                _owners.GetValueOrDefault(plain)?.AllowedIps.Remove(plain);
                _owners[plain] = peer;
                peer.AllowedIps.Add(plain);
            }
        }
    }

    private static string Masked(Prefix prefix)
    {
        byte[] bytes = prefix.Address.GetAddressBytes();
        for (int bit = prefix.Length; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] &= (byte)~(0x80 >> (bit % 8));
        }

        return $"{new IPAddress(bytes)}/{prefix.Length}";
    }

    private static string? Given(string field) => field == None ? null : field;

    private static int Number(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : 0;
}
