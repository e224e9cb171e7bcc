using System.Globalization;
using System.Net;

namespace WgSharp.Doctor;

/// <summary>An interface of this network namespace, as <c>ip -d link</c> shows it.</summary>
internal sealed record Link(string Name, int Mtu, bool IsBridge, bool IsWireGuard);

/// <summary>What <c>wg show</c> says of an interface that is there. Asked piece by piece, because all at once there would be keys in it.</summary>
internal sealed record LiveTunnel(int ListenPort, uint FwMark, IReadOnlyList<Prefix> AllowedIps, IReadOnlyList<IPEndPoint> Endpoints, DateTimeOffset? NewestHandshake)
{
    /// <returns>Null where there is no such interface, or none of WireGuard.</returns>
    public static LiveTunnel? Find(IMachine machine, string name)
    {
        // wg deletes a socket that refuses: it is to be told of, not to be taken away.
        if (machine.RefusesConnections($"{UapiSocket.DefaultDirectory}/{name}{UapiSocket.Extension}"))
        {
            return null;
        }

        ProgramResult port = machine.Run("wg", ["show", name, "listen-port"]);
        return port.Succeeded && int.TryParse(port.Output, NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out int number)
            ? new LiveTunnel(
                number,
                ParseMark(machine.Run("wg", ["show", name, "fwmark"]).Output.Trim()),
                [.. OfPeers(machine.Run("wg", ["show", name, "allowed-ips"])).Select(word => Prefix.TryParse(word, out Prefix prefix) ? prefix : (Prefix?)null).OfType<Prefix>()],
                [.. OfPeers(machine.Run("wg", ["show", name, "endpoints"])).Select(word => IPEndPoint.TryParse(word, out IPEndPoint? endpoint) ? endpoint : null).OfType<IPEndPoint>()],
                Newest(OfPeers(machine.Run("wg", ["show", name, "latest-handshakes"]))))
            : null;
    }

    /// <summary>0x and hexadecimal digits, or "off".</summary>
    public static uint ParseMark(string text) =>
        text.StartsWith("0x", StringComparison.Ordinal) && uint.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint mark) ? mark : 0;

    // public-key TAB words
    private static IEnumerable<string> OfPeers(ProgramResult shown) =>
        shown.Succeeded ? shown.Lines.SelectMany(line => line.Split('\t').Skip(1)).SelectMany(words => words.Split(' ')) : [];

    private static DateTimeOffset? Newest(IEnumerable<string> times)
    {
        long newest = times.Select(word => long.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out long at) ? at : 0).Append(0).Max();
        return newest == 0 ? null : DateTimeOffset.FromUnixTimeSeconds(newest);
    }
}

/// <summary>A tunnel that is to be looked at.</summary>
/// <param name="Name">The interface.</param>
/// <param name="Path">Its configuration, or null.</param>
/// <param name="File">The same, read; null where there is none or it cannot be read.</param>
/// <param name="Live">Null unless the interface is there.</param>
internal sealed record Tunnel(string Name, string? Path, WgQuickFile? File, LiveTunnel? Live)
{
    /// <summary>What wg-quick makes rules and a firewall for.</summary>
    public bool TakesDefaultRoute(bool ipv6) => File?.TakesDefaultRoute(ipv6) ?? false;

    /// <summary>Whether anything inside it is IPv6.</summary>
    public bool CarriesIPv6 => File is not null
        && (File.Addresses.Any(prefix => prefix.IsIPv6)
            || (File.Table != "off" && File.Peers.Any(peer => peer.AllowedIps.Any(prefix => prefix.IsIPv6))));

    /// <summary>Where messages go, as far as it is known without asking for names.</summary>
    public IEnumerable<IPAddress> PeerAddresses =>
        (File?.Peers.Select(peer => peer.EndpointAddress).OfType<IPAddress>() ?? [])
            .Concat(Live?.Endpoints.Select(endpoint => endpoint.Address) ?? [])
            .Distinct();
}

/// <summary>What the checks go by: the machine, the tunnels they were asked about, and what more than one of them wants to know, asked once.</summary>
internal sealed class Examination
{
    private readonly Lazy<IReadOnlyList<Tunnel>> _tunnels;
    private readonly Lazy<IReadOnlyList<Link>> _links;
    private readonly Lazy<ulong> _capabilities;
    private readonly Lazy<Linux.TunTrial> _tun;
    private readonly Lazy<WgQuickSetup> _wgQuick;

    /// <param name="tunnels">Asked when they are first wanted.</param>
    public Examination(IMachine machine, Func<IReadOnlyList<Tunnel>> tunnels)
    {
        Machine = machine;
        _tunnels = new(tunnels);
        _links = new(() => ParseLinks(machine.Run("ip", ["-o", "-d", "link", "show"]).Output));
        _capabilities = new(() => ParseCapabilities(machine.Read("/proc/self/status")));
        _tun = new(machine.TryTun);
        _wgQuick = new(() => WgQuickSetup.Find(this));
    }

    public IMachine Machine { get; }

    public IReadOnlyList<Tunnel> Tunnels => _tunnels.Value;

    public IReadOnlyList<Link> Links => _links.Value;

    public Linux.TunTrial Tun => _tun.Value;

    /// <summary>Of all WireGuard interfaces that are served, the kernel's included. (Not by wg show all: see <see cref="LiveTunnel.Find"/>.)</summary>
    public IEnumerable<LiveTunnel> Living =>
        Links.Where(link => link.IsWireGuard || Machine.Exists($"{UapiSocket.DefaultDirectory}/{link.Name}{UapiSocket.Extension}"))
            .Select(link => LiveTunnel.Find(Machine, link.Name))
            .OfType<LiveTunnel>();

    /// <summary>How wg-quick comes to its implementation here.</summary>
    public WgQuickSetup WgQuick => _wgQuick.Value;

    public bool Has(Capability capability) => (_capabilities.Value >> (int)capability & 1) != 0;

    /// <summary>Whether systemd is the first process here.</summary>
    public bool HasSystemd => Machine.Exists("/run/systemd/system");

    /// <summary>A file of one number below /proc/sys; null where there is none.</summary>
    public int? Sysctl(string path) =>
        int.TryParse(Machine.Read($"/proc/sys/{path}"), NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out int value)
            ? value
            : null;

    /// <summary>How to set values below /proc/sys: by sysctl, or where they are not this machine's to set, by whoever may.</summary>
    public Mend SetSysctl(params IReadOnlyList<(string Path, int Value)> values)
    {
        string assignments = string.Join(' ', values.Select(each => $"{each.Path.Replace('/', '.')}={each.Value}"));
        return values.All(each => Machine.WriteErrno($"/proc/sys/{each.Path}") == 0)
            ? Mend.By($"sysctl -w {assignments}")
            : Mend.At($"set {assignments} where this container is started, or on its host (docker run: --sysctl)");
    }

    internal static IReadOnlyList<Link> ParseLinks(string text)
    {
        var links = new List<Link>();
        foreach (string line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            // 2: eth0@if3: <FLAGS> mtu 1500 ... \    link/ether ... \    bridge ...
            string[] words = line.Split([' ', '\\'], StringSplitOptions.RemoveEmptyEntries);
            int mtu = Array.IndexOf(words, "mtu");
            if (words.Length > 1 && mtu > 0 && mtu + 1 < words.Length && int.TryParse(words[mtu + 1], NumberStyles.None, CultureInfo.InvariantCulture, out int size))
            {
                links.Add(new Link(words[1].TrimEnd(':').Split('@')[0], size, Array.IndexOf(words, "bridge") > 0, Array.IndexOf(words, "wireguard") > 0));
            }
        }

        return links;
    }

    internal static ulong ParseCapabilities(string? status)
    {
        const string Effective = "CapEff:";
        string? line = status?.Split('\n').FirstOrDefault(each => each.StartsWith(Effective, StringComparison.Ordinal));
        return line is not null && ulong.TryParse(line.AsSpan(Effective.Length).Trim(), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong set) ? set : 0;
    }
}

/// <summary>capabilities(7), those that are asked for; the numbers are the kernel's.</summary>
internal enum Capability
{
    NetBindService = 10,
    NetAdmin = 12,
    NetRaw = 13,
    SysAdmin = 21,
    SysTime = 25,
}
