using System.Net;
using System.Net.Sockets;
using WgSharp.Protocol;

namespace WgSharp.Doctor;

/// <summary>
/// The chain of MTUs: bridges of containers, the interface, the routes to its peers. With <c>mtu_policy = auto</c> the daemon deals with all of it; what is
/// left is what the kernel makes of an MTU that is too small, and what becomes of packets with the other policies.
/// </summary>
internal static class MtuChecks
{
    private const int LeastOfIPv6 = 1280;
    private const int Ethernet = 1500;

    /// <summary>What wg-quick keeps free: IPv6, UDP, the message's header and tag.</summary>
    private const int Overhead6 = 80;
    private const int Overhead4 = 60;

    /// <summary>The kernel takes IPv6 off an interface with an MTU below 1280: addresses and routes, without a word.</summary>
    public static IEnumerable<Complaint> TooSmallForIPv6(Examination examination)
    {
        foreach (Tunnel tunnel in examination.Tunnels.Where(tunnel => tunnel.CarriesIPv6))
        {
            int mtu = MtuOf(examination, tunnel);
            if (mtu < LeastOfIPv6)
            {
                yield return Complaint.Fault(
                    tunnel.Name,
                    $"{(tunnel.File?.Mtu is null ? "wg-quick gives it" : "It has")} an MTU of {mtu}: below {LeastOfIPv6} the kernel takes the IPv6 addresses away.",
                    tunnel.File?.Mtu is null
                        ? Mend.By($"sed -i 's/^\\[Interface\\]/&\\nMTU = {LeastOfIPv6}/I' {tunnel.Path}")
                        : Mend.By($"sed -i 's/^[[:space:]]*MTU[[:space:]]*=.*/MTU = {LeastOfIPv6}/I' {tunnel.Path}"));
            }
        }
    }

    public static IEnumerable<Complaint> WiderThanPath(Examination examination)
    {
        foreach (Tunnel tunnel in examination.Tunnels)
        {
            MtuPolicy policy = PolicyOf(examination.Machine, tunnel);
            if (policy == MtuPolicy.Auto)
            {
                continue;
            }

            int mtu = MtuOf(examination, tunnel);
            foreach (IPAddress address in tunnel.PeerAddresses)
            {
                int overhead = address.AddressFamily == AddressFamily.InterNetworkV6 ? Overhead6 : Overhead4;
                if (RouteMtu(examination, tunnel, address) is { } path && mtu + overhead > path)
                {
                    string becomes = policy == MtuPolicy.ClampOnly ? "TCP is made to fit, and all else leaves in fragments" : "messages leave in fragments, which some paths drop";
                    yield return Complaint.Warning(
                        tunnel.Name,
                        $"An MTU of {mtu} makes messages of {mtu + overhead} bytes; the route to {address} takes {path}. With the mtu_policy that is set, {becomes}.",
                        ToAuto(tunnel));
                }
            }
        }
    }

    public static IEnumerable<Complaint> NarrowerThanBridge(Examination examination)
    {
        foreach (Tunnel tunnel in examination.Tunnels)
        {
            int mtu = MtuOf(examination, tunnel);
            bool clamps = tunnel.File?.Hooks.Any(hook => hook.Text.Contains("TCPMSS", StringComparison.Ordinal) || hook.Text.Contains("maxseg", StringComparison.Ordinal)) ?? false;
            if (clamps || PolicyOf(examination.Machine, tunnel) != MtuPolicy.Kernel || examination.Sysctl("net/ipv4/ip_forward") != 1)
            {
                continue;
            }

            foreach (Link bridge in examination.Links.Where(link => link.IsBridge && link.Mtu > mtu))
            {
                yield return Complaint.Warning(
                    tunnel.Name,
                    $"What comes by the bridge {bridge.Name} (MTU {bridge.Mtu}) does not fit into {tunnel.Name} ({mtu}). "
                    + "With mtu_policy = kernel and no TCPMSS rule, its connections hang where ICMP is filtered.",
                    ToAuto(tunnel));
            }
        }
    }

    private static Mend ToAuto(Tunnel tunnel) => Mend.By($"echo 'mtu_policy = auto' >>{Settings.DefaultDirectory}/{tunnel.Name}.conf");

    /// <summary>The interface's, or what it will have: the file's, or wg-quick's own reckoning.</summary>
    private static int MtuOf(Examination examination, Tunnel tunnel)
    {
        if (tunnel.Live is not null && examination.Links.FirstOrDefault(link => link.Name == tunnel.Name) is { } link)
        {
            return link.Mtu;
        }

        return tunnel.File?.Mtu ?? tunnel.PeerAddresses.Select(address => RouteMtu(examination, tunnel, address) ?? 0).Append(0).Max() switch
        {
            0 => Ethernet - Overhead6,
            var widest => widest - Overhead6,
        };
    }

    private static int? RouteMtu(Examination examination, Tunnel tunnel, IPAddress address) =>
        examination.Machine.RouteMtu(address, tunnel.Live?.FwMark ?? tunnel.File?.FwMark ?? 0);

    private static MtuPolicy PolicyOf(IMachine machine, Tunnel tunnel)
    {
        try
        {
            return machine.SettingsOf(tunnel.Name).MtuPolicy;
        }
        catch (SettingsException)
        {
            // Another check tells.
            return MtuPolicy.Auto;
        }
    }
}
