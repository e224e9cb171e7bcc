namespace WgSharp.Crypto;

/// <summary>Diffie-Hellman on Curve25519 (RFC 7748).</summary>
public static class X25519
{
    public static PublicKey PublicKeyOf(PrivateKey privateKey) => throw new NotSupportedException();

    /// <param name="shared">32 bytes.</param>
    /// <returns>False if the result is all zeros (a low-order public key): nothing may be derived from it.</returns>
    public static bool TrySharedSecret(PrivateKey privateKey, PublicKey publicKey, Span<byte> shared) => throw new NotSupportedException();
}
