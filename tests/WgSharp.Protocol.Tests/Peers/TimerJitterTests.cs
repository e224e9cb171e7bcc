namespace WgSharp.Protocol.Tests;

/// <summary>Two ends that begin at once do not go on at once: each deadline that begins a handshake has a random part.</summary>
public sealed class TimerJitterTests
{
    private static readonly TimeSpan Jitter = TimeSpan.FromMilliseconds(123);
    private static readonly TimeSpan OtherJitter = TimeSpan.FromMilliseconds(321);

    private readonly PeerActivity _activity = new();
    private readonly PeerTimers _timers;
    private readonly Instant _now = new(1_000_000_000_000);

    public TimerJitterTests() => _timers = new PeerTimers(_activity);

    [Fact]
    public void An_initiation_is_sent_again_after_five_seconds_and_its_jitter_each_time_with_a_new_one()
    {
        _timers.NoteInitiationMade(_now, Jitter);
        Instant first = _timers.PlanNextLook();
        Assert.Equal(_now + Limits.RekeyTimeout + Jitter, first);
        Assert.Equal(PeerTimers.Due.RetransmitHandshake, _timers.TakeDue(first, OtherJitter));
        Assert.Equal(first + Limits.RekeyTimeout + OtherJitter, _timers.PlanNextLook());
    }

    [Fact]
    public void An_initiation_that_came_too_soon_after_our_answer_follows_with_jitter()
    {
        _timers.NoteResponseMade(_now);
        _timers.NoteInitiationPostponed(retry: false, Jitter);
        Assert.Equal(_now + Limits.RekeyTimeout + Jitter, _timers.PlanNextLook());
    }

    [Fact]
    public void A_peer_that_does_not_answer_is_asked_for_a_new_session_after_fifteen_seconds_and_next_time_with_jitter()
    {
        TimeSpan timeout = Limits.KeepaliveTimeout + Limits.RekeyTimeout;
        _activity.NoteSent(1, carriesData: true, _now);
        Instant first = _timers.PlanNextLook();
        Assert.Equal(_now + timeout, first);
        Assert.Equal(PeerTimers.Due.NewHandshake, _timers.TakeDue(first, Jitter));
        Assert.Equal(Instant.Never, _timers.PlanNextLook());

        Instant later = first + TimeSpan.FromMinutes(1);
        _activity.NoteSent(1, carriesData: true, later);
        Assert.Equal(later + timeout + Jitter, _timers.PlanNextLook());
    }
}
