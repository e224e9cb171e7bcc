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

    private static Keypair[] Dropped(Keypair? first, Keypair? second) => [.. new[] { first, second }.OfType<Keypair>()];

    private Keypair New(bool initiator) => new(_peer, 1, 2, initiator, new byte[32], new byte[32], new Instant(1));
}
