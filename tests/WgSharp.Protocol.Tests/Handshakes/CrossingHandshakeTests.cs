using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>Both ends begin at once.</summary>
public sealed class CrossingHandshakeTests
{
    [Fact]
    public void Of_two_sessions_that_are_begun_at_once_one_end_follows_the_other_and_the_next_is_as_any()
    {
        DevicePair pair = DevicePair.Crossed();
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
        pair.Cross();
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
        pair.Cross();
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
        Assert.True(pair.A.TryInitiate());
    }
}
