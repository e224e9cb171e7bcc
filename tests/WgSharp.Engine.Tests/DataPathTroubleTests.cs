using WgSharp.Engine.Tests.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>Both paths where something is forged, refused, lost, or has to wait.</summary>
public sealed class DataPathTroubleTests : DataPathFixture
{
    private static readonly InetEndpoint Elsewhere = new(TunnelPair.Address("198.51.100.66"), 4711);

    private Peer PeerOfA => _a.Peers.First();

    private Peer PeerOfB => _b.Peers.First();

    // ---- in ----

    [Fact]
    public void Only_what_is_genuine_and_new_moves_a_peers_endpoint_and_counts_as_received()
    {
        _tunA.Packets = [TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500)];
        Assert.Equal(1, Cross());
        long received = RxBytes();
        _udp.From = Elsewhere;

        // A replay, then a forgery of a message not seen before, then nothing but a header that names a living keypair.
        _udp.Rewind();
        Assert.Equal(0, Receive());
        Send();
        _udp.Corrupt(100);
        Assert.Equal(0, Receive());
        byte[] bare = new byte[MessageSize.Keepalive];
        bare[0] = (byte)MessageType.TransportData;
        BitConverter.TryWriteBytes(bare.AsSpan(4), PeerOfA.Keypairs.Current!.RemoteIndex);
        BitConverter.TryWriteBytes(bare.AsSpan(8), 1000UL);
        _udp.Put(bare);
        Assert.Equal(0, Receive());
        Assert.Equal(EndpointA, PeerOfB.Endpoint!.Remote);
        Assert.Equal(received, RxBytes());

        Assert.Equal(1, Cross());
        Assert.Equal(Elsewhere, PeerOfB.Endpoint!.Remote);
    }

    [Fact]
    public void Super_packets_that_the_device_refuses_arrive_packet_by_packet_and_in_order()
    {
        Configure(_a, null, PeerOfA.PublicKey, "10.0.0.200", EndpointB);
        List<byte[]> stream = InnerPackets.Stream(new Flow(), 5, 1000, 300, new Random(1));
        byte[] other = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100);
        var warnings = new List<string>();
        var link = new TunnelLink(_b, _waiter);
        var inbound = new InboundPath(
            Io(_tunB), _b, link, new HandshakeScreen(_b, _handshakes, link), InboundPath.CreateCoalescer(TunOffload.All), new WarningList(warnings));
        _tunB.RefusesSuperPackets = true;
        _tunA.Packets = [.. stream, other];
        Send();
        Assert.Equal(6, Receive(inbound));
        Assert.Equal(stream, _tunB.Written.Where(packet => packet[9] == 6));
        Assert.Contains(other, _tunB.Written);

        // Without the refusal they would have been one.
        _tunB.RefusesSuperPackets = false;
        Send();
        Assert.Equal(2, Receive(inbound));
    }

    // ---- out: what has to wait ----

    [Fact]
    public void A_packet_that_comes_while_others_are_staged_waits_behind_them()
    {
        byte[] first = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500, 1);
        byte[] second = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500, 2);
        PeerOfA.Staged.Add(first);
        _tunA.Packets = [second];
        Send();
        Assert.Empty(_udp.RunCounts);
        Assert.Equal(2, PeerOfA.Staged.Count);
        Assert.True(SendStaged());
        Receive();
        Assert.Equal([first, second], _tunB.Written);

        Assert.Equal(1, Cross());
    }

    [Fact]
    public void A_packet_that_comes_while_staged_ones_are_on_their_way_waits_too()
    {
        _tunA.Packets = [TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500)];
        PeerOfA.Staged.BeginDrain();
        Send();
        Assert.Empty(_udp.RunCounts);
        Assert.Equal(1, PeerOfA.Staged.Count);
        PeerOfA.Staged.EndDrain();
        Assert.True(SendStaged());
        Assert.Equal(1, Receive());
    }

    [Fact]
    public void Whoever_stages_beside_a_session_has_it_sent_and_asks_for_no_handshake()
    {
        // As if the session had come between the look at the keypair and the staging: nobody else will send the packet.
        _tunA.Packets = [TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500)];
        PeerOfA.Staged.BeginDrain();
        Send();
        PeerOfA.Staged.EndDrain();
        Assert.True(_a.TryTakeWork(_moment, out Peer peer, out PeerWork work));
        Assert.Same(PeerOfA, peer);
        Assert.Equal(PeerWork.Staged, work & ~PeerWork.Path);
    }

    [Fact]
    public void Padding_of_a_staged_packet_never_crosses_the_budget_of_the_path_either()
    {
        _udp.Mtu = 1359;
        byte[][] packets = [TunnelPair.Packet("10.0.0.1", "10.0.0.2", 1271), TunnelPair.Packet("10.0.0.1", "10.0.0.2", 1272)];
        Assert.All(packets, packet => PeerOfA.Staged.Add(packet));
        Assert.True(SendStaged());
        Assert.Equal([1359 - 28, 1300 + 32], _udp.RunLengths);
        Assert.Equal(2, Receive());
        Assert.Equal(packets, _tunB.Written);
    }

    // ---- out: what is refused or lost ----

    [Fact]
    public void What_the_socket_lost_is_not_counted_as_sent_and_expects_no_answer()
    {
        _tunA.Packets = [TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500)];
        long sent = TxBytes();
        Instant deadline = NextDeadline();
        _udp.Outcome = _ => SendOutcome.Lost;
        Send();
        Assert.Equal(sent, TxBytes());
        Assert.Equal(deadline, NextDeadline());

        // The same packet where it is not lost: it is counted, and after some time without an answer there will be a handshake.
        _udp.Outcome = null;
        Send();
        Assert.Equal(sent + 528 + 32, TxBytes());
        Assert.True(NextDeadline() < deadline);
    }

    [Theory]
    [InlineData(SendOutcome.SourceRefused, SendOutcome.SegmentationRefused)]
    [InlineData(SendOutcome.SegmentationRefused, SendOutcome.SourceRefused)]
    public void A_run_whose_source_and_segmentation_are_both_refused_leaves_at_the_third_attempt(SendOutcome first, SendOutcome second)
    {
        PeerOfA.Learn(EndpointB, TunnelPair.Address("192.0.2.9"), 3);
        List<OutboundRun> attempts = Refuse(first, second);
        _tunA.Packets = [.. Enumerable.Range(0, 3).Select(i => TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500, i))];
        Assert.Equal(3, Cross());
        Assert.Equal(_tunA.Packets, _tunB.Written);
        Assert.Equal([false, first == SendOutcome.SourceRefused, true], attempts.Select(run => run.Endpoint!.Source.IsNone));
        Assert.Equal([false, first == SendOutcome.SegmentationRefused, true], attempts.Select(run => run.Unsegmented));
        Assert.True(PeerOfA.Endpoint!.Source.IsNone);

        // Known from now on.
        attempts.Clear();
        Assert.Equal(3, Cross());
        Assert.Equal([true], attempts.Select(run => run.Unsegmented));
    }

    [Fact]
    public void A_run_that_is_refused_for_ever_is_given_up_after_three_attempts()
    {
        PeerOfA.Learn(EndpointB, TunnelPair.Address("192.0.2.9"), 3);
        List<OutboundRun> attempts = Refuse(Enumerable.Repeat(SendOutcome.SegmentationRefused, 100).ToArray());
        long sent = TxBytes();
        _tunA.Packets = [TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500)];
        Send();
        Assert.Equal(3, attempts.Count);
        Assert.Equal(sent, TxBytes());
    }

    /// <summary>The first attempts end so, all others succeed.</summary>
    /// <returns>What was attempted so far.</returns>
    private List<OutboundRun> Refuse(params SendOutcome[] outcomes)
    {
        var attempts = new List<OutboundRun>();
        var left = new Queue<SendOutcome>(outcomes);
        _udp.Outcome = run =>
        {
            attempts.Add(run);
            return left.TryDequeue(out SendOutcome outcome) ? outcome : SendOutcome.Sent;
        };
        return attempts;
    }

    private bool SendStaged()
    {
        _udp.RunCounts.Clear();
        _udp.RunLengths.Clear();
        return _staged.SendStaged(PeerOfA, _moment.Now);
    }

    private long TxBytes() => _a.Snapshot().Peers.Single().TxBytes;

    private long RxBytes() => _b.Snapshot().Peers.Single().RxBytes;

    /// <summary>A's, after everything that was to be done for peers has been taken.</summary>
    private Instant NextDeadline()
    {
        while (_a.TryTakeWork(_moment, out _, out _))
        {
            // Looked at by being taken.
        }

        return _a.NextDeadline;
    }
}
