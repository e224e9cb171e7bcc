using System.Buffers.Binary;
using WgSharp.Engine.Mtu;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Mtu;

public sealed class IcmpRateLimiterTests
{
    private readonly IcmpRateLimiter _limiter = new(new Random(1).NextBytes);
    private Instant _now = new(1_000_000_000_000);

    [Fact]
    public void One_destination_gets_six_at_once_and_then_ten_a_second()
    {
        Assert.Equal(6, Enumerable.Range(0, 100).Count(_ => Allow(1)));
        int allowed = 0;
        for (int i = 0; i < 3000; i++)
        {
            Pass(1);
            allowed += Allow(1) ? 1 : 0;
        }

        Assert.Equal(30, allowed);
    }

    [Fact]
    public void All_destinations_together_get_fifty_at_once_and_then_a_hundred_a_second()
    {
        Assert.Equal(50, Enumerable.Range(0, 1000).Count(i => Allow((uint)i)));
        int allowed = 0;
        for (int i = 0; i < 3000; i++)
        {
            Pass(1);
            allowed += Allow((uint)(10_000 + i)) ? 1 : 0;
        }

        Assert.Equal(300, allowed);
    }

    [Fact]
    public void Flooding_one_destination_leaves_room_for_the_others()
    {
        for (int i = 0; i < 10_000; i++)
        {
            Allow(1);
        }

        Assert.Equal(44, Enumerable.Range(0, 1000).Count(i => Allow((uint)(2 + i))));
    }

    [Fact]
    public void A_scan_of_every_address_keeps_no_more_than_the_last_seconds()
    {
        for (uint i = 0; i < 200_000; i++)
        {
            Allow(i);
            _now = new Instant(_now.Nanoseconds + 100_000);
            Assert.InRange(_limiter.Count, 0, 300);
        }
    }

    [Fact]
    public void A_moment_that_was_read_earlier_on_another_thread_earns_nothing()
    {
        Assert.Equal(50, Enumerable.Range(0, 50).Count(i => Allow((uint)i)));
        Pass(-20);
        Assert.False(Allow(100));
        Pass(20);
        Assert.False(Allow(100));
        Pass(10);
        Assert.True(Allow(100));
    }

    private bool Allow(uint destination)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, destination);
        return _limiter.Allow(new InetAddress(bytes), _now);
    }

    private void Pass(int milliseconds) => _now += TimeSpan.FromMilliseconds(milliseconds);
}
