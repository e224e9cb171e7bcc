using System.Security.Cryptography;

namespace WgSharp.Crypto;

/// <summary>Diffie-Hellman on Curve25519 (RFC 7748), the whitepaper's DH (section 5.4).</summary>
public static unsafe class X25519
{
    /// <summary>The key that others are given.</summary>
    public static PublicKey PublicKeyOf(PrivateKey privateKey)
    {
        ArgumentNullException.ThrowIfNull(privateKey);
        Span<byte> result = stackalloc byte[PublicKey.Size];
        fixed (byte* q = result, n = privateKey.Span)
        {
            if (Sodium.crypto_scalarmult_curve25519_base(q, n) != 0)
            {
                throw new CryptographicException("libsodium refused to compute a public key.");
            }
        }

        return new PublicKey(result);
    }

    /// <param name="shared">32 bytes; all zeros when refused.</param>
    /// <returns>False if the result is all zeros (a low-order public key): nothing may be derived from it.</returns>
    internal static bool TrySharedSecret(PrivateKey privateKey, PublicKey publicKey, Span<byte> shared)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(shared.Length, PublicKey.Size);

        fixed (byte* q = shared, n = privateKey.Span, p = publicKey.Span)
        {
            if (Sodium.crypto_scalarmult_curve25519(q, n, p) == 0)
            {
                return true;
            }
        }

        shared.Clear();
        return false;
    }
}
