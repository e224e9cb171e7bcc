namespace WgSharp.Protocol.Tests;

public class PeerActivityTests
{
    private static readonly Instant Sent = new(1_000_000_000);
    private static readonly Instant Answered = Sent + TimeSpan.FromMilliseconds(1);

    [Fact]
    public void What_was_answered_before_the_sender_noted_it_is_not_unanswered()
    {
        var activity = new PeerActivity();
        activity.NoteReceived(carriesData: true, Answered);
        activity.NoteSent(1, carriesData: true, Sent);
        Assert.Equal(Instant.Never, activity.DataSent);
        Assert.Equal(Answered, activity.DataReceived);
        Assert.Equal(1, activity.SentCount);
    }

    [Fact]
    public void What_is_sent_after_the_answer_waits_for_one_of_its_own()
    {
        var activity = new PeerActivity();
        activity.NoteReceived(carriesData: true, Answered);
        Instant later = Answered + TimeSpan.FromMilliseconds(1);
        activity.NoteSent(1, carriesData: true, later);
        Assert.Equal(later, activity.DataSent);
        Assert.Equal(Instant.Never, activity.DataReceived);
    }
}
