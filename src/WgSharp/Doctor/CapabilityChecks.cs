namespace WgSharp.Doctor;

/// <summary>What this process may do: root of a container often lacks something.</summary>
internal static class CapabilityChecks
{
    public static IEnumerable<Complaint> NetAdmin(Examination examination)
    {
        if (!examination.Has(Capability.NetAdmin))
        {
            yield return Complaint.Fault(
                null,
                "The capability CAP_NET_ADMIN is missing: no interface can be made or configured.",
                examination.Machine.Read("/proc/self/status") is { } status && IsRoot(status)
                    ? Mend.At("start the container with NET_ADMIN (docker run --cap-add NET_ADMIN, systemd-nspawn --capability=CAP_NET_ADMIN)")
                    : Mend.By("sudo wgsharp doctor"));
        }
    }

    public static IEnumerable<Complaint> NetBindService(Examination examination)
    {
        int first = examination.Sysctl("net/ipv4/ip_unprivileged_port_start") ?? 1024;
        foreach (Tunnel tunnel in examination.Tunnels)
        {
            if (tunnel.File?.ListenPort is { } port and > 0 && port < first && !examination.Has(Capability.NetBindService))
            {
                yield return Complaint.Fault(
                    tunnel.Name,
                    $"Port {port} is below {first}, and the capability CAP_NET_BIND_SERVICE is missing.",
                    examination.SetSysctl(("net/ipv4/ip_unprivileged_port_start", port)));
            }
        }
    }

    // Over IPv4 nothing needs it.
    public static IEnumerable<Complaint> NetRaw(Examination examination)
    {
        if (!examination.Has(Capability.NetRaw)
            && examination.Tunnels.FirstOrDefault(tunnel => tunnel.PeerAddresses.Any(address => address.GetAddressBytes().Length == 16)) is { } tunnel)
        {
            yield return Complaint.Warning(
                tunnel.Name,
                "The capability CAP_NET_RAW is missing: over IPv6, what strangers say of packets' sizes is believed (see raw6 in wgsharp.conf(5)).",
                Mend.At("start the container with NET_RAW (docker run --cap-add NET_RAW, systemd-nspawn --capability=CAP_NET_RAW)"));
        }
    }

    private static bool IsRoot(string status) =>
        status.Split('\n').FirstOrDefault(line => line.StartsWith("Uid:", StringComparison.Ordinal))?.Split('\t', ' ') is [_, _, "0", ..];
}
