using System.Security.Cryptography;
using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Engine.Tests.Virtual;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Control;

/// <summary>What routers say of our messages, and what only somebody says who says so.</summary>
public sealed class PathKeeperTests : DataPathFixture
{
    private readonly ReportingUdp _reporting = new();
    private readonly VirtualWaiter _controlWaiter = new(() => Readiness.None, () => { });
    private readonly TunnelLink _link;
    private readonly PathKeeper _keeper;
    private readonly Peer _peer;
    private readonly PathReport _report;

    public PathKeeperTests()
    {
        var io = new TunnelIo(_tunA, _reporting, () => _moment, _ => _waiter, RandomNumberGenerator.Fill);
        _link = new TunnelLink(_a, _controlWaiter);
        _keeper = new PathKeeper(io, _a, _link, new StagedSender(io, _link, new RunSender(_reporting, _link, NullLogger.Instance)), NullLogger.Instance);
        _peer = _a.Peers.First();
        _keeper.Look(_peer, _moment.Now);
        Assert.True(_peer.Keypairs.Current!.TryReserve(10, _moment.Now, out ulong first));
        _report = Report(_peer.Keypairs.Current.RemoteIndex, first + 9);
    }

    [Fact]
    public void A_report_that_quotes_a_message_which_was_sent_is_believed()
    {
        Take(_report);
        Assert.Equal((1400, MtuOrigin.Icmp), (_peer.Path!.Budget.OuterMtu, _peer.Path.Budget.Origin));
    }

    [Fact]
    public void A_report_that_quotes_anything_else_is_not_believed()
    {
        uint index = _peer.Keypairs.Current!.RemoteIndex;
        Assert.True(_peer.Keypairs.Current.TryReserve(100_000, _moment.Now, out ulong first));
        PathReport elsewhere = Report(index, first);
        elsewhere.Remote = EndpointA;
        PathReport cut = Report(index, first + 99_999);
        cut.QuotedLength = 15;
        PathReport noData = Report(index, first + 99_999);
        noData.Quote[0] = 1;
        foreach (PathReport report in (PathReport[])[Report(index ^ 1, first + 99_999), Report(index, first + 100_000), Report(index, first), elsewhere, cut, noData])
        {
            Take(report);
            Assert.Equal(1480, _peer.Path!.Budget.OuterMtu);
        }
    }

    [Fact]
    public void Whoever_guesses_all_the_time_is_searched_for_a_hundred_times_a_second_and_costs_no_memory()
    {
        PathReport guess = Report(_peer.Keypairs.Current!.RemoteIndex ^ 1, 0);
        Allocations.AssertNone(100, () => Take(guess, 64));
        Pass(TimeSpan.FromSeconds(2));
        Take(guess, 64);
        Take(guess, 64);
        Take(_report);
        Assert.Equal(1480, _peer.Path!.Budget.OuterMtu);
        Pass(TimeSpan.FromSeconds(1));
        Take(_report);
        Assert.Equal(1400, _peer.Path.Budget.OuterMtu);
    }

    [Fact]
    public void The_hundredth_search_in_a_second_finds_somebody_and_the_next_one_does_not()
    {
        PathReport guess = Report(_peer.Keypairs.Current!.RemoteIndex ^ 1, 0);
        Take(guess, 64);
        Take(guess, 36);
        Take(_report);
        Assert.Equal(1480, _peer.Path!.Budget.OuterMtu);
        Pass(TimeSpan.FromSeconds(2));
        Take(guess, 64);
        Take(guess, 35);
        Take(_report);
        Assert.Equal(1400, _peer.Path.Budget.OuterMtu);
    }

    [Fact]
    public void Reports_are_taken_at_once_and_then_every_ten_milliseconds()
    {
        Assert.Equal(Instant.Never, _keeper.ReportsAt);
        PathReport guess = Report(_peer.Keypairs.Current!.RemoteIndex ^ 1, 0);
        _reporting.Next = guess;
        _reporting.Waiting = 1;
        _keeper.TakeReports(_moment.Now);
        Assert.Equal(0, _reporting.Waiting);
        Assert.Equal(Instant.Never, _keeper.ReportsAt);

        Instant next = _moment.Now + TimeSpan.FromMilliseconds(10);
        _reporting.Next = _report;
        _reporting.Waiting = 1;
        Assert.Equal(next, _keeper.ReportsAt);
        _keeper.TakeReports(_moment.Now + TimeSpan.FromMilliseconds(9.999));
        Assert.Equal(1, _reporting.Waiting);
        _keeper.TakeReports(next);
        Assert.Equal(0, _reporting.Waiting);
        Assert.Equal(1400, _peer.Path!.Budget.OuterMtu);
    }

    [Fact]
    public void The_control_loop_is_woken_once_for_all_reports_until_it_takes_them()
    {
        int before = _controlWaiter.Wakes;
        _link.AnnouncePathReports();
        _link.AnnouncePathReports();
        Assert.Equal(before + 1, _controlWaiter.Wakes);
        Take(_report);
        _link.AnnouncePathReports();
        Assert.Equal(before + 2, _controlWaiter.Wakes);
    }

    [Fact]
    public void An_announcement_of_reports_that_were_taken_meanwhile_does_not_keep_the_next_one_quiet()
    {
        int before = _controlWaiter.Wakes;
        _link.AnnouncePathReports();
        Assert.False(_reporting.HasPathReports);
        _keeper.TakeReports(_moment.Now);
        _link.AnnouncePathReports();
        Assert.Equal(before + 2, _controlWaiter.Wakes);
    }

    [Fact]
    public void While_reports_wait_for_their_time_the_control_loop_is_not_woken_again()
    {
        Take(_report);
        _reporting.Waiting = 1;
        _link.AnnouncePathReports();
        int before = _controlWaiter.Wakes;
        _keeper.TakeReports(_moment.Now + TimeSpan.FromMilliseconds(9));
        Assert.True(_reporting.HasPathReports);
        _link.AnnouncePathReports();
        Assert.Equal(before, _controlWaiter.Wakes);
    }

    private static PathReport Report(uint receiver, ulong counter)
    {
        var report = new PathReport { Kind = PathReportKind.PacketTooBig, Mtu = 1400, Remote = EndpointB, QuotedLength = QuotedBytes.Size };
        TransportData.WriteHeader(report.Quote, receiver, counter);
        return report;
    }

    /// <summary>As soon as reports are taken again.</summary>
    private void Take(in PathReport report, int times = 1)
    {
        Pass(TimeSpan.FromMilliseconds(10));
        _reporting.Next = report;
        _reporting.Waiting = times;
        _keeper.TakeReports(_moment.Now);
        Assert.False(_reporting.HasPathReports);
    }

    private void Pass(TimeSpan time) => _moment = _moment with { Now = _moment.Now + time };

    /// <summary>Sends nothing and says what it is told to, as often.</summary>
    private sealed class ReportingUdp : IUdpSocket
    {
        public PathReport Next { get; set; }

        public int Waiting { get; set; }

        public bool HasPathReports => Waiting > 0;

        public int TakePathReports(Span<PathReport> reports)
        {
            int taken = Math.Min(Waiting, reports.Length);
            reports[..taken].Fill(Next);
            Waiting -= taken;
            return taken;
        }

        public ushort Open(ushort port, uint fwmark) => port;

        public void Try(ushort port, uint fwmark)
        {
        }

        public void Close()
        {
        }

        public void SetMark(uint fwmark)
        {
        }

        public IoStatus Receive(PacketBatch batch) => IoStatus.WouldBlock;

        public void Send(PacketBatch batch, int first, int count)
        {
        }

        public int PathMtu(Endpoint endpoint, Instant now) => 1500;

        public SendOutcome SendOne(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass) => SendOutcome.Lost;

        public void Dispose()
        {
        }
    }
}
