using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Outbound;

/// <summary>What a batch leaves behind when it has been sent, staged or refused: what was leased is given back, and nobody is held on to.</summary>
public sealed class RunSenderTests : DataPathFixture
{
    private static readonly byte[] Data = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500);

    private Peer Peer => _a.Peers.First();

    [Fact]
    public void A_run_that_there_are_no_counters_for_gives_its_keypair_back()
    {
        Keypair keypair = Peer.Keypairs.Current!;
        keypair.SetSendCounter(Limits.RejectAfterMessages - 1);
        _tunA.Packets = [Data, Data];
        Send();
        Assert.Empty(_udp.RunCounts);
        Assert.Equal(2, Peer.Staged.Count);
        AssertWipedWithTheLink(keypair);
    }

    [Fact]
    public void So_does_one_that_was_sent_and_one_that_was_lost()
    {
        Keypair keypair = Peer.Keypairs.Current!;
        _tunA.Packets = [Data];
        Send();
        _udp.Outcome = _ => SendOutcome.Lost;
        Send();
        AssertWipedWithTheLink(keypair);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void So_does_a_probe(bool whole)
    {
        Keypair keypair = Peer.Keypairs.Current!;
        _udp.Whole = _ => SendOutcome.TooLarge;
        Probe(Peer.Endpoint!, whole);
        AssertWipedWithTheLink(keypair);
    }

    [Fact]
    public void Of_runs_that_were_sent_or_staged_the_batch_holds_on_to_nobody()
    {
        _tunA.Packets = [Data];
        Send();
        AssertHoldsNobody();

        Peer.Staged.BeginDrain();
        Send();
        Peer.Staged.EndDrain();
        Assert.Equal(1, Peer.Staged.Count);
        AssertHoldsNobody();
    }

    [Fact]
    public void Only_a_probe_that_left_counts_as_sent()
    {
        long before = TxBytes();
        _udp.Outcome = _ => SendOutcome.Lost;
        Assert.Equal(SendOutcome.Lost, Probe(Peer.Endpoint!, whole: false));
        Assert.Equal(before, TxBytes());

        _udp.Outcome = null;
        Assert.Equal(SendOutcome.Sent, Probe(Peer.Endpoint!, whole: false));
        Assert.Equal(before + Data.Length + MessageSize.TransportOverhead, TxBytes());
    }

    [Fact]
    public void A_probe_whose_session_has_ended_meanwhile_is_lost_and_leaves_nothing_in_the_batch()
    {
        var link = new TunnelLink(_a, _waiter);
        var sender = new RunSender(_udp, link, new WarningList(_warnings));
        var batch = new PacketBatch(64 * 1024, packets: 1, frames: 0, trains: 0) { PacketCount = 1 };
        batch.Packets[0] = new AeadPacket { Offset = MessageSize.TransportHeader, Length = 96 };
        OutboundRuns.Append(batch, 0, new FrameRoute(Peer, Peer.Endpoint!), link.Refusals, _moment.Now);
        Peer.Keypairs.Current!.SetSendCounter(Limits.RejectAfterMessages);
        Assert.Equal(SendOutcome.Lost, sender.SendProbe(batch, dontFragment: false, _moment.Now, new byte[MessageSize.TransportHeader]));
        Assert.Equal((0, 0), (batch.PacketCount, batch.RunCount));
        Assert.Empty(_udp.RunCounts);
    }

    [Fact]
    public void A_probe_does_not_wait_for_what_is_staged()
    {
        Peer.Staged.Add(Data);
        Assert.True(Peer.Staged.ComeFirst);
        Assert.Equal(SendOutcome.Sent, Probe(Peer.Endpoint!, whole: false));
    }

    [Theory]
    [InlineData("192.0.2.2", 0)] // routers fragment
    [InlineData("2001:db8::2", 1280 - 8)]
    public void Whether_fragments_pass_is_asked_with_such_as_any_path_takes(string remote, int fragmentAt)
    {
        var seen = new List<int>();
        _udp.Outcome = run =>
        {
            seen.Add(run.FragmentAt);
            return SendOutcome.Sent;
        };
        Probe(new Endpoint(new InetEndpoint(TunnelPair.Address(remote), 2222)), whole: false);
        Assert.Equal([fragmentAt], seen);
    }

    [Fact]
    public void A_path_that_refuses_segmentation_is_told_of_once()
    {
        _udp.Outcome = run => run.Unsegmented ? SendOutcome.Sent : SendOutcome.SegmentationRefused;
        _tunA.Packets = [Data, Data];
        Send();
        Send();
        Assert.Contains("192.0.2.2:2222 at 560 bytes", Assert.Single(_warnings), StringComparison.Ordinal);
    }

    private SendOutcome Probe(Endpoint endpoint, bool whole)
    {
        int outerSize = PathBudget.OuterSize(Data.Length, endpoint.Remote.Address.IsIPv6);
        return _staged.SendProbe(Peer, endpoint, Data, outerSize, dontFragment: whole, _moment.Now, new byte[MessageSize.TransportHeader]);
    }

    private long TxBytes() => _a.Snapshot().Peers.Single().TxBytes;

    private void AssertHoldsNobody() => Assert.All(_out.OutboundRuns, run => Assert.Null(run.Peer ?? (object?)run.Keypair));

    /// <summary>Nobody has a lease but the peer, who gives it back with the link.</summary>
    private void AssertWipedWithTheLink(Keypair keypair)
    {
        Assert.False(keypair.IsWiped);
        _a.LinkDown();
        Assert.True(keypair.IsWiped);
    }
}
