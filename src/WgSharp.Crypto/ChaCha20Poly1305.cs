using System.Buffers.Binary;

namespace WgSharp.Crypto;

/// <summary>ChaCha20-Poly1305 (RFC 8439) for single messages with associated data: the handshake.</summary>
internal static unsafe class ChaCha20Poly1305
{
    public const int KeySize = 32;
    public const int TagSize = 16;
    internal const int NonceSize = 12;

    /// <param name="key">32 bytes.</param>
    /// <param name="counter">The nonce: 32 zero bits, then this in little-endian.</param>
    /// <param name="destination"><paramref name="plaintext"/>.Length + 16 bytes; may overlap the plaintext exactly.</param>
    public static void Seal(ReadOnlySpan<byte> key, ulong counter, ReadOnlySpan<byte> plaintext, ReadOnlySpan<byte> associatedData, Span<byte> destination)
    {
        Span<byte> nonce = stackalloc byte[NonceSize];
        WriteNonce(nonce, counter);
        Seal(key, nonce, plaintext, associatedData, destination);
    }

    /// <returns>False for a forgery or for less than a tag; the destination is then all zeros.</returns>
    /// <param name="key">32 bytes.</param>
    /// <param name="counter">The nonce: 32 zero bits, then this in little-endian.</param>
    /// <param name="destination"><paramref name="sealedText"/>.Length - 16 bytes.</param>
    public static bool TryOpen(ReadOnlySpan<byte> key, ulong counter, ReadOnlySpan<byte> sealedText, ReadOnlySpan<byte> associatedData, Span<byte> destination)
    {
        Span<byte> nonce = stackalloc byte[NonceSize];
        WriteNonce(nonce, counter);
        return TryOpen(key, nonce, sealedText, associatedData, destination);
    }

    /// <summary>With RFC 8439's whole 12-byte nonce, which published vectors need.</summary>
    internal static void Seal(ReadOnlySpan<byte> key, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> plaintext, ReadOnlySpan<byte> associatedData, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(key.Length, KeySize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(nonce.Length, NonceSize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(destination.Length, plaintext.Length + TagSize);

        fixed (byte* k = key, npub = nonce, m = plaintext, ad = associatedData, c = destination)
        {
            _ = Sodium.crypto_aead_chacha20poly1305_ietf_encrypt_detached(
                c, c + plaintext.Length, null, m, (ulong)plaintext.Length, ad, (ulong)associatedData.Length, null, npub, k);
        }
    }

    internal static bool TryOpen(ReadOnlySpan<byte> key, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> sealedText, ReadOnlySpan<byte> associatedData, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(key.Length, KeySize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(nonce.Length, NonceSize);
        if (sealedText.Length < TagSize)
        {
            destination.Clear();
            return false;
        }

        ArgumentOutOfRangeException.ThrowIfNotEqual(destination.Length, sealedText.Length - TagSize);
        bool authentic;
        fixed (byte* k = key, npub = nonce, c = sealedText, ad = associatedData, m = destination)
        {
            authentic = Sodium.crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                m, null, c, (ulong)destination.Length, c + destination.Length, ad, (ulong)associatedData.Length, npub, k) == 0;
        }

        if (!authentic)
        {
            destination.Clear();
        }

        return authentic;
    }

    private static void WriteNonce(Span<byte> nonce, ulong counter)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(nonce, 0);
        BinaryPrimitives.WriteUInt64LittleEndian(nonce[4..], counter);
    }
}
