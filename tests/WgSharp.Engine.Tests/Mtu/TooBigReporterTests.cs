using System.Buffers.Binary;
using System.Net;
using WgSharp.Engine.Mtu;
using WgSharp.Engine.Tests.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Mtu;

public sealed class TooBigReporterTests : IDisposable
{
    private readonly FakeTun _tun = new();
    private readonly TooBigReporter _reporter;
    private Instant _now = new(1_000_000_000_000);

    public TooBigReporterTests() => _reporter = new TooBigReporter(_tun, new Random(1).NextBytes);

    public void Dispose() => _tun.Dispose();

    [Theory]
    [InlineData(false, 1320, 1320)]
    [InlineData(true, 1320, 1320)]
    [InlineData(true, 900, 1280)]
    public void The_sender_is_told_what_fits(bool isIPv6, int mtu, int told)
    {
        byte[] packet = Packet(1, 1400, isIPv6);
        Assert.Equal(1, Report(packet, mtu));
        byte[] answer = _tun.TakeWritten();
        int header = isIPv6 ? 40 : 20;
        Assert.Equal(isIPv6 ? (2, 0) : (3, 4), (answer[header], answer[header + 1]));
        Assert.Equal((uint)told, BinaryPrimitives.ReadUInt32BigEndian(answer.AsSpan(header + 4)));
        Assert.Equal(packet[..100], answer[(header + 8)..(header + 108)]);
        Assert.Equal(1, _reporter.Sent);
    }

    [Fact]
    public void Who_is_not_to_be_told_or_sent_nothing_too_long_is_not_told()
    {
        Assert.Equal(0, Report(Packet(1, 1320 - 28), 1320));
        Assert.Equal(0, Report(Packet(1, 1400, dontFragment: false), 1320));
        Assert.Equal(0, Report(Packet(1, 1280 - 48, isIPv6: true), 900));
        Assert.Equal(0, Report([1, 2, 3], 1320));
        Assert.Equal(1, Report(Packet(1, 1280 - 47, isIPv6: true), 900));
    }

    [Fact]
    public void A_pair_of_addresses_is_told_once_a_second_and_at_once_of_less()
    {
        byte[] packet = Packet(1, 1400);
        Assert.Equal(1, Report(packet, 1320, times: 100));
        Assert.Equal(1, Report(packet, 1300, times: 100));
        Assert.Equal(0, Report(packet, 1320));
        Pass(999);
        Assert.Equal(0, Report(packet, 1300));
        Pass(1);
        Assert.Equal(1, Report(packet, 1320, times: 100));
        Assert.Equal(3, _reporter.Sent);
    }

    [Fact]
    public void One_who_floods_keeps_nobody_else_from_being_told()
    {
        for (byte host = 1; host <= 50; host++)
        {
            Report(Packet(201, 1400), 1320, times: 1000);
            Assert.Equal(1, Report(Packet(host, 1400), 1320));
        }
    }

    [Fact]
    public void All_pairs_together_are_told_a_hundred_times_at_once_and_then_a_thousand_times_a_second()
    {
        var limiter = new TooBigLimiter(new Random(1).NextBytes);
        Assert.Equal(100, Enumerable.Range(0, 5000).Count(i => Allow(limiter, i)));
        int allowed = 0;
        for (int i = 0; i < 8000; i++)
        {
            _now += TimeSpan.FromMicroseconds(250);
            allowed += Allow(limiter, 10_000 + i) ? 1 : 0;
        }

        Assert.Equal(2000, allowed);

        // A moment that was read earlier on another thread earns nothing.
        _now += TimeSpan.FromMilliseconds(-50);
        Assert.False(Allow(limiter, 1));
    }

    [Theory]
    [InlineData("10.0.0.1", "10.0.0.2", "10.0.0.3")]
    [InlineData("fd00::1", "fd00::2", "fd00::3")]
    public void Who_sends_to_two_is_told_of_both(string source, string one, string other)
    {
        var limiter = new TooBigLimiter(new Random(1).NextBytes);
        Assert.Equal([true, true, false, false], new[] { one, other, one, other }.Select(destination =>
            limiter.Allow(IPAddress.Parse(source).GetAddressBytes(), IPAddress.Parse(destination).GetAddressBytes(), 1320, _now)));
    }

    [Fact]
    public void Nothing_is_allocated()
    {
        var limiter = new TooBigLimiter(new Random(1).NextBytes);
        int i = 0;
        Allocations.AssertNone(1000, () =>
        {
            _now += TimeSpan.FromMilliseconds(1);
            Allow(limiter, i++);
        });
    }

    private bool Allow(TooBigLimiter limiter, int number)
    {
        Span<byte> source = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(source, number);
        return limiter.Allow(source, source, 1320, _now);
    }

    private int Report(byte[] packet, int mtu, int times = 1)
    {
        int before = _tun.WrittenCount;
        for (int i = 0; i < times; i++)
        {
            _reporter.Report(packet, mtu, _now);
        }

        return _tun.WrittenCount - before;
    }

    private void Pass(int milliseconds) => _now += TimeSpan.FromMilliseconds(milliseconds);

    private static byte[] Packet(byte host, int payload, bool isIPv6 = false, bool dontFragment = true)
    {
        byte[] packet = InnerPackets.Build(new Flow { IsIPv6 = isIPv6, IsTcp = false, Host = host, DontFragment = dontFragment }, new byte[payload]);
        if (isIPv6)
        {
            packet.AsSpan(8, 2).Fill(0x20);
            packet.AsSpan(24, 2).Fill(0x20);
        }

        return packet;
    }
}
