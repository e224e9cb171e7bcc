namespace WgSharp.Protocol.Tests;

/// <summary>mac1, mac2 and cookie replies: what a responder under load asks for, and what an initiator does about it.</summary>
public sealed class CookieTests
{
    [Fact]
    public void Under_load_the_responder_answers_with_a_cookie_and_the_retry_that_carries_it_is_accepted()
    {
        var pair = new DevicePair();
        pair.B.UnderLoad = true;
        Assert.Equal(HandshakeOutcome.CookieReply, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(0, pair.B.Device.IndexCount);
        Assert.Null(pair.B.Peer.Endpoint);
        Assert.Equal(HandshakeOutcome.CookieStored, pair.A.Handle(pair.B.Reply, pair.B.Address));

        byte[] retry = Retry(pair.A, pair);
        Assert.True(WireMessage.HasCookie(retry));
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(retry, pair.A.Address));
    }

    [Fact]
    public void Under_load_the_initiator_asks_the_responder_for_the_same()
    {
        var pair = new DevicePair();
        pair.A.UnderLoad = true;
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(HandshakeOutcome.CookieReply, pair.A.Handle(pair.B.Reply, pair.B.Address));
        Assert.Equal(HandshakeOutcome.CookieStored, pair.B.Handle(pair.A.Reply, pair.A.Address));

        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(Retry(pair.A, pair), pair.A.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
    }

    [Fact]
    public void Both_under_load_still_find_a_session()
    {
        var pair = new DevicePair();
        pair.A.UnderLoad = true;
        pair.B.UnderLoad = true;
        Assert.Equal(HandshakeOutcome.CookieReply, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(HandshakeOutcome.CookieStored, pair.A.Handle(pair.B.Reply, pair.B.Address));
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(Retry(pair.A, pair), pair.A.Address));
        Assert.Equal(HandshakeOutcome.CookieReply, pair.A.Handle(pair.B.Reply, pair.B.Address));
        Assert.Equal(HandshakeOutcome.CookieStored, pair.B.Handle(pair.A.Reply, pair.A.Address));
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(Retry(pair.A, pair), pair.A.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
    }

    [Fact]
    public void A_cookie_is_worth_nothing_from_another_address_or_port()
    {
        var pair = new DevicePair();
        pair.B.UnderLoad = true;
        pair.B.Handle(pair.A.Initiation(), pair.A.Address);
        pair.A.Handle(pair.B.Reply, pair.B.Address);
        byte[] initiation = Retry(pair.A, pair);
        InetEndpoint home = pair.A.Address;
        Assert.Equal(HandshakeOutcome.CookieReply, pair.B.Handle(initiation, home with { Port = 4711 }));
        Assert.Equal(HandshakeOutcome.CookieReply, pair.B.Handle(initiation, DevicePair.At("192.0.2.9", home.Port)));
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(initiation, home));
    }

    [Fact]
    public void A_cookie_is_used_for_115_seconds_and_accepted_for_120()
    {
        using var checker = new CookieChecker(new SeededRandom(1).Fill);
        using var maker = new CookieMaker(default);
        checker.SetPublicKey(default);
        InetEndpoint source = DevicePair.At("192.0.2.1", 7);
        Instant began = new(1_000_000_000);
        byte[] message = NewMessage();
        byte[] reply = new byte[64];
        maker.AddMacs(message, began);
        checker.CreateReply(message, 1, source, began, reply);
        Assert.True(Consume(maker, reply, began));

        Instant late = began + TimeSpan.FromSeconds(114.9);
        maker.AddMacs(message, late);
        Assert.Equal(MacVerdict.Valid, checker.Check(message, source, underLoad: true, late));
        byte[] withoutCookie = NewMessage();
        maker.AddMacs(withoutCookie, began + TimeSpan.FromSeconds(115));
        Assert.False(withoutCookie.AsSpan(132).ContainsAnyExcept((byte)0));
        Assert.Equal(MacVerdict.Valid, checker.Check(message, source, underLoad: true, began + TimeSpan.FromSeconds(119.9)));
        Assert.Equal(MacVerdict.ValidWithoutCookie, checker.Check(message, source, underLoad: true, began + TimeSpan.FromSeconds(120)));
    }

    [Fact]
    public void Without_a_right_mac1_there_is_no_cookie_reply()
    {
        var pair = new DevicePair();
        pair.B.UnderLoad = true;
        byte[] initiation = pair.A.Initiation();
        for (int i = 0; i < initiation.Length - 16; i++)
        {
            initiation[i] ^= 0x40;
            Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(initiation, pair.A.Address));
            initiation[i] ^= 0x40;
        }

        Assert.Equal(HandshakeOutcome.CookieReply, pair.B.Handle(initiation, pair.A.Address));
    }

    [Fact]
    public void A_wrong_mac2_does_not_matter_without_load()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        initiation[^1] ^= 1;
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(initiation, pair.A.Address));
    }

    [Fact]
    public void Five_messages_at_once_and_twenty_a_second_pass_with_a_right_mac2()
    {
        using var checker = new CookieChecker(new SeededRandom(1).Fill);
        using var maker = new CookieMaker(default);
        checker.SetPublicKey(default);
        InetEndpoint source = DevicePair.At("2001:db8::1", 7);
        InetEndpoint neighbour = DevicePair.At("2001:db8::2", 7);
        Instant now = new(1_000_000_000);
        byte[] message = NewMessage();
        maker.AddMacs(message, now);
        Assert.Equal(MacVerdict.ValidWithoutCookie, checker.Check(message, source, underLoad: true, now));
        byte[] reply = new byte[64];
        checker.CreateReply(message, 1, source, now, reply);
        Assert.True(CookieReply.TryParse(reply, out CookieReply cookie));
        Assert.True(maker.TryConsume(cookie, now));
        maker.AddMacs(message, now);

        for (int i = 0; i < HandshakeRateLimiter.PacketsBurstable; i++)
        {
            Assert.Equal(MacVerdict.Valid, checker.Check(message, source, underLoad: true, now));
        }

        Assert.Equal(MacVerdict.ValidButRateLimited, checker.Check(message, source, underLoad: true, now));
        Assert.Equal(MacVerdict.ValidWithoutCookie, checker.Check(message, neighbour, underLoad: true, now));
        Assert.Equal(MacVerdict.ValidWithoutCookie, checker.Check(message, source, underLoad: false, now));
        now += TimeSpan.FromMilliseconds(50);
        Assert.Equal(MacVerdict.Valid, checker.Check(message, source, underLoad: true, now));
        Assert.Equal(MacVerdict.ValidButRateLimited, checker.Check(message, source, underLoad: true, now));
    }

    [Fact]
    public void One_message_takes_one_reply_and_only_its_own()
    {
        using var checker = new CookieChecker(new SeededRandom(1).Fill);
        using var maker = new CookieMaker(default);
        checker.SetPublicKey(default);
        InetEndpoint source = DevicePair.At("192.0.2.1", 7);
        Instant now = new(1_000_000_000);
        byte[] reply = new byte[64];
        byte[] message = NewMessage();
        checker.CreateReply(message, 1, source, now, reply);
        Assert.False(Consume(maker, reply, now));

        maker.AddMacs(message, now);
        Assert.False(Consume(maker, reply, now));
        checker.CreateReply(message, 1, source, now, reply);
        for (int i = 8; i < reply.Length; i++)
        {
            reply[i] ^= 1;
            Assert.False(Consume(maker, reply, now));
            reply[i] ^= 1;
        }

        Assert.True(Consume(maker, reply, now));
        Assert.False(Consume(maker, reply, now));
    }

    [Fact]
    public void Sources_are_forgotten_a_second_later_and_nothing_is_due_any_more()
    {
        var pair = new DevicePair();
        pair.B.UnderLoad = true;
        pair.B.Handle(pair.A.Initiation(), pair.A.Address);
        pair.A.Handle(pair.B.Reply, pair.B.Address);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(Retry(pair.A, pair), pair.A.Address));
        Assert.True(pair.B.Device.NextDeadline <= pair.Now + TimeSpan.FromSeconds(1));
        pair.Advance(TimeSpan.FromSeconds(1));
        pair.Advance(TimeSpan.FromSeconds(2));
        Assert.True(pair.B.Device.NextDeadline > pair.Now + TimeSpan.FromSeconds(1));
    }

    /// <summary>REKEY_TIMEOUT later.</summary>
    private static byte[] Retry(DeviceEnd end, DevicePair pair)
    {
        pair.Advance(Limits.RekeyTimeout);
        return end.Initiation(retry: true);
    }

    private static byte[] NewMessage()
    {
        byte[] message = new byte[MessageSize.HandshakeInitiation];
        _ = new HandshakeInitiation.Writer(message, 1);
        return message;
    }

    private static bool Consume(CookieMaker maker, byte[] reply, Instant now) =>
        CookieReply.TryParse(reply, out CookieReply cookie) && maker.TryConsume(cookie, now);
}
