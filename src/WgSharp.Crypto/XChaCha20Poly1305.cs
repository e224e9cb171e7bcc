namespace WgSharp.Crypto;

/// <summary>XChaCha20-Poly1305 with a random 24-byte nonce: the cookie reply (whitepaper, section 5.4.7).</summary>
internal static unsafe class XChaCha20Poly1305
{
    public const int NonceSize = 24;

    /// <param name="key">32 bytes.</param>
    /// <param name="nonce">24 bytes.</param>
    /// <param name="destination"><paramref name="plaintext"/>.Length + 16 bytes; may overlap the plaintext exactly.</param>
    public static void Seal(ReadOnlySpan<byte> key, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> plaintext, ReadOnlySpan<byte> associatedData, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(key.Length, ChaCha20Poly1305.KeySize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(nonce.Length, NonceSize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(destination.Length, plaintext.Length + ChaCha20Poly1305.TagSize);

        fixed (byte* k = key, npub = nonce, m = plaintext, ad = associatedData, c = destination)
        {
            _ = Sodium.crypto_aead_xchacha20poly1305_ietf_encrypt_detached(
                c, c + plaintext.Length, null, m, (ulong)plaintext.Length, ad, (ulong)associatedData.Length, null, npub, k);
        }
    }

    /// <returns>False for a forgery or for less than a tag; the destination is then all zeros.</returns>
    /// <param name="key">32 bytes.</param>
    /// <param name="nonce">24 bytes.</param>
    /// <param name="destination"><paramref name="sealedText"/>.Length - 16 bytes.</param>
    public static bool TryOpen(ReadOnlySpan<byte> key, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> sealedText, ReadOnlySpan<byte> associatedData, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(key.Length, ChaCha20Poly1305.KeySize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(nonce.Length, NonceSize);
        if (sealedText.Length < ChaCha20Poly1305.TagSize)
        {
            destination.Clear();
            return false;
        }

        ArgumentOutOfRangeException.ThrowIfNotEqual(destination.Length, sealedText.Length - ChaCha20Poly1305.TagSize);
        bool authentic;
        fixed (byte* k = key, npub = nonce, c = sealedText, ad = associatedData, m = destination)
        {
            authentic = Sodium.crypto_aead_xchacha20poly1305_ietf_decrypt_detached(
                m, null, c, (ulong)destination.Length, c + destination.Length, ad, (ulong)associatedData.Length, npub, k) == 0;
        }

        if (!authentic)
        {
            destination.Clear();
        }

        return authentic;
    }
}
