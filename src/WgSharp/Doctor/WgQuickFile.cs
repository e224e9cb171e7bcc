using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace WgSharp.Doctor;

/// <summary>A prefix as it stands in AllowedIPs or Address.</summary>
internal readonly record struct Prefix(IPAddress Address, int Length)
{
    public bool IsIPv6 => Address.AddressFamily == AddressFamily.InterNetworkV6;

    /// <summary>ADDRESS or ADDRESS/LENGTH.</summary>
    public static bool TryParse(string text, out Prefix prefix)
    {
        prefix = default;
        string[] parts = text.Split('/');

        // IPAddress takes "1" for 0.0.0.1, and a scope; the kernel's tools do not.
        if (parts.Length > 2 || !IPAddress.TryParse(parts[0], out IPAddress? address) || parts[0].Contains('%', StringComparison.Ordinal)
            || (address.AddressFamily == AddressFamily.InterNetwork && parts[0].Count(letter => letter == '.') != 3))
        {
            return false;
        }

        int longest = address.AddressFamily == AddressFamily.InterNetworkV6 ? 128 : 32;
        int length = longest;
        if (parts.Length == 2 && (!int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out length) || length > longest))
        {
            return false;
        }

        prefix = new Prefix(address, length);
        return true;
    }
}

/// <summary>A line that runs something: PreUp, PostUp, PreDown or PostDown.</summary>
internal readonly record struct Hook(string Key, string Text, int Line)
{
    private static readonly string[] _ends = [";", "&&", "||", "|", "&"];

    public bool ComesUp => Key is "PreUp" or "PostUp";

    /// <summary>The commands in it, each as words. No shell: quotes and variables are left as they are.</summary>
    public IEnumerable<string[]> Commands
    {
        get
        {
            string spaced = Text.Replace(";", " ; ").Replace("&&", " && ").Replace("||", " || ");
            var words = new List<string>();
            foreach (string word in spaced.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries).Append(";"))
            {
                if (!_ends.Contains(word))
                {
                    words.Add(word);
                }
                else if (words.Count > 0)
                {
                    yield return [.. words];
                    words.Clear();
                }
            }
        }
    }

    /// <summary>What is run, without directories.</summary>
    public IEnumerable<string> Programs => Commands.Select(words => words[0][(words[0].LastIndexOf('/') + 1)..]);
}

/// <summary>One peer, as far as the checks want to know it.</summary>
internal sealed record FilePeer(int Line)
{
    public bool HasKey { get; set; }

    /// <summary>HOST:PORT as it was written, or null.</summary>
    public string? Endpoint { get; set; }

    public List<Prefix> AllowedIps { get; } = [];

    /// <summary>The endpoint's address where it is no name.</summary>
    public IPAddress? EndpointAddress =>
        Endpoint?.LastIndexOf(':') is { } colon and > 0 && IPAddress.TryParse(Endpoint[..colon].Trim('[', ']'), out IPAddress? address) ? address : null;
}

/// <summary>Something about a file that its readers would refuse.</summary>
internal readonly record struct FileProblem(int Line, string Wrong);

/// <summary>
/// A configuration of wg-quick(8), read leniently: whatever is wrong is noted with its line, and the rest is taken for what it says. A secret is looked at
/// for its form only, and never kept.
/// </summary>
internal sealed class WgQuickFile
{
    private static readonly string[] _hooks = ["PreUp", "PostUp", "PreDown", "PostDown"];

    private readonly List<Prefix> _addresses = [];
    private readonly List<Hook> _commands = [];
    private readonly List<FilePeer> _peers = [];
    private readonly List<string> _dns = [];
    private readonly List<FileProblem> _problems = [];
    private bool _hasPrivateKey;
    private int? _interfaceLine;

    private WgQuickFile()
    {
    }

    public IReadOnlyList<Prefix> Addresses => _addresses;

    /// <summary>Commands, in the order of the file.</summary>
    public IReadOnlyList<Hook> Hooks => _commands;

    public IReadOnlyList<FilePeer> Peers => _peers;

    public IReadOnlyList<string> Dns => _dns;

    public IReadOnlyList<FileProblem> Problems => _problems;

    /// <summary>Null: wg-quick finds one.</summary>
    public int? Mtu { get; private set; }

    /// <summary>Null: auto.</summary>
    public string? Table { get; private set; }

    /// <summary>0: any.</summary>
    public int ListenPort { get; private set; }

    /// <summary>0: none.</summary>
    public uint FwMark { get; private set; }

    /// <summary>Whether wg-quick makes rules for a tunnel that takes everything of this family.</summary>
    public bool TakesDefaultRoute(bool ipv6) => Table is null or "auto" && AllowsEverything(ipv6);

    /// <summary>0.0.0.0/0 or ::/0.</summary>
    public bool AllowsEverything(bool ipv6) => _peers.Exists(peer => peer.AllowedIps.Exists(prefix => prefix.Length == 0 && prefix.IsIPv6 == ipv6));

    public static WgQuickFile Parse(string text)
    {
        var file = new WgQuickFile();
        string section = string.Empty;
        int number = 0;
        foreach (string raw in text.Split('\n'))
        {
            number++;
            string line = raw.Split('#', 2)[0].Trim();
            if (line.StartsWith('['))
            {
                section = file.BeginSection(line, number);
            }
            else if (line.Length > 0)
            {
                file.TakeLine(section, line, number);
            }
        }

        file.Finish();
        return file;
    }

    private string BeginSection(string line, int number)
    {
        if (line.Equals("[Interface]", StringComparison.OrdinalIgnoreCase))
        {
            _interfaceLine ??= number;
            return "Interface";
        }

        if (line.Equals("[Peer]", StringComparison.OrdinalIgnoreCase))
        {
            _peers.Add(new FilePeer(number));
            return "Peer";
        }

        _problems.Add(new FileProblem(number, $"There is no section {line}; there are [Interface] and [Peer]."));
        return "?";
    }

    private void TakeLine(string section, string line, int number)
    {
        string[] parts = line.Split('=', 2, StringSplitOptions.TrimEntries);
        if (parts.Length < 2)
        {
            _problems.Add(new FileProblem(number, "The line is not of the form Key = Value."));
            return;
        }

        (string key, string value) = (parts[0], parts[1]);
        bool known = section switch
        {
            "Interface" => TakeOfInterface(key, value, number),
            "Peer" => TakeOfPeer(key, value, number),
            "?" => true,
            _ => false,
        };
        if (!known)
        {
            string where = section.Length == 0 ? "before the first section" : $"in [{section}]";
            _problems.Add(new FileProblem(number, $"Nobody understands the key '{key}' {where}."));
        }
    }

    private bool TakeOfInterface(string key, string value, int line)
    {
        if (_hooks.FirstOrDefault(hook => Same(hook, key)) is { } name)
        {
            _commands.Add(new Hook(name, value, line));
            return true;
        }

        switch (key.ToUpperInvariant())
        {
            case "PRIVATEKEY":
                _hasPrivateKey = true;
                Demand(IsKey(value), line, "PrivateKey is not a key: it has 44 characters, see wg genkey.");
                return true;
            case "LISTENPORT":
                Demand(TryNumber(value, 65535, out int port), line, $"ListenPort '{value}' is not a port.");
                ListenPort = port;
                return true;
            case "FWMARK":
                Demand(TryMark(value, out uint mark), line, $"FwMark '{value}' is neither a number nor off.");
                FwMark = mark;
                return true;
            case "MTU":
                Demand(TryNumber(value, 65535, out int mtu), line, $"MTU '{value}' is not a number.");
                Mtu = mtu == 0 ? null : mtu;
                return true;
            case "ADDRESS":
                TakePrefixes("Address", value, line, _addresses);
                return true;
            case "DNS":
                _dns.AddRange(Words(value));
                return true;
            case "TABLE":
                Table = value;
                return true;
            case "SAVECONFIG":
                Demand(value is "true" or "false", line, $"SaveConfig '{value}' is neither true nor false.");
                return true;
            default:
                return false;
        }
    }

    private bool TakeOfPeer(string key, string value, int line)
    {
        FilePeer peer = _peers[^1];
        switch (key.ToUpperInvariant())
        {
            case "PUBLICKEY":
                peer.HasKey = true;
                Demand(IsKey(value), line, "PublicKey is not a key: it has 44 characters, see wg pubkey.");
                return true;
            case "PRESHAREDKEY":
                Demand(IsKey(value), line, "PresharedKey is not a key: it has 44 characters, see wg genpsk.");
                return true;
            case "ALLOWEDIPS":
                TakePrefixes("AllowedIPs", value, line, peer.AllowedIps);
                return true;
            case "ENDPOINT":
                Demand(IsEndpoint(value), line, $"Endpoint '{value}' is not of the form HOST:PORT or [ADDRESS]:PORT.");
                peer.Endpoint = value;
                return true;
            case "PERSISTENTKEEPALIVE":
                Demand(value == "off" || TryNumber(value, 65535, out _), line, $"PersistentKeepalive '{value}' is neither a number of seconds nor off.");
                return true;
            default:
                return false;
        }
    }

    private void TakePrefixes(string key, string value, int line, List<Prefix> prefixes)
    {
        foreach (string word in Words(value))
        {
            // wg takes what is added to or taken from a peer's list with a sign.
            if (Prefix.TryParse(key == "AllowedIPs" ? word.TrimStart('+', '-') : word, out Prefix prefix))
            {
                prefixes.Add(prefix);
            }
            else
            {
                _problems.Add(new FileProblem(line, $"{key}: '{word}' is not an address with its length."));
            }
        }
    }

    private void Finish()
    {
        foreach (FilePeer peer in _peers.Where(peer => !peer.HasKey))
        {
            _problems.Add(new FileProblem(peer.Line, "The peer has no PublicKey."));
        }

        // Some keep it elsewhere, and set it when the interface is up.
        if (!_hasPrivateKey && !_commands.Exists(hook => hook.Text.Contains("private-key", StringComparison.Ordinal)))
        {
            _problems.Add(new FileProblem(_interfaceLine ?? 1, "There is no PrivateKey."));
        }

        _problems.Sort((one, other) => one.Line.CompareTo(other.Line));
    }

    private void Demand(bool holds, int line, string otherwise)
    {
        if (!holds)
        {
            _problems.Add(new FileProblem(line, otherwise));
        }
    }

    private static IEnumerable<string> Words(string list) => list.Split([',', ' ', '\t'], StringSplitOptions.RemoveEmptyEntries);

    private static bool Same(string one, string other) => one.Equals(other, StringComparison.OrdinalIgnoreCase);

    private static bool IsKey(string value) => value.Length == 44 && Convert.TryFromBase64String(value, stackalloc byte[33], out int length) && length == 32;

    private static bool TryNumber(string value, int most, out int number) =>
        int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number <= most;

    private static bool TryMark(string value, out uint mark)
    {
        mark = 0;
        return value == "off" || (value.StartsWith("0x", StringComparison.Ordinal)
            ? uint.TryParse(value.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out mark)
            : uint.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out mark));
    }

    // A name or an IPv4 address, or an IPv6 address in brackets, which may have a scope.
    private static bool IsEndpoint(string value)
    {
        int colon = value.LastIndexOf(':');
        if (colon <= 0 || !TryNumber(value[(colon + 1)..], 65535, out _))
        {
            return false;
        }

        string host = value[..colon];
        return host.StartsWith('[')
            ? host.EndsWith(']') && IPAddress.TryParse(host[1..^1], out IPAddress? address) && address.AddressFamily == AddressFamily.InterNetworkV6
            : !host.AsSpan().ContainsAny(":[] \t");
    }
}
