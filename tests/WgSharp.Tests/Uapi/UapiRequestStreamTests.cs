using System.Text;
using WgSharp.Crypto;
using static WgSharp.Tests.UapiRequests;

namespace WgSharp.Tests;

/// <summary>How a request arrives, what it may take, and what it leaves behind: byte by byte, without an end, too much, nonsense.</summary>
public class UapiRequestStreamTests
{
    private const int EInval = 22;
    private const int EProto = 71;
    private const int ENoMem = 12;

    [Fact]
    public void After_an_error_the_request_is_read_to_its_blank_line()
    {
        byte[] bytes = Encoding.UTF8.GetBytes($"set=1\nbad\npublic_key={KeyA}\n\nget=1\n\n");
        using var request = new UapiRequest(Plenty);

        int used = request.Read(bytes, endOfStream: false);

        Assert.True(request.IsComplete);
        Assert.Equal("get=1\n\n", Encoding.UTF8.GetString(bytes[used..]));
    }

    [Fact]
    public void A_request_may_arrive_byte_by_byte()
    {
        byte[] bytes = Encoding.UTF8.GetBytes($"set=1\nlisten_port=51820\npublic_key={KeyA}\nallowed_ip=10.0.0.0/8\n\n");
        using var request = new UapiRequest(Plenty);
        var waiting = new List<byte>();
        foreach (byte next in bytes)
        {
            Assert.False(request.IsComplete);
            waiting.Add(next);
            waiting.RemoveRange(0, request.Read(waiting.ToArray(), endOfStream: false));
        }

        Assert.True(request.IsComplete);
        Assert.Equal(0, request.Error);
        Assert.Equal((ushort)51820, request.Configuration.ListenPort);
        Assert.Single(request.Configuration.Peers);
    }

    [Fact]
    public void The_end_of_the_stream_stands_for_the_blank_line()
    {
        using UapiRequest request = Parse("set=1\nlisten_port=1\n", endOfStream: true);

        Assert.True(request.IsComplete);
        Assert.Equal(0, request.Error);
        Assert.Equal((ushort)1, request.Configuration.ListenPort);
    }

    [Fact]
    public void A_line_that_the_end_of_the_stream_cuts_off_is_not_believed()
    {
        using UapiRequest request = Parse($"set=1\npublic_key={KeyA}\nallowed_ip=10.0.0.0/2", endOfStream: true);

        Assert.True(request.IsComplete);
        Assert.Equal(EProto, request.Error);
    }

    [Fact]
    public void An_endless_line_is_refused_without_being_kept()
    {
        using var request = new UapiRequest(Plenty);
        byte[] flood = new byte[4096];
        Array.Fill(flood, (byte)'x');
        request.Read("set=1\n"u8, endOfStream: false);
        for (int i = 0; i < 1000; i++)
        {
            Assert.Equal(flood.Length, request.Read(flood, endOfStream: false));
        }

        Assert.False(request.IsComplete);
        request.Read("\nlisten_port=1\n\n"u8, endOfStream: false);
        Assert.True(request.IsComplete);
        Assert.Equal(EInval, request.Error);
    }

    [Fact]
    public void The_end_of_an_endless_line_is_not_the_end_of_the_request()
    {
        using var request = new UapiRequest(Plenty);
        request.Read("set=1\n"u8, endOfStream: false);
        byte[] flood = [.. Enumerable.Repeat((byte)'x', UapiRequest.MaxLine + 1)];
        Assert.Equal(flood.Length, request.Read(flood, endOfStream: false));
        Assert.Equal(1, request.Read("\n"u8, endOfStream: false));
        Assert.False(request.IsComplete);
        Assert.Equal(1, request.Read("\n"u8, endOfStream: false));
        Assert.True(request.IsComplete);
        Assert.Equal(EInval, request.Error);
    }

    [Theory]
    [InlineData(UapiRequest.MaxLine, EProto)]
    [InlineData(UapiRequest.MaxLine + 1, EInval)]
    public void A_line_that_is_cut_off_is_too_long_only_beyond_the_longest(int length, int error)
    {
        using UapiRequest request = Parse("set=1\n" + new string('x', length), endOfStream: true);
        Assert.True(request.IsComplete);
        Assert.Equal(error, request.Error);
    }

    [Fact]
    public void A_line_without_a_key_is_one_that_means_nothing_and_no_broken_one()
    {
        using UapiRequest request = Set("=1");
        Assert.Equal(EInval, request.Error);
    }

    [Fact]
    public void A_long_line_is_refused_however_it_arrives()
    {
        using UapiRequest request = Set("listen_port=" + new string('0', UapiRequest.MaxLine) + "1");

        Assert.True(request.IsComplete);
        Assert.Equal(EInval, request.Error);
    }

    [Fact]
    public void Requests_under_way_share_a_bounded_memory_and_give_it_back()
    {
        var budget = new UapiMemory(100_000, _ => true);
        byte[] greedy = Encoding.UTF8.GetBytes($"set=1\npublic_key={KeyA}\n" + string.Concat(Enumerable.Repeat("allowed_ip=::/0\n", 10_000)) + "\n");
        byte[] modest = Encoding.UTF8.GetBytes($"set=1\npublic_key={KeyA}\nallowed_ip=::/0\n\n");
        for (int i = 0; i < 3; i++)
        {
            using var first = new UapiRequest(budget);
            first.Read(greedy, endOfStream: false);
            Assert.True(first.IsComplete);
            Assert.Equal(ENoMem, first.Error);
            Assert.Empty(first.Configuration.Peers);
        }

        using var second = new UapiRequest(budget);
        second.Read(modest, endOfStream: false);
        Assert.Equal(0, second.Error);
    }

    [Fact]
    public void A_request_is_refused_while_it_arrives_once_what_it_asks_for_would_not_fit_into_the_machine()
    {
        long asked = 0;
        var memory = new UapiMemory(UapiServer.RequestMemory, price => (asked = price) < 20_000_000);
        using var request = new UapiRequest(memory);
        byte[] peer = Encoding.UTF8.GetBytes($"public_key={KeyA}\n");
        request.Read("set=1\n"u8, endOfStream: false);
        int peers = 0;
        while (request.Error == 0)
        {
            request.Read(peer, endOfStream: false);
            peers++;
        }

        Assert.Equal(ENoMem, request.Error);
        Assert.Empty(request.Configuration.Peers);
        Assert.InRange((long)peers * MemoryPrice.Peer, 20_000_000, 20_000_000 + asked / 2);
        request.Read("\n"u8, endOfStream: false);
        Assert.True(request.IsComplete);
    }

    [Fact]
    public void What_is_only_removed_or_updated_has_no_price()
    {
        using UapiRequest request = Set($"public_key={KeyA}", "remove=true", $"public_key={KeyB}", "update_only=true", "endpoint=192.0.2.1:7");
        Assert.Equal(0, MemoryPrice.Of(request.Configuration));

        using UapiRequest more = Set($"public_key={KeyA}", "allowed_ip=10.0.0.0/8", "allowed_ip=fd00::/64");
        Assert.Equal(MemoryPrice.Peer + (2 * MemoryPrice.AllowedIp), MemoryPrice.Of(more.Configuration));
    }

    [Fact]
    public void What_a_request_held_is_wiped()
    {
        UapiRequest request = Set($"private_key={KeyA}", $"public_key={KeyA}", $"preshared_key={KeyB}");
        var privateKey = request.Configuration.PrivateKey!;
        var presharedKey = request.Configuration.Peers[0].PresharedKey!;

        request.Dispose();

        Assert.True(privateKey.IsZero);
        Assert.True(presharedKey.IsZero);
    }

    [Fact]
    public void An_error_wipes_the_keys_at_once()
    {
        using var request = new UapiRequest(Plenty);
        request.Read(Encoding.UTF8.GetBytes($"set=1\nprivate_key={KeyA}\n"), endOfStream: false);
        var privateKey = request.Configuration.PrivateKey!;

        request.Read("nonsense\n"u8, endOfStream: false);

        Assert.True(privateKey.IsZero);
    }

    [Fact]
    public void Of_two_keys_the_first_is_wiped_when_the_second_comes()
    {
        using var request = new UapiRequest(Plenty);
        request.Read(Encoding.UTF8.GetBytes($"set=1\nprivate_key={KeyA}\n"), endOfStream: false);
        PrivateKey first = request.Configuration.PrivateKey!;
        request.Read(Encoding.UTF8.GetBytes($"private_key={KeyB}\n"), endOfStream: false);
        PrivateKey second = request.Configuration.PrivateKey!;
        Assert.True(first.IsZero);
        Assert.False(second.IsZero);
        request.Read(Encoding.UTF8.GetBytes($"private_key={Zeros}\npublic_key={KeyA}\npreshared_key={KeyA}\n"), endOfStream: false);
        Assert.True(second.IsZero);
        Assert.True(request.Configuration.RemovePrivateKey);
        Assert.Null(request.Configuration.PrivateKey);
        PresharedKey psk = request.Configuration.Peers[0].PresharedKey!;
        request.Read(Encoding.UTF8.GetBytes($"preshared_key={KeyB}\n"), endOfStream: false);
        Assert.True(psk.IsZero);
        Assert.Equal(Convert.FromHexString(KeyB), request.Configuration.Peers[0].PresharedKey!.Span.ToArray());
    }

    [Fact]
    public void Nothing_is_kept_of_what_stands_before_or_behind_an_error()
    {
        using var request = new UapiRequest(Plenty);
        request.Read(Encoding.UTF8.GetBytes($"set=1\nprivate_key={KeyA}\npublic_key={KeyA}\npreshared_key={KeyA}\npublic_key={KeyB}\npreshared_key={KeyB}\n"), endOfStream: false);
        PresharedKey[] keys = [.. request.Configuration.Peers.Select(peer => peer.PresharedKey!)];
        request.Read(Encoding.UTF8.GetBytes($"nonsense\npublic_key={KeyA}\npreshared_key={KeyA}\nlisten_port=5\n"), endOfStream: false);
        Assert.Equal(2, keys.Length);
        Assert.All(keys, key => Assert.True(key.IsZero));
        Assert.Empty(request.Configuration.Peers);
        Assert.Null(request.Configuration.PrivateKey);

        using UapiRequest device = Set("nonsense", $"private_key={KeyA}", "listen_port=5");
        Assert.Null(device.Configuration.PrivateKey);
        Assert.Null(device.Configuration.ListenPort);
    }

    [Theory]
    [InlineData(UapiRequest.MaxLine, 0)]
    [InlineData(UapiRequest.MaxLine + 1, EInval)]
    public void A_line_may_have_1024_bytes_whether_it_comes_whole_or_in_pieces(int length, int errno)
    {
        byte[] line = Encoding.UTF8.GetBytes("listen_port=" + new string('0', length - 13) + "7");
        Assert.Equal(length, line.Length);
        using UapiRequest whole = Parse([.. "set=1\n"u8, .. line, .. "\n\n"u8]);
        Assert.Equal(errno, whole.Error);

        using var pieces = new UapiRequest(Plenty);
        pieces.Read("set=1\n"u8, endOfStream: false);
        Assert.Equal(errno == 0 ? 0 : length, pieces.Read(line, endOfStream: false));
        Assert.Equal(errno, pieces.Error);
        pieces.Read(errno == 0 ? [.. line, .. "\n\n"u8] : "\n\n"u8, endOfStream: false);
        Assert.True(pieces.IsComplete);
        Assert.Equal(errno, pieces.Error);
        Assert.Equal(errno == 0 ? (ushort)7 : null, pieces.Configuration.ListenPort);
    }

    [Fact]
    public void A_request_begins_with_its_first_byte_and_not_with_a_stream_that_ends()
    {
        using UapiRequest none = Parse(string.Empty, endOfStream: true);
        Assert.False(none.IsStarted);
        Assert.True(none.IsComplete);

        using UapiRequest some = Parse("s");
        Assert.True(some.IsStarted);
        Assert.False(some.IsComplete);
        some.Read([], endOfStream: false);
        Assert.True(some.IsStarted);
    }

    [Fact]
    public void What_is_taken_for_a_request_is_given_back_once()
    {
        var budget = new UapiMemory((2 * MemoryPrice.RequestedPeer) + MemoryPrice.RequestedAllowedIp, _ => true);
        byte[] fitting = Encoding.UTF8.GetBytes($"set=1\npublic_key={KeyA}\nallowed_ip=::/0\npublic_key={KeyB}\n\n");
        byte[] larger = Encoding.UTF8.GetBytes($"set=1\npublic_key={KeyA}\nallowed_ip=::/0\nallowed_ip=::/1\npublic_key={KeyB}\n\n");
        for (int i = 0; i < 3; i++)
        {
            var request = new UapiRequest(budget);
            request.Read(fitting, endOfStream: false);
            Assert.Equal(0, request.Error);
            Assert.Single(request.Configuration.Peers[0].AllowedIps);
            request.Dispose();
            request.Dispose();
            using var tooLarge = new UapiRequest(budget);
            tooLarge.Read(larger, endOfStream: false);
            Assert.Equal(ENoMem, tooLarge.Error);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Nonsense_never_throws_and_always_ends(int seed)
    {
        var random = new Random(seed);
        string[] lines =
        [
            "set=1", "get=1", "private_key=", $"private_key={KeyA}", $"public_key={KeyB}", "endpoint=[", "endpoint=]:1", "endpoint=[%]:1",
            "allowed_ip=/", "allowed_ip=:/0", "allowed_ip=.../0", "allowed_ip=:::::::/0", "listen_port=9", "=", "==", "\0", "ÿ", "remove=true", string.Empty,
        ];
        for (int round = 0; round < 5000; round++)
        {
            var bytes = new List<byte>();
            for (int i = random.Next(12); i >= 0; i--)
            {
                byte[] line = Encoding.UTF8.GetBytes(lines[random.Next(lines.Length)] + "\n");
                for (int flips = random.Next(3); flips > 0; flips--)
                {
                    line[random.Next(line.Length)] = (byte)random.Next(256);
                }

                bytes.AddRange(line);
            }

            using UapiRequest request = Parse(bytes.ToArray(), endOfStream: true);
            Assert.True(request.IsComplete);
            Assert.True(request.Error == 0 || request.Configuration.Peers.Count == 0);
        }
    }

    [Fact]
    public void A_set_of_25000_peers_and_130561_allowed_ips_passes_within_the_servers_memory()
    {
        var text = new StringBuilder("set=1\nreplace_peers=true\n");
        for (int i = 0; i < 25_000; i++)
        {
            text.Append("public_key=").Append(i.ToString("x64")).Append("\nreplace_allowed_ips=true\n");
        }

        for (int i = 0; i < 130_561; i++)
        {
            text.Append("allowed_ip=10.").Append(i >> 16).Append('.').Append((i >> 8) & 255).Append('.').Append(i & 255).Append("/32\n");
        }

        text.Append('\n');
        using var request = new UapiRequest(new UapiMemory(UapiServer.RequestMemory, _ => true));
        request.Read(Encoding.UTF8.GetBytes(text.ToString()), endOfStream: false);

        Assert.Equal(0, request.Error);
        Assert.Equal(25_000, request.Configuration.Peers.Count);
        Assert.Equal(130_561, request.Configuration.Peers[^1].AllowedIps.Count);
    }
}
