using WgSharp.Doctor;
using WgSharp.Replace;
using WgSharp.Tests.Doctor;

namespace WgSharp.Tests.Replace;

public class CarryOverTests
{
    private const string One = "ONE=\t(none)\t198.51.100.2:4000\t10.7.0.2/32\t1700000000\t10\t20\toff\n";
    private const string Two = "TWO=\tPSK=\t(none)\t10.7.0.3/32,fd07::/64\t0\t0\t0\t25\n";

    private readonly GivenMachine _machine = new();

    [Fact]
    public void What_the_file_has_brought_back_is_left_alone()
    {
        InterfaceState was = State(One + Two);
        Assert.Null(Run(was, State(Two + One.Replace("1700000000", "0"))));
        Assert.Empty(_machine.Ran);
    }

    [Fact]
    public void A_peer_that_no_file_knows_is_set_again()
    {
        Run(State(One + Two), State(One));
        Assert.Equal(["wg addconf wg0 /dev/stdin [Peer]\nPublicKey = TWO=\nAllowedIPs = 10.7.0.3/32,fd07::/64\nPersistentKeepalive = 25\nPresharedKey = PSK=\n"], _machine.Ran);
    }

    [Fact]
    public void A_peer_that_was_removed_by_hand_is_removed()
    {
        Run(State(One), State(One + Two));
        Assert.Equal(["wg set wg0 peer TWO= remove "], _machine.Ran);
    }

    [Theory]
    [InlineData("10.7.0.2/32", "10.7.0.2/32,10.9.0.0/24", "AllowedIPs = 10.7.0.2/32\n")]
    [InlineData("(none)", "OTHER=", "AllowedIPs = 10.7.0.2/32\n")]
    [InlineData("\toff\n", "\t25\n", "PersistentKeepalive = 0\n")]
    [InlineData("198.51.100.2:4000", "(none)", "Endpoint = 198.51.100.2:4000\n")]
    [InlineData("198.51.100.2:4000", "203.0.113.9:1", "Endpoint = 198.51.100.2:4000\n")]
    public void A_peer_that_differs_is_made_anew(string was, string now, string line)
    {
        Run(State(One), State(One.Replace("1700000000", "0").Replace(was, now)));
        Assert.Equal(2, _machine.Ran.Count);
        Assert.Equal("wg set wg0 peer ONE= remove ", _machine.Ran[0]);
        Assert.StartsWith("wg addconf wg0 /dev/stdin [Peer]\nPublicKey = ONE=\n", _machine.Ran[1], StringComparison.Ordinal);
        Assert.Contains(line, _machine.Ran[1], StringComparison.Ordinal);
    }

    [Fact]
    public void A_peer_that_has_come_from_elsewhere_meanwhile_stays_there()
    {
        Run(State(One), State(One.Replace("198.51.100.2:4000", "203.0.113.9:1")));
        Assert.Empty(_machine.Ran);
    }

    [Fact]
    public void An_endpoint_that_only_the_file_has_stays()
    {
        Run(State(One.Replace("198.51.100.2:4000", "(none)")), State(One.Replace("1700000000", "0")));
        Assert.Empty(_machine.Ran);
    }

    [Fact]
    public void Key_port_and_mark_are_set_before_peers()
    {
        Run(State(One, "PRIVATE=\tPUBLIC=\t51820\t0x9\n"), State(string.Empty, "OTHER=\tOTHER=\t40000\toff\n"));
        Assert.Equal("wg addconf wg0 /dev/stdin [Interface]\nPrivateKey = PRIVATE=\nListenPort = 51820\nFwMark = 9\n", _machine.Ran[0]);
        Assert.Contains("[Peer]", _machine.Ran[1], StringComparison.Ordinal);
    }

    [Fact]
    public void A_key_that_was_not_told_is_the_files()
    {
        Run(State(One, "(none)\t(none)\t51820\toff\n"), State(One));
        Assert.Empty(_machine.Ran);
    }

    [Fact]
    public void A_mark_of_this_start_stays_because_wg_quicks_rules_are_made_for_it()
    {
        Run(State(One, "PRIVATE=\tPUBLIC=\t51820\t0xca6d\n"), State(One, "PRIVATE=\tPUBLIC=\t51820\t0xca6c\n"));
        Assert.Empty(_machine.Ran);
    }

    [Fact]
    public void Addresses_routes_and_the_MTU_are_set_again_and_what_the_file_has_stays()
    {
        InterfaceState was = State(One) with
        {
            Mtu = "1300",
            Addresses = ["10.7.0.1/24 scope global", "10.9.0.1 peer 10.9.0.2/32 scope global"],
            Routes = ["-4 10.8.0.0/24 scope link", "-6 fd08::/64 metric 1024 pref medium"],
        };
        Run(was, State(One) with { Mtu = "1420", Addresses = ["10.7.0.1/24 scope global"], Routes = ["-4 10.10.0.0/24 scope link"] });
        Assert.Equal(
            [
                "ip link set dev wg0 mtu 1300 ",
                "ip address add 10.9.0.1 peer 10.9.0.2/32 scope global dev wg0 ",
                "ip -4 route add 10.8.0.0/24 scope link dev wg0 ",
                "ip -6 route add fd08::/64 metric 1024 pref medium dev wg0 ",
            ],
            _machine.Ran);
    }

    [Fact]
    public void Boringtun_is_told_of_one_peer_at_a_time()
    {
        Run(State(One + Two), State((One + Two).Replace("1700000000", "0").Replace("\toff\n", "\t1\n").Replace("\t25\n", "\t2\n")), peerByPeer: true);
        Assert.Equal(4, _machine.Ran.Count);
        Assert.All(_machine.Ran, line => Assert.Equal(1, line.Split("peer ").Length + line.Split("[Peer]").Length - 2));
    }

    [Fact]
    public void Nothing_more_is_done_after_a_refusal_which_is_told_without_secrets()
    {
        _machine.Programs["wg addconf"] = new ProgramResult(1, "Unable to modify interface: Address already in use\n");
        string why = Run(State(One + Two) with { Mtu = "1300" }, State(string.Empty))!;
        Assert.Contains("Address already in use", why, StringComparison.Ordinal);
        Assert.DoesNotContain("PSK=", why, StringComparison.Ordinal);
        Assert.Single(_machine.Ran);
    }

    [Fact]
    public void Peers_that_had_a_session_are_called_by_a_keepalive_that_ends_as_it_was()
    {
        long now = _machine.Now.ToUnixTimeSeconds();
        new CarryOver(_machine, "wg0", peerByPeer: false).Call(State(One.Replace("1700000000", $"{now - 179}") + Two + "THREE=\t(none)\t198.51.100.3:1\t(none)\t" + (now - 181) + "\t0\t0\t25\n"));
        Assert.Equal(
            new[] { 0, 1, 0 }.Select(keepalive => $"wg set wg0 peer ONE= persistent-keepalive {keepalive} "),
            _machine.Ran);
    }

    [Fact]
    public void Boringtun_which_dies_of_a_changed_peer_is_not_made_to_call()
    {
        new CarryOver(_machine, "wg0", peerByPeer: true).Call(State(One.Replace("1700000000", "5")));
        Assert.Empty(_machine.Ran);
    }

    private static InterfaceState State(string peers, string interfaceLine = "PRIVATE=\tPUBLIC=\t51820\toff\n") => InterfaceState.Parse(interfaceLine + peers)!;

    private string? Run(InterfaceState was, InterfaceState now, bool peerByPeer = false) => new CarryOver(_machine, "wg0", peerByPeer).Run(was, now);
}
