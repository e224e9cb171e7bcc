using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>What is in the messages of a handshake, and which keys come of it.</summary>
public sealed class HandshakeContentTests
{
    /// <summary>Two ends of ours would agree on anything. Here the other end is the whitepaper's, token by token (section 5.4).</summary>
    [Fact]
    public void Whoever_takes_every_step_of_the_whitepaper_can_answer_us_and_has_our_keys()
    {
        const int seed = 5;
        var pair = new DevicePair(seed);
        byte[] psk = new byte[PresharedKey.Size];
        new SeededRandom(seed).Fill(psk);
        byte[] initiation = pair.A.Initiation();
        var theirs = new PublicKey(initiation.AsSpan(8, PublicKey.Size));
        byte[] stateBytes = new byte[SymmetricState.Size];
        var state = new SymmetricState(stateBytes);
        state.Initialize("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"u8, "WireGuard v1 zx2c4 Jason@zx2c4.com"u8);
        state.MixHash(pair.B.PublicKey.Span);

        // e, es, s, ss, {t}
        state.MixHash(theirs.Span);
        state.MixKey(theirs.Span);
        Agree(pair.B.PrivateKey, theirs);
        byte[] initiator = new byte[PublicKey.Size];
        Assert.True(state.TryOpen(initiation.AsSpan(40, 48), initiator));
        Assert.Equal(pair.A.PublicKey.Span, initiator);
        Agree(pair.B.PrivateKey, pair.A.PublicKey);
        Assert.True(state.TryOpen(initiation.AsSpan(88, 28), new byte[Tai64n.Size]));

        // e, ee, se, psk, {}
        using var ephemeral = new PrivateKey([.. Enumerable.Repeat((byte)9, PrivateKey.Size)]);
        byte[] response = new byte[MessageSize.HandshakeResponse];
        response[0] = (byte)MessageType.HandshakeResponse;
        response[4] = 77; // its index
        initiation.AsSpan(4, 4).CopyTo(response.AsSpan(8));
        Span<byte> ours = response.AsSpan(12, PublicKey.Size);
        X25519.PublicKeyOf(ephemeral).Span.CopyTo(ours);
        state.MixHash(ours);
        state.MixKey(ours);
        Agree(ephemeral, theirs);
        Agree(ephemeral, pair.A.PublicKey);
        state.MixPsk(psk);
        state.Seal([], response.AsSpan(44, MessageSize.Tag));
        pair.A.Resign(response);
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(response, pair.B.Address));

        byte[] fromInitiator = new byte[32];
        state.Split(fromInitiator, new byte[32]);
        AssertSealsWith(fromInitiator, pair.A.Peer.Keypairs.Current!);

        void Agree(PrivateKey privateKey, PublicKey publicKey)
        {
            Span<byte> shared = stackalloc byte[32];
            Assert.True(X25519.TrySharedSecret(privateKey, publicKey, shared));
            new SymmetricState(stateBytes).MixKey(shared);
        }
    }

    [Fact]
    public void Every_handshake_message_has_an_ephemeral_key_of_its_own()
    {
        var pair = new DevicePair();
        var ephemerals = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < 3; i++)
        {
            byte[] initiation = pair.A.Initiation();
            Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(initiation, pair.A.Address));
            Assert.True(ephemerals.Add(Convert.ToHexString(initiation.AsSpan(8, PublicKey.Size))));
            Assert.True(ephemerals.Add(Convert.ToHexString(pair.B.Reply.AsSpan(12, PublicKey.Size))));
            pair.Advance(Limits.RekeyTimeout);
        }
    }

    [Fact]
    public void Each_direction_of_each_session_has_a_key_of_its_own()
    {
        var sealedBy = new HashSet<string>(StringComparer.Ordinal);
        DevicePair pair = DevicePair.WithSession();
        Keypair former = pair.A.Peer.Keypairs.Current!;
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
        foreach (Keypair keypair in (Keypair[])[former, pair.A.Peer.Keypairs.Current!])
        {
            foreach (AeadKey key in (AeadKey[])[keypair.SendKey, keypair.ReceiveKey])
            {
                byte[] message = new byte[32];
                key.Seal(message, [new AeadPacket { Length = 16 }]);
                Assert.True(sealedBy.Add(Convert.ToHexString(message)));
            }
        }
    }

    [Fact]
    public void Ends_whose_preshared_keys_differ_get_no_session()
    {
        var pair = new DevicePair();
        using var other = new PresharedKey([.. Enumerable.Repeat((byte)7, PresharedKey.Size)]);
        pair.B.Configure(pair.A.PublicKey, peer => peer.PresharedKey = other);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(HandshakeOutcome.Dropped, pair.A.Handle(pair.B.Reply, pair.B.Address));
        pair.A.Configure(pair.B.PublicKey, peer => peer.PresharedKey = other);
        pair.Advance(Limits.RekeyTimeout);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3600)]
    public void A_wall_clock_that_stands_still_or_is_set_back_makes_nobody_deaf_to_us(int secondsBack)
    {
        var pair = new DevicePair();
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        pair.Advance(Limits.RekeyTimeout);
        pair.SetWallForward((Limits.RekeyTimeout + TimeSpan.FromSeconds(secondsBack)) * -1);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
    }

    [Fact]
    public void A_response_for_another_index_than_the_initiations_is_none()
    {
        var pair = new DevicePair();
        using var identity = new StaticIdentity(pair.A.PrivateKey);
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        byte[] other = pair.B.Reply;
        other[8] ^= 1;
        Handshake handshake = pair.A.Peer.Handshake;
        Assert.True(HandshakeResponse.TryParse(other, out HandshakeResponse response));
        Assert.False(handshake.TryConsumeResponse(identity, response, pair.Now, out _));
        Assert.True(handshake.IsInitiationOut);
        Assert.True(HandshakeResponse.TryParse(pair.B.Reply, out response));
        Assert.True(handshake.TryConsumeResponse(identity, response, pair.Now, out _));
    }

    [Fact]
    public void Who_is_not_told_or_whose_ephemeral_key_has_low_order_is_nobody()
    {
        var pair = new DevicePair();
        using var identity = new StaticIdentity(pair.B.PrivateKey);
        byte[] initiation = pair.A.Initiation();
        byte[] lowOrder = [.. initiation];
        lowOrder.AsSpan(8, PublicKey.Size).Clear();
        byte[] forged = [.. initiation];
        forged[8 + PublicKey.Size] ^= 1;
        Assert.Equal(pair.A.PublicKey, Initiator(initiation));
        Assert.Null(Initiator(lowOrder));
        Assert.Null(Initiator(forged));

        PublicKey? Initiator(byte[] message)
        {
            Assert.True(HandshakeInitiation.TryParse(message, out HandshakeInitiation parsed));
            return Handshake.TryOpenStatic(identity, parsed, new SymmetricState(new byte[SymmetricState.Size]), out PublicKey initiator) ? initiator : null;
        }
    }

    private static void AssertSealsWith(byte[] key, Keypair keypair)
    {
        Assert.Equal(77u, keypair.RemoteIndex);
        byte[] message = new byte[16 + MessageSize.Tag];
        keypair.SendKey.Seal(message, [new AeadPacket { Length = 16, Counter = 3 }]);
        byte[] expected = new byte[message.Length];
        ChaCha20Poly1305.Seal(key, 3, new byte[16], [], expected);
        Assert.Equal(expected, message);
    }
}
