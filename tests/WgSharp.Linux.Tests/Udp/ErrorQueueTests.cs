using WgSharp.Engine;

namespace WgSharp.Linux.Tests;

/// <summary>What is taken off a socket's error queue in one turn, and that none of it is taken for another's.</summary>
public sealed class ErrorQueueTests : IDisposable
{
    private readonly RoutedNamespaces _net = new();

    public void Dispose() => _net.Dispose();

    [Theory]
    [InlineData(false, true)]
    [InlineData(false, false)]
    [InlineData(true, true)]
    [InlineData(true, false)]
    public void A_turn_takes_sixty_four_and_leaves_the_rest(bool ipv6, bool mmsg)
    {
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.Raw6, out ushort port);
        for (int i = 0; i < 100; i++)
        {
            _net.ForgeTooLarge(ipv6, 1300, port, 9, [1]);
        }

        AwaitIcmp(ipv6, 100);
        var reports = new PathReports();
        Assert.Equal(64, Drain(a, ipv6, reports, mmsg));
        int rest = 0;
        Assert.True(SpinWait.SpinUntil(() => (rest += Drain(a, ipv6, reports, mmsg)) == 36, TimeSpan.FromSeconds(20)), $"{rest}");
        Assert.Equal(0, Drain(a, ipv6, reports, mmsg));
    }

    [Theory]
    [InlineData(false, true)]
    [InlineData(false, false)]
    [InlineData(true, true)]
    [InlineData(true, false)]
    public void Each_has_its_own_size_quote_and_receiver(bool ipv6, bool mmsg)
    {
        const int count = 40;
        using UdpSocket a = UdpDatagrams.Open(_net.Near, KernelFeature.Raw6, out ushort port);
        byte[][] quotes = [.. Enumerable.Range(0, count).Select(i => Packets.Payload(i % (QuotedBytes.Size + 1), seed: i))];
        for (int i = 0; i < count; i++)
        {
            _net.ForgeTooLarge(ipv6, 1300 + i, port, (ushort)(1000 + i), quotes[i]);
        }

        AwaitIcmp(ipv6, count);
        var reports = new PathReports();
        int drained = 0;
        Assert.True(SpinWait.SpinUntil(() => (drained += Drain(a, ipv6, reports, mmsg)) == count, TimeSpan.FromSeconds(20)), $"{drained}");
        var taken = new PathReport[count + 1];
        Assert.Equal(count, reports.Take(taken));
        for (int i = 0; i < count; i++)
        {
            PathReport report = taken[i];
            Assert.Equal((1300 + i, Packets.Endpoint(RoutedNamespaces.FarAddress(ipv6), (ushort)(1000 + i)).Remote), (report.Mtu, report.Remote));
            Assert.Equal(quotes[i], ((ReadOnlySpan<byte>)report.Quote)[..report.QuotedLength].ToArray());
        }
    }

    private static int Drain(UdpSocket udp, bool ipv6, PathReports reports, bool mmsg) => ErrorQueue.Drain(udp.Sockets!.Of(ipv6)!, ipv6, reports, mmsg);

    /// <summary>ICMP is on its way while the machine has other things to do.</summary>
    private void AwaitIcmp(bool ipv6, int count)
    {
        int came = 0;
        Assert.True(SpinWait.SpinUntil(() => (came = _net.Near.Run(() => ipv6 ? CountIPv6() : CountIPv4())) >= count, TimeSpan.FromSeconds(20)), $"{came} of {count}");
    }

    private static int CountIPv6() => int.Parse(File.ReadLines("/proc/thread-self/net/snmp6").First(line => line.StartsWith("Icmp6InPktTooBigs", StringComparison.Ordinal)).Split()[^1]);

    private static int CountIPv4()
    {
        string[][] lines = [.. File.ReadLines("/proc/thread-self/net/snmp").Where(line => line.StartsWith("Icmp:", StringComparison.Ordinal)).Select(line => line.Split())];
        return int.Parse(lines[1][Array.IndexOf(lines[0], "InDestUnreachs")]);
    }
}
