using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Control;

/// <summary>Handshake messages of strangers in the control loop: what they cost, and whom they keep from a session.</summary>
public sealed class ControlLoopStrangersTests : ControlLoopFixture
{
    [Fact]
    public void Whoever_floods_with_the_public_key_gets_cookies_and_the_others_a_session_at_once()
    {
        byte[] flood = Forged(random: 1);
        InetEndpoint stranger = new(TunnelPair.Address("198.51.100.66"), 4711);
        for (int round = 0; round < 50; round++)
        {
            for (int i = 0; i < 1000; i++)
            {
                Receive(flood, stranger);
            }

            if (round == 40)
            {
                Receive(InitiationOf(0), 0);
            }

            _loop.TakeTurn();
            _moment = _moment with { Now = _moment.Now + TimeSpan.FromMilliseconds(1) };
        }

        Assert.Contains(_udp.Sent, sent => sent.Type == MessageType.CookieReply && sent.To == stranger);
        Assert.Contains(_udp.Sent, sent => sent.Type == MessageType.HandshakeResponse && sent.To == EndpointOf(0));
        Assert.DoesNotContain(_udp.Sent, sent => sent.Type == MessageType.CookieReply && sent.To == EndpointOf(0));

        // 50 ms are five windows of 64.
        Assert.InRange(_udp.Sent.Count(sent => sent.Type == MessageType.CookieReply), 64, 6 * 64);
    }

    [Fact]
    public void Whoever_waits_for_a_cookie_wakes_the_loop_when_the_next_ones_are_due()
    {
        for (int i = 0; i < 3000; i++)
        {
            Receive(Forged(i), new InetEndpoint(TunnelPair.Address($"198.51.{i / 250}.{i % 250}"), 4711));
        }

        for (int windows = 1; windows <= 3; windows++)
        {
            _loop.TakeTurn();
            Assert.Equal(64 * windows, _udp.Sent.Count(sent => sent.Type == MessageType.CookieReply));
            Assert.False(_handshakes.IsEmpty);
            Instant next = _moment.Now + TimeSpan.FromMilliseconds(10);
            Assert.Equal(next, _loop.NextDeadline());
            _moment = _moment with { Now = next };
        }
    }

    [Fact]
    public void Handshakes_that_need_no_cookie_use_up_no_cookies()
    {
        // More than there are cookies for in a window, and too few to be a load.
        for (int i = 0; i < 100; i++)
        {
            Receive(Forged(i), new InetEndpoint(TunnelPair.Address($"198.51.100.{i}"), 4711));
        }

        Receive(InitiationOf(0), 0);
        while (_loop.TakeTurn())
        {
            // No time passes.
        }

        Assert.Equal([MessageType.HandshakeResponse], _udp.Sent.Select(sent => sent.Type));
    }

    [Fact]
    public void Strangers_without_the_public_key_are_no_load_and_take_no_place()
    {
        byte[] junk = Forged(random: 2);
        junk[^20] ^= 1;
        for (int i = 0; i < 100_000; i++)
        {
            Receive(junk, new InetEndpoint(TunnelPair.Address("198.51.100.66"), (ushort)i));
        }

        Assert.True(_handshakes.IsEmpty);
        Assert.False(_handshakes.IsUnderLoad(_handshakes.HashOf(new InetEndpoint(TunnelPair.Address("198.51.100.66"), 0)), _moment.Now));
        Receive(InitiationOf(0), 0);
        _loop.TakeTurn();
        Assert.Equal([MessageType.HandshakeResponse], _udp.Sent.Select(sent => sent.Type));
    }

    [Fact]
    public void Answers_from_all_of_a_hubs_peers_at_once_are_taken_without_a_cookie()
    {
        foreach (Peer peer in _hub.Peers)
        {
            _hub.QueueWork(peer, PeerWork.Handshake);
        }

        RunTurns();
        List<byte[]> responses = [.. _udp.Sent.Where(sent => sent.Type == MessageType.HandshakeInitiation).Select(Answer)];
        Assert.Equal(Peers, responses.Count);
        _udp.Sent.Clear();

        // And a flood by somebody who knows the public key, so that the queue is a load as a whole.
        for (int i = 0; i < 3000; i++)
        {
            Receive(Forged(i), new InetEndpoint(TunnelPair.Address($"198.51.{i / 250}.{i % 250}"), 4711));
        }

        for (int i = 0; i < Peers; i++)
        {
            Receive(responses[i], i);
        }

        RunTurns();
        Assert.All(_hub.Peers, peer => Assert.NotNull(peer.Keypairs.Current));
        Assert.DoesNotContain(_udp.Sent, sent => sent.Type == MessageType.CookieReply && Enumerable.Range(0, Peers).Any(i => sent.To == EndpointOf(i)));
        Assert.Contains(_udp.Sent, sent => sent.Type == MessageType.CookieReply);
    }
}
