using WgSharp.Crypto;
using WgSharp.Protocol;
using WgSharp.Protocol.Tests;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>What a suspend of the machine leaves of sessions and handshakes.</summary>
public sealed class SuspendTests
{
    private static readonly TimeSpan Nap = TimeSpan.FromSeconds(1);

    [Fact]
    public void After_a_suspend_no_key_of_before_is_left()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        Keypair before = pair.A.Peer.Keypairs.Current!;
        Assert.NotEqual(Instant.Never, pair.A.NextDeadline);

        pair.A.Sleep(Nap);
        pair.A.Run();

        Assert.True(before.IsWiped());
        Assert.Equal(Keypairs.None, pair.A.Peer.Keypairs);
        Assert.Equal(0, pair.A.Device.IndexCount());
        Assert.Equal(Instant.Never, pair.A.NextDeadline);
    }

    [Fact]
    public void What_is_no_suspend_wipes_nothing()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        Keypair before = pair.A.Peer.Keypairs.Current!;
        pair.A.Sleep(TimeSpan.FromMilliseconds(1));
        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(1);
        Assert.Same(before, pair.A.Sending);
        Assert.Equal([[2]], pair.B.Received);
    }

    [Theory]
    [InlineData(100, true)]
    [InlineData(99.9, false)]
    public void The_shortest_suspend_takes_a_tenth_of_a_second(double milliseconds, bool wipes)
    {
        using VirtualPair pair = VirtualPair.WithSession();
        Keypair before = pair.A.Peer.Keypairs.Current!;
        pair.A.Sleep(TimeSpan.FromMilliseconds(milliseconds));
        pair.A.Run();
        Assert.Equal(wipes, before.IsWiped());
    }

    [Fact]
    public void After_a_suspend_the_next_packet_begins_a_session_and_arrives()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Sleep(Nap);
        pair.A.Run();

        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(1);

        Assert.Equal([[2]], pair.B.Received);
        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
    }

    [Fact]
    public void What_the_peer_still_sends_with_the_keys_of_before_is_silence_until_it_begins_anew()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Sleep(Nap);

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
        using var pair = new VirtualPair();
        pair.Wire.Cut();
        pair.A.Send(3);
        pair.A.Sleep(Nap);
        pair.Wire.Mend();

        pair.Wire.AdvanceSeconds(10);

        Assert.Equal([[3]], pair.B.Received);
        Assert.Equal(2, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
    }

    [Fact]
    public void A_response_to_an_initiation_of_before_is_silence()
    {
        using var pair = new VirtualPair();
        pair.Wire.Fate = (datagram, _) => [datagram.Type == MessageType.HandshakeResponse ? Nap * 2 : VirtualWire.Latency];
        pair.A.Send(3);
        pair.A.Sleep(Nap);

        pair.Wire.Advance(Nap * 1.5);

        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeResponse, pair.B));
        Assert.Empty(pair.A.Outcomes);
        Assert.Equal(Keypairs.None, pair.A.Peer.Keypairs);
    }

    [Fact]
    public void A_persistent_keepalive_lives_on_and_begins_a_session()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 25);
        pair.Wire.AdvanceSeconds(1);
        pair.A.Sleep(Nap);

        pair.Wire.AdvanceSeconds(25);

        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
        Assert.NotNull(pair.A.Peer.Keypairs.Current);
    }
}

/// <summary>Alone: the count is the process's.</summary>
[CollectionDefinition(nameof(SecretsTests), DisableParallelization = true)]
[Collection(nameof(SecretsTests))]
public sealed class SecretsTests
{
    [Fact]
    public void A_tunnel_that_is_disposed_leaves_no_secret_behind_whatever_became_of_its_sessions()
    {
        int before = SecretMemory.InUse;
        VirtualPair pair = VirtualPair.WithSession();
        pair.B.Overload();
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

        pair.Dispose();

        Assert.Equal(before, SecretMemory.InUse);
    }
}
