namespace WgSharp.Protocol.Tests;

/// <summary>How keypairs slide through previous, current and next, as the kernel's add_new_keypair and wg_noise_received_with_keypair do it.</summary>
public sealed class KeypairsTests
{
    private readonly Peer _peer = new(default, new StagingBudget());

    [Fact]
    public void An_initiators_keypair_becomes_current_and_the_current_one_previous()
    {
        Keypair previous = New(initiator: true);
        Keypair current = New(initiator: false);
        Keypair created = New(initiator: true);
        Keypairs after = new Keypairs(previous, current, null).Add(created, out Keypair? first, out Keypair? second);
        Assert.Equal(new Keypairs(current, created, null), after);
        Assert.Equal([previous], Dropped(first, second));
    }

    [Fact]
    public void An_initiators_keypair_makes_a_pending_next_previous_because_the_peer_may_send_with_it_already()
    {
        Keypair previous = New(initiator: true);
        Keypair current = New(initiator: true);
        Keypair pending = New(initiator: false);
        Keypair created = New(initiator: true);
        Keypairs after = new Keypairs(previous, current, pending).Add(created, out Keypair? first, out Keypair? second);
        Assert.Equal(new Keypairs(pending, created, null), after);
        Assert.Equal([previous, current], Dropped(first, second));
    }

    [Fact]
    public void A_responders_keypair_waits_as_next_and_drops_the_one_that_waited_before()
    {
        Keypair previous = New(initiator: true);
        Keypair current = New(initiator: true);
        Keypair pending = New(initiator: false);
        Keypair created = New(initiator: false);
        Keypairs after = new Keypairs(previous, current, pending).Add(created, out Keypair? first, out Keypair? second);
        Assert.Equal(new Keypairs(null, current, created), after);
        Assert.Equal([previous, pending], Dropped(first, second));
    }

    [Fact]
    public void Confirmation_moves_everything_one_on()
    {
        Keypair previous = New(initiator: true);
        Keypair current = New(initiator: true);
        Keypair pending = New(initiator: false);
        Keypairs after = new Keypairs(previous, current, pending).Promote(out Keypair? dropped);
        Assert.Equal(new Keypairs(current, pending, null), after);
        Assert.Same(previous, dropped);
    }

    [Fact]
    public void A_confirmed_next_keypair_is_sent_with_before_it_was_moved()
    {
        Keypair current = New(initiator: true);
        Keypair next = New(initiator: false);
        var keypairs = new Keypairs(null, current, next);
        Assert.Same(current, keypairs.Sending);
        next.Confirm();
        Assert.Same(next, keypairs.Sending);
    }

    [Fact]
    public void Who_follows_the_peer_sends_with_what_was_previous_and_still_receives_with_what_was_current()
    {
        Keypair previous = New(initiator: false);
        Keypair current = New(initiator: true);
        var keypairs = new Keypairs(previous, current, null) { FollowsPeer = true };
        Assert.Equal(new Keypairs(current, previous, null) { FollowsPeer = true }, keypairs.Follow());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_keypair_serves_for_less_than_180_seconds_either_way(bool initiator)
    {
        Keypair keypair = New(initiator);
        Assert.True(keypair.MaySend(JustBefore(180)));
        Assert.True(keypair.MayReceive(JustBefore(180)));
        Assert.True(keypair.TryReserve(1, JustBefore(180), out _));
        Assert.False(keypair.MaySend(After(180)));
        Assert.False(keypair.MayReceive(After(180)));
        Assert.False(keypair.TryReserve(1, After(180), out _));
    }

    [Fact]
    public void The_initiator_wants_a_new_session_when_it_sends_after_120_seconds_and_when_it_receives_after_165()
    {
        Keypair keypair = New(initiator: true);
        Assert.False(keypair.WantsRekeyOnSend(JustBefore(120)));
        Assert.True(keypair.WantsRekeyOnSend(After(120)));
        Assert.False(keypair.TakeRekeyOnReceive(JustBefore(165)));
        Assert.True(keypair.TakeRekeyOnReceive(After(165)));
        Assert.False(keypair.TakeRekeyOnReceive(After(166)));
    }

    [Fact]
    public void The_responder_wants_none_for_its_age()
    {
        Keypair keypair = New(initiator: false);
        Assert.False(keypair.WantsRekeyOnSend(After(179)));
        Assert.False(keypair.TakeRekeyOnReceive(After(179)));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Either_end_wants_a_new_session_when_it_sends_more_than_2_to_the_60_messages(bool initiator)
    {
        Keypair keypair = New(initiator);
        keypair.SetSendCounter(Limits.RekeyAfterMessages);
        Assert.False(keypair.WantsRekeyOnSend(After(1)));
        keypair.SetSendCounter(Limits.RekeyAfterMessages + 1);
        Assert.True(keypair.WantsRekeyOnSend(After(1)));
    }

    [Fact]
    public void Under_a_former_private_key_is_received_to_the_end_and_nothing_sent_or_asked_for()
    {
        Keypair keypair = New(initiator: true);
        keypair.SetSendCounter(Limits.RekeyAfterMessages + 1);
        keypair.ExpireSending();
        Assert.False(keypair.MaySend(After(1)));
        Assert.False(keypair.TryReserve(1, After(1), out _));
        Assert.False(keypair.WantsRekeyOnSend(After(170)));
        Assert.False(keypair.TakeRekeyOnReceive(After(170)));
        Assert.True(keypair.MayReceive(JustBefore(180)));
    }

    [Fact]
    public void The_last_message_of_all_is_sent_and_none_after_it()
    {
        Keypair keypair = New(initiator: true);
        keypair.SetSendCounter(Limits.RejectAfterMessages - 3);
        Assert.False(keypair.TryReserve(4, After(1), out _));
        Assert.True(keypair.MaySend(After(1)));
        Assert.True(keypair.TryReserve(3, After(1), out ulong first));
        Assert.Equal(Limits.RejectAfterMessages - 3, first);
        Assert.False(keypair.MaySend(After(1)));
        Assert.False(keypair.TryReserve(1, After(1), out _));
    }

    [Theory]
    [InlineData(100, false)]
    [InlineData(99, true)]
    [InlineData(90, true)]
    [InlineData(89, false)]
    public void Only_the_last_messages_count_as_sent_lately(ulong counter, bool isLate)
    {
        Keypair keypair = New(initiator: true);
        keypair.SetSendCounter(100);
        Assert.Equal(isLate, keypair.HasSentLately(counter, last: 10));
    }

    [Fact]
    public void Each_of_a_peers_keypairs_has_sent_to_its_own_receiver()
    {
        Keypair[] all = [New(initiator: true, remoteIndex: 11), New(initiator: true, remoteIndex: 12), New(initiator: false, remoteIndex: 13)];
        for (int i = 0; i < all.Length; i++)
        {
            all[i].SetSendCounter((ulong)(i + 1) * 100);
        }

        var keypairs = new Keypairs(all[0], all[1], all[2]);
        for (int i = 0; i < all.Length; i++)
        {
            Assert.Equal(
                [i == 0, i == 1, i == 2],
                new ulong[] { 95, 195, 295 }.Select(counter => keypairs.HasSentLately((uint)(11 + i), counter, last: 10)));
        }

        Assert.False(keypairs.HasSentLately(14, 95, last: 10));
        Assert.False(Keypairs.None.HasSentLately(11, 95, last: 10));
    }

    [Fact]
    public void A_keypair_that_is_retired_twice_still_belongs_to_whoever_is_using_it()
    {
        Keypair keypair = New(initiator: true);
        Assert.True(keypair.TryLease());
        keypair.Retire();
        keypair.Retire();
        Assert.False(keypair.IsWiped);
        keypair.Release();
        Assert.True(keypair.IsWiped);
        keypair.Retire();
        Assert.False(keypair.TryLease());
    }

    private static Instant After(int seconds) => new Instant(1) + TimeSpan.FromSeconds(seconds);

    private static Instant JustBefore(int seconds) => new(After(seconds).Nanoseconds - 1);

    private static Keypair[] Dropped(Keypair? first, Keypair? second) => [.. new[] { first, second }.OfType<Keypair>()];

    private Keypair New(bool initiator, uint remoteIndex = 2) => new(_peer, 1, remoteIndex, initiator, new byte[32], new byte[32], new Instant(1));
}
