using WgSharp.Protocol;
using static WgSharp.Tests.UapiRequests;

namespace WgSharp.Tests;

public class UapiRequestTests
{
    private const int EInval = 22;
    private const int EProto = 71;

    [Fact]
    public void Every_device_key_arrives()
    {
        using UapiRequest request = Set($"private_key={KeyA}", "listen_port=51820", "fwmark=4294967295", "replace_peers=true");

        Assert.True(request.IsComplete);
        Assert.Equal(UapiOperation.Set, request.Operation);
        Assert.Equal(0, request.Error);
        DeviceConfiguration configuration = request.Configuration;
        Assert.Equal(Convert.FromHexString(KeyA)[1..31], configuration.PrivateKey!.Span[1..31].ToArray());
        Assert.False(configuration.RemovePrivateKey);
        Assert.Equal((ushort)51820, configuration.ListenPort);
        Assert.Equal(uint.MaxValue, configuration.Fwmark);
        Assert.True(configuration.ReplacePeers);
        Assert.Empty(configuration.Peers);
    }

    [Fact]
    public void What_is_not_mentioned_stays_as_it_is()
    {
        using UapiRequest request = Set($"public_key={KeyA}");

        Assert.Null(request.Configuration.PrivateKey);
        Assert.False(request.Configuration.RemovePrivateKey);
        Assert.Null(request.Configuration.ListenPort);
        Assert.Null(request.Configuration.Fwmark);
        Assert.False(request.Configuration.ReplacePeers);
        PeerConfiguration peer = Assert.Single(request.Configuration.Peers);
        Assert.Null(peer.PresharedKey);
        Assert.Null(peer.Endpoint);
        Assert.Null(peer.PersistentKeepaliveInterval);
        Assert.False(peer.Remove || peer.UpdateOnly || peer.ReplaceAllowedIps);
        Assert.Empty(peer.AllowedIps);
    }

    [Fact]
    public void Every_peer_key_arrives()
    {
        using UapiRequest request = Set(
            $"public_key={KeyA}",
            "update_only=true",
            $"preshared_key={KeyB}",
            "endpoint=192.0.2.1:51820",
            "persistent_keepalive_interval=25",
            "replace_allowed_ips=true",
            "allowed_ip=10.1.2.3/8",
            "allowed_ip=2001:db8::1/32",
            "allowed_ip=-10.9.0.0/16",
            "protocol_version=1");

        Assert.Equal(0, request.Error);
        PeerConfiguration peer = Assert.Single(request.Configuration.Peers);
        Assert.Equal(Convert.FromHexString(KeyA), peer.PublicKey.Span.ToArray());
        Assert.True(peer.UpdateOnly);
        Assert.False(peer.Remove);
        Assert.Equal(Convert.FromHexString(KeyB), peer.PresharedKey!.Span.ToArray());
        Assert.Equal("192.0.2.1:51820", peer.Endpoint!.Value.ToString());
        Assert.Equal((ushort)25, peer.PersistentKeepaliveInterval);
        Assert.True(peer.ReplaceAllowedIps);
        Assert.Equal(["10.0.0.0/8", "2001:db8::/32", "10.9.0.0/16"], peer.AllowedIps.Select(ip => ip.Prefix.ToString()));
        Assert.Equal([false, false, true], peer.AllowedIps.Select(ip => ip.Remove));
    }

    [Fact]
    public void Nothing_of_one_peer_leaks_into_the_next()
    {
        using UapiRequest request = Set(
            $"public_key={KeyA}",
            "update_only=true",
            "remove=true",
            $"preshared_key={KeyB}",
            "endpoint=192.0.2.1:51820",
            "persistent_keepalive_interval=25",
            "replace_allowed_ips=true",
            "allowed_ip=10.0.0.0/8",
            $"public_key={KeyB}",
            "allowed_ip=10.2.0.0/16",
            $"public_key={KeyA}");

        Assert.Equal(3, request.Configuration.Peers.Count);
        PeerConfiguration second = request.Configuration.Peers[1];
        Assert.False(second.UpdateOnly || second.Remove || second.ReplaceAllowedIps);
        Assert.Null(second.PresharedKey);
        Assert.Null(second.Endpoint);
        Assert.Null(second.PersistentKeepaliveInterval);
        Assert.Equal("10.2.0.0/16", Assert.Single(second.AllowedIps).Prefix.ToString());
        PeerConfiguration third = request.Configuration.Peers[2];
        Assert.False(third.UpdateOnly || third.Remove || third.ReplaceAllowedIps);
        Assert.Empty(third.AllowedIps);
    }

    [Fact]
    public void A_private_key_of_zeros_removes_the_key()
    {
        using UapiRequest request = Set($"private_key={Zeros}");

        Assert.Equal(0, request.Error);
        Assert.True(request.Configuration.RemovePrivateKey);
        Assert.Null(request.Configuration.PrivateKey);
    }

    [Fact]
    public void Of_two_private_keys_the_last_counts()
    {
        using UapiRequest request = Set($"private_key={Zeros}", $"private_key={KeyA}");

        Assert.False(request.Configuration.RemovePrivateKey);
        Assert.NotNull(request.Configuration.PrivateKey);
    }

    [Fact]
    public void A_preshared_key_of_zeros_arrives_as_zeros()
    {
        using UapiRequest request = Set($"public_key={KeyA}", $"preshared_key={Zeros}");

        Assert.True(Assert.Single(request.Configuration.Peers).PresharedKey!.IsZero);
    }

    [Fact]
    public void Replacing_allowed_ips_forgets_those_given_before_it()
    {
        using UapiRequest request = Set($"public_key={KeyA}", "allowed_ip=10.0.0.0/8", "replace_allowed_ips=true", "allowed_ip=10.1.0.0/16");

        Assert.Equal("10.1.0.0/16", Assert.Single(Assert.Single(request.Configuration.Peers).AllowedIps).Prefix.ToString());
    }

    [Theory]
    [InlineData("192.0.2.1:51820", "192.0.2.1:51820")]
    [InlineData("0.0.0.0:0", "0.0.0.0:0")]
    [InlineData("255.255.255.255:65535", "255.255.255.255:65535")]
    [InlineData("[2001:DB8::1]:1", "[2001:db8::1]:1")]
    [InlineData("[::]:5", "[::]:5")]
    [InlineData("[fe80::1%lo]:51820", "[fe80::1%1]:51820")]
    [InlineData("[fe80::1%7]:51820", "[fe80::1%7]:51820")]
    [InlineData("[::ffff:192.0.2.1]:51820", "192.0.2.1:51820")]
    public void An_endpoint_is_understood(string text, string expected)
    {
        using UapiRequest request = Set($"public_key={KeyA}", $"endpoint={text}");

        Assert.Equal(0, request.Error);
        Assert.Equal(expected, Assert.Single(request.Configuration.Peers).Endpoint!.Value.ToString());
    }

    [Theory]
    [InlineData("10.1.2.3/32", "10.1.2.3/32")]
    [InlineData("10.1.2.3/0", "0.0.0.0/0")]
    [InlineData("10.1.2.255/31", "10.1.2.254/31")]
    [InlineData("::/0", "::/0")]
    [InlineData("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/33", "2001:db8:8000::/33")]
    [InlineData("2001:db8::1/128", "2001:db8::1/128")]
    [InlineData("::ffff:192.0.2.1/128", "::ffff:192.0.2.1/128")]
    public void An_allowed_ip_is_understood_and_masked(string text, string expected)
    {
        using UapiRequest request = Set($"public_key={KeyA}", $"allowed_ip={text}");

        Assert.Equal(0, request.Error);
        Assert.Equal(expected, Assert.Single(Assert.Single(request.Configuration.Peers).AllowedIps).Prefix.ToString());
    }

    [Theory]
    [InlineData("private_key=")]
    [InlineData("private_key=00")]
    [InlineData("private_key=" + KeyA + "0")]
    [InlineData("private_key=g8dac1d8a70a751f0f699fb14ba1cbd5e4c1c9c3c2bb9d5b8d3d6f0d5b5f4f40")]
    [InlineData("private_key=a8dac1d8a70a751f0f699fb14ba1cbd5e4c1c9c3c2bb9d5b8d3d6f0d5b5f4f4/")]
    [InlineData("private_key=" + KeyA + "\r")]
    [InlineData("listen_port=")]
    [InlineData("listen_port=65536")]
    [InlineData("listen_port=-1")]
    [InlineData("listen_port=+1")]
    [InlineData("listen_port=0x10")]
    [InlineData("listen_port= 1")]
    [InlineData("listen_port=1 ")]
    [InlineData("listen_port=99999999999999999999")]
    [InlineData("fwmark=4294967296")]
    [InlineData("fwmark=off")]
    [InlineData("replace_peers=false")]
    [InlineData("replace_peers=")]
    [InlineData("replace_peers=TRUE")]
    [InlineData("Listen_port=1")]
    [InlineData(" listen_port=1")]
    [InlineData("unknown=1")]
    [InlineData("=")]
    [InlineData("=1")]
    [InlineData("endpoint=192.0.2.1:1")]
    [InlineData("allowed_ip=10.0.0.0/8")]
    [InlineData("set=1")]
    [InlineData("get=1")]
    [InlineData("public_key=")]
    [InlineData("public_key=xyz")]
    public void A_bad_device_line_is_refused(string line)
    {
        using UapiRequest request = Set("listen_port=7", line);

        Assert.True(request.IsComplete);
        Assert.Equal(EInval, request.Error);
    }

    [Theory]
    [InlineData("endpoint=")]
    [InlineData("endpoint=192.0.2.1")]
    [InlineData("endpoint=192.0.2.1:")]
    [InlineData("endpoint=192.0.2.1:65536")]
    [InlineData("endpoint=192.0.2:1")]
    [InlineData("endpoint=192.0.2.256:1")]
    [InlineData("endpoint=192.0.2.01:1")]
    [InlineData("endpoint=0x7f.0.0.1:1")]
    [InlineData("endpoint=127.1:1")]
    [InlineData("endpoint=192.0.2.1.:1")]
    [InlineData("endpoint=2001:db8::1:51820")]
    [InlineData("endpoint=[2001:db8::1]")]
    [InlineData("endpoint=[2001:db8::1]51820")]
    [InlineData("endpoint=[]:51820")]
    [InlineData("endpoint=[192.0.2.1]:51820")]
    [InlineData("endpoint=[2001:db8::g]:51820")]
    [InlineData("endpoint=[[::1]]:51820")]
    [InlineData("endpoint=[fe80::1%]:51820")]
    [InlineData("endpoint=[fe80::1%0]:51820")]
    [InlineData("endpoint=[fe80::1%there-is-none]:51820")]
    [InlineData("endpoint=example.com:51820")]
    [InlineData("allowed_ip=")]
    [InlineData("allowed_ip=10.0.0.0")]
    [InlineData("allowed_ip=10.0.0.0/")]
    [InlineData("allowed_ip=10.0.0.0/33")]
    [InlineData("allowed_ip=10.0.0.0/-1")]
    [InlineData("allowed_ip=10.0.0/8")]
    [InlineData("allowed_ip=10.0.0.0/8/8")]
    [InlineData("allowed_ip=::/129")]
    [InlineData("allowed_ip=[::]/0")]
    [InlineData("allowed_ip=fe80::1%lo/128")]
    [InlineData("allowed_ip=1::2::3/64")]
    [InlineData("allowed_ip=--10.0.0.0/8")]
    [InlineData("allowed_ip=-")]
    [InlineData("allowed_ip=+10.0.0.0/8")]
    [InlineData("persistent_keepalive_interval=65536")]
    [InlineData("persistent_keepalive_interval=off")]
    [InlineData("replace_allowed_ips=1")]
    [InlineData("update_only=false")]
    [InlineData("remove=")]
    [InlineData("protocol_version=2")]
    [InlineData("preshared_key=0")]
    [InlineData("listen_port=1")]
    [InlineData("private_key=" + KeyA)]
    [InlineData("replace_peers=true")]
    public void A_bad_peer_line_is_refused(string line)
    {
        using UapiRequest request = Set($"public_key={KeyA}", line);

        Assert.True(request.IsComplete);
        Assert.Equal(EInval, request.Error);
        Assert.Empty(request.Configuration.Peers);
    }

    [Fact]
    public void A_line_without_an_equals_sign_is_a_protocol_error()
    {
        using UapiRequest request = Set("listen_port=1", "nonsense");

        Assert.Equal(EProto, request.Error);
    }

    [Fact]
    public void The_first_error_is_the_one_that_is_told()
    {
        using UapiRequest request = Set("nonsense", "listen_port=x");

        Assert.Equal(EProto, request.Error);
    }

    [Theory]
    [InlineData("set=2\n\n", EInval)]
    [InlineData("get=0\n\n", EInval)]
    [InlineData("put=1\n\n", EInval)]
    [InlineData("set\n\n", EProto)]
    [InlineData("\n", EProto)]
    [InlineData("get=1\nlisten_port=1\n\n", EInval)]
    public void A_request_for_something_else_is_refused(string text, int errno)
    {
        using UapiRequest request = Parse(text);

        Assert.True(request.IsComplete);
        Assert.Equal(errno, request.Error);
    }
}
