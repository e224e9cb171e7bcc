using System.Text.Json;
using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>The published IKpsk2 transcript through <see cref="SymmetricState"/>: source and licence stand beside the vectors.</summary>
public sealed class NoiseVectorTests
{
    [Fact]
    public void The_symmetric_state_follows_the_IKpsk2_transcript_on_both_sides()
    {
        using JsonDocument file = JsonDocument.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Vectors", "noise-ikpsk2-25519-chachapoly-blake2s.json")));
        JsonElement vector = file.RootElement.GetProperty("vectors")[0];
        byte[] psk = Convert.FromHexString(vector.GetProperty("init_psks")[0].GetString()!);
        using PrivateKey initiatorStatic = Key("init_static");
        using PrivateKey initiatorEphemeral = Key("init_ephemeral");
        using PrivateKey responderStatic = Key("resp_static");
        using PrivateKey responderEphemeral = Key("resp_ephemeral");
        PublicKey responderPublic = X25519.PublicKeyOf(responderStatic);
        byte[] first = Ciphertext(0);
        byte[] second = Ciphertext(1);

        var initiator = new SymmetricState(new byte[SymmetricState.Size]);
        var responder = new SymmetricState(new byte[SymmetricState.Size]);
        initiator.Initialize("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"u8, Hex("init_prologue"));
        responder.Initialize("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"u8, Hex("resp_prologue"));
        initiator.MixHash(responderPublic.Span);
        responder.MixHash(responderPublic.Span);

        // -> e, es, s, ss
        byte[] message = new byte[first.Length];
        Ephemeral(initiator, X25519.PublicKeyOf(initiatorEphemeral).Span, message);
        Shared(initiator, initiatorEphemeral, responderPublic);
        initiator.Seal(X25519.PublicKeyOf(initiatorStatic).Span, message.AsSpan(32, 48));
        Shared(initiator, initiatorStatic, responderPublic);
        initiator.Seal(Payload(0), message.AsSpan(80));
        Assert.Equal(first, message);

        var remoteEphemeral = new PublicKey(first.AsSpan(0, 32));
        Ephemeral(responder, remoteEphemeral.Span, new byte[32]);
        Shared(responder, responderStatic, remoteEphemeral);
        byte[] remoteStatic = new byte[32];
        Assert.True(responder.TryOpen(first.AsSpan(32, 48), remoteStatic));
        Assert.Equal(X25519.PublicKeyOf(initiatorStatic).Span, remoteStatic);
        Shared(responder, responderStatic, new PublicKey(remoteStatic));
        byte[] payload = new byte[first.Length - 96];
        Assert.True(responder.TryOpen(first.AsSpan(80), payload));
        Assert.Equal(Payload(0), payload);

        // <- e, ee, se, psk
        message = new byte[second.Length];
        Ephemeral(responder, X25519.PublicKeyOf(responderEphemeral).Span, message);
        Shared(responder, responderEphemeral, remoteEphemeral);
        Shared(responder, responderEphemeral, new PublicKey(remoteStatic));
        responder.MixPsk(psk);
        responder.Seal(Payload(1), message.AsSpan(32));
        Assert.Equal(second, message);

        var answer = new PublicKey(second.AsSpan(0, 32));
        Ephemeral(initiator, answer.Span, new byte[32]);
        Shared(initiator, initiatorEphemeral, answer);
        Shared(initiator, initiatorStatic, answer);
        initiator.MixPsk(psk);
        payload = new byte[second.Length - 48];
        Assert.True(initiator.TryOpen(second.AsSpan(32), payload));
        Assert.Equal(Payload(1), payload);

        Assert.Equal(Hex("handshake_hash"), initiator.Hash);
        Assert.Equal(Hex("handshake_hash"), responder.Hash);
        AssertTransport(initiator, responder);

        void AssertTransport(SymmetricState one, SymmetricState other)
        {
            byte[][] keys = [new byte[32], new byte[32], new byte[32], new byte[32]];
            one.Split(keys[0], keys[1]);
            other.Split(keys[2], keys[3]);
            Assert.Equal(keys[0], keys[2]);
            Assert.Equal(keys[1], keys[3]);
            for (int i = 2; i < 6; i++)
            {
                byte[] expected = Ciphertext(i);
                byte[] transport = new byte[expected.Length];
                ChaCha20Poly1305.Seal(keys[i % 2], (ulong)((i - 2) / 2), Payload(i), [], transport);
                Assert.Equal(expected, transport);
            }
        }

        byte[] Hex(string name) => Convert.FromHexString(vector.GetProperty(name).GetString()!);
        PrivateKey Key(string name) => new(Hex(name));
        byte[] Payload(int i) => Convert.FromHexString(vector.GetProperty("messages")[i].GetProperty("payload").GetString()!);
        byte[] Ciphertext(int i) => Convert.FromHexString(vector.GetProperty("messages")[i].GetProperty("ciphertext").GetString()!);
    }

    private static void Ephemeral(SymmetricState state, ReadOnlySpan<byte> key, Span<byte> message)
    {
        key.CopyTo(message);
        state.MixHash(key);
        state.MixKey(key);
    }

    private static void Shared(SymmetricState state, PrivateKey privateKey, PublicKey publicKey)
    {
        byte[] shared = new byte[32];
        Assert.True(X25519.TrySharedSecret(privateKey, publicKey, shared));
        state.MixKey(shared);
    }
}
