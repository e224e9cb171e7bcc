namespace WgSharp.Crypto.Tests;

public class SipHashTests
{
    private static readonly byte[] Bytes = [.. Enumerable.Range(0, 64).Select(i => (byte)i)];

    /// <summary>The paper's test vector (appendix A, 15 bytes) and the first ones of its reference implementation.</summary>
    [Theory]
    [InlineData(0, 0x726fdb47dd0e0e31)]
    [InlineData(1, 0x74f839c593dc67fd)]
    [InlineData(7, 0xab0200f58b01d137)]
    [InlineData(8, 0x93f5f5799a932462)]
    [InlineData(15, 0xa129ca6149be45e5)]
    public void The_published_answers(int length, ulong expected) =>
        Assert.Equal(expected, new SipHash(Bytes.AsSpan(0, 16)).Hash(Bytes.AsSpan(0, length)));

    [Fact]
    public void Another_key_gives_another_hash()
    {
        var seen = new HashSet<ulong>();
        byte[] key = new byte[SipHash.KeySize];
        for (int bit = 0; bit < 128; bit++)
        {
            key[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.True(seen.Add(new SipHash(key).Hash(Bytes.AsSpan(0, 4))));
        }
    }
}
