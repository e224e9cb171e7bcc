namespace WgSharp.Protocol.Tests;

/// <summary>When each of a peer's timers is due, to the nanosecond, and what moves it or makes it needless.</summary>
public sealed class PeerTimersTests
{
    private static readonly TimeSpan Jitter = TimeSpan.FromMilliseconds(123);
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan ZeroKeyMaterial = Limits.RejectAfterTime * 3;
    private static readonly Instant Now = new(1_000_000_000_000);

    private readonly PeerActivity _activity = new();
    private readonly PeerTimers _timers;

    public PeerTimersTests() => _timers = new PeerTimers(_activity);

    // ---- handshakes ----

    [Fact]
    public void Five_seconds_lie_between_two_handshake_messages_of_ours()
    {
        Assert.True(_timers.MayInitiate(Now));
        _timers.NoteInitiationMade(Now, Jitter);
        Assert.False(_timers.MayInitiate(JustBefore(Now + Limits.RekeyTimeout)));
        Assert.True(_timers.MayInitiate(Now + Limits.RekeyTimeout));
        _timers.NoteResponseMade(Now + Second);
        Assert.False(_timers.MayInitiate(JustBefore(Now + Second + Limits.RekeyTimeout)));
        Assert.True(_timers.MayInitiate(Now + Second + Limits.RekeyTimeout));
    }

    [Fact]
    public void After_nineteen_repetitions_a_handshake_is_given_up()
    {
        _timers.NoteInitiationMade(Now, Jitter);
        Assert.Equal(19, RepetitionsToTheEnd());
        Assert.Equal(PeerTimers.Due.Nothing, _timers.TakeDue(Now + TimeSpan.FromMinutes(5), Jitter));
    }

    public static TheoryData<string> FreshStarts => ["asked", "asked again", "complete", "nothing heard", "link down"];

    [Theory]
    [MemberData(nameof(FreshStarts))]
    public void The_attempts_are_counted_from_the_start_whenever_there_is_a_new_reason(string reason)
    {
        _timers.NoteInitiationMade(Now, Jitter);
        Assert.Equal(7, Repeat(7));
        switch (reason)
        {
            case "asked":
                _timers.NoteHandshakeAsked();
                break;
            case "asked again":
                Assert.False(_activity.WantsHandshake(Now + TimeSpan.FromMinutes(2)));
                break;
            case "complete":
                _timers.NoteHandshakeComplete(isInitiationOut: false);
                break;
            case "nothing heard":
                _activity.NoteSent(1, carriesData: true, Now);
                Assert.Equal(PeerTimers.Due.NewHandshake, _timers.TakeDue(Now + TimeSpan.FromSeconds(15), Jitter));
                break;
            case "link down":
                _timers.Stop();
                break;
        }

        _timers.NoteInitiationMade(Now + TimeSpan.FromMinutes(1), Jitter);
        Assert.Equal(19, RepetitionsToTheEnd());
    }

    [Fact]
    public void Whoever_gives_up_has_no_keepalive_to_send_and_wipes_the_keys_nine_minutes_later()
    {
        // Two packets: a keepalive would be due, and another behind it.
        _timers.NoteInitiationMade(Now, Jitter);
        Assert.Equal(18, Repeat(18));
        Instant last = _timers.PlanNextLook();
        Assert.Equal(PeerTimers.Due.RetransmitHandshake, _timers.TakeDue(last, Jitter));
        Instant end = _timers.PlanNextLook();
        _activity.NoteReceived(carriesData: true, JustBefore(end) + (Limits.KeepaliveTimeout * -1));
        _activity.NoteReceived(carriesData: true, JustBefore(end) + (Limits.KeepaliveTimeout * -1));
        Assert.Equal(PeerTimers.Due.SendKeepalive, _timers.TakeDue(JustBefore(end), Jitter));
        _activity.NoteReceived(carriesData: true, JustBefore(end));
        Assert.Equal(PeerTimers.Due.GiveUpHandshake, _timers.TakeDue(end, Jitter));
        Assert.Equal(end + ZeroKeyMaterial, _timers.PlanNextLook());
        Assert.Equal(PeerTimers.Due.ZeroKeyMaterial, _timers.TakeDue(end + ZeroKeyMaterial, Jitter));
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
    }

    [Fact]
    public void Giving_up_does_not_put_off_the_wiping_of_keys_there_are()
    {
        _timers.NoteSessionDerived(Now);
        _timers.NoteInitiationMade(Now, Jitter);
        Assert.Equal(19, RepetitionsToTheEnd());
        Assert.Equal(Now + ZeroKeyMaterial, _timers.PlanNextLook());
    }

    [Fact]
    public void Keys_are_wiped_nine_minutes_after_the_youngest_were_made_unless_they_are_gone()
    {
        _timers.NoteSessionDerived(Now);
        _timers.NoteSessionDerived(Now + Second);
        AssertDue(PeerTimers.Due.ZeroKeyMaterial, Now + Second + ZeroKeyMaterial);
        _timers.NoteSessionDerived(Now);
        _timers.NoteSessionsWiped();
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
    }

    [Fact]
    public void Who_asks_while_a_handshake_is_under_way_does_not_move_it_but_the_repetition_itself_follows_the_last_answer()
    {
        _timers.NoteInitiationMade(Now, Jitter);
        _timers.NoteResponseMade(Now + Second);
        _timers.NoteInitiationPostponed(retry: false, Jitter);
        Assert.Equal(Now + Limits.RekeyTimeout + Jitter, _timers.PlanNextLook());
        _timers.NoteInitiationPostponed(retry: true, Jitter);
        Assert.Equal(Now + Second + Limits.RekeyTimeout + Jitter, _timers.PlanNextLook());
    }

    [Fact]
    public void Who_asks_in_vain_is_put_off_for_five_seconds_or_until_it_is_possible()
    {
        _timers.NoteInitiationImpossible(Now);
        Assert.False(_activity.WantsHandshake(JustBefore(Now + Limits.RekeyTimeout)));
        Assert.True(_activity.WantsHandshake(Now + Limits.RekeyTimeout));
        _timers.NoteInitiationImpossible(Now);
        _timers.NoteInitiationPossible();
        Assert.True(_activity.WantsHandshake(Now));
    }

    [Fact]
    public void While_a_handshake_is_under_way_nobody_needs_to_ask_whatever_becomes_possible_or_impossible()
    {
        _timers.NoteInitiationMade(Now, Jitter);
        _timers.NoteInitiationImpossible(Now);
        Assert.False(_activity.WantsHandshake(Now + TimeSpan.FromHours(1)));
        _timers.NoteInitiationPossible();
        Assert.False(_activity.WantsHandshake(Now + TimeSpan.FromHours(1)));
        _timers.NoteHandshakeComplete(isInitiationOut: false);
        Assert.True(_activity.WantsHandshake(Now));
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
    }

    [Fact]
    public void An_initiation_that_the_peers_handshake_has_overtaken_is_forgotten_five_seconds_after_it_was_made()
    {
        _timers.NoteInitiationMade(Now, Jitter);
        _timers.NoteHandshakeComplete(isInitiationOut: true);
        AssertDue(PeerTimers.Due.ForgetInitiation, Now + Limits.RekeyTimeout);
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_younger_initiation_is_not_forgotten_in_its_place(bool isCleared)
    {
        _timers.NoteInitiationMade(Now, Jitter);
        _timers.NoteHandshakeComplete(isInitiationOut: true);
        if (isCleared)
        {
            _timers.NoteHandshakeCleared();
            Assert.Equal(Instant.Never, _timers.PlanNextLook());
        }

        _timers.NoteInitiationMade(Now + Second, Jitter);
        AssertDue(PeerTimers.Due.RetransmitHandshake, Now + Second + Limits.RekeyTimeout + Jitter);
    }

    [Fact]
    public void A_handshake_that_was_forgotten_lets_the_next_begin_at_once()
    {
        _timers.NoteInitiationMade(Now, Jitter);
        _timers.NoteHandshakeCleared();
        Assert.True(_timers.MayInitiate(Now));
        Assert.True(_activity.WantsHandshake(Now));
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
    }

    [Fact]
    public void What_was_sent_and_not_answered_asks_for_a_handshake_once()
    {
        _activity.NoteSent(1, carriesData: true, Now);
        AssertDue(PeerTimers.Due.NewHandshake, Now + Limits.KeepaliveTimeout + Limits.RekeyTimeout);
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
    }

    // ---- keepalives ----

    [Fact]
    public void A_keepalive_answers_data_after_ten_seconds_once()
    {
        _activity.NoteReceived(carriesData: true, Now);
        AssertDue(PeerTimers.Due.SendKeepalive, Now + Limits.KeepaliveTimeout);
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
    }

    [Theory]
    [InlineData(1, true)]
    [InlineData(2, false)]
    public void A_second_keepalive_follows_more_data_unless_something_was_sent_beside_the_first(int sent, bool follows)
    {
        _activity.NoteSent(5, carriesData: false, Now);
        _activity.NoteReceived(carriesData: true, Now);
        _activity.NoteReceived(carriesData: true, Now + Second);
        Instant first = Now + Limits.KeepaliveTimeout;
        AssertDue(PeerTimers.Due.SendKeepalive, first);
        _activity.NoteSent(sent, carriesData: false, first);
        if (follows)
        {
            AssertDue(PeerTimers.Due.SendKeepalive, first + Limits.KeepaliveTimeout);
        }

        Assert.Equal(Instant.Never, _timers.PlanNextLook());
    }

    [Fact]
    public void A_second_keepalive_and_a_first_one_that_are_due_together_are_one()
    {
        _activity.NoteReceived(carriesData: true, Now);
        _activity.NoteReceived(carriesData: true, Now);
        Instant first = Now + Limits.KeepaliveTimeout;
        AssertDue(PeerTimers.Due.SendKeepalive, first);
        _activity.NoteReceived(carriesData: true, first);
        AssertDue(PeerTimers.Due.SendKeepalive, first + Limits.KeepaliveTimeout);
        Assert.Equal(PeerTimers.Due.Nothing, _timers.TakeDue(first + Limits.KeepaliveTimeout, Jitter));
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
    }

    [Fact]
    public void Persistent_keepalives_go_out_an_interval_after_whatever_passed_last()
    {
        Assert.True(_timers.SetPersistentKeepalive(25, linkIsUp: true, Now));
        Assert.Equal(25, _timers.PersistentKeepaliveInterval);
        AssertDue(PeerTimers.Due.SendKeepalive, Now);
        Instant second = Now + TimeSpan.FromSeconds(25);
        Assert.Equal(second, _timers.PlanNextLook());
        _activity.NoteSent(1, carriesData: false, Now + Second);
        AssertDue(PeerTimers.Due.SendKeepalive, second + Second);

        // The look was late: what counts is when it went out, not when it should have.
        Instant late = second + TimeSpan.FromHours(1);
        Assert.Equal(PeerTimers.Due.SendKeepalive, _timers.TakeDue(late, Jitter));
        Assert.Equal(late + TimeSpan.FromSeconds(25), _timers.PlanNextLook());
    }

    [Fact]
    public void The_first_persistent_keepalive_is_due_when_it_was_planned_whatever_passes_before()
    {
        Instant first = Now + TimeSpan.FromMinutes(1);
        Assert.True(_timers.SetPersistentKeepalive(5, linkIsUp: true, first));
        _activity.NoteSent(1, carriesData: false, Now);
        AssertDue(PeerTimers.Due.SendKeepalive, first);
    }

    [Fact]
    public void Another_interval_plans_no_first_keepalive_anew_and_none_at_all_while_the_link_is_down()
    {
        Assert.False(_timers.StartPersistentKeepalive(Now));
        Assert.False(_timers.SetPersistentKeepalive(0, linkIsUp: true, Now));
        Assert.False(_timers.SetPersistentKeepalive(25, linkIsUp: false, Now));
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
        Assert.False(_timers.SetPersistentKeepalive(30, linkIsUp: true, Now));
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
        Assert.True(_timers.StartPersistentKeepalive(Now));
        Assert.Equal(Now, _timers.PlanNextLook());
        Assert.False(_timers.SetPersistentKeepalive(0, linkIsUp: true, Now));
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
        Assert.True(_timers.SetPersistentKeepalive(10, linkIsUp: true, Now + Second));
        Assert.Equal(Now + Second, _timers.PlanNextLook());
    }

    // ---- the end ----

    [Fact]
    public void After_a_stop_nothing_is_due_and_nothing_is_remembered()
    {
        _timers.SetPersistentKeepalive(25, linkIsUp: true, Now);
        _activity.NoteReceived(carriesData: true, Now);
        _activity.NoteReceived(carriesData: true, Now);
        Assert.Equal(PeerTimers.Due.SendKeepalive, _timers.TakeDue(Now + Limits.KeepaliveTimeout, Jitter));
        _activity.NoteReceived(carriesData: true, Now);
        _timers.NoteSessionDerived(Now);
        _timers.NoteInitiationMade(Now, Jitter);
        _timers.NoteHandshakeComplete(isInitiationOut: true);
        _timers.NoteInitiationPostponed(retry: true, Jitter);
        _timers.Stop();
        Assert.Equal(Instant.Never, _timers.PlanNextLook());
        Assert.Equal(PeerTimers.Due.Nothing, _timers.TakeDue(Now + TimeSpan.FromDays(1), Jitter));
        Assert.True(_timers.MayInitiate(Now));
        Assert.True(_activity.WantsHandshake(Now));
        Assert.Equal(25, _timers.PersistentKeepaliveInterval);
    }

    [Fact]
    public void The_timer_that_is_due_first_is_looked_at_first()
    {
        _timers.NoteSessionDerived(Now);
        Assert.Equal(Now + ZeroKeyMaterial, _timers.PlanNextLook());
        _timers.SetPersistentKeepalive(25, linkIsUp: true, Now + TimeSpan.FromSeconds(60));
        Assert.Equal(Now + TimeSpan.FromSeconds(60), _timers.PlanNextLook());
        _activity.NoteSent(1, carriesData: true, Now);
        Assert.Equal(Now + TimeSpan.FromSeconds(15), _timers.PlanNextLook());
        _activity.NoteReceived(carriesData: true, Now);
        Assert.Equal(Now + TimeSpan.FromSeconds(10), _timers.PlanNextLook());
        _timers.NoteInitiationMade(Now, Jitter);
        Assert.Equal(Now + TimeSpan.FromSeconds(5) + Jitter, _timers.PlanNextLook());
        _timers.NoteHandshakeComplete(isInitiationOut: true);
        Assert.Equal(Now + TimeSpan.FromSeconds(5), _timers.PlanNextLook());
    }

    [Fact]
    public void The_first_keepalives_of_many_peers_are_spread_behind_the_sixty_fourth()
    {
        var first = new FirstKeepalives(Now);
        Assert.Equal(Now, first.Next);
        first.Count = 63;
        Assert.Equal(Now, first.Next);
        first.Count = 64;
        Assert.Equal(Now + TimeSpan.FromMicroseconds(900), first.Next);
        first.Count = 1063;
        Assert.Equal(Now + TimeSpan.FromMilliseconds(900), first.Next);
    }

    private static Instant JustBefore(Instant instant) => new(instant.Nanoseconds - 1);

    private void AssertDue(PeerTimers.Due due, Instant when)
    {
        Assert.Equal(when, _timers.PlanNextLook());
        Assert.Equal(PeerTimers.Due.Nothing, _timers.TakeDue(JustBefore(when), Jitter));
        Assert.Equal(due, _timers.TakeDue(when, Jitter));
    }

    /// <returns>How many initiations were due among so many looks.</returns>
    private int Repeat(int looks)
    {
        int repetitions = 0;
        for (int i = 0; i < looks; i++)
        {
            repetitions += _timers.TakeDue(_timers.PlanNextLook(), Jitter) == PeerTimers.Due.RetransmitHandshake ? 1 : 0;
        }

        return repetitions;
    }

    private int RepetitionsToTheEnd()
    {
        for (int repetitions = 0; ; repetitions++)
        {
            Assert.InRange(repetitions, 0, 100);
            PeerTimers.Due due = _timers.TakeDue(_timers.PlanNextLook(), Jitter);
            if (due == PeerTimers.Due.GiveUpHandshake)
            {
                return repetitions;
            }

            Assert.Equal(PeerTimers.Due.RetransmitHandshake, due);
        }
    }
}
