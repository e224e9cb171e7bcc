using System.Buffers.Binary;
using System.Globalization;
using Microsoft.Extensions.Logging;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Control;

/// <summary>Whom the probes of a path are sent to, what becomes of their answers, and what is said of it.</summary>
public sealed class PathKeeperProbeTests : DataPathFixture
{
    private const int Headers = 28;

    private readonly SaidList _said = new();
    private readonly List<byte[]> _whole = [];
    private readonly List<(int Outer, ProbeToken Token)> _asked = [];
    private readonly Peer _peer;
    private PathKeeper _keeper;

    public PathKeeperProbeTests()
    {
        _peer = _a.Peers.First();
        _keeper = Keeper(MtuPolicy.Auto, "10.0.0.1");
        Takes(1480);
    }

    // ---- whom to ----

    [Fact]
    public void A_probe_goes_to_the_peers_own_address()
    {
        Want();
        Assert.Equal([1480], _asked.Select(asked => asked.Outer));
        AssertEcho(Assert.Single(Arrived()), "10.0.0.1", "10.0.0.2", hopLimit: 64);
    }

    [Fact]
    public void Through_a_peer_that_forwards_it_goes_to_our_own_address_twice_until_an_answer_has_named_the_peers()
    {
        AllowInstead("10.0.0.0", 24);
        Want();
        List<byte[]> arrived = Arrived();
        Assert.Equal(2, arrived.Count);
        AssertEcho(arrived[0], "10.0.0.1", "10.0.0.1", hopLimit: 1);
        AssertEcho(arrived[1], "10.0.0.1", "10.0.0.1", hopLimit: 64);
        Assert.Equal(_asked[0], _asked[1]);

        Answer(_asked[0].Token, "10.0.0.7");
        Assert.Equal((1480, MtuOrigin.Probe), (_peer.Path!.Budget.OuterMtu, _peer.Path.Budget.Origin));
        Assert.Equal("10.0.0.7", _peer.Path.Speaker.ToString());
        Answer(_asked[1].Token, speaker: null);
        _asked.Clear();
        Pass(TimeSpan.FromSeconds(10));
        Want();
        AssertEcho(Assert.Single(Arrived()), "10.0.0.1", "10.0.0.7", hopLimit: 64);

        // The probe itself came back: nobody is named, and what is known stays.
        Answer(_asked[0].Token, speaker: null);
        Assert.Equal("10.0.0.7", _peer.Path.Speaker.ToString());
        Assert.Equal(_moment.Now, _peer.Path.Budget.ConfirmedAt);
    }

    [Fact]
    public void What_is_too_large_for_the_first_of_the_two_is_not_tried_with_the_second()
    {
        AllowInstead("10.0.0.0", 24);
        Takes(1400);
        Want();
        Assert.Equal([1480, 1400, 1400], _asked.Select(asked => asked.Outer));
    }

    [Theory]
    [InlineData("10.0.0.1", "10.0.0.2", 32, true)]
    [InlineData("10.0.0.1", "10.0.0.0", 24, true)]
    [InlineData("10.0.0.1", "10.0.1.0", 24, false)]
    [InlineData("fd00::1", "10.0.0.2", 32, false)]
    [InlineData("fd00::1 10.0.0.1", "10.0.0.2", 32, true)]
    [InlineData("", "10.0.0.2", 32, false)]
    public void There_has_to_be_somebody_to_ask(string own, string allowed, int length, bool asks)
    {
        AllowInstead(allowed, length);
        _keeper = Keeper(MtuPolicy.Auto, own);
        Want();
        Assert.Equal(asks, _asked.Count > 0);
        Assert.Equal(asks, _peer.Path!.Mtu.IsBusy);
    }

    [Fact]
    public void An_address_of_another_family_is_nobody_to_ask()
    {
        AllowInstead("10.0.0.0", 24);
        Want();
        Answer(_asked[0].Token, "10.0.0.7");
        _asked.Clear();
        _keeper = Keeper(MtuPolicy.Auto, "fd00::1");
        Pass(TimeSpan.FromSeconds(10));
        Want();
        Assert.Empty(_asked);
    }

    [Fact]
    public void Nothing_is_asked_where_nothing_can_leave_whole()
    {
        int asked = 0;
        _udp.Whole = null;
        _udp.Outcome = _ =>
        {
            asked++;
            return SendOutcome.Sent;
        };
        Want();
        Assert.False(_peer.Path!.Mtu.IsBusy);
        Assert.Equal(0, asked + _peer.Path.Mtu.ProbesSent);
    }

    [Theory]
    [InlineData(nameof(MtuPolicy.ClampOnly), true)]
    [InlineData(nameof(MtuPolicy.Kernel), false)]
    public void Only_auto_asks_and_for_kernel_there_is_no_path(string policy, bool follows)
    {
        _keeper = Keeper(Enum.Parse<MtuPolicy>(policy), "10.0.0.1");
        Look();
        Assert.Equal(follows, _peer.Path is not null);
        _peer.Path?.Budget.Tell(1480);
        Look();
        Assert.Empty(_asked);
    }

    [Fact]
    public void Of_one_peer_eight_are_sent_in_a_turn_and_its_next_one_is_due_at_once()
    {
        _udp.Mtu = 9000;
        _keeper = Keeper(MtuPolicy.Auto, "10.0.0.1", mtu: 8940);
        Takes(1500);
        Want(9000);
        Assert.Equal([9000, 1500], _asked.Select(asked => asked.Outer));
        ProbeToken passed = _asked[1].Token;
        _asked.Clear();
        Answer(passed, "10.0.0.2");
        Assert.Equal([4352, 2926, 2212, 1856, 1678, 1588, 1544, 1522], _asked.Select(asked => asked.Outer));
        Assert.True(_a.NextDeadline <= _moment.Now);
        _asked.Clear();
        Look();
        Assert.Equal([1510, 1504], _asked.Select(asked => asked.Outer));
        Assert.True(_a.NextDeadline > _moment.Now);
    }

    // ---- what routers say of them ----

    [Fact]
    public void A_report_about_a_probe_is_believed_for_ten_seconds_without_a_search()
    {
        Want();
        byte[] probe = _whole[0];
        Pass(TimeSpan.FromSeconds(10) - TimeSpan.FromMilliseconds(50));
        GuessHundredTimes();
        Tell(probe, EndpointA, 1400);
        Assert.Equal(1480, _peer.Path!.Budget.OuterMtu);
        Tell(probe, EndpointB, 1400);
        Assert.Equal((1400, MtuOrigin.Icmp), (_peer.Path.Budget.OuterMtu, _peer.Path.Budget.Origin));
    }

    [Fact]
    public void A_report_about_an_older_one_is_searched_for_as_any_other()
    {
        Want();
        byte[] probe = _whole[0];
        Pass(TimeSpan.FromSeconds(11));
        GuessHundredTimes();
        Tell(probe, EndpointB, 1400);
        Assert.Equal(1480, _peer.Path!.Budget.OuterMtu);
        Pass(TimeSpan.FromSeconds(2));
        Tell(probe, EndpointB, 1400);
        Assert.Equal(1400, _peer.Path.Budget.OuterMtu);
    }

    // ---- what is said ----

    [Fact]
    public void What_becomes_of_a_path_is_said_once_each_time_that_it_changes()
    {
        Look();
        Look();
        Assert.Empty(_said);

        _peer.Path!.Mtu.NoteTooBig(1400, _moment.Now);
        Look();
        Look();
        Assert.Equal(["path MTU 1400 (ICMP)"], Said());

        _peer.Path.Mtu.NoteTooBig(1300, _moment.Now);
        Look();
        Assert.Equal(["path MTU 1300 (ICMP)"], Said());

        Assert.True(_peer.Path.NoteFragment(1200));
        Look();
        Assert.Equal(["path MTU 1200 (fragments received)"], Said());

        Takes(1200);
        Want();
        Look();
        Answer(_asked.Last().Token, "10.0.0.2");
        Assert.Equal(["path MTU 1200 (probe)"], Said());
        _udp.Mtu = 1100;
        Look();
        Look();
        Assert.Empty(_said);
    }

    [Fact]
    public void What_is_believed_no_longer_is_said_too()
    {
        _keeper = Keeper(MtuPolicy.ClampOnly, "10.0.0.1");
        Look();
        _peer.Path!.Mtu.NoteTooBig(1400, _moment.Now);
        Look();
        Assert.Equal(["path MTU 1400 (ICMP)"], Said());
        Pass(TimeSpan.FromMinutes(10));
        Look();
        Assert.Equal(["path MTU 1480 (route)"], Said());
    }

    [Fact]
    public void That_fragments_do_not_arrive_is_said_even_where_nothing_else_changes()
    {
        // What is larger than 1400 leaves and is lost, and so is what comes in fragments.
        _udp.Outcome = static run => run.Length + Headers > 1400 ? SendOutcome.Lost : SendOutcome.Sent;
        Takes(1480);
        Instant end = _moment.Now + TimeSpan.FromSeconds(60);
        while (_moment.Now < end)
        {
            Want();
            foreach ((int outer, ProbeToken token) in _asked.ToArray().Where(asked => asked.Outer <= 1400))
            {
                Answer(token, "10.0.0.2");
            }

            _asked.Clear();
            Pass(TimeSpan.FromMilliseconds(100));
        }

        Assert.True(_peer.Path!.Budget.IsHard);
        List<string> said = Said();
        Assert.Equal("path MTU 1400 (probe; fragments do not arrive)", said[^1]);
        Assert.Equal(said.Count, said.Distinct().Count());
        Assert.InRange(said.Count, 1, 2);
    }

    // ---- the rest ----

    private PathKeeper Keeper(MtuPolicy policy, string own, int mtu = TunnelLink.DefaultMtu)
    {
        var link = new TunnelLink(_a, _waiter)
        {
            MtuPolicy = policy,
            Mtu = mtu,
            OwnAddresses = [.. own.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(TunnelPair.Address)],
        };
        TunnelIo io = Io(_tunA);
        return new PathKeeper(io, _a, link, new StagedSender(io, link, new RunSender(_udp, link, new WarningList(_warnings))), _said);
    }

    /// <summary>What the local link takes whole; what is asked for is written down.</summary>
    private void Takes(int outerMtu) => _udp.Whole = datagram =>
    {
        _whole.Add(datagram);
        _asked.Add((datagram.Length + Headers, _peer.Path!.Probes.Tokens[^1]));
        return datagram.Length + Headers <= outerMtu ? SendOutcome.Sent : SendOutcome.TooLarge;
    };

    private void Look() => _keeper.Look(_peer, _moment.Now);

    /// <summary>Data asks for messages of this size.</summary>
    private void Want(int outer = 1480)
    {
        Look();
        _peer.Path!.Budget.Tell(outer);
        Look();
    }

    private void Answer(ProbeToken token, string? speaker)
    {
        _peer.Path!.Probes.NoteAnswer(token, speaker is null ? InetAddress.None : TunnelPair.Address(speaker));
        Look();
    }

    private void Pass(TimeSpan time) => _moment = _moment with { Now = _moment.Now + time };

    private void AllowInstead(string address, int length)
    {
        var configuration = new DeviceConfiguration();
        var peer = new PeerConfiguration { PublicKey = _peer.PublicKey, ReplaceAllowedIps = true };
        peer.AllowedIps.Add(new AllowedIpChange(IpPrefix.Of(TunnelPair.Address(address), length), Remove: false));
        configuration.Peers.Add(peer);
        _a.Apply(configuration, _moment);
    }

    private void GuessHundredTimes()
    {
        byte[] nobodys = new byte[QuotedBytes.Size];
        TransportData.WriteHeader(nobodys, 0x12345678, 9);
        for (int i = 0; i < 100; i++)
        {
            _udp.Reports.Enqueue(Report(nobodys, EndpointB, 1400));
        }

        while (_udp.Reports.Count > 0)
        {
            TakeReports();
        }
    }

    private void Tell(byte[] message, in InetEndpoint remote, int mtu)
    {
        _udp.Reports.Enqueue(Report(message, remote, mtu));
        TakeReports();
    }

    private void TakeReports()
    {
        Pass(TimeSpan.FromMilliseconds(10));
        _udp.HasPathReports = true;
        _keeper.TakeReports(_moment.Now);
    }

    private static PathReport Report(ReadOnlySpan<byte> quote, in InetEndpoint remote, int mtu)
    {
        var report = new PathReport { Kind = PathReportKind.FragmentationNeeded, Mtu = mtu, Remote = remote, QuotedLength = QuotedBytes.Size };
        quote[..QuotedBytes.Size].CopyTo(report.Quote);
        return report;
    }

    /// <summary>What B's kernel is given of what was sent.</summary>
    private List<byte[]> Arrived()
    {
        _tunB.Written.Clear();
        Receive();
        return [.. _tunB.Written];
    }

    private static void AssertEcho(byte[] packet, string source, string destination, byte hopLimit)
    {
        Assert.Equal(44, packet.Length);
        Assert.Equal((8, hopLimit, 1), (packet[20], packet[8], packet[9]));
        Assert.Equal(source, new InetAddress(packet.AsSpan(12, 4)).ToString());
        Assert.Equal(destination, new InetAddress(packet.AsSpan(16, 4)).ToString());
        Assert.Equal(44, BinaryPrimitives.ReadUInt16BigEndian(packet.AsSpan(2)));
    }

    /// <summary>Since the last time, without the peer's name.</summary>
    private List<string> Said()
    {
        var said = _said.Select(static line => line[line.IndexOf("path MTU", StringComparison.Ordinal)..]).ToList();
        _said.Clear();
        return said;
    }

    private sealed class SaidList : List<string>, ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Add(string.Create(CultureInfo.InvariantCulture, $"{formatter(state, exception)}"));
    }
}
