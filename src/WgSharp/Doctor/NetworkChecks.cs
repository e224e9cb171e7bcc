using System.Globalization;
using WgSharp.Linux;

namespace WgSharp.Doctor;

/// <summary>The port, and the family that a configuration counts on.</summary>
internal static class NetworkChecks
{
    public static IEnumerable<Complaint> PortTaken(Examination examination)
    {
        foreach (Tunnel tunnel in examination.Tunnels)
        {
            if (tunnel.File?.ListenPort is not ({ } port and > 0) || tunnel.Live?.ListenPort == port)
            {
                continue;
            }

            bool over4 = examination.Machine.TryPort(port, ipv6: false) == Errno.EADDRINUSE;
            if (over4 || examination.Machine.TryPort(port, ipv6: true) == Errno.EADDRINUSE)
            {
                yield return Taken(examination.Machine, tunnel, port, ipv6: !over4);
            }
        }
    }

    public static IEnumerable<Complaint> IPv6Off(Examination examination)
    {
        const string Family = "net/ipv6/conf";
        int? all = examination.Sysctl($"{Family}/all/disable_ipv6");
        int? fresh = examination.Sysctl($"{Family}/default/disable_ipv6");
        foreach (Tunnel tunnel in examination.Tunnels)
        {
            bool outside = tunnel.PeerAddresses.Any(address => address.GetAddressBytes().Length == 16);
            if (all is null && (tunnel.CarriesIPv6 || outside))
            {
                yield return Complaint.Fault(
                    tunnel.Name,
                    "There is no IPv6 on this machine, and the configuration has IPv6 addresses.",
                    Mend.At("have IPv6 switched on (control panel, or ipv6.disable=1 on the kernel's command line), or take the IPv6 addresses out of the file"));
            }
            else if (all == 1 && outside)
            {
                yield return Complaint.Fault(
                    tunnel.Name, "IPv6 is switched off (disable_ipv6), and a peer has an IPv6 address.", examination.SetSysctl(($"{Family}/all/disable_ipv6", 0)));
            }
            else if (tunnel.CarriesIPv6 && IsOff(examination, tunnel, fresh) is { } path)
            {
                yield return Complaint.Fault(
                    tunnel.Name, $"IPv6 is switched off for {tunnel.Name} (disable_ipv6), and the configuration has IPv6 addresses.", examination.SetSysctl((path, 0)));
            }
        }
    }

    // An interface that is made takes the default.
    private static string? IsOff(Examination examination, Tunnel tunnel, int? fresh)
    {
        string own = $"net/ipv6/conf/{tunnel.Name}/disable_ipv6";
        return tunnel.Live is not null ? (examination.Sysctl(own) == 1 ? own : null)
            : fresh == 1 ? "net/ipv6/conf/default/disable_ipv6"
            : null;
    }

    private static Complaint Taken(IMachine machine, Tunnel tunnel, int port, bool ipv6)
    {
        (int Process, string Command)? owner = Owner(machine, Inode(machine.Read(ipv6 ? "/proc/net/udp6" : "/proc/net/udp"), port));
        if (owner is not var (process, command))
        {
            return Complaint.Fault(
                tunnel.Name,
                $"Port {port} is taken, by the kernel (a WireGuard interface of its own, a VPN) or by a process that cannot be seen from here.",
                Mend.At($"choose another ListenPort, or end what has it (wg show; ss -ulnp 'sport = :{port}')"));
        }

        return Complaint.Fault(
            tunnel.Name,
            $"Port {port} is taken, by process {process}: {command}.",
            UnitOf(machine, process) is { } unit ? Mend.By($"systemctl stop {unit}") : Mend.By($"kill {process}"));
    }

    /// <summary>Of the socket that has this local port, in a table of /proc/net.</summary>
    internal static string? Inode(string? table, int port)
    {
        string ending = ":" + port.ToString("X4", CultureInfo.InvariantCulture);

        // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
        return (table ?? string.Empty).Split('\n')
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .FirstOrDefault(fields => fields.Length > 9 && fields[1].EndsWith(ending, StringComparison.Ordinal))?[9];
    }

    private static (int Process, string Command)? Owner(IMachine machine, string? inode)
    {
        if (inode is null or "0")
        {
            return null;
        }

        foreach (string directory in machine.Entries("/proc"))
        {
            if (int.TryParse(directory["/proc/".Length..], NumberStyles.None, CultureInfo.InvariantCulture, out int process)
                && machine.Entries($"{directory}/fd").Any(descriptor => machine.LinkTarget(descriptor) == $"socket:[{inode}]"))
            {
                return (process, (machine.Read($"{directory}/cmdline") ?? string.Empty).Replace('\0', ' ').Trim());
            }
        }

        return null;
    }

    // 1:name=systemd:/system.slice/x.service, 0::/system.slice/x.service
    private static string? UnitOf(IMachine machine, int process) =>
        (machine.Read($"/proc/{process}/cgroup") ?? string.Empty).Split('\n')
            .Select(line => line.Split('/'))
            .Where(parts => parts.Length > 1 && parts[0].EndsWith(':') && (parts[0].Contains("systemd", StringComparison.Ordinal) || parts[0] == "0::"))
            .Select(parts => parts.LastOrDefault(part => part.EndsWith(".service", StringComparison.Ordinal)))
            .FirstOrDefault(unit => unit is not null);
}
