using System.Buffers.Binary;
using System.Diagnostics;
using System.Net;
using Xunit.Abstractions;

namespace WgSharp.Protocol.Tests;

public sealed class AllowedIpsTests(ITestOutputHelper output)
{
    private readonly AllowedIpsTable _table = new();
    private readonly Peer _a = TestPeers.Create();
    private readonly Peer _b = TestPeers.Create();
    private readonly Peer _c = TestPeers.Create();

    [Fact]
    public void An_empty_table_routes_nothing()
    {
        Assert.Null(AllowedIps.Empty.Lookup(Bytes("10.0.0.1")));
        Assert.Null(AllowedIps.Empty.Lookup(Bytes("2001:db8::1")));
        Assert.Null(_table.Publish().Lookup(Bytes("0.0.0.0")));
    }

    [Fact]
    public void The_longest_prefix_wins_whatever_the_order_of_insertion()
    {
        string[] prefixes = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32"];
        foreach (string[] order in (string[][])[prefixes, [.. prefixes.Reverse()], [.. prefixes.OrderBy(p => p[^1])]])
        {
            var table = new AllowedIpsTable();
            Dictionary<string, Peer> owners = order.ToDictionary(p => p, _ => TestPeers.Create());
            foreach (string prefix in order)
            {
                table.Set(Prefix(prefix), owners[prefix]);
            }

            AllowedIps ips = table.Publish();
            Assert.Same(owners["10.1.2.3/32"], ips.Lookup(Bytes("10.1.2.3")));
            Assert.Same(owners["10.1.2.0/24"], ips.Lookup(Bytes("10.1.2.4")));
            Assert.Same(owners["10.1.0.0/16"], ips.Lookup(Bytes("10.1.3.3")));
            Assert.Same(owners["10.0.0.0/8"], ips.Lookup(Bytes("10.2.2.3")));
            Assert.Same(owners["0.0.0.0/0"], ips.Lookup(Bytes("11.1.2.3")));
            Assert.Null(ips.Lookup(Bytes("::a01:203")));
        }
    }

    [Theory]
    [InlineData("0.0.0.0/0", "255.255.255.255", null)]
    [InlineData("128.0.0.0/1", "128.0.0.0", "127.255.255.255")]
    [InlineData("192.168.4.0/31", "192.168.4.1", "192.168.4.2")]
    [InlineData("255.255.255.255/32", "255.255.255.255", "255.255.255.254")]
    [InlineData("0.0.0.0/32", "0.0.0.0", "0.0.0.1")]
    [InlineData("::/0", "ffff::", null)]
    [InlineData("8000::/1", "8000::", "7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]
    [InlineData("2001:db8::/63", "2001:db8:0:1::", "2001:db8:0:2::")]
    [InlineData("2001:db8:0:1::/64", "2001:db8:0:1:ffff::", "2001:db8:0:2::")]
    [InlineData("2001:db8:0:1:8000::/65", "2001:db8:0:1:8000::1", "2001:db8:0:1:7fff::1")]
    [InlineData("2001:db8::2/127", "2001:db8::3", "2001:db8::4")]
    [InlineData("2001:db8::1/128", "2001:db8::1", "2001:db8::")]
    public void A_prefix_holds_its_addresses_and_no_others(string prefix, string inside, string? outside)
    {
        _table.Set(Prefix(prefix), _a);
        Assert.Same(_a, Lookup(inside));
        if (outside is not null)
        {
            Assert.Null(Lookup(outside));
        }
    }

    [Fact]
    public void The_families_are_apart()
    {
        _table.Set(Prefix("0.0.0.0/0"), _a);
        _table.Set(Prefix("::/0"), _b);
        Assert.Same(_a, Lookup("1.2.3.4"));
        Assert.Same(_b, Lookup("102:304::"));
        Assert.True(_table.Remove(Prefix("::/0"), _b));
        Assert.Same(_a, Lookup("1.2.3.4"));
        Assert.Null(Lookup("102:304::"));
    }

    [Fact]
    public void An_address_of_a_strange_length_belongs_to_nobody()
    {
        _table.Set(Prefix("0.0.0.0/0"), _a);
        _table.Set(Prefix("::/0"), _a);
        AllowedIps ips = _table.Publish();
        for (int length = 0; length < 20; length++)
        {
            Assert.Equal(length is 4 or 16, ips.Lookup(new byte[length]) is not null);
        }
    }

    [Fact]
    public void A_prefix_without_an_address_is_refused()
    {
        Assert.Throws<ArgumentException>(() => _table.Set(default, _a));
        Assert.False(_table.Remove(default, _a));
    }

    [Fact]
    public void Setting_a_prefix_steals_it_from_the_peer_that_had_it()
    {
        _table.Set(Prefix("10.0.0.0/8"), _a);
        _table.Set(Prefix("10.0.0.0/8"), _b);
        Assert.Same(_b, Lookup("10.1.1.1"));
        Assert.Empty(_table.PrefixesOf(_a));
        Assert.Equal(["10.0.0.0/8"], List(_b));
        Assert.Equal(1, _table.Count);
    }

    [Fact]
    public void Only_the_exact_owner_can_remove_a_prefix()
    {
        _table.Set(Prefix("10.0.0.0/8"), _a);
        Assert.False(_table.Remove(Prefix("10.0.0.0/8"), _b));
        Assert.False(_table.Remove(Prefix("10.0.0.0/9"), _a));
        Assert.False(_table.Remove(Prefix("10.0.0.0/7"), _a));
        Assert.False(_table.Remove(Prefix("11.0.0.0/8"), _a));
        Assert.Same(_a, Lookup("10.1.1.1"));
        Assert.True(_table.Remove(Prefix("10.0.0.0/8"), _a));
        Assert.False(_table.Remove(Prefix("10.0.0.0/8"), _a));
        Assert.Null(Lookup("10.1.1.1"));
        Assert.Equal(0, _table.Count);
    }

    [Fact]
    public void A_place_where_prefixes_part_is_not_a_prefix()
    {
        _table.Set(Prefix("10.0.0.0/32"), _a);
        _table.Set(Prefix("10.0.0.1/32"), _a);
        Assert.False(_table.Remove(Prefix("10.0.0.0/31"), _a));
        _table.Set(Prefix("10.0.0.0/31"), _b);
        Assert.True(_table.Remove(Prefix("10.0.0.0/32"), _a));
        Assert.Same(_b, Lookup("10.0.0.0"));
        Assert.Same(_a, Lookup("10.0.0.1"));
    }

    [Fact]
    public void A_removed_prefix_falls_back_to_the_next_longer_around_it()
    {
        _table.Set(Prefix("10.0.0.0/8"), _a);
        _table.Set(Prefix("10.1.0.0/16"), _b);
        _table.Set(Prefix("10.1.1.0/24"), _c);
        Assert.True(_table.Remove(Prefix("10.1.0.0/16"), _b));
        Assert.Same(_c, Lookup("10.1.1.1"));
        Assert.Same(_a, Lookup("10.1.2.1"));
    }

    [Fact]
    public void A_peers_prefixes_are_listed_in_the_order_they_were_given()
    {
        string[] given = ["10.2.0.0/16", "2001:db8::/32", "10.1.0.0/16", "0.0.0.0/0", "::1/128"];
        foreach (string prefix in given)
        {
            _table.Set(Prefix(prefix), _a);
            _table.Set(Prefix("99.0.0.0/8"), _b);
        }

        Assert.Equal(given, List(_a));
        Assert.True(_table.Remove(Prefix("10.1.0.0/16"), _a));
        Assert.Equal(["10.2.0.0/16", "2001:db8::/32", "0.0.0.0/0", "::1/128"], List(_a));
    }

    [Fact]
    public void A_prefix_that_is_given_again_becomes_the_last()
    {
        foreach (string prefix in (string[])["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.1.0.0/16"])
        {
            _table.Set(Prefix(prefix), _a);
        }

        Assert.Equal(["10.2.0.0/16", "10.3.0.0/16", "10.1.0.0/16"], List(_a));
        Assert.Equal(3, _table.Count);
    }

    [Fact]
    public void Removing_a_peer_leaves_the_others_as_they_were()
    {
        _table.Set(Prefix("10.0.0.0/8"), _a);
        _table.Set(Prefix("10.1.0.0/16"), _b);
        _table.Set(Prefix("::/0"), _b);
        _table.Set(Prefix("10.1.1.0/24"), _a);
        _table.RemoveAll(_b);
        _table.RemoveAll(_c);
        Assert.Same(_a, Lookup("10.1.1.1"));
        Assert.Same(_a, Lookup("10.1.2.1"));
        Assert.Null(Lookup("::1"));
        Assert.Empty(_table.PrefixesOf(_b));
        Assert.Equal(2, _table.Count);
    }

    [Fact]
    public void A_snapshot_never_changes()
    {
        _table.Set(Prefix("10.0.0.0/8"), _a);
        _table.Set(Prefix("10.0.0.0/16"), _a);
        AllowedIps before = _table.Publish();
        _table.Set(Prefix("10.0.0.0/8"), _b);
        _table.Set(Prefix("10.0.0.0/12"), _c);
        _table.Remove(Prefix("10.0.0.0/16"), _a);
        _table.Set(Prefix("::/0"), _c);
        Assert.Same(_a, before.Lookup(Bytes("10.0.0.1")));
        Assert.Same(_a, before.Lookup(Bytes("10.200.0.1")));
        Assert.Null(before.Lookup(Bytes("::1")));
        AllowedIps after = _table.Publish();
        _table.Clear();
        Assert.Same(_c, after.Lookup(Bytes("10.0.0.1")));
        Assert.Same(_b, after.Lookup(Bytes("10.200.0.1")));
        Assert.Same(_c, after.Lookup(Bytes("::1")));
        Assert.Null(_table.Publish().Lookup(Bytes("10.0.0.1")));
    }

    [Fact]
    public void Publishing_without_a_change_gives_the_same_snapshot()
    {
        _table.Set(Prefix("10.0.0.0/8"), _a);
        AllowedIps first = _table.Publish();
        Assert.False(_table.Remove(Prefix("10.0.0.0/9"), _a));
        _table.RemoveAll(_b);
        Assert.Same(first, _table.Publish());
    }

    [Fact]
    public void Every_prefix_length_nests()
    {
        foreach ((string address, int width) in (ReadOnlySpan<(string, int)>)[("255.170.85.15", 32), ("fedc:ba98:7654:3210:f0e1:d2c3:b4a5:9687", 128)])
        {
            InetAddress full = InetAddress.From(IPAddress.Parse(address));
            Peer[] peers = TestPeers.Create(width + 1);
            for (int length = 0; length <= width; length++)
            {
                _table.Set(IpPrefix.Of(full, length), peers[length]);
            }

            for (int length = width; length >= 0; length--)
            {
                Assert.Same(peers[length], Lookup(address));
                Assert.True(_table.Remove(IpPrefix.Of(full, length), peers[length]));
            }

            Assert.Null(Lookup(address));
        }
    }

    [Theory]
    [InlineData(1, 4)]
    [InlineData(2, 4)]
    [InlineData(3, 16)]
    [InlineData(4, 16)]
    public void Random_changes_agree_with_a_plain_list(int seed, int addressLength)
    {
        var random = new Random(seed);
        Peer[] peers = TestPeers.Create(6);
        var model = new PlainAllowedIps();
        var old = new List<(AllowedIps Snapshot, Dictionary<IpPrefix, Peer> Model)>();
        for (int step = 0; step < 4000; step++)
        {
            Peer peer = peers[random.Next(peers.Length)];
            IpPrefix prefix = RandomPrefix(random, addressLength);
            switch (random.Next(20))
            {
                case < 10:
                    _table.Set(prefix, peer);
                    model.Set(prefix, peer);
                    break;
                case < 18:
                    Assert.Equal(model.Remove(prefix, peer), _table.Remove(prefix, peer));
                    break;
                case 18:
                    _table.RemoveAll(peer);
                    model.RemoveAll(peer);
                    break;
                default:
                    old.Add((_table.Publish(), model.Copy()));
                    break;
            }

            Assert.Equal(model.PrefixesOf(peer), _table.PrefixesOf(peer));
            Assert.Equal(model.Count, _table.Count);
            if (step % 8 == 0)
            {
                byte[] address = RandomAddress(random, addressLength);
                Assert.Same(model.Lookup(address), _table.Publish().Lookup(address));
            }
        }

        foreach ((AllowedIps snapshot, Dictionary<IpPrefix, Peer> then) in old)
        {
            byte[] address = RandomAddress(random, addressLength);
            Assert.Same(PlainAllowedIps.Lookup(then, address), snapshot.Lookup(address));
        }
    }

    [Fact]
    public void One_peer_among_130561_prefixes_comes_and_goes_at_the_cost_of_its_own_prefixes()
    {
        Peer[] peers = TestPeers.Create(25_000);
        IpPrefix[] prefixes = ManyPrefixes();
        var clock = Stopwatch.StartNew();
        for (int i = 0; i < prefixes.Length; i++)
        {
            _table.Set(prefixes[i], peers[i % peers.Length]);
        }

        AllowedIps full = _table.Publish();
        output.WriteLine($"{prefixes.Length} prefixes of {peers.Length} peers set in {clock.ElapsedMilliseconds} ms");
        Assert.Equal(prefixes.Length, _table.Count);
        AssertRoutes(full, prefixes, i => peers[i % peers.Length]);

        long before = GC.GetAllocatedBytesForCurrentThread();
        Peer newcomer = TestPeers.Create();
        _table.Set(Prefix("203.0.113.7/32"), newcomer);
        Assert.Same(newcomer, _table.Publish().Lookup(Bytes("203.0.113.7")));
        _table.RemoveAll(newcomer);
        Assert.Null(_table.Publish().Lookup(Bytes("203.0.113.7")));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 16 * 1024);

        clock.Restart();
        foreach (Peer peer in peers.AsSpan(1))
        {
            _table.RemoveAll(peer);
        }

        output.WriteLine($"all peers but one removed in {clock.ElapsedMilliseconds} ms");
        AssertRoutes(_table.Publish(), prefixes, i => i % peers.Length == 0 ? peers[0] : null);
        AssertRoutes(full, prefixes, i => peers[i % peers.Length]);
    }

    [Fact]
    public void A_lookup_allocates_nothing()
    {
        _table.Set(Prefix("10.0.0.0/8"), _a);
        _table.Set(Prefix("2001:db8::/32"), _b);
        AllowedIps ips = _table.Publish();
        byte[] four = Bytes("10.1.1.1");
        byte[] sixteen = Bytes("2001:db8::1");
        bool found = true;
        Allocations.AssertNone(1000, () => found &= ips.Lookup(four) == _a && ips.Lookup(sixteen) == _b);
        Assert.True(found);
    }

    private Peer? Lookup(string address) => _table.Publish().Lookup(Bytes(address));

    private string[] List(Peer peer) => [.. _table.PrefixesOf(peer).Select(p => p.ToString())];

    private static byte[] Bytes(string address) => IPAddress.Parse(address).GetAddressBytes();

    private static IpPrefix Prefix(string text)
    {
        string[] parts = text.Split('/');
        return IpPrefix.Of(InetAddress.From(IPAddress.Parse(parts[0])), int.Parse(parts[1]));
    }

    /// <summary>65,536 /24 of IPv4 and 65,025 /64 of IPv6, in an order that is neither sorted nor random.</summary>
    private static IpPrefix[] ManyPrefixes()
    {
        var prefixes = new IpPrefix[65_536 + 65_025];
        Span<byte> six = stackalloc byte[16];
        for (int i = 0; i < prefixes.Length; i++)
        {
            uint mixed = (uint)i * 40_503;
            if (i < 65_536)
            {
                prefixes[i] = IpPrefix.Of(new InetAddress([10, (byte)(mixed >> 8), (byte)mixed, 0]), 24);
                continue;
            }

            BinaryPrimitives.WriteUInt64BigEndian(six, 0x2001_0db8_0000_0000UL | (mixed & 0xffff) | ((ulong)(mixed & 0xff) << 20));
            prefixes[i] = IpPrefix.Of(new InetAddress(six), 64);
        }

        return prefixes;
    }

    private static void AssertRoutes(AllowedIps ips, IpPrefix[] prefixes, Func<int, Peer?> owner)
    {
        Span<byte> address = stackalloc byte[16];
        for (int i = 0; i < prefixes.Length; i++)
        {
            prefixes[i].Address.CopyTo(address);
            address[prefixes[i].Address.Length - 1] = 77;
            Assert.Same(owner(i), ips.Lookup(address[..prefixes[i].Address.Length]));
        }
    }

    /// <summary>Few distinct bits, so that prefixes nest, part and meet often.</summary>
    private static byte[] RandomAddress(Random random, int length)
    {
        var bytes = new byte[length];
        for (int i = 0; i < length; i++)
        {
            bytes[i] = random.Next(4) == 0 ? (byte)(1 << random.Next(8)) : (byte)0;
        }

        return bytes;
    }

    private static IpPrefix RandomPrefix(Random random, int length) =>
        IpPrefix.Of(new InetAddress(RandomAddress(random, length)), random.Next((length * 8) + 1));
}

/// <summary>Cryptokey routing as a list that is searched from end to end.</summary>
internal sealed class PlainAllowedIps
{
    private readonly List<(IpPrefix Prefix, Peer Peer)> _all = [];

    public int Count => _all.Count;

    public void Set(IpPrefix prefix, Peer peer)
    {
        _all.RemoveAll(p => p.Prefix == prefix);
        _all.Add((prefix, peer));
    }

    public bool Remove(IpPrefix prefix, Peer peer) => _all.RemoveAll(p => p.Prefix == prefix && p.Peer == peer) > 0;

    public void RemoveAll(Peer peer) => _all.RemoveAll(p => p.Peer == peer);

    public IpPrefix[] PrefixesOf(Peer peer) => [.. _all.Where(p => p.Peer == peer).Select(p => p.Prefix)];

    public Dictionary<IpPrefix, Peer> Copy() => _all.ToDictionary(p => p.Prefix, p => p.Peer);

    public Peer? Lookup(byte[] address) => Lookup(Copy(), address);

    public static Peer? Lookup(Dictionary<IpPrefix, Peer> prefixes, byte[] address)
    {
        var wanted = new InetAddress(address);
        for (int length = address.Length * 8; length >= 0; length--)
        {
            if (prefixes.TryGetValue(IpPrefix.Of(wanted, length), out Peer? peer))
            {
                return peer;
            }
        }

        return null;
    }
}
