using WgSharp.Crypto;

namespace WgSharp.Protocol;

/// <summary>
/// Noise's symmetric state (Noise specification, section 5.2) for the 25519_ChaChaPoly_BLAKE2s suite: chaining key, hash and the key of the moment,
/// in a buffer that the caller owns and wipes. IKpsk2 uses every key for one message only, so the nonce is always 0.
/// </summary>
internal readonly ref struct SymmetricState
{
    /// <summary>Chaining key, hash, key.</summary>
    public const int Size = 3 * Blake2s.HashSize;

    private readonly Span<byte> _chainingKey;
    private readonly Span<byte> _hash;
    private readonly Span<byte> _key;

    /// <summary>Looks at a state that lies in <paramref name="buffer"/>.</summary>
    /// <param name="buffer">At least <see cref="Size"/> bytes.</param>
    public SymmetricState(Span<byte> buffer)
    {
        _chainingKey = buffer[..Blake2s.HashSize];
        _hash = buffer.Slice(Blake2s.HashSize, Blake2s.HashSize);
        _key = buffer.Slice(2 * Blake2s.HashSize, Blake2s.HashSize);
    }

    public ReadOnlySpan<byte> Hash => _hash;

    /// <summary>Begins: the protocol's name, hashed because it is longer than a hash, then the prologue.</summary>
    public void Initialize(ReadOnlySpan<byte> protocolName, ReadOnlySpan<byte> prologue)
    {
        Blake2s.Hash(protocolName, [], _chainingKey);
        _chainingKey.CopyTo(_hash);
        _key.Clear();
        MixHash(prologue);
    }

    public void CopyFrom(SymmetricState other)
    {
        other._chainingKey.CopyTo(_chainingKey);
        other._hash.CopyTo(_hash);
        other._key.CopyTo(_key);
    }

    public void MixHash(ReadOnlySpan<byte> data) => Blake2s.Hash(_hash, data, _hash);

    /// <summary>Mixes a secret (or, with a psk, an ephemeral public key) into the chaining key and makes a new key.</summary>
    public void MixKey(ReadOnlySpan<byte> input) => Blake2s.Kdf(_chainingKey, input, _chainingKey, _key, []);

    /// <summary>MixKeyAndHash of the Noise specification, section 9.</summary>
    public void MixPsk(ReadOnlySpan<byte> psk)
    {
        Span<byte> temporaryHash = stackalloc byte[Blake2s.HashSize];
        try
        {
            Blake2s.Kdf(_chainingKey, psk, _chainingKey, temporaryHash, _key);
            MixHash(temporaryHash);
        }
        finally
        {
            temporaryHash.Clear();
        }
    }

    /// <summary>EncryptAndHash.</summary>
    /// <param name="destination">16 bytes longer than the plaintext.</param>
    public void Seal(ReadOnlySpan<byte> plaintext, Span<byte> destination)
    {
        ChaCha20Poly1305.Seal(_key, 0, plaintext, _hash, destination);
        MixHash(destination);
    }

    /// <summary>DecryptAndHash.</summary>
    /// <param name="destination">16 bytes shorter than the sealed text.</param>
    /// <returns>False for a forgery; the state is then of no more use.</returns>
    public bool TryOpen(ReadOnlySpan<byte> sealedText, Span<byte> destination)
    {
        if (!ChaCha20Poly1305.TryOpen(_key, 0, sealedText, _hash, destination))
        {
            return false;
        }

        MixHash(sealedText);
        return true;
    }

    /// <summary>Split: the initiator's sending key and the responder's.</summary>
    public void Split(Span<byte> fromInitiator, Span<byte> fromResponder) => Blake2s.Kdf(_chainingKey, [], fromInitiator, fromResponder, []);
}
