namespace WgSharp.Crypto.Tests;

public class AeadKeyTests
{
    private static readonly byte[] Key = [.. Enumerable.Range(0, 32).Select(i => (byte)(i * 7))];

    [Fact]
    public void A_run_seals_like_single_packets_and_opens_again()
    {
        using AeadKey key = new(Key);
        byte[] buffer = new byte[3000];
        new Random(1).NextBytes(buffer);
        byte[] original = [.. buffer];
        AeadPacket[] packets =
        [
            new() { Offset = 16, Length = 1000, Counter = 5 },
            new() { Offset = 1040, Length = 0, Counter = 6 },
            new() { Offset = 1100, Length = 64, Counter = ulong.MaxValue },
        ];

        key.Seal(buffer, packets);

        foreach (AeadPacket packet in packets)
        {
            byte[] expected = new byte[packet.Length + 16];
            ChaCha20Poly1305.Seal(Key, packet.Counter, original.AsSpan(packet.Offset, packet.Length), [], expected);
            Assert.Equal(expected, buffer[packet.Offset..(packet.Offset + packet.Length + 16)]);
        }

        key.Open(buffer, packets);
        foreach (AeadPacket packet in packets)
        {
            Assert.True(packet.Authentic);
            Assert.Equal(original[packet.Offset..(packet.Offset + packet.Length)], buffer[packet.Offset..(packet.Offset + packet.Length)]);
        }
    }

    [Theory]
    [InlineData(-1, 10)]
    [InlineData(0, -1)]
    [InlineData(0, 85)]
    [InlineData(85, 0)]
    [InlineData(int.MaxValue, int.MaxValue)]
    public void A_packet_outside_of_the_buffer_is_misuse_and_nothing_is_touched(int offset, int length)
    {
        using AeadKey key = new(Key);
        byte[] buffer = new byte[100];
        AeadPacket[] packets = [new() { Offset = 0, Length = 10 }, new() { Offset = offset, Length = length }];
        Assert.Throws<ArgumentOutOfRangeException>(() => key.Seal(buffer, packets));
        Assert.Throws<ArgumentOutOfRangeException>(() => key.Open(buffer, packets));
        Assert.False(buffer.AsSpan().ContainsAnyExcept((byte)0));
    }

    [Fact]
    public void A_disposed_key_refuses_to_work()
    {
        AeadKey key = new(Key);
        key.Dispose();
        Assert.Throws<ObjectDisposedException>(() => key.Seal(new byte[16], new AeadPacket[1]));
        Assert.Throws<ObjectDisposedException>(() => key.Open(new byte[16], new AeadPacket[1]));
    }

    /// <summary>tests/run lets these tests run a second time as on a processor without AVX-512, and says here what is to be found then.</summary>
    [Fact]
    public void The_implementation_has_a_name_and_cannot_change_once_a_key_exists()
    {
        using AeadKey key = new(Key);
        string expected = Environment.GetEnvironmentVariable("WGSHARP_EXPECTED_AEAD") ?? AeadKey.Supported.First().ToString();
        Assert.Equal(expected, AeadKey.Implementation, ignoreCase: true);
        Assert.False(AeadKey.TryDisable("sodium"));
        Assert.False(AeadKey.TryDisable("gso"));
        Assert.Throws<InvalidOperationException>(() => AeadKey.TryDisable("avx512"));
        Assert.Throws<InvalidOperationException>(() => AeadKey.TryDisable("avx2"));
    }

    [Fact]
    public void The_best_that_is_not_disabled_is_chosen_and_libsodium_is_always_left()
    {
        List<AeadImplementation> supported = [.. AeadKey.Supported];
        Assert.Equal(AeadImplementation.Sodium, supported[^1]);
        AeadImplementation disabled = AeadImplementation.None;
        foreach (AeadImplementation implementation in supported)
        {
            Assert.Equal(implementation, AeadKey.Best(disabled));
            disabled |= implementation;
        }

        Assert.Equal(AeadImplementation.Sodium, AeadKey.Best(AeadImplementation.Avx512 | AeadImplementation.Avx2));
    }

    [Fact]
    public void The_self_test_passes_here() => AeadSelfTest.Run();
}
