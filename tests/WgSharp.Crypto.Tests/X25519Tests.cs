namespace WgSharp.Crypto.Tests;

public class X25519Tests
{
    private static readonly IReadOnlyList<X25519Vector> Vectors = VectorFile.X25519("wycheproof-x25519.json");

    [Fact]
    public void Every_vector_computes_its_shared_secret_and_only_the_all_zero_one_is_refused()
    {
        // "Acceptable" in Wycheproof: low-order points, points on the twist, non-canonical encodings. RFC 7748 computes them all.
        Assert.Equal(518, Vectors.Count);
        int refused = 0;
        foreach (X25519Vector vector in Vectors)
        {
            using PrivateKey privateKey = new(vector.Private);
            byte[] shared = [.. Enumerable.Repeat((byte)0xAA, 32)];
            bool zero = !vector.Shared.AsSpan().ContainsAnyExcept((byte)0);
            refused += zero ? 1 : 0;

            Assert.True(!zero == X25519.TrySharedSecret(privateKey, new PublicKey(vector.Public), shared), $"verdict of {vector.Id}");
            Assert.True(shared.AsSpan().SequenceEqual(vector.Shared), $"shared secret of {vector.Id}");
        }

        Assert.Equal(31, refused);
    }

    [Fact]
    public void A_public_key_is_the_shared_secret_with_the_base_point()
    {
        byte[] basePoint = new byte[32];
        basePoint[0] = 9;
        foreach (X25519Vector vector in Vectors.Take(50))
        {
            using PrivateKey privateKey = new(vector.Private);
            byte[] shared = new byte[32];
            Assert.True(X25519.TrySharedSecret(privateKey, new PublicKey(basePoint), shared));
            Assert.Equal(new PublicKey(shared), X25519.PublicKeyOf(privateKey));
        }
    }
}
