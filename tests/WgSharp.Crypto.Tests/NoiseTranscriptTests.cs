using System.Text;
using System.Text.Json;

namespace WgSharp.Crypto.Tests;

/// <summary>
/// A published Noise_IKpsk2 transcript, both sides, by these primitives alone: X25519, ChaCha20-Poly1305 with associated data,
/// BLAKE2s as hash and KDF fit together as the handshake needs them.
/// </summary>
public class NoiseTranscriptTests
{
    [Fact]
    public void Both_sides_of_the_IKpsk2_transcript_agree_with_it_byte_for_byte()
    {
        JsonElement vector = VectorFile.Open("noise-ikpsk2-25519-chachapoly-blake2s.json").GetProperty("vectors")[0];
        byte[] prologue = VectorFile.Hex(vector, "init_prologue");
        byte[] psk = Convert.FromHexString(vector.GetProperty("init_psks")[0].GetString()!);
        PrivateKey initiatorStatic = new(VectorFile.Hex(vector, "init_static"));
        PrivateKey initiatorEphemeral = new(VectorFile.Hex(vector, "init_ephemeral"));
        PrivateKey responderStatic = new(VectorFile.Hex(vector, "resp_static"));
        PrivateKey responderEphemeral = new(VectorFile.Hex(vector, "resp_ephemeral"));
        PublicKey responderPublic = new(VectorFile.Hex(vector, "init_remote_static"));
        Assert.Equal(responderPublic, X25519.PublicKeyOf(responderStatic));
        (byte[] Payload, byte[] Ciphertext)[] messages =
        [
            .. vector.GetProperty("messages").EnumerateArray().Select(m => (VectorFile.Hex(m, "payload"), VectorFile.Hex(m, "ciphertext"))),
        ];

        NoiseState initiator = new("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s", prologue);
        NoiseState responder = new("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s", prologue);
        initiator.MixHash(responderPublic.Span);
        responder.MixHash(responderPublic.Span);

        // -> e, es, s, ss
        List<byte> first = [.. initiator.MixEphemeral(X25519.PublicKeyOf(initiatorEphemeral).Span)];
        initiator.MixShared(initiatorEphemeral, responderPublic);
        first.AddRange(initiator.Seal(X25519.PublicKeyOf(initiatorStatic).Span));
        initiator.MixShared(initiatorStatic, responderPublic);
        first.AddRange(initiator.Seal(messages[0].Payload));
        Assert.Equal(messages[0].Ciphertext, first.ToArray());

        PublicKey remoteEphemeral = new(responder.MixEphemeral(messages[0].Ciphertext.AsSpan(0, 32)));
        responder.MixShared(responderStatic, remoteEphemeral);
        PublicKey remoteStatic = new(responder.Open(messages[0].Ciphertext.AsSpan(32, 48)));
        Assert.Equal(X25519.PublicKeyOf(initiatorStatic), remoteStatic);
        responder.MixShared(responderStatic, remoteStatic);
        Assert.Equal(messages[0].Payload, responder.Open(messages[0].Ciphertext.AsSpan(80)));

        // <- e, ee, se, psk
        List<byte> second = [.. responder.MixEphemeral(X25519.PublicKeyOf(responderEphemeral).Span)];
        responder.MixShared(responderEphemeral, remoteEphemeral);
        responder.MixShared(responderEphemeral, remoteStatic);
        responder.MixPsk(psk);
        second.AddRange(responder.Seal(messages[1].Payload));
        Assert.Equal(messages[1].Ciphertext, second.ToArray());

        PublicKey answer = new(initiator.MixEphemeral(messages[1].Ciphertext.AsSpan(0, 32)));
        initiator.MixShared(initiatorEphemeral, answer);
        initiator.MixShared(initiatorStatic, answer);
        initiator.MixPsk(psk);
        Assert.Equal(messages[1].Payload, initiator.Open(messages[1].Ciphertext.AsSpan(32)));

        Assert.Equal(VectorFile.Hex(vector, "handshake_hash"), initiator.Hash);
        Assert.Equal(initiator.Hash, responder.Hash);
        TransportAgrees(messages[2..], initiator.Split(), responder.Split());
    }

    /// <summary>Transport data through AeadKey: initiator first, then in turns, each direction with its own key and counter.</summary>
    private static void TransportAgrees(
        (byte[] Payload, byte[] Ciphertext)[] messages, (byte[] ToResponder, byte[] ToInitiator) sealing, (byte[] ToResponder, byte[] ToInitiator) opening)
    {
        for (int i = 0; i < messages.Length; i++)
        {
            using AeadKey sealKey = new(i % 2 == 0 ? sealing.ToResponder : sealing.ToInitiator);
            using AeadKey openKey = new(i % 2 == 0 ? opening.ToResponder : opening.ToInitiator);
            byte[] buffer = [.. messages[i].Payload, .. new byte[16]];
            AeadPacket[] packets = [new() { Length = messages[i].Payload.Length, Counter = (ulong)(i / 2) }];
            sealKey.Seal(buffer, packets);
            Assert.Equal(messages[i].Ciphertext, buffer);
            openKey.Open(buffer, packets);
            Assert.True(packets[0].Authentic);
            Assert.Equal(messages[i].Payload, buffer[..^16]);
        }
    }

    /// <summary>Noise's SymmetricState, as small as this test can have it (Noise specification, section 5.2).</summary>
    private sealed class NoiseState
    {
        private readonly byte[] _chainingKey = new byte[32];
        private readonly byte[] _key = new byte[32];
        private ulong _counter;

        public NoiseState(string protocolName, byte[] prologue)
        {
            Blake2s.Hash(Encoding.ASCII.GetBytes(protocolName), [], Hash);
            Hash.CopyTo(_chainingKey, 0);
            MixHash(prologue);
        }

        public byte[] Hash { get; } = new byte[32];

        public void MixHash(ReadOnlySpan<byte> data) => Blake2s.Hash(Hash, data, Hash);

        public byte[] MixEphemeral(ReadOnlySpan<byte> publicKey)
        {
            // In patterns with a psk, the token e is also mixed into the key (section 9.2).
            MixHash(publicKey);
            MixKey(publicKey);
            return publicKey.ToArray();
        }

        public void MixShared(PrivateKey privateKey, PublicKey publicKey)
        {
            byte[] shared = new byte[32];
            Assert.True(X25519.TrySharedSecret(privateKey, publicKey, shared));
            MixKey(shared);
        }

        public void MixPsk(ReadOnlySpan<byte> psk)
        {
            byte[] toHash = new byte[32];
            Blake2s.Kdf(_chainingKey, psk, _chainingKey, toHash, _key);
            MixHash(toHash);
            _counter = 0;
        }

        public byte[] Seal(ReadOnlySpan<byte> plaintext)
        {
            byte[] text = new byte[plaintext.Length + 16];
            ChaCha20Poly1305.Seal(_key, _counter++, plaintext, Hash, text);
            MixHash(text);
            return text;
        }

        public byte[] Open(ReadOnlySpan<byte> text)
        {
            byte[] plaintext = new byte[text.Length - 16];
            Assert.True(ChaCha20Poly1305.TryOpen(_key, _counter++, text, Hash, plaintext));
            MixHash(text);
            return plaintext;
        }

        public (byte[] ToResponder, byte[] ToInitiator) Split()
        {
            byte[] first = new byte[32], second = new byte[32];
            Blake2s.Kdf(_chainingKey, [], first, second, []);
            return (first, second);
        }

        private void MixKey(ReadOnlySpan<byte> input)
        {
            Blake2s.Kdf(_chainingKey, input, _chainingKey, _key, []);
            _counter = 0;
        }
    }
}
