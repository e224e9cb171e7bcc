using WgSharp.Doctor;
using WgSharp.Replace;
using WgSharp.Tests.Doctor;

namespace WgSharp.Tests.Replace;

public class InterfaceStateTests
{
    [Fact]
    public void A_dump_is_read_with_all_that_it_says()
    {
        InterfaceState state = InterfaceState.Parse(
            "PRIVATE=\tPUBLIC=\t51820\t0xca6c\n"
            + "ONE=\t(none)\t[fd00::2]:4000\tfd07::/64,10.7.0.2/32\t1700000000\t10\t20\t25\n"
            + "TWO=\tPSK=\t(none)\t(none)\t0\t0\t0\toff\n")!;
        Assert.Equal(("PRIVATE=", "PUBLIC=", 51820, 0xca6cu), (state.PrivateKey, state.PublicKey, state.ListenPort, state.FwMark));
        Assert.Equal(new LivePeer("ONE=", null, "[fd00::2]:4000", "10.7.0.2/32,fd07::/64", 25, 1700000000), state.Peers["ONE="]);
        Assert.Equal(new LivePeer("TWO=", "PSK=", null, string.Empty, 0, 0), state.Peers["TWO="]);
    }

    [Fact]
    public void A_key_that_is_not_told_is_none() => Assert.Null(InterfaceState.Parse("(none)\t(none)\t51820\toff\n")!.PrivateKey);

    [Theory]
    [InlineData("")]
    [InlineData("Unable to access interface: No such device\n")]
    public void What_is_no_dump_is_no_state(string text) => Assert.Null(InterfaceState.Parse(text));

    [Fact]
    public void Addresses_are_read_as_ip_takes_them_without_link_local_ones() =>
        Assert.Equal(
            ["10.7.0.1/24 scope global", "10.9.0.1 peer 10.9.0.2/32 scope global", "10.8.0.1/24 brd 10.8.0.255 scope link", "fd07::1/64 scope global"],
            InterfaceState.ParseAddresses(
            [
                @"5: wg0    inet 10.7.0.1/24 scope global wg0\       valid_lft forever preferred_lft forever",
                @"5: wg0    inet 10.9.0.1 peer 10.9.0.2/32 scope global wg0\       valid_lft forever preferred_lft forever",
                @"5: wg0    inet 10.8.0.1/24 brd 10.8.0.255 scope link secondary wg0\       valid_lft forever preferred_lft forever",
                @"5: wg0    inet6 fd07::1/64 scope global \       valid_lft forever preferred_lft forever",
                @"5: wg0    inet6 fe80::1/64 scope link stable-privacy \       valid_lft forever preferred_lft forever",
            ]));

    [Fact]
    public void Routes_are_read_as_ip_takes_them_without_the_kernels_own() =>
        Assert.Equal(
            ["default table 51820 scope link", "10.9.0.0/24 scope link", "10.20.0.0/16 via 10.7.0.2", "fd08::/64 metric 1024 pref medium"],
            InterfaceState.ParseRoutes(
            [
                "default table 51820 scope link",
                "10.7.0.0/24 proto kernel scope link src 10.7.0.1",
                "10.9.0.0/24 scope link linkdown",
                "10.20.0.0/16 via 10.7.0.2",
                "local 10.7.0.1 table local proto kernel scope host src 10.7.0.1",
                @"10.30.0.0/16 \ nexthop via 10.7.0.3 weight 1 \ nexthop via 10.1.0.3 dev eth0 weight 1",
                "fd08::/64 metric 1024 pref medium",
                "multicast ff00::/8 table local proto kernel metric 256 pref medium",
            ]));

    [Fact]
    public void Without_IPv6_there_are_no_routes_of_it()
    {
        var machine = new GivenMachine();
        machine.Files["/sys/class/net/wg0/mtu"] = "1420\n";
        machine.Programs["wg show wg0 "] = new ProgramResult(0, "PRIVATE=\tPUBLIC=\t51820\toff\n");
        machine.Programs["ip -4 -o route"] = new ProgramResult(0, "10.9.0.0/24 scope link \n");
        machine.Programs["ip -6 -o route"] = new ProgramResult(2, "RTNETLINK answers: Operation not supported\n");
        InterfaceState state = InterfaceState.Find(machine, "wg0")!;
        Assert.Equal(["-4 10.9.0.0/24 scope link"], state.Routes);
        Assert.Equal("1420", state.Mtu);
    }
}
