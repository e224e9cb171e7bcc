using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>What whole tunnels learn of the paths between them, and what comes of it.</summary>
public sealed class PathTests
{
    public static TheoryData<bool, bool> Kinds => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    // ---- learning ----

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_narrow_path_is_found_by_probes_within_ten_seconds_of_traffic(bool isIPv6, bool forwards)
    {
        using var pair = new PathPair(isIPv6: isIPv6, forwards: forwards);
        pair.Narrow(1400);
        Assert.InRange(pair.SecondsUntil(() => pair.Budget.OuterMtu == 1400, atMost: 10), 0, 10);
        Assert.Equal(MtuOrigin.Probe, pair.Budget.Origin);
        Assert.False(pair.Budget.IsHard && !isIPv6);

        // The next large packet is told of; from then on nothing is fragmented any more.
        pair.Run(0.5);
        int before = pair.Wire.FragmentedCount;
        int received = pair.HostB.ReceivedCount;
        int sent = pair.HostA.SentCount;
        pair.Run(8);
        Assert.Equal(before, pair.Wire.FragmentedCount);
        Assert.Equal(pair.HostA.SentCount - sent, pair.HostB.ReceivedCount - received);
        Assert.Equal(1400 - (isIPv6 ? 80 : 60), pair.HostA.Told4);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void It_is_known_at_once_where_the_router_says_so(bool isIPv6, bool forwards)
    {
        using var pair = new PathPair(isIPv6: isIPv6, forwards: forwards);
        pair.Narrow(1388, tells: true);
        Assert.InRange(pair.SecondsUntil(() => pair.Budget.OuterMtu == 1388, atMost: 1), 0, 0.3);
        pair.Run(10);
        Assert.Equal((1388, MtuOrigin.Probe), (pair.Budget.OuterMtu, pair.Budget.Origin));
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void A_forwarding_peer_may_answer_by_either_way(bool sendsBack, bool saysTimeExceeded)
    {
        using var pair = new PathPair(forwards: true);
        pair.HostB.SendsBack = sendsBack;
        pair.HostB.SaysTimeExceeded = saysTimeExceeded;
        pair.Narrow(1400);
        pair.Run(15);
        Assert.Equal(sendsBack || saysTimeExceeded ? (1400, MtuOrigin.Probe) : (1500, MtuOrigin.Route), (pair.Budget.OuterMtu, pair.Budget.Origin));
    }

    [Fact]
    public void A_path_as_wide_as_the_link_takes_one_probe_in_ten_seconds()
    {
        using var pair = new PathPair();
        pair.Run(5);
        Assert.Equal((1500, MtuOrigin.Probe), (pair.Budget.OuterMtu, pair.Budget.Origin));
        int before = pair.HostB.EchoRequests;
        pair.Run(60);
        Assert.InRange(pair.HostB.EchoRequests - before, 0, 7);
    }

    [Fact]
    public void Without_large_packets_and_without_traffic_there_are_no_probes()
    {
        using var pair = new PathPair();
        pair.Run(30, () => pair.HostA.Send(400, isIPv6: false));
        Assert.Equal(0, pair.HostB.EchoRequests);
        pair.Run(5);
        int before = pair.HostB.EchoRequests;
        Assert.NotEqual(0, before);
        pair.Wire.AdvanceSeconds(100);
        Assert.Equal(before, pair.HostB.EchoRequests);
    }

    [Theory]
    [InlineData(nameof(MtuPolicy.ClampOnly))]
    [InlineData(nameof(MtuPolicy.Kernel))]
    public void Without_the_policy_for_it_there_are_none_ever(string policy)
    {
        using var pair = new PathPair(policy: Enum.Parse<MtuPolicy>(policy));
        pair.Narrow(1400, tells: true);
        pair.Run(30);
        Assert.Equal(0, pair.HostB.EchoRequests);
        Assert.Equal(pair.HostA.SentCount, pair.HostB.ReceivedCount);
        Assert.Equal(int.MaxValue, pair.HostA.Told4);
    }

    [Fact]
    public void The_other_end_learns_from_fragments_without_sending_anything_large()
    {
        using var pair = new PathPair();
        pair.B.KnowOwnAddresses(); // B cannot probe
        pair.Back = new VirtualHop { Mtu = 1400 };
        pair.HostA.Send(100, isIPv6: false);
        pair.HostB.Send(1500, isIPv6: false);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal(1396, pair.Budget.InboundMtu);
    }

    // ---- black holes ----

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_black_hole_is_recognised_within_15_seconds_and_then_traffic_works(bool isIPv6, bool forwards)
    {
        using var pair = new PathPair(isIPv6: isIPv6, forwards: forwards);
        pair.Narrow(1400, passesFragments: false);
        void Send()
        {
            pair.HostA.Send(1500, isIPv6: false);
            pair.HostA.Send(1500, isIPv6: true);
            pair.HostA.Send(1500, isIPv6: false, dontFragment: false);
        }

        Assert.InRange(pair.SecondsUntil(() => pair.Budget.IsHard, atMost: 15, Send), 0, 15);
        Assert.Equal(1400, pair.Budget.OuterMtu);
        pair.Run(1, Send);
        int received = pair.HostB.ReceivedCount;
        int sent = pair.HostA.SentCount;
        pair.Run(20, Send);
        Assert.Equal(pair.HostA.SentCount - sent, pair.HostB.ReceivedCount - received);
        Assert.True(pair.HostB.ReassembledCount > 0);

        // It ends: within the time of a new search all is as wide as it was.
        pair.Narrow(1500);
        pair.SecondsUntil(() => pair.Budget is { OuterMtu: 1500, IsHard: false }, atMost: 700, Send);
    }

    [Fact]
    public void Where_nothing_at_all_arrives_no_verdict_falls()
    {
        using var pair = new PathPair();
        pair.Narrow(100, passesFragments: false);
        pair.Run(60);
        Assert.False(pair.Budget.IsHard);
        Assert.Equal(1500, pair.Budget.OuterMtu);
    }

    // ---- changes ----

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_path_that_shrinks_and_grows_during_traffic_loses_nothing_and_is_followed(bool tells, bool forwards)
    {
        using var pair = new PathPair(forwards: forwards);
        pair.Run(10);
        Assert.Equal(1500, pair.Budget.OuterMtu);
        pair.Narrow(1400, tells: tells);
        pair.SecondsUntil(() => pair.Budget.OuterMtu == 1400, atMost: 20);
        pair.Narrow(1300, tells: tells);
        pair.SecondsUntil(() => pair.Budget.OuterMtu is <= 1300 and > 1292, atMost: 45);
        pair.Narrow(1500, tells: tells);
        pair.SecondsUntil(() => pair.Budget.OuterMtu == 1500, atMost: 700);
        Assert.Equal(pair.HostA.SentCount, pair.HostB.ReceivedCount);
    }

    [Fact]
    public void A_route_that_changes_is_followed_at_once()
    {
        using var pair = new PathPair();
        pair.Run(5);
        pair.A.Udp.LinkMtu = 1280;
        pair.SecondsUntil(() => pair.Budget.OuterMtu == 1280, atMost: 4);
        pair.A.Udp.LinkMtu = 1500;
        pair.SecondsUntil(() => pair.Budget.OuterMtu == 1500, atMost: 4);
        Assert.Equal(pair.HostA.SentCount, pair.HostB.ReceivedCount);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Whoever_roams_has_another_path(bool midSearch)
    {
        using var pair = new PathPair();
        pair.Narrow(1400, passesFragments: false);
        if (!midSearch)
        {
            pair.SecondsUntil(() => pair.Budget.IsHard, atMost: 15);
        }
        else
        {
            pair.Run(0.1);
        }

        // Answers to what was asked there still come, and say nothing about here.
        pair.B.Address = PathPair.At(false, 77);
        pair.Narrow(1500);
        pair.HostB.Send(100, isIPv6: false);
        pair.Wire.AdvanceSeconds(0.02);
        pair.HostA.Send(100, isIPv6: false);
        pair.Wire.AdvanceSeconds(0.2);
        Assert.Equal((1500, false), (pair.Budget.OuterMtu, pair.Budget.IsHard));
        pair.Run(2, () => pair.HostA.Send(1440, isIPv6: false));
        Assert.Equal((1500, MtuOrigin.Probe), (pair.Budget.OuterMtu, pair.Budget.Origin));
    }

    // ---- forged ----

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Forged_reports_change_nothing(bool isIPv6)
    {
        using var pair = new PathPair(isIPv6: isIPv6);
        pair.Wire.KeepsSeen = true;
        pair.Run(15);
        Assert.Equal((1500, MtuOrigin.Probe), (pair.Budget.OuterMtu, pair.Budget.Origin));
        pair.Wire.Seen.Clear();
        var random = new Random(5);
        void Forge()
        {
            pair.HostA.Send(1500, isIPv6: false);
            pair.HostA.Send(600, isIPv6: false);

            // Of data that really left, of data with another counter, of anything; without a quote, and of another endpoint.
            foreach (Datagram datagram in pair.Wire.Seen.Where(d => d.From == pair.A.Address && !d.DontFragment).TakeLast(3).ToArray())
            {
                pair.A.ArriveReport(Report(datagram.Bytes, pair.B.Address, 1280));
                byte[] changed = [.. datagram.Bytes];
                changed[8 + random.Next(3)] ^= (byte)random.Next(1, 256);
                pair.A.ArriveReport(Report(changed, pair.B.Address, 1300));
            }

            byte[] junk = new byte[64];
            random.NextBytes(junk);
            pair.A.ArriveReport(Report(junk, pair.B.Address, random.Next(1280, 1500)));
            pair.A.ArriveReport(Report([], pair.B.Address, 1280));
            foreach (Datagram probe in pair.Wire.Seen.Where(d => d.From == pair.A.Address && d.DontFragment).TakeLast(2).ToArray())
            {
                pair.A.ArriveReport(Report(probe.Bytes[..8], pair.B.Address, 1280));
                pair.A.ArriveReport(Report(probe.Bytes, PathPair.At(isIPv6, 9), 1280));
            }
        }

        // The kernel believes ICMP over IPv6: that is its business, and told by its route's MTU. Not here.
        pair.A.Udp.Believes = false;
        pair.Run(60, Forge);
        Assert.Equal((1500, MtuOrigin.Probe, false), (pair.Budget.OuterMtu, pair.Budget.Origin, pair.Budget.IsHard));
        Assert.Equal(isIPv6 ? 1420 : 1440, pair.HostA.Told4);
        Assert.Equal(pair.HostA.SentCount, pair.HostB.ReceivedCount);
    }

    [Fact]
    public void Where_nobody_answers_a_report_is_believed_that_quotes_a_probe_and_no_other()
    {
        using var pair = new PathPair();
        pair.Wire.KeepsSeen = true;
        pair.HostB.AnswersEcho = false;
        pair.Run(2);
        byte[] probe = pair.Wire.Seen.Last(d => d.From == pair.A.Address && d.DontFragment).Bytes;
        byte[] other = [.. probe];
        other[8] ^= 0x40;
        pair.A.ArriveReport(Report(other, pair.B.Address, 1300));
        pair.A.ArriveReport(Report(probe[..12], pair.B.Address, 1300));
        pair.A.ArriveReport(Report(probe, PathPair.At(false, 9), 1300));
        pair.Run(1);
        Assert.Equal((1500, MtuOrigin.Route), (pair.Budget.OuterMtu, pair.Budget.Origin));
        pair.A.ArriveReport(Report(probe, pair.B.Address, 1300));
        pair.Run(1);
        Assert.Equal((1300, MtuOrigin.Icmp), (pair.Budget.OuterMtu, pair.Budget.Origin));
    }

    [Fact]
    public void A_genuine_quote_with_a_lie_does_not_lower_what_was_confirmed_but_asks()
    {
        using var pair = new PathPair();
        pair.Wire.KeepsSeen = true;
        pair.Run(15);
        Datagram probe = pair.Wire.Seen.Last(d => d.From == pair.A.Address && d.DontFragment);
        int asked = pair.HostB.EchoRequests;
        pair.A.ArriveReport(Report(probe.Bytes, pair.B.Address, 1280));
        pair.Run(2);
        Assert.True(pair.HostB.EchoRequests > asked);
        Assert.Equal((1500, MtuOrigin.Probe), (pair.Budget.OuterMtu, pair.Budget.Origin));
        Assert.Equal(1440, pair.HostA.Told4);
    }

    // ---- timers, links, peers ----

    [Fact]
    public void A_probe_that_nobody_answers_is_no_reason_for_a_handshake()
    {
        using var pair = new PathPair();
        pair.Wire.KeepsSeen = true;
        pair.Wire.Fate = (datagram, _) => datagram.DontFragment || datagram.OuterSize > 1000 ? [] : [VirtualWire.Latency];
        long before = pair.A.Snapshot.TxBytes;
        pair.Run(0.3, () => pair.HostA.Send(600, isIPv6: false));
        pair.Wire.AdvanceSeconds(60);
        Assert.Equal(pair.Wire.Seen.Where(d => d.From == pair.A.Address).Sum(d => d.Bytes.Length), pair.A.Snapshot.TxBytes - before);
        Assert.InRange(pair.Wire.Seen.Count(d => d.DontFragment), 6, 30);
        Assert.Equal(0, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
        Assert.Equal(0, pair.Wire.Count(MessageType.HandshakeInitiation, pair.B));
    }

    [Fact]
    public void Probes_keep_no_session_alive_and_ask_for_none()
    {
        using var pair = new PathPair();
        pair.Wire.KeepsSeen = true;
        pair.Narrow(1400);
        pair.Run(0.2);
        pair.Wire.Seen.Clear();
        pair.Wire.AdvanceSeconds(600);
        Assert.Equal(0, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A) + pair.Wire.Count(MessageType.HandshakeInitiation, pair.B));
        Assert.True(pair.A.NextDeadline > pair.Wire.Now);
    }

    [Fact]
    public void A_link_that_goes_down_forgets_and_finds_again()
    {
        using var pair = new PathPair();
        pair.Narrow(1400);
        pair.Run(1.1);
        pair.A.LinkDown();
        pair.Wire.AdvanceSeconds(5);
        Assert.Null(pair.A.Peer.Path);
        pair.A.LinkUp(1500);
        pair.SecondsUntil(() => pair.Budget.OuterMtu == 1400, atMost: 12);
        Assert.Equal(MtuOrigin.Probe, pair.Budget.Origin);
    }

    [Fact]
    public void A_peer_may_be_removed_while_its_probes_are_under_way_and_come_back()
    {
        using var pair = new PathPair();
        pair.Wire.KeepsSeen = true;
        pair.Narrow(1400, tells: true);
        pair.HostA.Send(1500, isIPv6: false);
        pair.HostA.Send(1500, isIPv6: false);
        Assert.Contains(pair.Wire.Seen, d => d.DontFragment);
        pair.A.Configure(pair.B.PublicKey, peer => peer.Remove = true);
        int before = pair.Wire.Seen.Count(d => d.From == pair.A.Address);
        pair.Wire.AdvanceSeconds(100);
        Assert.Empty(pair.A.Device.Peers);
        Assert.Equal(before, pair.Wire.Seen.Count(d => d.From == pair.A.Address));
        Assert.True(pair.A.NextDeadline > pair.Wire.Now);

        PathPair.Introduce(pair.A, pair.B, [PathPair.Prefix("10.0.0.2", 32)]);
        pair.SecondsUntil(() => pair.Budget.OuterMtu == 1400, atMost: 12);
    }

    [Fact]
    public void An_interface_without_addresses_learns_from_fragments_alone_and_begins_to_probe_when_it_gets_one()
    {
        using var pair = new PathPair();
        pair.A.KnowOwnAddresses();
        pair.Narrow(1400);
        pair.Run(20);
        Assert.Equal(0, pair.HostB.EchoRequests);
        Assert.Equal((1500, MtuOrigin.Route), (pair.Budget.OuterMtu, pair.Budget.Origin));
        pair.A.KnowOwnAddresses(TunnelPair.Address("fd00::1"));
        pair.SecondsUntil(() => pair.Budget.OuterMtu == 1400, atMost: 12);
    }

    [Fact]
    public void A_peer_that_cannot_be_asked_is_when_its_allowed_IPs_name_its_address()
    {
        using var pair = new PathPair(forwards: true);
        pair.HostB.SendsBack = pair.HostB.SaysTimeExceeded = false;
        pair.A.Configure(pair.B.PublicKey, peer =>
        {
            peer.ReplaceAllowedIps = true;
            peer.AllowedIps.Add(new AllowedIpChange(PathPair.Prefix("10.0.0.2", 31), Remove: false));
        });
        pair.Narrow(1400);
        pair.Run(20);
        Assert.Equal((1500, MtuOrigin.Route), (pair.Budget.OuterMtu, pair.Budget.Origin));
        pair.A.Configure(pair.B.PublicKey, peer => peer.AllowedIps.Add(new AllowedIpChange(PathPair.Prefix("10.0.0.2", 32), Remove: false)));
        pair.SecondsUntil(() => pair.Budget.OuterMtu == 1400, atMost: 12);
    }

    // ---- anything ----

    /// <summary>Any wire: the budget ends at what passes, or less than a step below; nothing is lost that DF clear would have carried; nothing leaks.</summary>
    [Theory]
    [MemberData(nameof(Seeds))]
    public void Any_wire_is_found_out(int seed)
    {
        var random = new Random(seed);
        bool isIPv6 = random.Next(3) == 0;
        using var pair = new PathPair(seed, isIPv6, forwards: random.Next(2) == 0);
        bool passesFragments = random.Next(3) > 0;
        bool tells = random.Next(3) == 0;
        double loss = random.Next(3) == 0 ? 0.02 : 0;
        int floor = isIPv6 ? PathMtu.FloorIPv6 : PathMtu.FloorIPv4;
        pair.Wire.Fate = (_, _) => random.NextDouble() < loss ? [] : [VirtualWire.Latency];
        pair.A.Interleaving = pair.B.Interleaving = random.Next(2) * 0.3;
        void Send()
        {
            pair.HostA.Send(random.Next(700, 1501), isIPv6: false, dontFragment: random.Next(2) == 0);
            pair.HostA.Send(1500, isIPv6: true);
            pair.HostB.Send(random.Next(100, 1501), isIPv6: random.Next(2) == 0);
        }

        int mtu = random.Next(floor, 1501);
        pair.There = new VirtualHop { Mtu = mtu, PassesFragments = passesFragments, Tells = tells };
        pair.Back = new VirtualHop { Mtu = random.Next(Math.Max(floor, 1280), 1501), PassesFragments = passesFragments, Tells = tells };
        pair.Run(loss > 0 ? 120 : 60, Send);
        string what = $"{mtu} {isIPv6} {passesFragments} {tells} {loss}: {pair.Budget.OuterMtu} by {pair.Budget.Origin}";
        Assert.True(pair.Budget.OuterMtu <= mtu && pair.Budget.OuterMtu > mtu - 8, what);
        if (loss == 0 && passesFragments && !isIPv6)
        {
            pair.Wire.AdvanceSeconds(1);
            Assert.Equal(pair.HostA.SentCount, pair.HostB.ReceivedCount);
            Assert.Equal(pair.HostB.SentCount, pair.HostA.ReceivedCount);
            Assert.False(pair.Budget.IsHard, what);
        }
    }

    public static TheoryData<int> Seeds => [.. Enumerable.Range(1, 40)];

    private static PathReport Report(byte[] quoted, InetEndpoint remote, int mtu)
    {
        var report = new PathReport
        {
            Kind = remote.Address.IsIPv6 ? PathReportKind.PacketTooBig : PathReportKind.FragmentationNeeded,
            Mtu = mtu,
            Remote = remote,
            QuotedLength = Math.Min(quoted.Length, QuotedBytes.Size),
        };
        quoted.AsSpan(0, report.QuotedLength).CopyTo(report.Quote);
        return report;
    }
}
