using System.Text;
using WgSharp.Crypto;
using WgSharp.Protocol;
using static WgSharp.Tests.UapiRequests;

namespace WgSharp.Tests;

public class UapiAnswerTests
{
    [Fact]
    public void Success_is_zero_for_both_operations()
    {
        Assert.Equal("errno=0\n\n", Text(UapiAnswer.ErrorNumber(UapiOperation.Set, 0)));
        Assert.Equal("errno=0\n\n", Text(UapiAnswer.ErrorNumber(UapiOperation.Get, 0)));
    }

    [Fact]
    public void The_sign_of_an_error_is_negative_for_set_and_positive_otherwise()
    {
        Assert.Equal("errno=-22\n\n", Text(UapiAnswer.ErrorNumber(UapiOperation.Set, 22)));
        Assert.Equal("errno=22\n\n", Text(UapiAnswer.ErrorNumber(UapiOperation.Get, 22)));
        Assert.Equal("errno=71\n\n", Text(UapiAnswer.ErrorNumber(UapiOperation.None, 71)));
    }

    [Fact]
    public void An_unconfigured_device_shows_nothing() =>
        Assert.Equal("errno=0\n\n", Text(UapiAnswer.Of(new DeviceSnapshot(null, 0, 0, []))));

    [Fact]
    public void Everything_is_shown_in_the_documented_order()
    {
        var key = new PrivateKey(Convert.FromHexString(KeyA));
        string clamped = Convert.ToHexStringLower(key.Span);
        var psk = new PresharedKey(Convert.FromHexString(KeyB));
        var known = new PeerSnapshot(
            new PublicKey(Convert.FromHexString(KeyA)),
            psk,
            new InetEndpoint(new InetAddress([192, 0, 2, 1]), 51820),
            new UnixTime(1_700_000_000_123_456_789),
            long.MaxValue,
            38333,
            25,
            [IpPrefix.Of(new InetAddress([10, 0, 0, 0]), 8), IpPrefix.Of(new InetAddress(new byte[16]), 0)]);
        var unknown = new PeerSnapshot(new PublicKey(Convert.FromHexString(KeyB)), null, null, default, 0, 0, 0, []);

        string text = Text(UapiAnswer.Of(new DeviceSnapshot(key, 12912, 3, [known, unknown])));

        Assert.Equal(
            $"private_key={clamped}\nlisten_port=12912\nfwmark=3\n"
            + $"public_key={KeyA}\npreshared_key={KeyB}\nprotocol_version=1\nendpoint=192.0.2.1:51820\n"
            + "last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=123456789\n"
            + "tx_bytes=38333\nrx_bytes=9223372036854775807\npersistent_keepalive_interval=25\n"
            + "allowed_ip=10.0.0.0/8\nallowed_ip=::/0\n"
            + $"public_key={KeyB}\npreshared_key={Zeros}\nprotocol_version=1\n"
            + "last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\n"
            + "errno=0\n\n",
            text);
    }

    [Fact]
    public void The_scope_of_an_endpoint_is_a_number()
    {
        var linkLocal = new InetAddress(Convert.FromHexString("fe800000000000000000000000000001"));
        var peer = new PeerSnapshot(new PublicKey(Convert.FromHexString(KeyA)), null, new InetEndpoint(linkLocal, 7, 12), default, 0, 0, 0, []);

        Assert.Contains("\nendpoint=[fe80::1%12]:7\n", Text(UapiAnswer.Of(new DeviceSnapshot(null, 0, 0, [peer]))), StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_shown_can_be_set_again()
    {
        var peer = new PeerSnapshot(
            new PublicKey(Convert.FromHexString(KeyA)),
            new PresharedKey(Convert.FromHexString(KeyB)),
            new InetEndpoint(new InetAddress(Convert.FromHexString("20010db8000000000000000000000001")), 51820),
            default,
            0,
            0,
            25,
            [IpPrefix.Of(new InetAddress(Convert.FromHexString("20010db8ffffffffffffffffffffffff")), 64)]);
        string[] shown = Text(UapiAnswer.Of(new DeviceSnapshot(null, 7, 9, [peer]))).Split('\n');

        using UapiRequest request = Set(shown
            .Where(line => line.Length > 0 && !line.StartsWith("last_", StringComparison.Ordinal) && !line.Contains("_bytes", StringComparison.Ordinal) && !line.StartsWith("errno", StringComparison.Ordinal))
            .ToArray());

        Assert.Equal(0, request.Error);
        PeerConfiguration again = Assert.Single(request.Configuration.Peers);
        Assert.Equal(Convert.FromHexString(KeyB), again.PresharedKey!.Span.ToArray());
        Assert.Equal("[2001:db8::1]:51820", again.Endpoint!.Value.ToString());
        Assert.Equal("2001:db8:ffff:ffff::/64", Assert.Single(again.AllowedIps).Prefix.ToString());
    }

    [Theory]
    [InlineData(UapiAnswer.MaxPiece)]
    [InlineData(700)]
    [InlineData(65536)]
    public void The_text_does_not_depend_on_the_size_of_the_buffer(int size)
    {
        PeerSnapshot[] peers = Enumerable.Range(0, 30).Select(i => new PeerSnapshot(
            new PublicKey(Convert.FromHexString(i.ToString("x64"))),
            null,
            new InetEndpoint(new InetAddress(Convert.FromHexString("ffffffffffffffffffffffffffffffff")), ushort.MaxValue, uint.MaxValue),
            new UnixTime(long.MaxValue),
            long.MaxValue,
            long.MaxValue,
            ushort.MaxValue,
            Enumerable.Range(0, i).Select(n => IpPrefix.Of(new InetAddress([10, 0, (byte)i, (byte)n]), 32)).ToArray())).ToArray();
        string whole = Text(UapiAnswer.Of(new DeviceSnapshot(null, 1, 2, peers)), 1 << 20);

        Assert.Equal(whole, Text(UapiAnswer.Of(new DeviceSnapshot(null, 1, 2, peers)), size));
        Assert.Equal(30, whole.Split("public_key=").Length - 1);
        Assert.Equal(30 * 29 / 2, whole.Split("allowed_ip=").Length - 1);
    }

    [Fact]
    public void The_keys_of_a_snapshot_are_wiped_with_the_answer()
    {
        var key = new PrivateKey(Convert.FromHexString(KeyA));
        var psk = new PresharedKey(Convert.FromHexString(KeyB));
        var peer = new PeerSnapshot(new PublicKey(Convert.FromHexString(KeyA)), psk, null, default, 0, 0, 0, []);

        UapiAnswer.Of(new DeviceSnapshot(key, 0, 0, [peer])).Dispose();

        Assert.True(key.IsZero);
        Assert.True(psk.IsZero);
    }

    private static string Text(UapiAnswer answer, int bufferSize = 4096)
    {
        byte[] buffer = new byte[bufferSize];
        var text = new StringBuilder();
        using (answer)
        {
            while (!answer.IsComplete)
            {
                text.Append(Encoding.UTF8.GetString(buffer, 0, answer.Write(buffer)));
            }
        }

        return text.ToString();
    }
}
