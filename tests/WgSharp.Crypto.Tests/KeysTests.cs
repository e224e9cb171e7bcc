namespace WgSharp.Crypto.Tests;

public class KeysTests
{
    private static readonly byte[] Bytes = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];

    [Fact]
    public void A_private_key_is_clamped_in_its_own_copy()
    {
        byte[] bytes = [.. Enumerable.Repeat((byte)0xFF, 32)];
        using PrivateKey key = new(bytes);
        Assert.Equal(0xF8, key.Span[0]);
        Assert.Equal(0x7F, key.Span[31]);
        Assert.Equal(0xFF, bytes[0]);
    }

    [Fact]
    public void A_disposed_secret_is_zeros()
    {
        PrivateKey privateKey = new(Bytes);
        PresharedKey presharedKey = new(Bytes);
        privateKey.Dispose();
        presharedKey.Dispose();
        Assert.False(privateKey.Span.ContainsAnyExcept((byte)0));
        Assert.True(presharedKey.IsZero);
    }

    [Fact]
    public void A_secret_does_not_print_itself()
    {
        using PrivateKey key = new(Bytes);
        Assert.Equal("(secret)", $"{key}");
    }

    [Fact]
    public void Secrets_compare_by_content()
    {
        using PresharedKey one = new(Bytes), same = new(Bytes), other = new([.. Bytes.AsEnumerable().Reverse()]);
        Assert.True(one.SameAs(same));
        Assert.False(one.SameAs(other));
        Assert.False(one.SameAs(null));
    }

    [Fact]
    public void A_public_key_prints_base64_and_compares_by_content()
    {
        PublicKey key = new(Bytes);
        Assert.Equal(Convert.ToBase64String(Bytes), key.ToString());
        Assert.True(key == new PublicKey(Bytes));
        Assert.Equal(key.GetHashCode(), new PublicKey(Bytes).GetHashCode());
        Assert.True(key != default);
        Assert.True(default(PublicKey).IsZero);
        Assert.False(key.IsZero);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(31)]
    [InlineData(33)]
    public void Another_length_than_32_is_refused(int length)
    {
        Assert.Throws<ArgumentException>(() => new PublicKey(new byte[length]));
        Assert.Throws<ArgumentException>(() => new PrivateKey(new byte[length]));
        Assert.Throws<ArgumentException>(() => new PresharedKey(new byte[length]));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AeadKey(new byte[length]));
    }
}
