namespace WgSharp.Crypto.Tests;

public sealed class MacKeyTests
{
    [Theory]
    [InlineData(4)]
    [InlineData(60)]
    [InlineData(64)]
    [InlineData(68)]
    [InlineData(116)]
    [InlineData(128)]
    [InlineData(1420)]
    public void Every_lane_computes_what_the_single_mac_computes(int length)
    {
        var random = new Random(length);
        byte[] key = new byte[32];
        random.NextBytes(key);
        byte[] buffer = new byte[9 * (length + 13)];
        random.NextBytes(buffer);
        var many = new MacKey(key);
        for (int count = 1; count <= MacKey.Lanes; count++)
        {
            int[] offsets = [.. Enumerable.Range(0, count).Select(i => (i * (length + 13)) + (i % 5))];
            byte[] macs = new byte[count * Blake2s.MacSize];
            many.Compute(buffer, offsets, length, macs);
            byte[] expected = new byte[Blake2s.MacSize];
            for (int i = 0; i < count; i++)
            {
                Blake2s.Mac(key, buffer.AsSpan(offsets[i], length), expected);
                Assert.Equal(expected, macs.AsSpan(i * Blake2s.MacSize, Blake2s.MacSize).ToArray());
            }
        }
    }

    [Fact]
    public void Nothing_outside_the_buffer_is_read_and_odd_lengths_are_refused()
    {
        var many = new MacKey(new byte[32]);
        byte[] macs = new byte[8 * Blake2s.MacSize];
        Assert.Throws<ArgumentOutOfRangeException>(() => many.Compute(new byte[100], [0, 41], 60, macs));
        Assert.Throws<ArgumentOutOfRangeException>(() => many.Compute(new byte[100], [-1], 60, macs));
        Assert.Throws<ArgumentOutOfRangeException>(() => many.Compute(new byte[100], [0], 61, macs));
        Assert.Throws<ArgumentOutOfRangeException>(() => many.Compute(new byte[100], [], 60, macs));
        Assert.Throws<ArgumentOutOfRangeException>(() => many.Compute(new byte[100], [0, 1, 2, 3, 4, 5, 6, 7, 8], 60, macs));
        Assert.Throws<ArgumentOutOfRangeException>(() => new MacKey([]));
    }
}
