namespace WgSharp.Doctor;

/// <summary>How wg-quick comes to its implementation on this machine.</summary>
/// <param name="Program">wg-quick itself, or null.</param>
/// <param name="ModuleShows">/sys/module/wireguard is there.</param>
/// <param name="KernelServes">An interface of the kernel's can be made: wg-quick does not look further.</param>
/// <param name="Value">What it is told to start instead, by its unit where systemd runs, else by the environment; null: nothing.</param>
/// <param name="SearchPath">Where it looks for that.</param>
internal sealed record WgQuickSetup(string? Program, bool ModuleShows, bool KernelServes, string? Value, string SearchPath)
{
    public const string VariableName = "WG_QUICK_USERSPACE_IMPLEMENTATION";

    private const string ModuleDirectory = "/sys/module/wireguard";

    public static WgQuickSetup Find(Examination examination)
    {
        IMachine machine = examination.Machine;
        string? program = Programs.Find(machine, "wg-quick");
        bool shows = machine.Exists(ModuleDirectory);

        // To try it where no module is loaded would load one; whether there is one to be loaded is written down.
        bool serves = shows ? Serves(machine) : HasModule(machine);
        (string? value, string path) = examination.HasSystemd
            ? OfUnit(machine, examination.Tunnels.Count > 0 ? examination.Tunnels[0].Name : "wg0")
            : (machine.Variable(VariableName), machine.Variable("PATH") ?? Programs.ServicePath);

        // Its own directory goes first.
        return new WgQuickSetup(program, shows, serves, value, program is null ? path : $"{Path.GetDirectoryName(program)}:{path}");
    }

    private static bool Serves(IMachine machine)
    {
        const string Name = "wgdoctor";
        string[] make = ["link", "add", Name, "type", "wireguard"];
        if (machine.RunApart("ip", make) is { } apart)
        {
            return apart.Succeeded;
        }

        bool made = machine.Run("ip", make).Succeeded;
        if (made)
        {
            machine.Run("ip", ["link", "delete", Name]);
        }

        return made;
    }

    private static bool HasModule(IMachine machine) =>
        machine.Read("/proc/sys/kernel/osrelease")?.Trim() is { } release
        && machine.Read($"/lib/modules/{release}/modules.dep")?.Contains("/wireguard.ko", StringComparison.Ordinal) is true;

    // systemd knows of all drop-ins; what stands in files that they name is read here.
    private static (string? Value, string Path) OfUnit(IMachine machine, string interfaceName)
    {
        ProgramResult shown = machine.Run("systemctl", ["show", "-p", "Environment", "-p", "EnvironmentFiles", $"wg-quick@{interfaceName}.service"]);
        string? value = null;
        string path = Programs.ServicePath;
        foreach (string assignment in shown.Lines.SelectMany(line => Assignments(machine, line)))
        {
            string[] parts = assignment.Split('=', 2);
            if (parts[0] == VariableName)
            {
                value = parts[^1];
            }
            else if (parts[0] == "PATH")
            {
                path = parts[^1];
            }
        }

        return (value, path);
    }

    // Environment=A=1 "B=2 3", EnvironmentFiles=/etc/default/x (ignore_errors=yes)
    private static IEnumerable<string> Assignments(IMachine machine, string line)
    {
        string[] parts = line.Split('=', 2);
        return parts switch
        {
            ["Environment", var words] => words.Split(' ').Select(word => word.Trim('"')),
            ["EnvironmentFiles", var file] => (machine.Read(file.Split(' ')[0]) ?? string.Empty).Split('\n')
                .Select(each => each.Trim())
                .Where(each => !each.StartsWith('#') && each.Contains('=', StringComparison.Ordinal))
                .Select(each => $"{each.Split('=', 2)[0].Trim()}={each.Split('=', 2)[1].Trim().Trim('"', '\'')}"),
            _ => [],
        };
    }
}

/// <summary>Whether wg-quick comes to start wgsharp, and has what it needs itself.</summary>
internal static class WgQuickChecks
{
    /// <summary>The packages of Debian that the programs of configurations are in.</summary>
    private static readonly Dictionary<string, string> _packages = new(StringComparer.Ordinal)
    {
        ["conntrack"] = "conntrack",
        ["firewall-cmd"] = "firewalld",
        ["ip"] = "iproute2",
        ["ip6tables"] = "iptables",
        ["ipset"] = "ipset",
        ["iptables"] = "iptables",
        ["nft"] = "nftables",
        ["resolvconf"] = "openresolv",
        ["resolvectl"] = "systemd-resolved",
        ["sysctl"] = "procps",
        ["tc"] = "iproute2",
        ["ufw"] = "ufw",
        ["wg"] = "wireguard-tools",
    };

    public static IEnumerable<Complaint> NeededPrograms(Examination examination)
    {
        if (examination.WgQuick.Program is null || Programs.Find(examination.Machine, "wg") is null)
        {
            const string Tools = "wg and wg-quick are missing.";
            Mend install = Mend.By("apt-get install wireguard-tools");
            yield return examination.Tunnels.Any(tunnel => tunnel.Path is not null) ? Complaint.Fault(null, Tools, install) : Complaint.Warning(null, Tools, install);
        }

        foreach (Tunnel tunnel in examination.Tunnels.Where(tunnel => tunnel.File is not null))
        {
            foreach ((string program, string why) in Needs(examination, tunnel).DistinctBy(need => need.Program))
            {
                if (Programs.Find(examination.Machine, program) is null)
                {
                    yield return Complaint.Fault(tunnel.Name, $"{program} is missing, which {why}.", Mend.By($"apt-get install {_packages[program]}"));
                }
            }
        }
    }

    /// <summary>wg-quick looks at the directory, not at what the kernel can do: it gives up where it is there.</summary>
    public static IEnumerable<Complaint> ModuleVisible(Examination examination)
    {
        if (examination.WgQuick is { Program: not null, ModuleShows: true, KernelServes: false })
        {
            yield return Complaint.Fault(
                null,
                "/sys/module/wireguard is the host's: it is there, but this container gets no interface of the kernel's. Because it is there, wg-quick does not start wgsharp.",
                examination.HasSystemd
                    ? Mend.By(DropIn("hide-module.conf", "TemporaryFileSystem=/sys/module"))
                    : Mend.By("mount -t tmpfs tmpfs /sys/module"));
        }
    }

    public static IEnumerable<Complaint> Variable(Examination examination)
    {
        if (examination.WgQuick is not { Program: not null, KernelServes: false, Value: null or "" })
        {
            yield break;
        }

        IMachine machine = examination.Machine;
        string other = Programs.Find(machine, "wireguard-go") is null ? "starts nothing" : "starts wireguard-go";
        string who = examination.HasSystemd ? "wg-quick's unit" : machine.Variable("SUDO_UID") is null ? "the environment" : "what sudo has left of the environment";
        string assignment = $"{WgQuickSetup.VariableName}={machine.Self}";
        bool typed = !string.IsNullOrEmpty(machine.Variable(WgQuickSetup.VariableName));
        yield return new Complaint(
            typed ? Level.Warning : Level.Fault,
            null,
            $"{WgQuickSetup.VariableName} is not set in {who}: wg-quick {other}.",
            examination.HasSystemd
                ? Mend.By(DropIn("wgsharp.conf", $"Environment={assignment}"))
                : Mend.By($"sudo {assignment} wg-quick up {(examination.Tunnels.Count > 0 ? examination.Tunnels[0].Name : "wg0")}"));
    }

    public static IEnumerable<Complaint> ProgramPath(Examination examination)
    {
        if (examination.WgQuick is { Program: not null, KernelServes: false, Value: { Length: > 0 } value } setup
            && Programs.Find(examination.Machine, value, setup.SearchPath) is null)
        {
            bool bare = !value.Contains('/', StringComparison.Ordinal);
            yield return Complaint.Fault(
                null,
                bare ? $"wg-quick is to start {value}, which is in none of {setup.SearchPath}." : $"wg-quick is to start {value}, which is not there.",
                Mend.By($"ln -s {examination.Machine.Self} {(bare ? $"/usr/local/bin/{value}" : value)}"));
        }
    }

    private static string DropIn(string name, string line)
    {
        const string Directory = "/etc/systemd/system/wg-quick@.service.d";
        return $"mkdir -p {Directory} && printf '[Service]\\n{line}\\n' >{Directory}/{name} && systemctl daemon-reload";
    }

    private static IEnumerable<(string Program, string Why)> Needs(Examination examination, Tunnel tunnel)
    {
        WgQuickFile file = tunnel.File!;
        yield return ("ip", "wg-quick needs");
        if (file.Dns.Count > 0)
        {
            yield return ("resolvconf", "wg-quick needs for DNS");
        }

        if (file.TakesDefaultRoute(ipv6: false))
        {
            yield return ("sysctl", "wg-quick needs for 0.0.0.0/0");
        }

        bool hasFirewall = Programs.Find(examination.Machine, "nft") is not null || Programs.Find(examination.Machine, "iptables-restore") is not null;
        if (!hasFirewall && (file.TakesDefaultRoute(ipv6: false) || file.TakesDefaultRoute(ipv6: true)))
        {
            yield return ("nft", "wg-quick needs for 0.0.0.0/0 and ::/0");
        }

        foreach (Hook hook in file.Hooks)
        {
            foreach (string program in hook.Programs.Where(_packages.ContainsKey))
            {
                yield return (program, $"{hook.Key} in line {hook.Line} runs");
            }
        }
    }
}
