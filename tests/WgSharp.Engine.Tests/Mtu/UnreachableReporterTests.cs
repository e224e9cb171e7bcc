using WgSharp.Engine.Mtu;
using WgSharp.Engine.Tests.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Mtu;

public sealed class UnreachableReporterTests : IDisposable
{
    private readonly FakeTun _tun = new();
    private readonly UnreachableReporter _reporter;
    private readonly Instant _now = new(1_000_000_000_000);

    public UnreachableReporterTests() => _reporter = new UnreachableReporter(_tun, new Random(1).NextBytes);

    public void Dispose() => _tun.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_sender_is_told_six_times_of_a_destination_and_of_the_next_one_too(bool isIPv6)
    {
        byte[] packet = Packet(isIPv6);
        Assert.Equal(1, Report(packet, times: 1));
        byte[] answer = _tun.TakeWritten();
        int header = isIPv6 ? 40 : 20;
        Assert.Equal(isIPv6 ? (1, 3) : (3, 1), (answer[header], answer[header + 1]));
        Assert.Equal(packet[..60], answer[(header + 8)..(header + 68)]);
        Assert.Equal(5, Report(packet, times: 100));
        packet[isIPv6 ? 31 : 19] ^= 1; // IPv6: of a network of 64 bits
        Assert.Equal(6, Report(packet, times: 100));
    }

    [Fact]
    public void Who_is_not_to_be_answered_is_not_and_uses_nothing_up()
    {
        byte[] multicast = Packet(isIPv6: false);
        multicast[16] = 224;
        Assert.Equal(0, Report(multicast, times: 100));
        Assert.Equal(0, Report([1, 2, 3], times: 100));
        Assert.Equal(6, Report(Packet(isIPv6: false), times: 100));
    }

    private int Report(byte[] packet, int times)
    {
        int before = _tun.WrittenCount;
        for (int i = 0; i < times; i++)
        {
            _reporter.Report(packet, _now);
        }

        return _tun.WrittenCount - before;
    }

    private static byte[] Packet(bool isIPv6)
    {
        byte[] packet = InnerPackets.Build(new Flow { IsIPv6 = isIPv6, IsTcp = false, Host = 7 }, new byte[100]);
        if (isIPv6)
        {
            packet.AsSpan(8, 2).Fill(0x20);
            packet.AsSpan(24, 2).Fill(0x20);
        }

        return packet;
    }
}
