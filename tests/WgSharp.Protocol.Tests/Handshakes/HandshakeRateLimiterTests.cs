using System.Buffers.Binary;
using System.Net;

namespace WgSharp.Protocol.Tests;

public sealed class HandshakeRateLimiterTests
{
    private readonly HandshakeRateLimiter _limiter = new(new SeededRandom(1).Fill, capacity: 256);
    private Instant _now = new(1_000_000_000_000);

    [Fact]
    public void Five_at_once_then_twenty_a_second()
    {
        Assert.Equal(5, Burst("192.0.2.1", 10));
        int allowed = 0;
        for (int i = 0; i < 1000; i++)
        {
            Pass(milliseconds: 1);
            allowed += Allow("192.0.2.1") ? 1 : 0;
        }

        Assert.Equal(20, allowed);
    }

    [Fact]
    public void A_silent_source_earns_a_full_burst_and_no_more()
    {
        Assert.Equal(5, Burst("192.0.2.1", 10));
        Pass(milliseconds: 100);
        Assert.Equal(2, Burst("192.0.2.1", 10));
        Pass(milliseconds: 250);
        Assert.Equal(5, Burst("192.0.2.1", 10));
        Pass(milliseconds: 900_000);
        Assert.Equal(5, Burst("192.0.2.1", 10));
    }

    [Fact]
    public void IPv4_sources_are_told_apart_by_their_whole_address()
    {
        Assert.Equal(5, Burst("192.0.2.1", 10));
        Assert.Equal(5, Burst("192.0.2.2", 10));
    }

    [Fact]
    public void IPv6_sources_of_one_64_share_a_bucket()
    {
        Assert.Equal(5, Burst("2001:db8:1:2::1", 10));
        Assert.False(Allow("2001:db8:1:2::2"));
        Assert.False(Allow("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        Assert.True(Allow("2001:db8:1:3::1"));
        Assert.Equal(2, _limiter.Count);
    }

    [Fact]
    public void The_families_are_apart()
    {
        Assert.Equal(5, Burst("0.0.0.1", 10));
        Assert.True(Allow("0:0:0:1::"));
        Assert.Equal(2, _limiter.Count);
    }

    [Fact]
    public void No_address_is_never_allowed()
    {
        Assert.False(_limiter.Allow(InetAddress.None, _now));
        Assert.Equal(0, _limiter.Count);
    }

    [Fact]
    public void A_full_table_refuses_newcomers_and_keeps_serving_who_is_in_it()
    {
        for (uint i = 0; i < 256; i++)
        {
            Assert.True(_limiter.Allow(Address(i), _now));
        }

        Assert.False(_limiter.Allow(Address(256), _now));
        Assert.True(_limiter.Allow(Address(17), _now));
        Assert.Equal(256, _limiter.Count);
        Pass(milliseconds: 1001);
        _limiter.Collect(_now);
        Assert.Equal(0, _limiter.Count);
        Assert.True(_limiter.Allow(Address(256), _now));
    }

    [Fact]
    public void Collection_forgets_who_was_silent_for_a_second_and_nobody_else()
    {
        Assert.True(Allow("192.0.2.1"));
        Pass(milliseconds: 600);
        Assert.Equal(5, Burst("192.0.2.2", 10));
        Pass(milliseconds: 401);
        _limiter.Collect(_now);
        Assert.Equal(1, _limiter.Count);
        Assert.Equal(5, Burst("192.0.2.2", 10));
        Assert.False(Allow("192.0.2.2"));
    }

    [Fact]
    public void Collection_is_due_a_second_after_the_first_source_and_never_while_there_is_none()
    {
        Assert.Equal(Instant.Never, _limiter.NextCollection);
        Allow("192.0.2.1");
        Instant due = _now + TimeSpan.FromSeconds(1);
        Assert.Equal(due, _limiter.NextCollection);
        Pass(milliseconds: 500);
        Allow("192.0.2.2");
        _limiter.Collect(_now);
        Assert.Equal(2, _limiter.Count);
        Assert.Equal(due, _limiter.NextCollection);
        _now = due;
        _limiter.Collect(_now);
        Assert.Equal(due + TimeSpan.FromSeconds(1), _limiter.NextCollection);
        Pass(milliseconds: 2000);
        _limiter.Collect(_now);
        Assert.Equal(0, _limiter.Count);
        Assert.Equal(Instant.Never, _limiter.NextCollection);
    }

    [Fact]
    public void A_storm_of_spoofed_sources_leaves_nothing_behind()
    {
        var random = new Random(2);
        for (int second = 0; second < 5; second++)
        {
            for (int i = 0; i < 2000; i++)
            {
                _limiter.Allow(Address((uint)random.NextInt64(1L << 32)), _now);
            }

            Assert.Equal(256, _limiter.Count);
            Pass(milliseconds: 1500);
            _limiter.Collect(_now);
            Assert.Equal(0, _limiter.Count);
        }
    }

    [Fact]
    public void Random_arrivals_agree_with_one_plain_bucket_per_source()
    {
        var random = new Random(3);
        var model = new Dictionary<uint, (long Tokens, Instant Last)>();
        for (int i = 0; i < 50_000; i++)
        {
            Pass(random.Next(4));
            uint source = (uint)random.Next(200);
            (long tokens, Instant last) = model.TryGetValue(source, out var bucket) ? bucket : (250, _now);
            tokens = Math.Min(250, tokens + (long)(_now - last).TotalMilliseconds);
            bool expected = tokens >= 50;
            model[source] = (expected ? tokens - 50 : tokens, _now);
            Assert.Equal(expected, _limiter.Allow(Address(source), _now));
            _limiter.Collect(_now);
        }
    }

    [Fact]
    public void Impossible_numbers_are_refused()
    {
        FillRandom random = new SeededRandom(4).Fill;
        Assert.Throws<ArgumentOutOfRangeException>(() => new AddressRateLimiter(random, TimeSpan.Zero, 5, 64));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AddressRateLimiter(random, TimeSpan.FromMilliseconds(50), 0, 64));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AddressRateLimiter(random, TimeSpan.FromMilliseconds(50), 21, 64));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AddressRateLimiter(random, TimeSpan.FromMilliseconds(50), 5, 100));
    }

    private bool Allow(string address) => _limiter.Allow(InetAddress.From(IPAddress.Parse(address)), _now);

    private int Burst(string address, int tries) => Enumerable.Range(0, tries).Count(_ => Allow(address));

    private void Pass(int milliseconds) => _now += TimeSpan.FromMilliseconds(milliseconds);

    private static InetAddress Address(uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return new InetAddress(bytes);
    }
}
