using WgSharp.Protocol;
using WgSharp.Protocol.Tests;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>How sessions age: rekey, retransmission, giving up and coming back, wiping.</summary>
public sealed class RekeyTests
{
    [Theory]
    [InlineData(119, 0)]
    [InlineData(121, 1)]
    public void The_initiator_rekeys_when_it_sends_after_120_seconds(double age, int initiations)
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.Wire.AdvanceSeconds(age - VirtualPair.SessionAge);
        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[2]], pair.B.Received);
        Assert.Equal(initiations, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
        Assert.Equal(initiations, pair.Wire.Count(MessageType.HandshakeResponse, pair.B));
    }

    [Fact]
    public void The_responder_does_not_rekey_when_it_sends_after_120_seconds()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.Wire.AdvanceSeconds(110);
        pair.B.Send(2);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[2]], pair.A.Received);
        Assert.DoesNotContain(pair.Wire.Seen, d => d.Type == MessageType.HandshakeInitiation);
    }

    [Theory]
    [InlineData(164, 0)]
    [InlineData(166, 1)]
    public void The_initiator_rekeys_when_it_receives_after_165_seconds(double age, int initiations)
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.Wire.AdvanceSeconds(age - VirtualPair.SessionAge);
        pair.B.Send(2);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal(initiations, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void After_180_seconds_nothing_is_sent_before_a_new_session_stands_and_either_side_begins_it(bool initiatorSends)
    {
        using VirtualPair pair = VirtualPair.WithSession();
        VirtualTunnel sender = initiatorSends ? pair.A : pair.B;
        VirtualTunnel receiver = initiatorSends ? pair.B : pair.A;
        pair.Wire.AdvanceSeconds(180.1 - VirtualPair.SessionAge);
        sender.Send(2);
        Assert.Equal([MessageType.HandshakeInitiation], pair.Wire.Seen.Select(d => d.Type));
        Assert.Equal(sender.Address, pair.Wire.Seen[0].From);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[2]], receiver.Received);
    }

    [Fact]
    public void What_arrives_after_180_seconds_is_dropped_unopened()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.Wire.AdvanceSeconds(170.1 - VirtualPair.SessionAge);
        pair.Wire.Fate = (datagram, _) => datagram.Type == MessageType.TransportData ? [TimeSpan.FromSeconds(10)] : [];
        pair.B.Send(2);
        pair.Wire.AdvanceSeconds(11);
        Assert.Empty(pair.A.Received);
    }

    [Fact]
    public void After_2_to_the_60_messages_either_side_asks_for_a_new_session()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.B.Peer.Keypairs.Current!.SetSendCounter(Limits.RekeyAfterMessages);
        pair.B.Send(2);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeInitiation, pair.B));
        Assert.Equal([[2]], pair.A.Received);
    }

    [Fact]
    public void Counters_end_at_the_limit_and_no_number_of_refused_calls_makes_them_wrap()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        Keypair keypair = pair.A.Peer.Keypairs.Current!;
        keypair.SetSendCounter(Limits.RejectAfterMessages - 10);
        Assert.False(keypair.TryReserve(11, pair.Wire.Now, out _));
        Assert.True(keypair.TryReserve(9, pair.Wire.Now, out ulong first));
        Assert.Equal(Limits.RejectAfterMessages - 10, first);
        Assert.True(keypair.MaySend(pair.Wire.Now));
        Assert.True(keypair.TryReserve(1, pair.Wire.Now, out first));
        Assert.Equal(Limits.RejectAfterMessages - 1, first);
        Assert.False(keypair.MaySend(pair.Wire.Now));
        for (int i = 0; i < 100_000; i++)
        {
            Assert.False(keypair.TryReserve(1, pair.Wire.Now, out _));
            Assert.False(keypair.TryReserve(int.MaxValue, pair.Wire.Now, out _));
        }

        pair.A.Send(2);
        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
        Assert.Equal(0, pair.Wire.Count(MessageType.TransportData, pair.A));
    }

    [Fact]
    public void A_keypair_whose_counters_were_used_up_by_the_peer_is_not_received_with()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Peer.Keypairs.Current!.SetSendCounter(Limits.RejectAfterMessages - 1);
        Keypair receiving = pair.B.Peer.Keypairs.Current!;
        Assert.True(receiving.MayReceive(pair.Wire.Now));
        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([2], pair.B.Received[0]);
        Assert.False(receiving.MayReceive(pair.Wire.Now));
    }

    [Fact]
    public void Without_an_answer_twenty_initiations_go_out_five_seconds_and_a_jitter_apart_and_then_silence()
    {
        using var pair = new VirtualPair();
        pair.Wire.Cut();
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(700);

        // The kernel counts from zero and compares with "more than 18": the first one and 19 retries.
        Assert.Equal(Limits.MaxTimerHandshakes + 2, pair.Wire.Seen.Count);
        double[] gaps = [.. pair.Wire.Seen.Zip(pair.Wire.Seen.Skip(1), (one, next) => (next.SentAt - one.SentAt).TotalSeconds)];
        Assert.All(gaps, gap => Assert.InRange(gap, 5, 5.334));
        Assert.True(gaps.Distinct().Count() > 10, "The gaps have a jitter.");
        Assert.True(pair.A.Peer.Staged.IsEmpty);
        Assert.Equal(Instant.Never, pair.A.NextDeadline);
        Assert.Equal(0, pair.A.Device.IndexCount());
    }

    [Fact]
    public void After_giving_up_the_next_packet_begins_anew()
    {
        using var pair = new VirtualPair();
        pair.Wire.Cut();
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(120);
        pair.Wire.Seen.Clear();
        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(120);
        Assert.Equal(Limits.MaxTimerHandshakes + 2, pair.Wire.Seen.Count);

        pair.Wire.Mend();
        pair.A.Send(3);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[3]], pair.B.Received);
    }

    [Fact]
    public void A_peer_that_only_sends_keepalives_recovers_after_giving_up()
    {
        using var pair = new VirtualPair();
        pair.Wire.Cut();
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 25);
        pair.Wire.AdvanceSeconds(3600);
        Assert.True(pair.Wire.Seen.Count > 400, "It never stops trying for long.");
        Assert.All(pair.Wire.Seen.Zip(pair.Wire.Seen.Skip(1)), two => Assert.InRange((two.Second.SentAt - two.First.SentAt).TotalSeconds, 5, 26));

        pair.Wire.Mend();
        pair.Wire.AdvanceSeconds(31);
        Assert.NotNull(pair.B.Peer.Keypairs.Current);
    }

    [Fact]
    public void Packets_that_keep_coming_keep_the_attempts_going()
    {
        using var pair = new VirtualPair();
        pair.Wire.Cut();
        for (int i = 0; i < 300; i++)
        {
            pair.A.Send(1);
            pair.Wire.AdvanceSeconds(1);
        }

        Assert.InRange(pair.Wire.Count(MessageType.HandshakeInitiation, pair.A), 55, 60);
        Assert.Equal(128, pair.A.Peer.Staged.Count);
    }

    [Fact]
    public void Data_that_nothing_is_heard_after_starts_a_new_handshake_in_fifteen_seconds()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.Wire.AdvanceSeconds(60);
        pair.Wire.Cut();
        Instant sent = pair.Wire.Now;
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(9);
        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(9);
        Datagram initiation = Assert.Single(pair.Wire.Seen, d => d.Type == MessageType.HandshakeInitiation);
        Assert.InRange((initiation.SentAt - sent).TotalSeconds, 15, 15.334);
    }

    [Fact]
    public void Hearing_anything_is_enough_against_that()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        for (int i = 0; i < 10; i++)
        {
            // B says nothing of its own: its passive keepalives are what A hears.
            pair.A.Send(1);
            pair.Wire.AdvanceSeconds(11);
        }

        Assert.DoesNotContain(pair.Wire.Seen, d => d.Type == MessageType.HandshakeInitiation);
    }

    [Fact]
    public void A_peer_that_lost_its_memory_is_back_within_twenty_seconds()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.B.LinkDown();
        pair.B.LinkUp();
        for (int i = 0; i < 20; i++)
        {
            pair.A.Send(1);
            pair.Wire.AdvanceSeconds(1);
        }

        Assert.NotEmpty(pair.B.Received);
    }

    [Fact]
    public void Keys_are_wiped_540_seconds_after_the_last_session()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        Keypair a = pair.A.Peer.Keypairs.Current!;
        Keypair b = pair.B.Peer.Keypairs.Current!;
        pair.Wire.AdvanceSeconds(539 - VirtualPair.SessionAge);
        Assert.False(a.IsWiped() || b.IsWiped());
        pair.Wire.AdvanceSeconds(2);
        Assert.True(a.IsWiped() && b.IsWiped());
        Assert.Equal(Keypairs.None, pair.A.Peer.Keypairs);
        Assert.Equal(0, pair.A.Device.IndexCount());
        Assert.False(a.TryLease());
        Assert.False(pair.A.Device.TryFindKeypair(a.LocalIndex, out _));
    }

    [Fact]
    public void A_new_session_puts_the_wiping_off_and_replaced_keypairs_are_wiped_at_once()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        var former = new List<Keypair>();
        for (int i = 0; i < 5; i++)
        {
            former.Add(pair.A.Peer.Keypairs.Current!);
            pair.Wire.AdvanceSeconds(181);
            pair.A.Send(1);
            pair.Wire.AdvanceSeconds(1);
            Assert.InRange(pair.A.Device.IndexCount(), 1, 3);
            Assert.InRange(pair.B.Device.IndexCount(), 1, 3);
        }

        Assert.Equal(5, pair.B.Received.Count);
        Assert.All(former.SkipLast(1), keypair => Assert.True(keypair.IsWiped()));
        Assert.False(former[^1].IsWiped());
        Assert.Same(former[^1], pair.A.Peer.Keypairs.Previous);
    }

    [Fact]
    public void A_lease_keeps_a_retired_keypair_alive_until_it_is_given_back()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        Keypair keypair = pair.A.Peer.Keypairs.Current!;
        Assert.True(keypair.TryLease());
        Assert.True(keypair.TryLease());
        pair.A.LinkDown();
        Assert.False(keypair.IsWiped());
        keypair.Release();
        Assert.False(keypair.IsWiped());
        Assert.True(keypair.TryLease());
        keypair.Release();
        keypair.Release();
        Assert.True(keypair.IsWiped());
        Assert.False(keypair.TryLease());
    }

    [Fact]
    public void Link_down_wipes_everything_and_link_up_begins_anew()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        Keypair keypair = pair.A.Peer.Keypairs.Current!;
        pair.A.Peer.Staged.Add([1]);
        pair.A.LinkDown();
        Assert.True(keypair.IsWiped());
        Assert.True(pair.A.Peer.Staged.IsEmpty);
        Assert.Equal((0, 0), (pair.A.Device.IndexCount(), pair.A.Device.DeadlineCount()));
        Assert.Equal(Instant.Never, pair.A.NextDeadline);
        Span<byte> message = stackalloc byte[148];
        Assert.False(pair.A.Device.TryCreateInitiation(pair.A.Peer, retry: false, pair.Wire.Moment, message));
        pair.Wire.Seen.Clear();
        pair.Wire.AdvanceSeconds(1000);
        Assert.Empty(pair.Wire.Seen);

        pair.A.LinkUp();
        pair.A.Send(3);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[3]], pair.B.Received);
    }

    [Fact]
    public void Removing_a_peer_wipes_what_it_had()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        Peer peer = pair.A.Peer;
        Keypair keypair = peer.Keypairs.Current!;
        peer.Staged.Add([1]);
        pair.A.Configure(pair.B.PublicKey, p => p.Remove = true);
        Assert.True(peer.IsRemoved && keypair.IsWiped() && peer.Staged.IsEmpty);
        peer.Staged.Add([1]);
        Assert.True(peer.Staged.IsEmpty);
        Assert.False(peer.WantsHandshake(pair.Wire.Now));
        Assert.Equal((0, 0), (pair.A.Device.IndexCount(), pair.A.Device.DeadlineCount()));

        // Whoever still holds it may leave work for it: nobody takes it out.
        pair.A.Device.QueueWork(peer, PeerWork.Staged | PeerWork.Handshake | PeerWork.Confirmed | PeerWork.Timers);
        Assert.False(pair.A.Device.TryTakeWork(pair.Wire.Moment, out _, out _));
        Assert.Equal(0, pair.A.Device.DeadlineCount());
    }
}
