namespace WgSharp.Doctor;

/// <summary>Policy rules and the parameters of the network that tunnels for everything, and forwarding ones, depend on.</summary>
internal static class RoutingChecks
{
    private const string IPv4 = "net/ipv4/conf";
    private const string Anywhere = "198.51.100.1";
    private const int Strict = 1;

    public static IEnumerable<Complaint> SuppressPrefixLength(Examination examination)
    {
        bool hasIPv6 = examination.Sysctl("net/ipv6/conf/all/disable_ipv6") is not null;
        foreach (Tunnel tunnel in examination.Tunnels.Where(tunnel => tunnel.Live is null))
        {
            foreach (bool ipv6 in (bool[])[false, true])
            {
                if (tunnel.TakesDefaultRoute(ipv6) && (!ipv6 || hasIPv6) && TryRules(examination.Machine, ipv6 ? "-6" : "-4") is { Succeeded: false } refused)
                {
                    // What the kernel says comes with that word; all else is said by a program that does not know the words.
                    bool kernel = refused.Output.Contains("rtnetlink", StringComparison.OrdinalIgnoreCase);
                    yield return Complaint.Fault(
                        tunnel.Name,
                        $"wg-quick's rules for {(ipv6 ? "::/0" : "0.0.0.0/0")} (suppress_prefixlength) are refused by {(kernel ? "the kernel" : "this ip")}: {refused.Complaint}",
                        kernel
                            ? Mend.At("set Table = off in the file, and add the routes in PostUp: one to the endpoint by the old gateway, and 0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1 by the tunnel")
                            : Mend.By("apt-get install iproute2"));
                    break;
                }
            }
        }
    }

    /// <summary>wg-quick sets it for 0.0.0.0/0, and gives up where it may not.</summary>
    public static IEnumerable<Complaint> SrcValidMark(Examination examination)
    {
        const string Parameter = $"{IPv4}/all/src_valid_mark";
        foreach (Tunnel tunnel in examination.Tunnels)
        {
            bool writable = examination.Machine.WriteErrno($"/proc/sys/{Parameter}") == 0;
            if (tunnel.Live is null && tunnel.TakesDefaultRoute(ipv6: false) && !writable)
            {
                yield return Complaint.Fault(
                    tunnel.Name,
                    "wg-quick sets net.ipv4.conf.all.src_valid_mark for 0.0.0.0/0, and may not: /proc/sys cannot be written to.",
                    examination.Has(Capability.SysAdmin)
                        ? Mend.By("mount -o remount,rw /proc/sys")
                        : Mend.At("start the container with a /proc/sys that it may write to; docker run: --sysctl net.ipv4.conf.all.src_valid_mark=1, and a wg-quick that leaves it alone"));
            }
            else if (tunnel.Live is { FwMark: not 0 } live && live.AllowedIps.Any(prefix => prefix is { Length: 0, IsIPv6: false })
                && examination.Sysctl(Parameter) == 0 && StrictSomewhere(examination, tunnel.Name))
            {
                yield return Complaint.Fault(
                    tunnel.Name,
                    "net.ipv4.conf.all.src_valid_mark is 0 and rp_filter strict: what peers send is taken for martians, because the way back leads through the tunnel.",
                    examination.SetSysctl((Parameter, 1)));
            }
        }
    }

    /// <summary>
    /// A tunnel that may bring anything, with routes that wg-quick has not made: the strict filter drops what would not go back the same way. Where the tunnel
    /// is up the routes are asked; else whether the file makes any.
    /// </summary>
    public static IEnumerable<Complaint> ReversePath(Examination examination)
    {
        foreach (Tunnel tunnel in examination.Tunnels)
        {
            string own = examination.Sysctl($"{IPv4}/{tunnel.Name}/rp_filter") is null ? "default" : tunnel.Name;
            int filter = Math.Max(examination.Sysctl($"{IPv4}/all/rp_filter") ?? 0, examination.Sysctl($"{IPv4}/{own}/rp_filter") ?? 0);
            if (filter == Strict
                && tunnel.File is { Table: not (null or "auto") } file
                && file.AllowsEverything(ipv6: false)
                && file.Addresses.FirstOrDefault(prefix => !prefix.IsIPv6) is { Address: { } address }
                && !LeadsBack(examination.Machine, tunnel, file, address.ToString()))
            {
                yield return Complaint.Warning(
                    tunnel.Name,
                    $"rp_filter is strict, Table = {file.Table}, and no route leads back: what comes through the tunnel from elsewhere to {address} is dropped.",
                    examination.SetSysctl(($"{IPv4}/all/rp_filter", 2)));
            }
        }
    }

    /// <summary>Only where the file's own commands show that packets are to be forwarded.</summary>
    public static IEnumerable<Complaint> Forwarding(Examination examination)
    {
        (string Program, string Parameter)[] families = [("iptables", "net/ipv4/ip_forward"), ("ip6tables", "net/ipv6/conf/all/forwarding")];
        foreach (Tunnel tunnel in examination.Tunnels.Where(tunnel => tunnel.File is not null))
        {
            foreach ((string program, string parameter) in families)
            {
                Hook hook = tunnel.File!.Hooks.FirstOrDefault(each => each.ComesUp && each.Commands.Any(words => Forwards(words, program)));
                if (hook.Key is not null && examination.Sysctl(parameter) == 0 && !SetsItself(tunnel.File, parameter))
                {
                    string name = parameter.Replace('/', '.');
                    yield return Complaint.Warning(
                        tunnel.Name,
                        $"{hook.Key} in line {hook.Line} is for packets that are forwarded, and {name} is 0. (To keep it over a reboot: a line {name} = 1 in /etc/sysctl.d.)",
                        examination.SetSysctl((parameter, 1)));
                }
            }
        }
    }

    // Both as wg-quick has them, in a namespace of their own; without one, only whether there are rules at all: others are not to be disturbed.
    private static ProgramResult TryRules(IMachine machine, string family)
    {
        ProgramResult? suppress = machine.RunApart("ip", [family, "rule", "add", "table", "main", "suppress_prefixlength", "0"]);
        return suppress is null ? machine.Run("ip", [family, "rule", "show"])
            : suppress is { Succeeded: true } ? machine.RunApart("ip", [family, "rule", "add", "not", "fwmark", "51820", "table", "51820"]) ?? suppress.Value
            : suppress.Value;
    }

    private static bool StrictSomewhere(Examination examination, string name) =>
        examination.Machine.Entries($"/proc/sys/{IPv4}")
            .Select(path => path[(path.LastIndexOf('/') + 1)..])
            .Where(link => link is not ("default" or "lo") && link != name)
            .Max(link => examination.Sysctl($"{IPv4}/{link}/rp_filter")) == Strict;

    // The question that the filter asks: the way to the source, for an answer from the address that the packet came for.
    private static bool LeadsBack(IMachine machine, Tunnel tunnel, WgQuickFile file, string address)
    {
        if (tunnel.Live is null)
        {
            return file.Hooks.Any(hook => hook.ComesUp && hook.Commands.Any(words => words[0].EndsWith("ip", StringComparison.Ordinal)
                && words.Any(word => word is "rule" or "route" or "ru" or "ro" or "r")));
        }

        ProgramResult way = machine.Run("ip", ["route", "get", Anywhere, "from", address]);
        return way.Succeeded && $" {way.Output} ".Contains($" dev {tunnel.Name} ", StringComparison.Ordinal);
    }

    private static bool Forwards(string[] words, string program) =>
        words[0].EndsWith(program, StringComparison.Ordinal)
        && (program == "ip6tables" || !words[0].EndsWith("ip6tables", StringComparison.Ordinal))
        && words.Any(word => word is "FORWARD" or "MASQUERADE" or "SNAT" or "DNAT" or "NETMAP");

    private static bool SetsItself(WgQuickFile file, string parameter)
    {
        string name = parameter.Replace('/', '.');
        return file.Hooks.Any(hook => hook.Text.Contains(name, StringComparison.Ordinal) || hook.Text.Contains(parameter, StringComparison.Ordinal));
    }
}
