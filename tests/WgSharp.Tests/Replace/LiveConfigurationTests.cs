using WgSharp.Doctor;
using WgSharp.Replace;

namespace WgSharp.Tests.Replace;

public class LiveConfigurationTests
{
    private const string Dump =
        "PRIVATE=\tPUBLIC=\t51820\toff\n"
        + "ONE=\t(none)\t198.51.100.2:4000\t10.7.0.2/32,fd07::/64\t1700000000\t10\t20\t25\n"
        + "TWO=\tPSK=\t(none)\t10.7.0.3/32\t0\t0\t0\toff\n";

    private const string Stripped =
        """
        Warning: `/etc/wireguard/wg0.conf' is world accessible
        [Interface]
        PrivateKey = PRIVATE=
        ListenPort = 51820

        [Peer]
        PublicKey = ONE=
        AllowedIPs = 10.7.0.2, fd07::1/64
        PersistentKeepalive = 25
        Endpoint = elsewhere.example:1

        [Peer]
        PublicKey=TWO=
        PresharedKey=PSK=
        AllowedIPs=10.7.0.3/32
        """;

    [Fact]
    public void What_was_read_from_the_file_is_no_difference() => Assert.Empty(Differences(Dump, Stripped));

    [Theory]
    [InlineData("PRIVATE=\t", "OTHER=\t", "the private key")]
    [InlineData("51820", "51821", "the listen port (51821, in the file 51820)")]
    [InlineData("10.7.0.2/32,", "10.7.0.2/32,10.9.0.0/24,", "the allowed IPs of peer ONE=")]
    [InlineData("PSK=", "ANOTHER=", "the preshared key of peer TWO=")]
    [InlineData("\t25\n", "\toff\n", "the persistent keepalive of peer ONE=")]
    [InlineData("TWO=", "THREE=", "peer THREE=, which is not in the file", "peer TWO=, which is only in the file")]
    public void What_was_set_by_hand_is_a_difference(string was, string now, params string[] differences) =>
        Assert.Equal(differences, Differences(Dump.Replace(was, now), Stripped));

    [Fact]
    public void What_the_file_leaves_open_is_no_difference() =>
        Assert.Empty(Differences(Dump.Replace("51820\toff", "4711\t0xca6c"), Stripped.Replace("ListenPort = 51820", string.Empty)));

    [Fact]
    public void A_mark_that_the_file_gives_is_compared()
    {
        string stripped = Stripped.Replace("ListenPort", "FwMark = 0x10\nListenPort");
        Assert.Empty(Differences(Dump.Replace("\toff\nONE", "\t0x10\nONE"), stripped));
        Assert.Equal(["the mark (0x0, in the file 0x10)"], Differences(Dump, stripped));
    }

    // boringtun does not tell it.
    [Fact]
    public void A_key_that_is_not_told_is_no_difference() => Assert.Empty(Differences(Dump.Replace("PRIVATE=\tPUBLIC=", "(none)\t(none)"), Stripped));

    [Fact]
    public void A_key_that_a_command_of_the_file_sets_is_no_difference()
    {
        string stripped = Stripped.Replace("PrivateKey = PRIVATE=", string.Empty);
        Assert.Equal(["the private key"], Differences(Dump, stripped));
        Assert.Empty(Differences(Dump, stripped, new Hook("PostUp", "wg set %i private-key /etc/wireguard/key", 1)));
    }

    [Fact]
    public void Peers_that_a_command_of_the_file_sets_are_no_difference()
    {
        string dump = Dump.Replace("TWO=", "THREE=");
        Assert.Empty(Differences(dump, Stripped, new Hook("PostUp", "/usr/bin/wg addconf %i /etc/wireguard/more", 1)));
        Assert.NotEmpty(Differences(dump, Stripped, new Hook("PostDown", "wg set %i peer X remove", 1), new Hook("PostUp", "wg set %i private-key K", 2)));
    }

    [Fact]
    public void A_prefix_belongs_to_the_peer_that_was_given_it_last()
    {
        string stripped = Stripped.Replace("AllowedIPs=10.7.0.3/32", "AllowedIPs=10.7.0.3/32, 10.7.0.2/32");
        Assert.Empty(Differences(Dump.Replace("10.7.0.2/32,fd07", "fd07").Replace("10.7.0.3/32", "10.7.0.3/32,10.7.0.2/32"), stripped));
    }

    private static IEnumerable<string> Differences(string dump, string stripped, params Hook[] hooks) =>
        LiveConfiguration.ParseDump(dump)!.DifferencesFrom(LiveConfiguration.ParseFile(stripped), hooks);
}
