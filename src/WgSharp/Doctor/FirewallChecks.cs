namespace WgSharp.Doctor;

/// <summary>
/// Whether the kernel has what firewall rules need. The rules that are tried come to nothing: in a namespace of their own, or where none is to be had, asked
/// about and not made (nft --check, iptables-restore --test). Tried is only what a configuration uses, because trying may load modules.
/// </summary>
internal static class FirewallChecks
{
    private const string HostsModules = "the host has to load it (modprobe on the host; OpenVZ: vzctl set CTID --netfilter full --save)";

    private static readonly string[] _iptables = ["iptables", "ip6tables"];

    /// <summary>Words after -t, -j and -m that are parts of the kernel, and a rule that needs each: table, rule, and the same for IPv6 where it differs.</summary>
    private static readonly (string Option, string Word, string Table, string Rule, string? Rule6)[] _parts =
    [
        ("-t", "nat", "nat", "", null),
        ("-t", "mangle", "mangle", "", null),
        ("-t", "raw", "raw", "", null),
        ("-j", "MASQUERADE", "nat", "-A POSTROUTING -j MASQUERADE", null),
        ("-j", "SNAT", "nat", "-A POSTROUTING -j SNAT --to-source 192.0.2.1", "-A POSTROUTING -j SNAT --to-source 2001:db8::1"),
        ("-j", "DNAT", "nat", "-A PREROUTING -j DNAT --to-destination 192.0.2.1", "-A PREROUTING -j DNAT --to-destination 2001:db8::1"),
        ("-j", "REDIRECT", "nat", "-A PREROUTING -p tcp -j REDIRECT --to-ports 1", null),
        ("-j", "NETMAP", "nat", "-A PREROUTING -j NETMAP --to 192.0.2.0/24", "-A PREROUTING -j NETMAP --to 2001:db8::/64"),
        ("-j", "TCPMSS", "mangle", "-A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu", null),
        ("-j", "CONNMARK", "mangle", "-A PREROUTING -j CONNMARK --restore-mark", null),
        ("-j", "MARK", "mangle", "-A PREROUTING -j MARK --set-mark 1", null),
        ("-j", "REJECT", "filter", "-A FORWARD -j REJECT", null),
        ("-m", "conntrack", "filter", "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT", null),
        ("-m", "state", "filter", "-A FORWARD -m state --state ESTABLISHED -j ACCEPT", null),
        ("-m", "addrtype", "filter", "-A FORWARD -m addrtype --src-type LOCAL -j ACCEPT", null),
        ("-m", "comment", "filter", "-A FORWARD -m comment --comment x -j ACCEPT", null),
        ("-m", "mark", "filter", "-A FORWARD -m mark --mark 1 -j ACCEPT", null),
        ("-m", "multiport", "filter", "-A FORWARD -p udp -m multiport --dports 1,2 -j ACCEPT", null),
    ];

    /// <summary>For a tunnel that takes everything wg-quick makes rules, with nft if there is such a program, whether or not the kernel listens to it.</summary>
    public static IEnumerable<Complaint> OfWgQuick(Examination examination)
    {
        foreach (Tunnel tunnel in examination.Tunnels.Where(tunnel => tunnel.Live is null))
        {
            foreach (bool ipv6 in Families(examination).Where(tunnel.TakesDefaultRoute))
            {
                if (WhyNoRules(examination.Machine, tunnel.Name, ipv6) is { } complaint)
                {
                    yield return complaint;
                    break;
                }
            }
        }
    }

    public static IEnumerable<Complaint> OfHooks(Examination examination)
    {
        foreach (Tunnel tunnel in examination.Tunnels.Where(tunnel => tunnel.File is not null && tunnel.Live is null))
        {
            foreach (string program in _iptables.Where(program => Programs.Find(examination.Machine, program) is not null))
            {
                (string Word, Hook Hook, string Rules)[] used = [.. Used(tunnel.File!, program, ipv6: program == "ip6tables")];
                ProgramResult[] tried = [.. used.Select(part => Restore(examination.Machine, program, part.Rules))];
                (string Word, Hook Hook, string Rules)[] missing = [.. used.Where((_, index) => !tried[index].Succeeded)];
                if (missing.Length > 0)
                {
                    yield return Complaint.Fault(
                        tunnel.Name,
                        $"{missing[0].Hook.Key} in line {missing[0].Hook.Line} uses {program} with {string.Join(", ", missing.Select(part => part.Word))}, "
                        + $"which the kernel does not have here: {tried.First(each => !each.Succeeded).Complaint}",
                        LegacyHelps(examination.Machine, program, string.Concat(missing.Select(part => part.Rules))) ?? Mend.At(HostsModules));
                }
            }
        }
    }

    private static IEnumerable<bool> Families(Examination examination) =>
        examination.Sysctl("net/ipv6/conf/all/disable_ipv6") is null ? [false] : [false, true];

    private static Complaint? WhyNoRules(IMachine machine, string name, bool ipv6)
    {
        string program = ipv6 ? "ip6tables" : "iptables";
        string rules = IptablesLikeWgQuick(ipv6);
        if (Programs.Find(machine, "nft") is { } nft)
        {
            ProgramResult tried = TryApart(machine, "nft", ["-f", "-"], ["-c", "-f", "-"], NftLikeWgQuick(ipv6));
            if (tried.Succeeded)
            {
                return null;
            }

            // Which iptables it takes then matters as well.
            bool others = Restore(machine, program, rules).Succeeded;
            Mend? legacy = others ? null : LegacyHelps(machine, program, rules);
            string hide = $"mv {nft} {nft}.off";
            return Complaint.Fault(
                name,
                $"nft is installed, so wg-quick makes its firewall with it; but the kernel has no nf_tables here: {tried.Complaint}",
                others ? Mend.By(hide) : legacy is { Command: { } switches } ? Mend.By($"{hide} && {switches}") : Mend.At(HostsModules));
        }

        ProgramResult alone = Restore(machine, program, rules);
        return alone.Succeeded || alone.Status == ProgramResult.NotThere
            ? null
            : Complaint.Fault(
                name, $"The kernel does not have what wg-quick's firewall needs: {alone.Complaint}", LegacyHelps(machine, program, rules) ?? Mend.At(HostsModules));
    }

    /// <summary>Debian's iptables speaks to nf_tables; the old one, installed beside it, to ip_tables.</summary>
    private static Mend? LegacyHelps(IMachine machine, string program, string rules)
    {
        string old = $"{program}-legacy-restore";
        if (Programs.Find(machine, old) is null || !TryApart(machine, old, ["-n"], ["-n", "-t"], rules).Succeeded)
        {
            return null;
        }

        return Mend.By(string.Join(" && ", _iptables.Select(each => $"update-alternatives --set {each} /usr/sbin/{each}-legacy")));
    }

    private static ProgramResult Restore(IMachine machine, string program, string rules) => TryApart(machine, $"{program}-restore", ["-n"], ["-n", "-t"], rules);

    private static ProgramResult TryApart(IMachine machine, string program, string[] apart, string[] here, string input) =>
        machine.RunApart(program, apart, input) ?? machine.Run(program, here, input);

    private static IEnumerable<(string Word, Hook Hook, string Rules)> Used(WgQuickFile file, string program, bool ipv6)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (Hook hook in file.Hooks.Where(hook => hook.ComesUp))
        {
            foreach (string[] words in hook.Commands.Where(words => words[0].EndsWith(program, StringComparison.Ordinal)))
            {
                foreach ((string option, string word, string table, string rule, string? rule6) in _parts)
                {
                    if (Mentions(words, option, word) && seen.Add(word))
                    {
                        yield return (word, hook, $"*{table}\n{(ipv6 ? rule6 ?? rule : rule)}\nCOMMIT\n");
                    }
                }
            }
        }
    }

    private static bool Mentions(string[] words, string option, string word)
    {
        string spelled = option switch { "-t" => "--table", "-j" => "--jump", _ => "--match" };
        return words.Zip(words.Skip(1)).Any(pair => (pair.First == option || pair.First == spelled) && pair.Second == word);
    }

    // The parts of the kernel that wg-quick's own rules need: raw and mangle hooks, the type of an address, marks of packets and of connections.
    private static string NftLikeWgQuick(bool ipv6)
    {
        string family = ipv6 ? "ip6" : "ip";
        string table = $"{family} wgsharp-doctor";
        return $$"""
            add table {{table}}
            add chain {{table}} before { type filter hook prerouting priority -300; }
            add chain {{table}} after { type filter hook postrouting priority -150; }
            add rule {{table}} before iifname != "lo" {{family}} daddr {{(ipv6 ? "2001:db8::1" : "192.0.2.1")}} fib saddr type != local drop
            add rule {{table}} before meta l4proto udp meta mark set ct mark
            add rule {{table}} after meta l4proto udp mark 1 ct mark set mark

            """;
    }

    private static string IptablesLikeWgQuick(bool ipv6)
    {
        const string Marker = "-m comment --comment wgsharp-doctor";
        return $"""
            *raw
            -I PREROUTING ! -i lo -d {(ipv6 ? "2001:db8::1" : "192.0.2.1")} -m addrtype ! --src-type LOCAL -j DROP {Marker}
            COMMIT
            *mangle
            -I POSTROUTING -m mark --mark 1 -p udp -j CONNMARK --save-mark {Marker}
            -I PREROUTING -p udp -j CONNMARK --restore-mark {Marker}
            COMMIT

            """;
    }
}
