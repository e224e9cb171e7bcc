namespace WgSharp.Crypto.Tests;

/// <summary>Wycheproof's cases for the two AEADs, through the interfaces that the handshake and the cookies use.</summary>
public class AeadVectorTests
{
    private static readonly IReadOnlyList<AeadVector> ChaCha = VectorFile.Aead("wycheproof-chacha20-poly1305.json");
    private static readonly IReadOnlyList<AeadVector> XChaCha = VectorFile.Aead("wycheproof-xchacha20-poly1305.json");

    [Fact]
    public void Every_valid_ChaCha20Poly1305_vector_seals_to_its_ciphertext_and_opens_again()
    {
        List<AeadVector> valid = [.. ChaCha.Where(vector => vector.Valid)];
        Assert.Equal(256, valid.Count);
        foreach (AeadVector vector in valid)
        {
            byte[] output = new byte[vector.Plaintext.Length + 16];
            ChaCha20Poly1305.Seal(vector.Key, vector.Nonce, vector.Plaintext, vector.AssociatedData, output);
            Assert.True(output.AsSpan().SequenceEqual(vector.Sealed), $"seal of {vector.Id}");

            byte[] opened = new byte[vector.Plaintext.Length];
            Assert.True(ChaCha20Poly1305.TryOpen(vector.Key, vector.Nonce, vector.Sealed, vector.AssociatedData, opened), $"open of {vector.Id}");
            Assert.True(opened.AsSpan().SequenceEqual(vector.Plaintext), $"plaintext of {vector.Id}");
        }
    }

    [Fact]
    public void Every_invalid_ChaCha20Poly1305_vector_is_refused_and_leaves_zeros()
    {
        List<AeadVector> invalid = [.. ChaCha.Where(vector => !vector.Valid && vector.Nonce.Length == 12)];
        Assert.Equal(60, invalid.Count);
        foreach (AeadVector vector in invalid)
        {
            byte[] opened = [.. Enumerable.Repeat((byte)0xAA, vector.Plaintext.Length)];
            Assert.False(ChaCha20Poly1305.TryOpen(vector.Key, vector.Nonce, vector.Sealed, vector.AssociatedData, opened), $"open of {vector.Id}");
            Assert.True(!opened.AsSpan().ContainsAnyExcept((byte)0), $"plaintext of {vector.Id}");
        }
    }

    [Fact]
    public void A_nonce_of_another_size_is_misuse_for_both()
    {
        List<AeadVector> wrong = [.. ChaCha.Where(vector => vector.Nonce.Length != 12)];
        Assert.Equal(9, wrong.Count);
        foreach (AeadVector vector in wrong)
        {
            byte[] output = new byte[vector.Plaintext.Length + 16];
            Assert.Throws<ArgumentOutOfRangeException>(
                () => ChaCha20Poly1305.Seal(vector.Key, vector.Nonce, vector.Plaintext, vector.AssociatedData, output));
        }

        wrong = [.. XChaCha.Where(vector => vector.Nonce.Length != 24)];
        Assert.Equal(9, wrong.Count);
        foreach (AeadVector vector in wrong)
        {
            byte[] output = new byte[vector.Plaintext.Length + 16];
            Assert.Throws<ArgumentOutOfRangeException>(
                () => XChaCha20Poly1305.Seal(vector.Key, vector.Nonce, vector.Plaintext, vector.AssociatedData, output));
        }
    }

    [Fact]
    public void Every_valid_XChaCha20Poly1305_vector_seals_to_its_ciphertext_and_opens_again()
    {
        List<AeadVector> valid = [.. XChaCha.Where(vector => vector.Valid)];
        Assert.Equal(246, valid.Count);
        foreach (AeadVector vector in valid)
        {
            byte[] output = new byte[vector.Plaintext.Length + 16];
            XChaCha20Poly1305.Seal(vector.Key, vector.Nonce, vector.Plaintext, vector.AssociatedData, output);
            Assert.True(output.AsSpan().SequenceEqual(vector.Sealed), $"seal of {vector.Id}");

            byte[] opened = new byte[vector.Plaintext.Length];
            Assert.True(XChaCha20Poly1305.TryOpen(vector.Key, vector.Nonce, vector.Sealed, vector.AssociatedData, opened), $"open of {vector.Id}");
            Assert.True(opened.AsSpan().SequenceEqual(vector.Plaintext), $"plaintext of {vector.Id}");
        }
    }

    [Fact]
    public void Every_invalid_XChaCha20Poly1305_vector_is_refused_and_leaves_zeros()
    {
        List<AeadVector> invalid = [.. XChaCha.Where(vector => !vector.Valid && vector.Nonce.Length == 24)];
        Assert.Equal(60, invalid.Count);
        foreach (AeadVector vector in invalid)
        {
            byte[] opened = [.. Enumerable.Repeat((byte)0xAA, vector.Plaintext.Length)];
            Assert.False(XChaCha20Poly1305.TryOpen(vector.Key, vector.Nonce, vector.Sealed, vector.AssociatedData, opened), $"open of {vector.Id}");
            Assert.True(!opened.AsSpan().ContainsAnyExcept((byte)0), $"plaintext of {vector.Id}");
        }
    }

    [Fact]
    public void The_counter_stands_little_endian_behind_32_zero_bits_of_the_nonce()
    {
        byte[] key = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
        byte[] byCounter = new byte[16 + 5];
        byte[] byNonce = new byte[16 + 5];
        ChaCha20Poly1305.Seal(key, 0x0807060504030201, "hello"u8, "ad"u8, byCounter);
        ChaCha20Poly1305.Seal(key, [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], "hello"u8, "ad"u8, byNonce);
        Assert.Equal(byNonce, byCounter);
    }

    [Fact]
    public void Text_shorter_than_a_tag_is_a_forgery()
    {
        Assert.False(ChaCha20Poly1305.TryOpen(new byte[32], 0, new byte[15], [], []));
        Assert.False(XChaCha20Poly1305.TryOpen(new byte[32], new byte[24], new byte[15], [], []));
    }

    [Fact]
    public void Sealing_and_opening_in_place_is_allowed()
    {
        byte[] key = [.. Enumerable.Range(0, 32).Select(i => (byte)(i * 3))];
        byte[] buffer = [.. "in place"u8, .. new byte[16]];
        byte[] expected = new byte[buffer.Length];
        ChaCha20Poly1305.Seal(key, 7, "in place"u8, [], expected);
        ChaCha20Poly1305.Seal(key, 7, buffer.AsSpan(0, 8), [], buffer);
        Assert.Equal(expected, buffer);
        Assert.True(ChaCha20Poly1305.TryOpen(key, 7, buffer, [], buffer.AsSpan(0, 8)));
        Assert.Equal("in place"u8.ToArray(), buffer[..8]);
    }
}
