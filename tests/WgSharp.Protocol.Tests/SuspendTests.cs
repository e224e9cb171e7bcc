using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>What a suspend of the machine leaves of sessions and handshakes.</summary>
public sealed class SuspendTests
{
    [Fact]
    public void After_a_suspend_no_key_of_before_is_left()
    {
        PeerPair pair = PeerPair.WithSession();
        Keypair before = pair.A.Peer.Keypairs.Current!;

        pair.A.Device.WipeAfterSuspend();

        Assert.True(before.IsWiped);
        Assert.Equal(Keypairs.None, pair.A.Peer.Keypairs);
        Assert.Equal(0, pair.A.Device.IndexCount);
    }

    [Fact]
    public void After_a_suspend_the_next_packet_begins_a_session_and_arrives()
    {
        PeerPair pair = PeerPair.WithSession();
        pair.A.Device.WipeAfterSuspend();

        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(1);

        Assert.Equal([[2]], pair.B.Received);
        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
    }

    [Fact]
    public void What_the_peer_still_sends_with_the_keys_of_before_is_silence_until_it_begins_anew()
    {
        PeerPair pair = PeerPair.WithSession();
        pair.A.Device.WipeAfterSuspend();

        pair.B.Send(7);
        pair.Wire.AdvanceSeconds(1);
        Assert.Empty(pair.A.Received);

        pair.Wire.AdvanceSeconds(20);
        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeInitiation, pair.B));
        pair.B.Send(8);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[8]], pair.A.Received);
    }

    [Fact]
    public void A_packet_that_waits_for_a_handshake_over_a_suspend_goes_out_with_the_next_one()
    {
        var pair = new PeerPair();
        pair.Wire.Cut();
        pair.A.Send(3);
        pair.A.Device.WipeAfterSuspend();
        pair.Wire.Mend();

        pair.Wire.AdvanceSeconds(10);

        Assert.Equal([[3]], pair.B.Received);
        Assert.Equal(2, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
    }

    [Fact]
    public void A_response_to_an_initiation_of_before_is_silence()
    {
        var pair = new PeerPair();
        pair.A.Send(3);
        pair.A.Device.WipeAfterSuspend();

        pair.Wire.Advance(VirtualWire.Latency * 3);

        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeResponse, pair.B));
        Assert.Equal(Keypairs.None, pair.A.Peer.Keypairs);
    }

    [Fact]
    public void A_persistent_keepalive_lives_on_and_begins_a_session()
    {
        PeerPair pair = PeerPair.WithSession();
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 25);
        pair.Wire.AdvanceSeconds(1);
        pair.A.Device.WipeAfterSuspend();

        pair.Wire.AdvanceSeconds(26);

        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
        Assert.NotNull(pair.A.Peer.Keypairs.Current);
    }

    [Fact]
    public void Nothing_is_due_for_keys_that_are_gone()
    {
        PeerPair pair = PeerPair.WithSession();
        Assert.Equal(1, pair.A.Device.DeadlineCount);

        pair.A.Device.WipeAfterSuspend();

        Assert.Equal(Instant.Never, pair.A.Device.NextDeadline);
    }
}

/// <summary>Alone: the count is the process's.</summary>
[CollectionDefinition(nameof(SecretsTests), DisableParallelization = true)]
[Collection(nameof(SecretsTests))]
public sealed class SecretsTests
{
    [Fact]
    public void A_device_that_is_disposed_leaves_no_secret_behind_whatever_became_of_its_sessions()
    {
        int before = SecretMemory.InUse;
        PeerPair pair = PeerPair.WithSession();
        pair.B.UnderLoad = true;
        for (int i = 0; i < 5; i++)
        {
            pair.A.Send((byte)i);
            pair.B.Send((byte)i);
            pair.Wire.AdvanceSeconds(125);
        }

        pair.Wire.Cut();
        pair.A.Send(99);
        pair.Wire.AdvanceSeconds(7);
        Assert.True(SecretMemory.InUse > before);

        pair.A.Device.Dispose();
        pair.B.Device.Dispose();
        pair.A.PrivateKey.Dispose();
        pair.B.PrivateKey.Dispose();

        Assert.Equal(before, SecretMemory.InUse);
    }
}
