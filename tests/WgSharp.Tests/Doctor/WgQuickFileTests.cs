using WgSharp.Doctor;

namespace WgSharp.Tests.Doctor;

public class WgQuickFileTests
{
    private const string Key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    [Fact]
    public void A_whole_file_is_understood()
    {
        WgQuickFile file = WgQuickFile.Parse($"""
            # at home
            [Interface]
            privatekey = {Key}   # not told to anybody
            ListenPort=51820
            Address = 10.7.0.1/24, fd07::1/64
            Address = 10.7.1.1
            DNS = 10.7.0.2, example.net
            MTU = 1380
            Table = off
            FwMark = 0xca6c
            PostUp = iptables -A FORWARD -i %i -j ACCEPT; ip rule add from 10.7.0.1 lookup 7 && /usr/sbin/sysctl -w x=1
            PostDown = true
            SaveConfig = false

            [PEER]
            PublicKey = {Key}
            PresharedKey = {Key}
            AllowedIPs = 10.7.0.2/32, ::/0
            Endpoint = [2001:db8::1]:51820
            PersistentKeepalive = 25
            [Peer]
            PublicKey = {Key}
            Endpoint = home.example.net:51820
            """);

        Assert.Empty(file.Problems);
        Assert.Equal(51820, file.ListenPort);
        Assert.Equal(["10.7.0.1/24", "fd07::1/64", "10.7.1.1/32"], file.Addresses.Select(prefix => $"{prefix.Address}/{prefix.Length}"));
        Assert.Equal(["10.7.0.2", "example.net"], file.Dns);
        Assert.Equal((1380, "off", 0xca6cu), (file.Mtu, file.Table, file.FwMark));
        Assert.Equal([("PostUp", 11), ("PostDown", 12)], file.Hooks.Select(hook => (hook.Key, hook.Line)));
        Assert.Equal(["iptables", "ip", "sysctl"], file.Hooks[0].Programs);
        Assert.Equal("2001:db8::1", file.Peers[0].EndpointAddress?.ToString());
        Assert.Null(file.Peers[1].EndpointAddress);
        Assert.True(file.AllowsEverything(ipv6: true));
        Assert.False(file.AllowsEverything(ipv6: false));
        Assert.False(file.TakesDefaultRoute(ipv6: true));
    }

    [Theory]
    [InlineData("")]
    [InlineData("Table = auto")]
    public void Without_a_table_of_its_own_wg_quick_makes_rules_for_everything(string table) =>
        Assert.True(Parse(table, "AllowedIPs = 0.0.0.0/0").TakesDefaultRoute(ipv6: false));

    [Theory]
    [InlineData(3, "ListenPort '65536'", "ListenPort = 65536")]
    [InlineData(3, "MTU 'big'", "MTU = big")]
    [InlineData(3, "FwMark", "FwMark = ca6c")]
    [InlineData(3, "SaveConfig", "SaveConfig = yes")]
    [InlineData(3, "'10.7.0.0.1/24'", "Address = 10.7.0.0.1/24")]
    [InlineData(3, "'10.7/24'", "Address = 10.7/24")]
    [InlineData(3, "'fd07::1/129'", "Address = 10.7.0.1/24,fd07::1/129")]
    [InlineData(3, "key 'Adress'", "Adress = 10.7.0.1/24")]
    [InlineData(3, "Key = Value", "PostUp")]
    [InlineData(3, "no section [Pear]", "[Pear]")]
    [InlineData(6, "AllowedIPs: '10.0.0.0/33'", "", "AllowedIPs = 10.0.0.0/33")]
    [InlineData(6, "Endpoint '10.0.0.2'", "", "Endpoint = 10.0.0.2")]
    [InlineData(6, "Endpoint '2001:db8::1:51820'", "", "Endpoint = 2001:db8::1:51820")]
    [InlineData(6, "Endpoint 'a:99999'", "", "Endpoint = a:99999")]
    [InlineData(6, "PersistentKeepalive", "", "PersistentKeepalive = 25s")]
    [InlineData(6, "PresharedKey is not a key", "", "PresharedKey = short")]
    [InlineData(6, "key 'Address' in [Peer]", "", "Address = 10.7.0.1/24")]
    public void What_is_wrong_is_told_with_its_line(int line, string told, string inInterface, string inPeer = "")
    {
        FileProblem problem = Assert.Single(Parse(inInterface, inPeer).Problems);

        Assert.Equal(line, problem.Line);
        Assert.Contains(told, problem.Wrong, StringComparison.Ordinal);
    }

    [Fact]
    public void A_secret_that_is_no_key_is_not_repeated()
    {
        const string Secret = "c2VjcmV0c2VjcmV0";

        FileProblem problem = Assert.Single(WgQuickFile.Parse($"[Interface]\nPrivateKey = {Secret}\n").Problems);

        Assert.DoesNotContain(Secret, problem.Wrong, StringComparison.Ordinal);
    }

    [Fact]
    public void A_private_key_may_come_from_a_command() =>
        Assert.Empty(WgQuickFile.Parse("[Interface]\nPostUp = wg set %i private-key /etc/wireguard/key\n").Problems);

    [Fact]
    public void A_missing_key_is_told_where_the_section_begins() =>
        Assert.Equal(
            [(1, "There is no PrivateKey."), (3, "The peer has no PublicKey.")],
            WgQuickFile.Parse("[Interface]\nListenPort = 1\n[Peer]\nAllowedIPs = 10.0.0.1\n").Problems.Select(problem => (problem.Line, problem.Wrong)));

    [Fact]
    public void What_stands_before_the_first_section_is_nobodys() =>
        Assert.Contains("before the first section", Assert.Single(WgQuickFile.Parse($"MTU = 1\n[Interface]\nPrivateKey = {Key}\n").Problems).Wrong, StringComparison.Ordinal);

    private static WgQuickFile Parse(string inInterface, string inPeer) =>
        WgQuickFile.Parse($"[Interface]\nPrivateKey = {Key}\n{inInterface}\n[Peer]\nPublicKey = {Key}\n{inPeer}\n");
}
