using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>When the next handshake message may follow, when it has to, and what is accepted how late.</summary>
public sealed class HandshakeTimingTests
{
    [Fact]
    public void An_initiation_needs_a_link_a_key_an_endpoint_and_five_seconds()
    {
        var pair = new DevicePair();
        Peer peer = pair.A.Peer;
        pair.A.Device.LinkDown();
        Assert.False(pair.A.TryInitiate());
        pair.A.Device.LinkUp(pair.Moment);
        pair.A.Apply(new DeviceConfiguration { RemovePrivateKey = true });
        Assert.False(pair.A.TryInitiate());
        pair.A.Apply(new DeviceConfiguration { PrivateKey = pair.A.PrivateKey });
        Assert.Equal(0, pair.A.Device.IndexCount);

        Assert.True(pair.A.TryInitiate());
        Assert.False(pair.A.TryInitiate(JustUnder(Limits.RekeyTimeout)));
        Assert.True(pair.A.TryInitiate(Limits.RekeyTimeout));
        Assert.Equal(1, pair.A.Device.IndexCount);
        pair.A.Configure(pair.B.PublicKey, one => one.Remove = true);
        Assert.False(pair.A.Device.TryCreateInitiation(peer, retry: false, pair.Moment with { Now = pair.Now + TimeSpan.FromHours(1) }, new byte[148]));
        Assert.Equal(0, pair.A.Device.IndexCount);

        var lost = new DevicePair(knowsEndpoints: false);
        Assert.False(lost.A.TryInitiate());
        Assert.Equal(0, lost.A.Device.IndexCount);
    }

    [Fact]
    public void Who_has_answered_waits_five_seconds_before_it_begins_itself()
    {
        var pair = new DevicePair();
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        byte[] message = new byte[148];
        Moment early = pair.Moment with { Now = pair.Now + JustUnder(Limits.RekeyTimeout) };
        Assert.False(pair.B.Device.TryCreateInitiation(pair.B.Peer, retry: false, early, message));

        // It has no session to send with: it is made as soon as it may.
        Assert.InRange(pair.B.Device.NextDeadline - (pair.Now + Limits.RekeyTimeout), TimeSpan.Zero, Limits.RekeyTimeoutJitterMax);
        Assert.True(pair.B.Device.TryCreateInitiation(pair.B.Peer, retry: false, pair.Moment with { Now = pair.Now + Limits.RekeyTimeout }, message));
    }

    [Fact]
    public void What_is_asked_for_too_soon_follows_only_where_a_session_is_wanted()
    {
        var pair = new DevicePair();
        pair.B.Handle(pair.A.Initiation(), pair.A.Address);
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
        Instant planned = pair.A.Device.NextDeadline;
        Assert.False(pair.A.TryInitiate(TimeSpan.FromSeconds(1)));
        Assert.Equal(planned, pair.A.Device.NextDeadline);
        pair.A.Peer.Keypairs.Current!.SetSendCounter(Limits.RekeyAfterMessages + 1);
        Assert.False(pair.A.TryInitiate(TimeSpan.FromSeconds(1)));
        Assert.InRange(pair.A.Device.NextDeadline - (pair.Now + Limits.RekeyTimeout), TimeSpan.Zero, Limits.RekeyTimeoutJitterMax);
    }

    [Fact]
    public void A_session_that_may_not_send_any_more_is_as_good_as_none()
    {
        var pair = new DevicePair();
        pair.B.Handle(pair.A.Initiation(), pair.A.Address);
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
        pair.A.Peer.Keypairs.Current!.ExpireSending();
        Assert.False(pair.A.TryInitiate(TimeSpan.FromSeconds(1)));
        Assert.InRange(pair.A.Device.NextDeadline - (pair.Now + Limits.RekeyTimeout), TimeSpan.Zero, Limits.RekeyTimeoutJitterMax);
    }

    [Fact]
    public void An_initiation_is_repeated_after_five_seconds_and_a_jitter_under_an_index_of_its_own()
    {
        var pair = new DevicePair();
        byte[] first = pair.A.Initiation();
        Assert.InRange(pair.A.Device.NextDeadline - (pair.Now + Limits.RekeyTimeout), TimeSpan.Zero, Limits.RekeyTimeoutJitterMax);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(first, pair.A.Address));
        byte[] answer = pair.B.Reply;
        pair.Advance(Limits.RekeyTimeout);
        byte[] second = pair.A.Initiation(retry: true);
        Assert.NotEqual(first[4..8], second[4..8]);
        Assert.Equal(HandshakeOutcome.Dropped, pair.A.Handle(answer, pair.B.Address));
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(second, pair.A.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
        Assert.Equal(1, pair.A.Device.IndexCount);
    }

    [Fact]
    public void Of_a_flood_every_initiation_twenty_milliseconds_after_the_last_accepted_one_is_accepted()
    {
        var pair = new DevicePair();
        var messages = new List<byte[]>();
        for (int i = 0; i < 4; i++)
        {
            // A restarted A would not know that it must wait.
            var restarted = new DeviceEnd(pair, pair.A.Address, seed: 10);
            restarted.Apply(new DeviceConfiguration { PrivateKey = pair.A.PrivateKey });
            restarted.Configure(pair.B.PublicKey, peer => peer.Endpoint = pair.B.Address);
            restarted.Device.LinkUp(pair.Moment);
            pair.SetWallForward(TimeSpan.FromSeconds(1));
            messages.Add(restarted.Initiation());
        }

        TimeSpan[] at = [TimeSpan.Zero, TimeSpan.FromMilliseconds(15), JustUnder(TimeSpan.FromMilliseconds(20)), TimeSpan.FromMilliseconds(20)];
        HandshakeOutcome[] outcomes =
        [
            .. messages.Zip(at, (message, time) => pair.B.Device.Handle(
                message, new HandshakeOrigin(pair.A.Address), false, pair.Moment with { Now = pair.Now + time }, new byte[148]).Outcome),
        ];
        Assert.Equal([HandshakeOutcome.Respond, HandshakeOutcome.Dropped, HandshakeOutcome.Dropped, HandshakeOutcome.Respond], outcomes);
    }

    [Fact]
    public void An_initiation_older_than_the_last_or_as_old_is_dropped_however_late_it_comes()
    {
        var pair = new DevicePair();
        byte[] older = pair.A.Initiation();
        pair.Advance(Limits.RekeyTimeout);
        byte[] newer = pair.A.Initiation(retry: true);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(newer, pair.A.Address));
        pair.Advance(TimeSpan.FromHours(1));
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(older, pair.A.Address));
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(newer, pair.A.Address));
    }

    [Fact]
    public void A_peer_of_low_order_gets_no_initiation_leaves_none_behind_and_may_be_asked_for_again_in_five_seconds()
    {
        var pair = new DevicePair();
        Peer peer = AddPeerOfLowOrder(pair);
        for (int i = 0; i < 2; i++)
        {
            Moment moment = pair.Moment with { Now = pair.Now + (Limits.RekeyTimeout * i) };
            Assert.True(peer.WantsHandshake(moment.Now));
            Assert.False(pair.A.Device.TryCreateInitiation(peer, retry: false, moment, new byte[148]));
            Assert.False(peer.Handshake.IsInitiationOut);
            Assert.Equal(0, pair.A.Device.IndexCount);
            Assert.False(peer.WantsHandshake(moment.Now + JustUnder(Limits.RekeyTimeout)));
        }
    }

    [Fact]
    public void Who_tried_in_vain_without_being_asked_need_not_be_asked_for_five_seconds_either()
    {
        var lost = new DevicePair(knowsEndpoints: false);
        Assert.False(lost.A.TryInitiate());
        Assert.False(lost.A.Peer.WantsHandshake(lost.Now + JustUnder(Limits.RekeyTimeout)));
        Assert.True(lost.A.Peer.WantsHandshake(lost.Now + Limits.RekeyTimeout));

        var pair = new DevicePair();
        Peer peer = AddPeerOfLowOrder(pair);
        Assert.False(pair.A.Device.TryCreateInitiation(peer, retry: false, pair.Moment, new byte[148]));
        Assert.False(peer.WantsHandshake(pair.Now + JustUnder(Limits.RekeyTimeout)));
        Assert.True(peer.WantsHandshake(pair.Now + Limits.RekeyTimeout));
    }

    [Fact]
    public void Repetitions_are_counted_to_nineteen_and_from_the_start_once_somebody_asks()
    {
        var pair = new DevicePair();
        pair.A.Initiation();
        Assert.Equal(19, Repeat(pair, 100));

        pair.A.Initiation();
        Assert.Equal(7, Repeat(pair, 7));
        pair.Skip(Limits.RekeyTimeout);
        pair.A.Initiation();
        Assert.Equal(19, Repeat(pair, 100));
    }

    [Fact]
    public void The_device_knows_when_to_repeat_an_initiation_that_was_made_and_not_sent_yet()
    {
        var pair = new DevicePair();
        Assert.Equal(Instant.Never, pair.A.Device.NextDeadline);
        Assert.True(pair.A.TryInitiate());
        Assert.InRange(pair.A.Device.NextDeadline - (pair.Now + Limits.RekeyTimeout), TimeSpan.Zero, Limits.RekeyTimeoutJitterMax);
    }

    [Fact]
    public void A_handshake_message_puts_off_the_persistent_keepalive_as_any_message()
    {
        DevicePair pair = DevicePair.WithSession();
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 25);
        pair.Advance(TimeSpan.Zero);
        Assert.Equal(pair.Now + TimeSpan.FromSeconds(25), pair.A.Device.NextDeadline);
        pair.Skip(TimeSpan.FromSeconds(10));
        pair.A.Device.NoteHandshakeSent(pair.A.Peer, MessageSize.HandshakeResponse, pair.Moment);
        Assert.Equal(pair.Now + TimeSpan.FromSeconds(25), pair.A.Device.NextDeadline);
    }

    private static TimeSpan JustUnder(TimeSpan span) => span - new TimeSpan(1);

    private static Peer AddPeerOfLowOrder(DevicePair pair)
    {
        byte[] one = new byte[PublicKey.Size];
        one[0] = 1;
        var lowOrder = new PublicKey(one);
        pair.A.Configure(lowOrder, peer => peer.Endpoint = pair.B.Address);
        return pair.A.Device.Peers.Single(other => other.PublicKey == lowOrder);
    }

    /// <summary>Nobody answers A: what is due is done.</summary>
    /// <returns>How many initiations were sent until that was given up, or so many at the most.</returns>
    private static int Repeat(DevicePair pair, int most)
    {
        int repetitions = 0;
        while (repetitions < most)
        {
            pair.Skip(pair.A.Device.NextDeadline - pair.Now);
            Assert.True(pair.A.Device.TryTakeDueTimer(pair.Moment, out Peer peer, out TimerAction action));
            if (action != TimerAction.SendInitiation)
            {
                break;
            }

            Assert.True(pair.A.Device.TryCreateInitiation(peer, retry: true, pair.Moment, new byte[148]));
            repetitions++;
        }

        return repetitions;
    }
}
