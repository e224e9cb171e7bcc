namespace WgSharp.Crypto;

/// <summary>XChaCha20-Poly1305 with a random 24-byte nonce: the cookie reply (whitepaper, section 5.4.7).</summary>
public static class XChaCha20Poly1305
{
    public const int NonceSize = 24;

    /// <param name="destination">plaintext + 16 bytes.</param>
    public static void Seal(ReadOnlySpan<byte> key, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> plaintext, ReadOnlySpan<byte> associatedData, Span<byte> destination) =>
        throw new NotSupportedException();

    public static bool TryOpen(ReadOnlySpan<byte> key, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> sealedText, ReadOnlySpan<byte> associatedData, Span<byte> destination) =>
        throw new NotSupportedException();
}
