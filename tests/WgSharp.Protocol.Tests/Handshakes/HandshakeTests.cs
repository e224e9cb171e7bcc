using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>Handshake messages handed to a device one by one: who is answered, what is left behind, and when the next may follow.</summary>
public sealed class HandshakeTests
{
    private static readonly InetEndpoint Elsewhere = DevicePair.At("198.51.100.66", 4711);
    private static readonly InetAddress Local = DevicePair.At("2001:db8::2", 0).Address;

    // ---- who is answered ----

    [Fact]
    public void Whoever_is_down_or_has_no_key_answers_nothing()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        pair.B.Device.LinkDown();
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(initiation, pair.A.Address));
        pair.B.Device.LinkUp(pair.Moment);
        pair.B.Apply(new DeviceConfiguration { RemovePrivateKey = true });
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(initiation, pair.A.Address));
        pair.B.Apply(new DeviceConfiguration { PrivateKey = pair.B.PrivateKey });
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(initiation, pair.A.Address));
    }

    [Fact]
    public void A_message_of_another_type_or_length_is_dropped()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(initiation.AsSpan(0, 147), pair.A.Address));
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle([.. initiation, 0], pair.A.Address));
        for (byte type = 2; type < 6; type++)
        {
            byte[] other = [type, .. initiation.AsSpan(1)];
            Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(other, pair.A.Address));
        }

        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(initiation, pair.A.Address));
    }

    [Fact]
    public void A_genuine_message_tells_where_the_peer_is_and_counts_and_a_forged_one_does_neither()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        byte[] forged = [.. initiation];
        forged[110] ^= 1;
        Resign(pair.B, forged);
        byte[] reply = new byte[148];
        var origin = new HandshakeOrigin(Elsewhere, Local, 3);
        Assert.Equal(default, pair.B.Device.Handle(forged, origin, false, pair.Moment, reply));
        Assert.Null(pair.B.Peer.Endpoint);
        Assert.Equal((0, 0), (pair.B.Peer.RxBytes, pair.B.Device.IndexCount));

        HandshakeResult answered = pair.B.Device.Handle(initiation, origin, false, pair.Moment, reply);
        Assert.Equal(new HandshakeResult(HandshakeOutcome.Respond, pair.B.Peer, 92), answered);
        Assert.Equal(new Endpoint(Elsewhere, Local, 3), pair.B.Peer.Endpoint);
        Assert.Equal((148, 0), (pair.B.Peer.RxBytes, pair.B.Peer.TxBytes));

        // Without being told anything more, the device knows when to look: the keys live for nine minutes.
        Assert.Equal(pair.Now + (Limits.RejectAfterTime * 3), pair.B.Device.NextDeadline);
        pair.B.Device.NoteHandshakeSent(pair.B.Peer, answered.ReplyLength, pair.Moment);
        Assert.Equal(92, pair.B.Peer.TxBytes);

        HandshakeResult established = pair.A.Device.Handle(reply.AsSpan(0, 92), new HandshakeOrigin(Elsewhere), false, pair.Moment, new byte[148]);
        Assert.Equal(new HandshakeResult(HandshakeOutcome.SessionEstablished, pair.A.Peer), established);
        Assert.Equal(Elsewhere, pair.A.Peer.Endpoint!.Remote);
        Assert.Equal((92, 148), (pair.A.Peer.RxBytes, pair.A.Peer.TxBytes));
        Assert.Equal(pair.Moment.Wall, pair.A.Peer.LastHandshake);
        Assert.Equal(default, pair.B.Peer.LastHandshake);
    }

    [Fact]
    public void A_response_that_is_forged_or_repeated_changes_nothing()
    {
        var pair = new DevicePair();
        pair.B.Handle(pair.A.Initiation(), pair.A.Address);
        byte[] response = pair.B.Reply;
        byte[] forged = [.. response];
        forged[20] ^= 1;
        Resign(pair.A, forged);
        Assert.Equal(HandshakeOutcome.Dropped, pair.A.Handle(forged, Elsewhere));
        Assert.Equal(pair.B.Address, pair.A.Peer.Endpoint!.Remote);
        Assert.Equal(1, pair.A.Device.IndexCount);
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(response, pair.B.Address));
        Keypairs keypairs = pair.A.Peer.Keypairs;
        Assert.Equal(HandshakeOutcome.Dropped, pair.A.Handle(response, Elsewhere));
        Assert.Equal(keypairs, pair.A.Peer.Keypairs);
        Assert.Equal(pair.B.Address, pair.A.Peer.Endpoint!.Remote);
        Assert.Equal(1, pair.A.Device.IndexCount);
    }

    [Fact]
    public void A_cookie_for_a_response_comes_under_the_index_of_its_session_and_one_for_nobody_is_dropped()
    {
        var pair = new DevicePair();
        pair.A.UnderLoad = true;
        pair.B.Handle(pair.A.Initiation(), pair.A.Address);
        Assert.Equal(HandshakeOutcome.CookieReply, pair.A.Handle(pair.B.Reply, pair.B.Address));
        byte[] cookie = pair.A.Reply;
        Assert.Equal(64, cookie.Length);
        byte[] unknown = [.. cookie];
        unknown[4] ^= 1;
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(unknown, pair.A.Address));
        byte[] forged = [.. cookie];
        forged[^1] ^= 1;
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(forged, Elsewhere));
        HandshakeResult stored = pair.B.Device.Handle(cookie, new HandshakeOrigin(Elsewhere, Local, 3), false, pair.Moment, new byte[148]);
        Assert.Equal(new HandshakeResult(HandshakeOutcome.CookieStored, pair.B.Peer), stored);

        // A cookie proves nothing about where it came from.
        Assert.Equal(pair.A.Address, pair.B.Peer.Endpoint!.Remote);
    }

    // ---- when the next may follow ----

    [Fact]
    public void An_initiation_needs_a_link_a_key_an_endpoint_and_five_seconds()
    {
        var pair = new DevicePair();
        Peer peer = pair.A.Peer;
        pair.A.Device.LinkDown();
        Assert.False(TryInitiate(pair));
        pair.A.Device.LinkUp(pair.Moment);
        pair.A.Apply(new DeviceConfiguration { RemovePrivateKey = true });
        Assert.False(TryInitiate(pair));
        pair.A.Apply(new DeviceConfiguration { PrivateKey = pair.A.PrivateKey });
        Assert.Equal(0, pair.A.Device.IndexCount);

        Assert.True(TryInitiate(pair));
        Assert.False(TryInitiate(pair, JustUnder(Limits.RekeyTimeout)));
        Assert.True(TryInitiate(pair, Limits.RekeyTimeout));
        Assert.Equal(1, pair.A.Device.IndexCount);
        pair.A.Configure(pair.B.PublicKey, one => one.Remove = true);
        Assert.False(pair.A.Device.TryCreateInitiation(peer, retry: false, pair.Moment with { Now = pair.Now + TimeSpan.FromHours(1) }, new byte[148]));
        Assert.Equal(0, pair.A.Device.IndexCount);

        var lost = new DevicePair(knowsEndpoints: false);
        Assert.False(TryInitiate(lost));
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
        Assert.False(TryInitiate(pair, TimeSpan.FromSeconds(1)));
        Assert.Equal(planned, pair.A.Device.NextDeadline);
        pair.A.Peer.Keypairs.Current!.SetSendCounter(Limits.RekeyAfterMessages + 1);
        Assert.False(TryInitiate(pair, TimeSpan.FromSeconds(1)));
        Assert.InRange(pair.A.Device.NextDeadline - (pair.Now + Limits.RekeyTimeout), TimeSpan.Zero, Limits.RekeyTimeoutJitterMax);
    }

    [Fact]
    public void A_session_that_may_not_send_any_more_is_as_good_as_none()
    {
        var pair = new DevicePair();
        pair.B.Handle(pair.A.Initiation(), pair.A.Address);
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
        pair.A.Peer.Keypairs.Current!.ExpireSending();
        Assert.False(TryInitiate(pair, TimeSpan.FromSeconds(1)));
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
        Assert.False(TryInitiate(lost));
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
        Assert.True(TryInitiate(pair));
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

    // ---- what is in it ----

    /// <summary>Two ends of ours would agree on anything. Here the other end is the whitepaper's, token by token (section 5.4).</summary>
    [Fact]
    public void Whoever_takes_every_step_of_the_whitepaper_can_answer_us_and_has_our_keys()
    {
        const int seed = 5;
        var pair = new DevicePair(seed);
        byte[] psk = new byte[PresharedKey.Size];
        new SeededRandom(seed).Fill(psk);
        byte[] initiation = pair.A.Initiation();
        var theirs = new PublicKey(initiation.AsSpan(8, PublicKey.Size));
        byte[] stateBytes = new byte[SymmetricState.Size];
        var state = new SymmetricState(stateBytes);
        state.Initialize("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"u8, "WireGuard v1 zx2c4 Jason@zx2c4.com"u8);
        state.MixHash(pair.B.PublicKey.Span);

        // e, es, s, ss, {t}
        state.MixHash(theirs.Span);
        state.MixKey(theirs.Span);
        Agree(pair.B.PrivateKey, theirs);
        byte[] initiator = new byte[PublicKey.Size];
        Assert.True(state.TryOpen(initiation.AsSpan(40, 48), initiator));
        Assert.Equal(pair.A.PublicKey.Span, initiator);
        Agree(pair.B.PrivateKey, pair.A.PublicKey);
        Assert.True(state.TryOpen(initiation.AsSpan(88, 28), new byte[Tai64n.Size]));

        // e, ee, se, psk, {}
        using var ephemeral = new PrivateKey([.. Enumerable.Repeat((byte)9, PrivateKey.Size)]);
        byte[] response = new byte[MessageSize.HandshakeResponse];
        response[0] = (byte)MessageType.HandshakeResponse;
        response[4] = 77; // its index
        initiation.AsSpan(4, 4).CopyTo(response.AsSpan(8));
        Span<byte> ours = response.AsSpan(12, PublicKey.Size);
        X25519.PublicKeyOf(ephemeral).Span.CopyTo(ours);
        state.MixHash(ours);
        state.MixKey(ours);
        Agree(ephemeral, theirs);
        Agree(ephemeral, pair.A.PublicKey);
        state.MixPsk(psk);
        state.Seal([], response.AsSpan(44, MessageSize.Tag));
        Resign(pair.A, response);
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(response, pair.B.Address));

        byte[] fromInitiator = new byte[32];
        state.Split(fromInitiator, new byte[32]);
        AssertSealsWith(fromInitiator, pair.A.Peer.Keypairs.Current!);

        void Agree(PrivateKey privateKey, PublicKey publicKey)
        {
            Span<byte> shared = stackalloc byte[32];
            Assert.True(X25519.TrySharedSecret(privateKey, publicKey, shared));
            new SymmetricState(stateBytes).MixKey(shared);
        }
    }

    [Fact]
    public void Every_handshake_message_has_an_ephemeral_key_of_its_own()
    {
        var pair = new DevicePair();
        var ephemerals = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < 3; i++)
        {
            byte[] initiation = pair.A.Initiation();
            Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(initiation, pair.A.Address));
            Assert.True(ephemerals.Add(Convert.ToHexString(initiation.AsSpan(8, PublicKey.Size))));
            Assert.True(ephemerals.Add(Convert.ToHexString(pair.B.Reply.AsSpan(12, PublicKey.Size))));
            pair.Advance(Limits.RekeyTimeout);
        }
    }

    [Fact]
    public void Each_direction_of_each_session_has_a_key_of_its_own()
    {
        var sealedBy = new HashSet<string>(StringComparer.Ordinal);
        DevicePair pair = DevicePair.WithSession();
        Keypair former = pair.A.Peer.Keypairs.Current!;
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
        foreach (Keypair keypair in (Keypair[])[former, pair.A.Peer.Keypairs.Current!])
        {
            foreach (AeadKey key in (AeadKey[])[keypair.SendKey, keypair.ReceiveKey])
            {
                byte[] message = new byte[32];
                key.Seal(message, [new AeadPacket { Length = 16 }]);
                Assert.True(sealedBy.Add(Convert.ToHexString(message)));
            }
        }
    }

    [Fact]
    public void Ends_whose_preshared_keys_differ_get_no_session()
    {
        var pair = new DevicePair();
        using var other = new PresharedKey([.. Enumerable.Repeat((byte)7, PresharedKey.Size)]);
        pair.B.Configure(pair.A.PublicKey, peer => peer.PresharedKey = other);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(HandshakeOutcome.Dropped, pair.A.Handle(pair.B.Reply, pair.B.Address));
        pair.A.Configure(pair.B.PublicKey, peer => peer.PresharedKey = other);
        pair.Advance(Limits.RekeyTimeout);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3600)]
    public void A_wall_clock_that_stands_still_or_is_set_back_makes_nobody_deaf_to_us(int secondsBack)
    {
        var pair = new DevicePair();
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        pair.Advance(Limits.RekeyTimeout);
        pair.SetWallForward((Limits.RekeyTimeout + TimeSpan.FromSeconds(secondsBack)) * -1);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
    }

    [Fact]
    public void A_response_for_another_index_than_the_initiations_is_none()
    {
        var pair = new DevicePair();
        using var identity = new StaticIdentity(pair.A.PrivateKey);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        byte[] other = pair.B.Reply;
        other[8] ^= 1;
        Handshake handshake = pair.A.Peer.Handshake;
        Assert.True(HandshakeResponse.TryParse(other, out HandshakeResponse response));
        Assert.False(handshake.TryConsumeResponse(identity, response, pair.Now, out _));
        Assert.True(handshake.IsInitiationOut);
        Assert.True(HandshakeResponse.TryParse(pair.B.Reply, out response));
        Assert.True(handshake.TryConsumeResponse(identity, response, pair.Now, out _));
    }

    [Fact]
    public void Who_is_not_told_or_whose_ephemeral_key_has_low_order_is_nobody()
    {
        var pair = new DevicePair();
        using var identity = new StaticIdentity(pair.B.PrivateKey);
        byte[] initiation = pair.A.Initiation();
        byte[] lowOrder = [.. initiation];
        lowOrder.AsSpan(8, PublicKey.Size).Clear();
        byte[] forged = [.. initiation];
        forged[8 + PublicKey.Size] ^= 1;
        Assert.Equal(pair.A.PublicKey, Initiator(initiation));
        Assert.Null(Initiator(lowOrder));
        Assert.Null(Initiator(forged));

        PublicKey? Initiator(byte[] message)
        {
            Assert.True(HandshakeInitiation.TryParse(message, out HandshakeInitiation parsed));
            return Handshake.TryOpenStatic(identity, parsed, new SymmetricState(new byte[SymmetricState.Size]), out PublicKey initiator) ? initiator : null;
        }
    }

    // ---- sessions that go ----

    [Fact]
    public void Of_three_sessions_one_after_the_other_the_oldest_is_wiped_at_both_ends_and_its_index_free()
    {
        DevicePair pair = DevicePair.WithSession();
        DeviceEnd[] ends = [pair.A, pair.B];
        Keypair[] oldest = [.. ends.Select(end => end.Peer.Keypairs.Current!)];
        for (int i = 0; i < 2; i++)
        {
            Assert.All(oldest, keypair => Assert.False(keypair.IsWiped));
            Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
            Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
            pair.B.Note(pair.B.Peer.NoteReceived(pair.B.Peer.Keypairs.Next!, 1, 32, carriesData: false, pair.Now));
            pair.Advance(TimeSpan.FromSeconds(10));
        }

        Assert.All(oldest, keypair => Assert.True(keypair.IsWiped));
        Assert.Equal([2, 2], ends.Select(end => end.Device.IndexCount));
    }

    [Fact]
    public void A_session_that_was_never_confirmed_is_wiped_by_the_next_one()
    {
        var pair = new DevicePair();
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Keypair pending = pair.B.Peer.Keypairs.Next!;
        pair.Advance(Limits.RekeyTimeout);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(retry: true), pair.A.Address));
        Assert.True(pending.IsWiped);
        Assert.Equal(1, pair.B.Device.IndexCount);
    }

    [Fact]
    public void Another_private_key_ends_sending_with_the_session_before_the_last_one_too()
    {
        DevicePair pair = Crossed();
        using var other = new PrivateKey([.. Enumerable.Repeat((byte)77, PrivateKey.Size)]);
        pair.A.Apply(new DeviceConfiguration { PrivateKey = other });
        Assert.False(pair.A.Peer.Keypairs.Previous!.MaySend(pair.Now));
    }

    [Fact]
    public void With_another_private_key_nothing_is_due_for_the_handshake_that_was_under_way()
    {
        var pair = new DevicePair();
        pair.A.Initiation();
        using var other = new PrivateKey([.. Enumerable.Repeat((byte)77, PrivateKey.Size)]);
        pair.A.Apply(new DeviceConfiguration { PrivateKey = other });
        Assert.Equal(Instant.Never, pair.A.Device.NextDeadline);
    }

    // ---- both begin at once ----

    [Fact]
    public void Of_two_sessions_that_are_begun_at_once_one_end_follows_the_other_and_the_next_is_as_any()
    {
        DevicePair pair = Crossed();
        Keypairs a = pair.A.Peer.Keypairs;
        Keypairs b = pair.B.Peer.Keypairs;
        Assert.Equal((true, true), (a.Current!.IsInitiator, b.Current!.IsInitiator));
        Assert.Equal((a.Current.RemoteIndex, a.Previous!.RemoteIndex), (b.Previous!.LocalIndex, b.Current.LocalIndex));
        bool isB = pair.B.PublicKey.Span.SequenceCompareTo(pair.A.PublicKey.Span) < 0;
        Assert.Equal((isB, !isB), (a.FollowsPeer, b.FollowsPeer));

        // Whoever follows sends with what it hears, and the other one with its own whatever it hears.
        (DeviceEnd follower, DeviceEnd leader) = isB ? (pair.A, pair.B) : (pair.B, pair.A);
        Keypair followed = follower.Peer.Keypairs.Previous!;
        Keypair led = leader.Peer.Keypairs.Current!;
        Assert.Equal(PeerWork.Followed, follower.Peer.NoteReceived(followed, 1, 32, carriesData: false, pair.Now) & PeerWork.Followed);
        follower.Note(PeerWork.Followed);
        Assert.Same(followed, follower.Peer.Keypairs.Current);
        leader.Note(leader.Peer.NoteReceived(leader.Peer.Keypairs.Previous!, 1, 32, carriesData: false, pair.Now));
        Assert.Same(led, leader.Peer.Keypairs.Current);

        pair.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
        Assert.False(pair.A.Peer.Keypairs.FollowsPeer);
        Assert.False(pair.B.Peer.Keypairs.FollowsPeer);
        pair.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(HandshakeOutcome.Respond, pair.A.Handle(pair.B.Initiation(), pair.B.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.B.Handle(pair.A.Reply, pair.A.Address));
        Assert.False(pair.A.Peer.Keypairs.FollowsPeer);
        Assert.False(pair.B.Peer.Keypairs.FollowsPeer);
    }

    [Fact]
    public void Who_follows_nobody_does_not_change_over_when_the_session_before_is_heard()
    {
        DevicePair pair = DevicePair.WithSession();
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
        foreach (DeviceEnd end in (DeviceEnd[])[pair.A, pair.B])
        {
            Keypairs before = end.Peer.Keypairs;
            end.Note(end.Peer.NoteReceived(before.Previous ?? before.Current!, 1, 32, carriesData: false, pair.Now) | PeerWork.Followed);
            Assert.Equal(before, end.Peer.Keypairs);
        }
    }

    [Fact]
    public void What_was_current_before_two_sessions_were_begun_at_once_is_received_with_until_the_next()
    {
        DevicePair pair = DevicePair.WithSession();
        Keypair before = pair.A.Peer.Keypairs.Current!;
        Cross(pair);
        Assert.Same(before, pair.A.Peer.Parting);
        Assert.True(pair.A.Device.TryFindKeypair(before.LocalIndex, out _));
        Assert.Equal(3, pair.A.Device.IndexCount);

        pair.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(HandshakeOutcome.Respond, pair.A.Handle(pair.B.Initiation(), pair.B.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.B.Handle(pair.A.Reply, pair.A.Address));
        pair.A.Note(pair.A.Peer.NoteReceived(pair.A.Peer.Keypairs.Next!, 1, 32, carriesData: false, pair.Now));
        Assert.Null(pair.A.Peer.Parting);
        Assert.True(before.IsWiped);
        Assert.False(pair.A.Device.TryFindKeypair(before.LocalIndex, out _));
        Assert.Equal(2, pair.A.Device.IndexCount);
    }

    [Fact]
    public void An_initiation_of_ours_that_the_peers_handshake_overtook_is_answered_in_vain_five_seconds_after_it_was_made()
    {
        foreach ((TimeSpan later, HandshakeOutcome outcome) in
            (ReadOnlySpan<(TimeSpan, HandshakeOutcome)>)[(TimeSpan.FromSeconds(4), HandshakeOutcome.SessionEstablished), (TimeSpan.FromSeconds(5), HandshakeOutcome.Dropped)])
        {
            var pair = new DevicePair();
            pair.B.Configure(pair.A.PublicKey, peer => peer.Endpoint = pair.A.Address);
            byte[] overtaken = pair.A.Initiation();
            byte[] overtaking = pair.B.Initiation();
            Assert.Equal(HandshakeOutcome.Respond, pair.A.Handle(overtaking, pair.B.Address));
            Assert.Equal(HandshakeOutcome.SessionEstablished, pair.B.Handle(pair.A.Reply, pair.A.Address));
            pair.A.Note(pair.A.Peer.NoteReceived(pair.A.Peer.Keypairs.Next!, 1, 32, carriesData: false, pair.Now));
            Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(overtaken, pair.A.Address));
            pair.Advance(later);
            Assert.Equal(outcome, pair.A.Handle(pair.B.Reply, pair.B.Address));
        }
    }

    [Fact]
    public void Another_private_key_ends_sending_with_every_session_and_forgets_the_handshake_that_is_under_way()
    {
        DevicePair pair = DevicePair.WithSession();
        Cross(pair);
        pair.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        pair.A.Handle(pair.B.Reply, pair.B.Address);
        pair.Advance(TimeSpan.FromSeconds(10));
        byte[] unanswered = pair.A.Initiation();
        Assert.Equal(HandshakeOutcome.Respond, pair.A.Handle(pair.B.Initiation(), pair.B.Address));
        Keypairs keypairs = pair.A.Peer.Keypairs;
        int indices = pair.A.Device.IndexCount;
        pair.A.Peer.Staged.Add([1]);

        using var other = new PrivateKey([.. Enumerable.Repeat((byte)77, PrivateKey.Size)]);
        pair.A.Apply(new DeviceConfiguration { PrivateKey = other });
        Assert.All(
            new[] { keypairs.Previous, keypairs.Current, keypairs.Next }.OfType<Keypair>(),
            keypair => Assert.Equal((false, true), (keypair.MaySend(pair.Now), keypair.MayReceive(pair.Now))));
        Assert.NotNull(keypairs.Next);
        Assert.Equal(indices - 1, pair.A.Device.IndexCount);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(unanswered, pair.A.Address));
        Assert.Equal(HandshakeOutcome.Dropped, pair.A.Handle(pair.B.Reply, pair.B.Address));

        // What waits is to go out, and nothing is in the way of a new handshake.
        Assert.True(pair.A.Device.TryTakeWork(pair.Moment, out _, out PeerWork work));
        Assert.Equal(PeerWork.Staged, work);
        Assert.True(TryInitiate(pair));
    }

    private static void AssertSealsWith(byte[] key, Keypair keypair)
    {
        Assert.Equal(77u, keypair.RemoteIndex);
        byte[] message = new byte[16 + MessageSize.Tag];
        keypair.SendKey.Seal(message, [new AeadPacket { Length = 16, Counter = 3 }]);
        byte[] expected = new byte[message.Length];
        ChaCha20Poly1305.Seal(key, 3, new byte[16], [], expected);
        Assert.Equal(expected, message);
    }

    private static TimeSpan JustUnder(TimeSpan span) => span - new TimeSpan(1);

    private static bool TryInitiate(DevicePair pair, TimeSpan later = default) =>
        pair.A.Device.TryCreateInitiation(pair.A.Peer, retry: false, pair.Moment with { Now = pair.Now + later }, new byte[148]);

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

    private static DevicePair Crossed()
    {
        var pair = new DevicePair();
        pair.B.Configure(pair.A.PublicKey, peer => peer.Endpoint = pair.A.Address);
        Cross(pair);
        return pair;
    }

    /// <summary>Both begin before they hear of each other, and both handshakes come to their end.</summary>
    private static void Cross(DevicePair pair)
    {
        byte[] ofA = pair.A.Initiation();
        byte[] ofB = pair.B.Initiation();
        Assert.Equal(HandshakeOutcome.Respond, pair.A.Handle(ofB, pair.B.Address));
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(ofA, pair.A.Address));
        byte[] toA = pair.B.Reply;
        byte[] toB = pair.A.Reply;
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(toA, pair.B.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.B.Handle(toB, pair.A.Address));
    }

    /// <summary>mac1 of a message that was changed is made right again: what is wrong is seen behind it.</summary>
    private static void Resign(DeviceEnd receiver, byte[] message)
    {
        Span<byte> key = stackalloc byte[32];
        Blake2s.Hash("mac1----"u8, receiver.PublicKey.Span, key);
        Blake2s.Mac(key, message.AsSpan(0, message.Length - 32), message.AsSpan(message.Length - 32, 16));
    }
}
