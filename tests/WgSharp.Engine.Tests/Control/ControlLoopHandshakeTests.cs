using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Control;

/// <summary>What the control loop sends for a session: initiations, how often, and what confirms it.</summary>
public sealed class ControlLoopHandshakeTests : ControlLoopFixture
{
    [Fact]
    public void A_session_that_we_began_is_confirmed_at_once_by_what_is_staged_or_else_by_a_keepalive()
    {
        Peer[] peers = [.. _hub.Peers.Take(2)];
        Assert.All(peers, peer => _hub.QueueWork(peer, PeerWork.Handshake));
        peers[1].Staged.Add(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100));
        _loop.TakeTurn();
        List<Sent> initiations = [.. _udp.Sent];
        Assert.All(initiations, sent => Assert.Equal(MessageType.HandshakeInitiation, sent.Type));
        _udp.Sent.Clear();
        Assert.All(initiations, initiation => Receive(Answer(initiation), initiation.To));
        _loop.TakeTurn();
        Assert.Equal(
            [(EndpointOf(0), MessageSize.Keepalive), (EndpointOf(1), 128 + MessageSize.Keepalive)],
            _udp.Sent.Where(sent => sent.Type == MessageType.TransportData).Select(sent => (sent.To, sent.Bytes.Length)));
    }

    [Fact]
    public void A_handshake_message_whose_source_is_refused_leaves_without_it_and_counts_once()
    {
        Peer peer = _hub.Peers.First();
        peer.Learn(EndpointOf(0), TunnelPair.Address("192.0.2.9"), 3);
        _udp.RefusesSources = true;
        _hub.QueueWork(peer, PeerWork.Handshake);
        _loop.TakeTurn();
        Assert.Equal([MessageType.HandshakeInitiation], _udp.Sent.Select(sent => sent.Type));
        Assert.True(peer.Endpoint!.Source.IsNone);
        Assert.Equal(MessageSize.HandshakeInitiation, _hub.Snapshot().Peers[0].TxBytes);
    }

    [Fact]
    public void A_handshake_message_that_was_lost_counts_no_bytes()
    {
        _udp.LosesHandshakes = true;
        _hub.QueueWork(_hub.Peers.First(), PeerWork.Handshake);
        _loop.TakeTurn();
        Assert.Single(_udp.Sent);
        Assert.Equal(0, _hub.Snapshot().Peers[0].TxBytes);
    }

    [Fact]
    public void Whoever_asks_for_a_session_and_has_staged_something_gets_one_initiation()
    {
        Peer peer = _hub.Peers.First();
        peer.Staged.Add(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100));
        _hub.QueueWork(peer, PeerWork.Handshake | PeerWork.Staged);
        _loop.TakeTurn();
        Assert.Equal([MessageType.HandshakeInitiation], _udp.Sent.Select(sent => sent.Type));
    }

    [Fact]
    public void Where_nobody_answers_an_initiation_is_repeated_nineteen_times_and_so_often_again_once_somebody_asks()
    {
        Peer peer = _hub.Peers.First();
        _hub.QueueWork(peer, PeerWork.Handshake);
        RunOver(waits: 60);
        Assert.Equal(1 + 19, _udp.Sent.Count);

        _udp.Sent.Clear();
        _hub.QueueWork(peer, PeerWork.Handshake);
        RunOver(waits: 8);
        Assert.Equal(1 + 8, _udp.Sent.Count);
        _hub.QueueWork(peer, PeerWork.Handshake);
        RunOver(waits: 60);
        Assert.Equal(1 + 8 + 19, _udp.Sent.Count);
        Assert.All(_udp.Sent, sent => Assert.Equal((MessageType.HandshakeInitiation, EndpointOf(0)), (sent.Type, sent.To)));
    }

    [Fact]
    public void A_handshake_message_that_waits_when_the_link_goes_down_is_not_answered_when_it_is_up_again()
    {
        Receive(InitiationOf(0), 0);
        Assert.False(_handshakes.IsEmpty);
        _loop.LinkChanged(up: false, 1420, _moment);
        _loop.LinkChanged(up: true, 1420, _moment);
        _loop.TakeTurn();
        Assert.Empty(_udp.Sent);
    }
}
