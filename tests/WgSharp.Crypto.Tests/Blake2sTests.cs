using System.Text;

namespace WgSharp.Crypto.Tests;

public class Blake2sTests
{
    private static readonly IReadOnlyList<Blake2sVector> Vectors = VectorFile.Blake2s("blake2s-kat.json");

    [Fact]
    public void Every_known_answer_without_a_key_however_the_input_is_cut_in_two()
    {
        List<Blake2sVector> unkeyed = [.. Vectors.Where(vector => vector.Key.Length == 0)];
        Assert.Equal(256, unkeyed.Count);
        byte[] digest = new byte[32];
        foreach (Blake2sVector vector in unkeyed)
        {
            for (int cut = 0; cut <= vector.Input.Length; cut++)
            {
                Blake2s.Hash(vector.Input.AsSpan(0, cut), vector.Input.AsSpan(cut), digest);
                Assert.True(digest.AsSpan().SequenceEqual(vector.Digest), $"{vector.Input.Length} bytes cut at {cut}");
            }

            Blake2s.Mac([], vector.Input, digest);
            Assert.True(digest.AsSpan().SequenceEqual(vector.Digest), $"{vector.Input.Length} bytes with an empty key");
        }
    }

    [Fact]
    public void Every_known_answer_with_a_key()
    {
        List<Blake2sVector> keyed = [.. Vectors.Where(vector => vector.Key.Length == 32)];
        Assert.Equal(256, keyed.Count);
        byte[] digest = new byte[32];
        foreach (Blake2sVector vector in keyed)
        {
            Blake2s.Mac(vector.Key, vector.Input, digest);
            Assert.True(digest.AsSpan().SequenceEqual(vector.Digest), $"{vector.Input.Length} bytes");
        }
    }

    [Fact]
    public void The_construction_hashes_to_the_initial_chaining_key_that_every_implementation_has()
    {
        // The first constant of the handshake: Hash("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"), as printed in the Linux module (noise.c).
        byte[] digest = new byte[32];
        Blake2s.Hash(Encoding.ASCII.GetBytes("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"), [], digest);
        Assert.Equal("60E26DAEF327EFC02EC335E2A025D2D016EB4206F87277F52D38D1988B78CD36", Convert.ToHexString(digest));
    }

    [Fact]
    public void A_mac_of_16_bytes_is_another_hash_not_a_cut_one()
    {
        // Pins the digest length in the parameter block; Python: hashlib.blake2s(b"abc", key=b"k"*32, digest_size=16).
        byte[] key = [.. Enumerable.Repeat((byte)'k', 32)];
        byte[] digest = new byte[Blake2s.MacSize];
        byte[] whole = new byte[Blake2s.HashSize];
        Blake2s.Mac(key, "abc"u8, digest);
        Blake2s.Mac(key, "abc"u8, whole);
        Assert.Equal("DA5B50D8F2073C6D2BC49DC3F556BDE3", Convert.ToHexString(digest));
        Assert.False(whole.AsSpan(0, 16).SequenceEqual(digest));
    }

    [Theory]
    [InlineData(0, "5E3417D647C3E59C76AB07A4A2CE6428409E3B479027EE646059275715C5ECF3")]
    [InlineData(32, "DB1EBBDA189C6EC2D7755C2592537050E44264AA57A3D4F825F451EBCDFF4CD3")]
    [InlineData(64, "FF8BCA3074AF8B7A53B76B5B69FE511D796EF1253BEAC4259F83CC9B5D1B7855")]
    [InlineData(65, "7CCA1AAF33F2AE03171DE093085C551BD7C7A236868613CFE5B8ECF59228DB76")]
    public void Hmac_agrees_with_Python_for_short_full_and_overlong_keys(int keyLength, string expected)
    {
        byte[] key = [.. Enumerable.Range(0, keyLength).Select(i => (byte)i)];
        byte[] digest = new byte[32];
        Blake2s.Hmac(key, "message"u8, digest);
        Assert.Equal(expected, Convert.ToHexString(digest));
    }

    [Fact]
    public void Kdf_is_hkdf_and_leaves_out_what_is_not_wanted()
    {
        byte[] key = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
        byte[] first = new byte[32], second = new byte[32], third = new byte[32];
        Blake2s.Kdf(key, "input"u8, first, second, third);
        Assert.Equal("87B7F70B24183C6DB5DC4F6D9F4C47CDB203321AA2A0BEF714896ADB3107A040", Convert.ToHexString(first));
        Assert.Equal("538A02E1EB2E31B7E4D4B82476D1FE2ACF50085D3FB584537279195F5D1F5824", Convert.ToHexString(second));
        Assert.Equal("9AD858025593BE88DE0F9442A589CFE84A88DC19E4753D93684D1C5EFC4837F9", Convert.ToHexString(third));

        byte[] only = new byte[32];
        Blake2s.Kdf(key, "input"u8, only, [], []);
        Assert.Equal(first, only);
        Blake2s.Kdf(key, "input"u8, [], only, []);
        Assert.Equal(second, only);
        Blake2s.Kdf(key, "input"u8, [], [], only);
        Assert.Equal(third, only);
    }

    [Fact]
    public void Outputs_may_overlap_the_inputs()
    {
        byte[] key = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
        byte[] first = new byte[32], second = new byte[32];
        Blake2s.Kdf(key, "input"u8, first, second, []);

        byte[] chainingKey = [.. key];
        byte[] other = new byte[32];
        Blake2s.Kdf(chainingKey, "input"u8, chainingKey, other, []);
        Assert.Equal(first, chainingKey);
        Assert.Equal(second, other);

        byte[] expected = new byte[32];
        Blake2s.Hash(key, "more"u8, expected);
        byte[] hash = [.. key];
        Blake2s.Hash(hash, "more"u8, hash);
        Assert.Equal(expected, hash);
    }

    [Fact]
    public void Misuse_throws()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => Blake2s.Mac(new byte[33], [], new byte[32]));
        Assert.Throws<ArgumentOutOfRangeException>(() => Blake2s.Mac([], [], []));
        Assert.Throws<ArgumentOutOfRangeException>(() => Blake2s.Mac([], [], new byte[33]));
        Assert.Throws<ArgumentOutOfRangeException>(() => Blake2s.Hash([], [], new byte[31]));
        Assert.Throws<ArgumentOutOfRangeException>(() => Blake2s.Kdf([], [], new byte[31], [], []));
    }

    [Fact]
    public void Nothing_is_allocated()
    {
        byte[] key = new byte[32], first = new byte[32], second = new byte[32], third = new byte[32];
        Allocations.AssertNone(100, () =>
        {
            Blake2s.Kdf(key, "input"u8, first, second, third);
            Blake2s.Mac(key, "input"u8, first);
        });
    }
}
