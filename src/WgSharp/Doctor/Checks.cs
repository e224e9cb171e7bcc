namespace WgSharp.Doctor;

/// <summary>One question to the machine.</summary>
/// <param name="Id">Its name in what is printed, and in JSON: it does not change.</param>
/// <param name="LooksAt">What is looked at, for people.</param>
internal sealed record Check(string Id, string LooksAt, Func<Examination, IEnumerable<Complaint>> Examine);

/// <summary>All of them, in the order in which they are made and told: what nothing works without comes first.</summary>
internal static class Checks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("limits", "limits on open files and address space", ProcessChecks.Limits),
        new("tun-node", "whether /dev/net/tun is there, or can be made", DeviceChecks.TunNode),
        new("tun-open", "whether /dev/net/tun can be opened", DeviceChecks.TunOpen),
        new("tun-create", "whether an interface can be made with it", DeviceChecks.TunCreate),
        new("dev-null", "whether /dev/null is there, for wg-quick", DeviceChecks.DevNull),

        new("capability-net-admin", "the right to make interfaces", CapabilityChecks.NetAdmin),
        new("capability-net-bind", "the right to a ListenPort below 1024", CapabilityChecks.NetBindService),
        new("capability-net-raw", "the right to hear ICMPv6, where peers are reached over IPv6", CapabilityChecks.NetRaw),

        new("libsodium", "whether libsodium can be loaded", ProcessChecks.Libsodium),
        new("tasks", "limits on processes and threads", ProcessChecks.TaskLimits),
        new("memory", "limits on memory", ProcessChecks.Memory),
        new("memlock", "the limit on locked memory, where keys belong", ProcessChecks.LockedMemory),
        new("settings", "the settings in /etc/wgsharp and the environment", ProcessChecks.OwnSettings),
        new("clock", "whether the clock has gone back", ProcessChecks.Clock),

        new("programs", "the programs that wg-quick and the file's commands need", WgQuickChecks.NeededPrograms),
        new("module-visible", "/sys/module/wireguard where the kernel gives no WireGuard: wg-quick then starts nothing else", WgQuickChecks.ModuleVisible),
        new("wg-quick-variable", "whether wg-quick is told of wgsharp", WgQuickChecks.Variable),
        new("wg-quick-path", "whether wg-quick finds what it is told to start", WgQuickChecks.ProgramPath),
        new("file", "the syntax of the configuration", FileChecks.Syntax),

        new("port-taken", "whether somebody else has the ListenPort", NetworkChecks.PortTaken),
        new("ipv6-off", "IPv6, where the configuration has it", NetworkChecks.IPv6Off),
        new("mtu-ipv6", "an MTU that IPv6 does not live with", MtuChecks.TooSmallForIPv6),
        new("mtu-path", "the interface's MTU and that of the routes to its peers", MtuChecks.WiderThanPath),
        new("mtu-bridge", "the interface's MTU and that of bridges whose traffic it takes", MtuChecks.NarrowerThanBridge),

        new("firewall", "what wg-quick's firewall for 0.0.0.0/0 and ::/0 needs", FirewallChecks.OfWgQuick),
        new("firewall-hooks", "what the file's own iptables commands need", FirewallChecks.OfHooks),
        new("suppress-prefixlength", "policy rules, for 0.0.0.0/0 and ::/0", RoutingChecks.SuppressPrefixLength),
        new("src-valid-mark", "net.ipv4.conf.all.src_valid_mark, for 0.0.0.0/0", RoutingChecks.SrcValidMark),
        new("rp-filter", "the strict reverse path filter", RoutingChecks.ReversePath),
        new("ip-forward", "forwarding, where the file's commands count on it", RoutingChecks.Forwarding),

        new("leftover-rules", "policy rules of a tunnel that is gone", LeftoverChecks.Rules),
        new("leftover-nft", "nft tables of a tunnel that is gone", LeftoverChecks.NftTables),
        new("leftover-iptables", "iptables rules of a tunnel that is gone", LeftoverChecks.IptablesRules),
        new("leftover-dns", "resolvers of a tunnel that is gone", LeftoverChecks.Resolvers),
        new("leftover-socket", "control sockets that nobody serves", LeftoverChecks.Sockets),
    ];

    /// <summary>Under limits that are too low for a daemon, the examination itself might not come to its end: then they are all that is told.</summary>
    public static IReadOnlyList<Finding> Run(Examination examination)
    {
        IReadOnlyList<Finding> first = Findings(All[0], examination);
        return first.Count > 0 ? first : [.. All.Skip(1).SelectMany(check => Findings(check, examination))];
    }

    private static IReadOnlyList<Finding> Findings(Check check, Examination examination) =>
        [.. check.Examine(examination).Select(complaint => new Finding(check.Id, complaint))];
}
