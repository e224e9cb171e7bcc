using System.Net;
using WgSharp.Doctor;
using WgSharp.Linux;

namespace WgSharp.Tests.Doctor;

/// <summary>Findings from given facts; the same faults made in earnest stand in interop/scenarios/96-doctor.sh.</summary>
public class ChecksTests
{
    private const string Key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    private readonly GivenMachine _machine = new();
    private string _interface = "ListenPort = 51820\nAddress = 10.7.0.1/24\n";
    private string _peer = "AllowedIPs = 10.7.0.2/32\nEndpoint = 192.0.2.1:51820\n";
    private LiveTunnel? _live;

    [Fact]
    public void A_healthy_machine_has_no_findings() => Assert.Empty(Examine());

    [Fact]
    public void A_tunnel_for_everything_on_a_healthy_machine_has_none_either()
    {
        TakeEverything();

        Assert.Empty(Examine());
    }

    [Fact]
    public void Ids_are_unique() => Assert.Distinct(Checks.All.Select(check => check.Id));

    [Fact]
    public void Limits_that_are_too_low_are_all_that_is_looked_at()
    {
        _machine.Limits = "Only 40 files may be open at once, 192 are needed: raise the limit (ulimit -n 1024).";
        _machine.Sodium = "libsodium is missing: install it.";

        Finding finding = Assert.Single(Examine());

        Assert.Equal("limits", finding.Id);
        Assert.Equal("Only 40 files may be open at once, 192 are needed.", finding.Complaint.Wrong);
        Assert.Equal("raise the limit (ulimit -n 1024)", finding.Complaint.Mend.Elsewhere);
        Assert.Empty(_machine.Ran);
    }

    [Theory]
    [InlineData(TunStep.Node, false, "tun-node", "Fault")]
    [InlineData(TunStep.Done, true, "tun-node", "Warning")]
    [InlineData(TunStep.Open, false, "tun-open", "Fault")]
    [InlineData(TunStep.Create, false, "tun-create", "Fault")]
    public void Each_step_to_an_interface_has_its_name(TunStep reached, bool missing, string id, string level)
    {
        _machine.Tun = new TunTrial(reached, reached == TunStep.Done ? null : new TunException("Refused.", Errno.EPERM), missing);

        Finding finding = Assert.Single(Examine());

        Assert.Equal((id, level), (finding.Id, finding.Complaint.Level.ToString()));
    }

    [Fact]
    public void What_the_capability_explains_is_not_told_twice()
    {
        _machine.Tun = new TunTrial(TunStep.Create, new TunException("Refused.", Errno.EPERM), false);
        _machine.Files["/proc/self/status"] = "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000002400\n";

        Assert.Equal("capability-net-admin", Assert.Single(Examine()).Id);
    }

    [Theory]
    [InlineData("0", null)]
    [InlineData("1000", "sudo wgsharp doctor")]
    public void Who_is_not_root_is_told_to_become_it(string user, string? command)
    {
        _machine.Files["/proc/self/status"] = $"Uid:\t{user}\t{user}\t{user}\t{user}\nCapEff:\t0000000000000000\n";

        Assert.Equal(command, Assert.Single(Examine()).Complaint.Mend.Command);
    }

    [Theory]
    [InlineData(49, null)]
    [InlineData(47, "Warning")]
    [InlineData(15, "Fault")]
    public void Memory_is_counted_in_what_a_daemon_needs(int mebibytes, string? level)
    {
        _machine.Room = (long)mebibytes << 20;

        Assert.Equal(level, Examine().SingleOrDefault()?.Complaint.Level.ToString());
    }

    [Fact]
    public void A_clock_behind_a_handshake_has_gone_back()
    {
        _live = new LiveTunnel(51820, 0, [], [], _machine.Now + TimeSpan.FromMinutes(2));
        Finding finding = Assert.Single(Examine());
        Assert.Equal("clock", finding.Id);
        Assert.Contains("handshake of wg0", finding.Complaint.Wrong, StringComparison.Ordinal);

        _live = _live with { NewestHandshake = _machine.Now + TimeSpan.FromSeconds(59) };
        Assert.Empty(Examine());
    }

    [Fact]
    public void What_modules_the_machine_could_load_is_not_found_out_by_loading_them()
    {
        _machine.Files["/proc/modules"] = "tun 61440 0 - Live 0x0\n";
        _machine.Programs["iptables-save -V"] = new ProgramResult(0, "iptables-save v1.8.9 (nf_tables)\n");

        Assert.Empty(Examine());

        Assert.DoesNotContain(_machine.Ran, line => line.Contains("type wireguard", StringComparison.Ordinal) || line.StartsWith("nft", StringComparison.Ordinal)
            || line.StartsWith("iptables", StringComparison.Ordinal) && !line.Contains("-V", StringComparison.Ordinal));
    }

    [Fact]
    public void Where_the_kernel_has_wireguard_wg_quick_needs_no_variable()
    {
        _machine.Variables.Remove("WG_QUICK_USERSPACE_IMPLEMENTATION");
        Assert.Equal("wg-quick-variable", Assert.Single(Examine()).Id);

        _machine.Files["/proc/sys/kernel/osrelease"] = "6.1.0-1-amd64\n";
        _machine.Files["/lib/modules/6.1.0-1-amd64/modules.dep"] = "kernel/drivers/net/wireguard/wireguard.ko: kernel/net/ipv4/udp_tunnel.ko\n";
        Assert.Empty(Examine());
    }

    [Theory]
    [InlineData("Environment=WG_QUICK_USERSPACE_IMPLEMENTATION=/usr/bin/wgsharp\nEnvironmentFiles=\n", null)]
    [InlineData("Environment=A=1 \"WG_QUICK_USERSPACE_IMPLEMENTATION=/opt/wgsharp\" B=2\nEnvironmentFiles=\n", "wg-quick-path")]
    [InlineData("Environment=\nEnvironmentFiles=/etc/default/wireguard (ignore_errors=yes)\n", null)]
    [InlineData("Environment=\nEnvironmentFiles=\n", "wg-quick-variable")]
    public void What_the_unit_says_counts_where_systemd_runs(string shown, string? id)
    {
        _machine.Files["/run/systemd/system/x"] = string.Empty;
        _machine.Files["/usr/bin/systemctl"] = string.Empty;
        _machine.Files["/etc/default/wireguard"] = "# who\nWG_QUICK_USERSPACE_IMPLEMENTATION='wgsharp'\n";
        _machine.Variables.Remove("WG_QUICK_USERSPACE_IMPLEMENTATION");
        _machine.Programs["systemctl show"] = new ProgramResult(0, shown);

        Assert.Equal(id, Examine().SingleOrDefault()?.Id);
    }

    [Fact]
    public void A_visible_module_matters_only_where_it_gives_no_interface()
    {
        _machine.Files["/sys/module/wireguard/version"] = "1.0.0\n";
        Assert.Empty(Examine());

        _machine.Programs["ip link add wgdoctor"] = new ProgramResult(2, "Error: Unknown device type.\n");
        Assert.Equal("module-visible", Assert.Single(Examine()).Id);
    }

    [Fact]
    public void Without_a_namespace_to_try_things_in_nothing_is_changed()
    {
        _machine.HasScratchNetwork = false;
        TakeEverything();
        _interface += "PostUp = iptables -t nat -A POSTROUTING -j MASQUERADE; sysctl -w net.ipv4.ip_forward=1\n";

        Assert.Empty(Examine());

        Assert.Contains(_machine.Ran, line => line.StartsWith("nft -c -f - add table", StringComparison.Ordinal));
        Assert.Contains(_machine.Ran, line => line.StartsWith("iptables-restore -n -t *nat\n-A POSTROUTING -j MASQUERADE", StringComparison.Ordinal));
        Assert.DoesNotContain(_machine.Ran, line => line.StartsWith("ip ", StringComparison.Ordinal) && line.Contains(" add ", StringComparison.Ordinal));
    }

    [Fact]
    public void Nft_without_nf_tables_is_put_aside_where_iptables_works()
    {
        TakeEverything();
        _machine.Programs["nft "] = new ProgramResult(1, "mnl.c:60: Unable to initialize Netlink socket: Protocol not supported\n");

        Finding finding = Assert.Single(Examine());

        Assert.Equal(("firewall", "mv /usr/sbin/nft /usr/sbin/nft.off"), (finding.Id, finding.Complaint.Mend.Command));
    }

    [Theory]
    [InlineData("PostUp = iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE", true)]
    [InlineData("PostUp = iptables -A FORWARD -i %i -j ACCEPT", true)]
    [InlineData("PostUp = iptables -A INPUT -i %i -j ACCEPT", false)]
    [InlineData("PostDown = iptables -t nat -D POSTROUTING -o eth0 -j MASQUERADE", false)]
    [InlineData("PostUp = sysctl -q net.ipv4.ip_forward=1; iptables -A FORWARD -j ACCEPT", false)]
    [InlineData("PostUp = ip6tables -A FORWARD -j ACCEPT; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding", false)]
    [InlineData("PostUp = ip6tables -A FORWARD -j ACCEPT", true)]
    public void Forwarding_is_missed_only_where_the_file_counts_on_it(string line, bool missed)
    {
        _interface += line + "\n";

        Assert.Equal(missed ? "ip-forward" : null, Examine().SingleOrDefault()?.Id);
    }

    [Theory]
    [InlineData("", null)]
    [InlineData("Table = off", "rp-filter")]
    [InlineData("Table = 7\nPostUp = ip rule add from 10.7.0.1 lookup 7", null)]
    [InlineData("Table = 7", "rp-filter")]
    public void The_strict_filter_matters_where_nothing_leads_back(string lines, string? id)
    {
        TakeEverything();
        _interface = $"Address = 10.7.0.1/24\n{lines}\n";
        _machine.Files["/proc/sys/net/ipv4/conf/default/rp_filter"] = "1\n";

        Assert.Equal(id, Examine().SingleOrDefault()?.Id);
    }

    [Fact]
    public void While_the_tunnel_is_up_its_routes_are_asked()
    {
        TakeEverything();
        _interface += "Table = off\n";
        _live = new LiveTunnel(51820, 0, [], [], null);
        _machine.Files["/proc/sys/net/ipv4/conf/all/rp_filter"] = "1\n";
        _machine.Programs["ip route get"] = new ProgramResult(0, "198.51.100.1 from 10.7.0.1 dev wg0 table 7 uid 0\n");
        Assert.Empty(Examine());

        _machine.Programs["ip route get"] = new ProgramResult(0, "198.51.100.1 from 10.7.0.1 via 192.0.2.254 dev eth0 uid 0\n");
        Assert.Equal("rp-filter", Assert.Single(Examine()).Id);
    }

    [Fact]
    public void Martians_are_foreseen_for_a_living_tunnel()
    {
        _live = new LiveTunnel(51820, 51820, [new Prefix(IPAddress.Any, 0)], [], null);
        _machine.Files["/proc/sys/net/ipv4/conf/eth0/rp_filter"] = "1\n";

        Finding finding = Assert.Single(Examine());

        Assert.Equal(("src-valid-mark", "sysctl -w net.ipv4.conf.all.src_valid_mark=1"), (finding.Id, finding.Complaint.Mend.Command));
    }

    [Theory]
    [InlineData("auto", 1420, 1400, null)]
    [InlineData("kernel", 1420, 1480, null)]
    [InlineData("kernel", 1420, 1479, "mtu-path")]
    [InlineData("clamp-only", 1420, 1400, "mtu-path")]
    public void An_mtu_beyond_the_route_matters_only_where_nobody_deals_with_it(string policy, int mtu, int route, string? id)
    {
        _machine.Settings["WGSHARP_MTU_POLICY"] = policy;
        _machine.Mtu = route;
        _interface += $"MTU = {mtu}\n";

        Assert.Equal(id, Examine().SingleOrDefault()?.Id);
    }

    [Theory]
    [InlineData("10.7.0.1/24", 1300, null)]
    [InlineData("fd07::1/64", 1360, null)]
    [InlineData("fd07::1/64", 1359, "mtu-ipv6")]
    public void What_wg_quick_reckons_may_be_too_little_for_IPv6(string address, int route, string? id)
    {
        _machine.Mtu = route;
        _interface = $"Address = {address}\n";

        Assert.Equal(id, Examine().SingleOrDefault()?.Id);
    }

    [Theory]
    [InlineData(true, "kernel", "", "mtu-bridge")]
    [InlineData(false, "kernel", "", null)]
    [InlineData(true, "auto", "", null)]
    [InlineData(true, "kernel", "PostUp = iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\n", null)]
    public void A_bridge_matters_where_it_is_forwarded_and_nobody_clamps(bool forwards, string policy, string line, string? id)
    {
        _machine.Settings["WGSHARP_MTU_POLICY"] = policy;
        _machine.Files["/proc/sys/net/ipv4/ip_forward"] = forwards ? "1\n" : "0\n";
        _machine.Programs["ip -o -d link"] = new ProgramResult(
            0, "2: eth0@if3: <BROADCAST> mtu 1500 qdisc noqueue \\    link/ether 02:00:00:00:00:01 \n3: docker0: <BROADCAST> mtu 1500 qdisc noqueue \\    link/ether 02:00:00:00:00:02 \\    bridge forward_delay 1500 \n");
        _interface += "MTU = 1420\n" + line;

        Assert.Equal(id, Examine().Select(finding => finding.Id).SingleOrDefault(each => each.StartsWith("mtu", StringComparison.Ordinal)));
    }

    [Fact]
    public void Who_has_the_port_is_told_by_name()
    {
        _machine.TakenPorts.Add(51820);
        _machine.Files["/proc/net/udp"] = """
              sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
             1234: 00000000:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0
            """;
        _machine.Files["/proc/77/cmdline"] = "dnsmasq\0-k\0";
        _machine.Links["/proc/77/fd/4"] = "socket:[4711]";

        Complaint complaint = Assert.Single(Examine()).Complaint;
        Assert.Equal(("Port 51820 is taken, by process 77: dnsmasq -k.", "kill 77"), (complaint.Wrong, complaint.Mend.Command));

        _machine.Files["/proc/77/cgroup"] = "4:memory:/x\n0::/system.slice/dnsmasq.service\n";
        Assert.Equal("systemctl stop dnsmasq.service", Assert.Single(Examine()).Complaint.Mend.Command);

        _machine.Links.Clear();
        Assert.Null(Assert.Single(Examine()).Complaint.Mend.Command);

        _live = new LiveTunnel(51820, 0, [], [], null);
        Assert.Empty(Examine());
    }

    [Theory]
    [InlineData("off", true)]
    [InlineData("0xca6c", false)]
    public void Rules_are_left_over_when_no_interface_has_their_mark(string living, bool left)
    {
        _machine.Programs["ip -o -d link"] = new ProgramResult(0, "4: wg9: <POINTOPOINT> mtu 1420 qdisc noop \\    link/none \\    wireguard \n");
        _machine.Programs["wg show wg9 listen-port"] = new ProgramResult(0, "7\n");
        _machine.Programs["wg show wg9 fwmark"] = new ProgramResult(0, $"{living}\n");
        _machine.Programs["ip -4 rule show"] = new ProgramResult(0, """
            0:	from all lookup local
            100:	from 10.9.0.1 lookup 51820
            32764:	from all lookup main suppress_prefixlength 0
            32765:	not from all fwmark 0xca6c lookup 51820
            32766:	from all lookup main
            """);

        Finding? finding = Examine().SingleOrDefault();

        Assert.Equal(left, finding is not null);
        Assert.True(finding is null || finding.Complaint.Mend.Command == "ip -4 rule delete not fwmark 0xca6c table 51820 && ip -4 rule delete table main suppress_prefixlength 0");
    }

    [Fact]
    public void Tables_rules_and_sockets_are_left_over_when_their_interface_is_gone()
    {
        _machine.Programs["ip -o -d link"] = new ProgramResult(0, "4: wg1: <POINTOPOINT> mtu 1420 qdisc noop \\    link/none \\    tun \n");
        _machine.Programs["nft list tables"] = new ProgramResult(0, "table ip wg-quick-wg1\ntable ip6 wg-quick-wg2\ntable inet filter\n");
        _machine.Programs["iptables-save "] = new ProgramResult(
            0, "*raw\n-A PREROUTING -d 10.7.0.1/32 -m comment --comment \"wg-quick(8) rule for wg2\" -j DROP\n-A PREROUTING -m comment --comment \"wg-quick(8) rule for wg1\" -j DROP\nCOMMIT\n");
        _machine.DeadSockets.Add("/var/run/wireguard/wg2.sock");

        IReadOnlyList<Finding> findings = Examine();

        Assert.Equal(["leftover-nft", "leftover-iptables", "leftover-socket"], findings.Select(finding => finding.Id));
        Assert.Equal("nft delete table ip6 wg-quick-wg2", findings[0].Complaint.Mend.Command);
        Assert.All(findings, finding => Assert.Contains("wg2", finding.Complaint.Wrong, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("keys/wg0", "resolvconf -d wg0")]
    [InlineData("interfaces/wg0", "resolvconf -d wg0")]
    [InlineData("interface/tun.wg0", "resolvconf -d tun.wg0")]
    [InlineData("interface/tun.wg.0", "resolvconf -d tun.wg.0")]
    [InlineData("keys/wg1", null)]
    [InlineData("keys/eth0.dhcp", null)]
    [InlineData("keys/wg7", null)]
    public void Resolvers_are_left_over_when_their_interface_is_gone(string record, string? command)
    {
        _machine.Programs["ip -o -d link"] = new ProgramResult(0, "4: wg1: <POINTOPOINT> mtu 1420 qdisc noop \\    link/none \\    tun \n");
        _machine.Files["/etc/wireguard/wg1.conf"] = string.Empty;
        _machine.Files["/etc/wireguard/wg.0.conf"] = string.Empty;
        _machine.Files[$"/run/resolvconf/{record}"] = "nameserver 10.7.0.2\n";

        Finding? finding = Examine().SingleOrDefault();

        Assert.Equal(command, finding?.Complaint.Mend.Command);
    }

    [Fact]
    public void A_parameter_that_is_not_this_machines_to_set_is_to_be_set_elsewhere()
    {
        _interface += "PostUp = iptables -A FORWARD -i %i -j ACCEPT\n";
        _machine.ReadOnly.Add("/proc/sys");

        Mend mend = Assert.Single(Examine()).Complaint.Mend;

        Assert.Null(mend.Command);
        Assert.Contains("net.ipv4.ip_forward=1", mend.Elsewhere, StringComparison.Ordinal);
    }

    private void TakeEverything() => _peer = "AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = 192.0.2.1:51820\n";

    private IReadOnlyList<Finding> Examine()
    {
        WgQuickFile file = WgQuickFile.Parse($"[Interface]\nPrivateKey = {Key}\n{_interface}[Peer]\nPublicKey = {Key}\n{_peer}");
        return Checks.Run(new Examination(_machine, () => [new Tunnel("wg0", "/etc/wireguard/wg0.conf", file, _live)]));
    }
}
