using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>Sessions that go when another comes, or another private key.</summary>
public sealed class SessionSuccessionTests
{
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
        DevicePair pair = DevicePair.Crossed();
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
}
