namespace WgSharp.Crypto.Tests;

/// <summary>Every implementation that this processor can run, against libsodium.</summary>
public class AeadRunTests
{
    private const int TagSize = 16;

    private static readonly byte[] Key = [.. Enumerable.Range(0, 32).Select(i => (byte)((i * 37) + 11))];

    /// <summary>By name: the enum is internal.</summary>
    public static TheoryData<string> Implementations => [.. AeadKey.Supported.Select(implementation => implementation.ToString())];

    [Theory]
    [MemberData(nameof(Implementations))]
    public void Every_length_from_0_to_4096_between_guard_pages(string implementation)
    {
        using AeadKey key = new(Key, Enum.Parse<AeadImplementation>(implementation));
        using GuardedMemory memory = new(4096 + TagSize);
        byte[] plaintext = new byte[4096];
        new Random(1).NextBytes(plaintext);
        byte[] expected = new byte[4096 + TagSize];
        AeadPacket[] packets = new AeadPacket[1];
        for (int length = 0; length <= 4096; length++)
        {
            ulong counter = (ulong)length << (length % 60);
            ChaCha20Poly1305.Seal(Key, counter, plaintext.AsSpan(0, length), [], expected.AsSpan(0, length + TagSize));
            bool atEnd = length % 2 == 0;
            Span<byte> buffer = atEnd ? memory.AtEnd(length + TagSize) : memory.AtStart(length + TagSize);
            plaintext.AsSpan(0, length).CopyTo(buffer);
            packets[0] = new() { Length = length, Counter = counter };

            key.Seal(buffer, packets);
            Assert.True(buffer.SequenceEqual(expected.AsSpan(0, length + TagSize)), $"seal of {length}");
            key.Open(buffer, packets);
            Assert.True(packets[0].Authentic, $"verdict on {length}");
            Assert.True(buffer[..length].SequenceEqual(plaintext.AsSpan(0, length)), $"open of {length}");
        }
    }

    [Theory]
    [MemberData(nameof(Implementations))]
    public void Every_length_from_0_to_4096_in_runs_of_equal_packets(string implementation)
    {
        using AeadKey key = new(Key, Enum.Parse<AeadImplementation>(implementation));
        Random random = new(2);
        for (int length = 0; length <= 4096; length += length < 600 ? 1 : 13)
        {
            Run run = Run.Create(random, [.. Enumerable.Repeat(length, 2 + (length % 18))], gap: length % 3);
            run.SealsLikeSodium(key);
            run.OpensAgain(key, random, forged: _ => false);
        }
    }

    [Theory]
    [MemberData(nameof(Implementations))]
    public void Random_runs_of_mixed_lengths_with_forgeries_among_them(string implementation)
    {
        using AeadKey key = new(Key, Enum.Parse<AeadImplementation>(implementation));
        Random random = new(3);
        for (int i = 0; i < 800; i++)
        {
            int largest = (i % 4) switch { 0 => 20, 1 => 130, 2 => 1500, _ => 4000 };
            int[] lengths = [.. Enumerable.Range(0, random.Next(1, 50)).Select(_ => random.Next(0, largest))];
            Run run = Run.Create(random, lengths, gap: random.Next(0, 70));
            run.SealsLikeSodium(key);
            run.OpensAgain(key, random, forged: _ => random.Next(4) == 0);
        }
    }

    [Theory]
    [MemberData(nameof(Implementations))]
    public void Runs_as_they_come_from_super_packets_one_shorter_packet_last(string implementation)
    {
        using AeadKey key = new(Key, Enum.Parse<AeadImplementation>(implementation));
        Random random = new(4);
        for (int last = 16; last <= 1424; last += 16)
        {
            Run run = Run.Create(random, [.. Enumerable.Repeat(1424, 45), last], gap: 16);
            run.SealsLikeSodium(key);
            run.OpensAgain(key, random, forged: _ => false);
        }
    }

    [Theory]
    [MemberData(nameof(Implementations))]
    public void A_run_with_guard_pages_around_it_touches_nothing_outside(string implementation)
    {
        using AeadKey key = new(Key, Enum.Parse<AeadImplementation>(implementation));
        using GuardedMemory memory = new(64 * 1024);
        Random random = new(5);
        for (int i = 0; i < 300; i++)
        {
            int[] lengths = [.. Enumerable.Range(0, random.Next(1, 40)).Select(_ => random.Next(0, 1600))];
            AeadPacket[] packets = Pack(lengths, random, gap: 0, out int total);
            if (total > memory.Length)
            {
                continue;
            }

            foreach (bool atEnd in new[] { false, true })
            {
                Span<byte> buffer = atEnd ? memory.AtEnd(total) : memory.AtStart(total);
                random.NextBytes(buffer);
                byte[] original = buffer.ToArray();
                key.Seal(buffer, packets);
                key.Open(buffer, packets);
                foreach (AeadPacket packet in packets)
                {
                    Assert.True(packet.Authentic);
                    Assert.True(buffer.Slice(packet.Offset, packet.Length).SequenceEqual(original.AsSpan(packet.Offset, packet.Length)));
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Implementations))]
    public void Every_single_flipped_bit_is_a_forgery_and_no_plaintext_leaves(string implementation)
    {
        using AeadKey key = new(Key, Enum.Parse<AeadImplementation>(implementation));
        foreach (int length in new[] { 0, 1, 40, 200 })
        {
            byte[] plaintext = [.. Enumerable.Repeat((byte)0xA5, length)];
            byte[] text = [.. plaintext, .. new byte[TagSize]];
            AeadPacket[] packets = [new() { Length = length, Counter = 9 }];
            key.Seal(text, packets);
            for (int bit = 0; bit < text.Length * 8; bit++)
            {
                byte[] forged = [.. text];
                forged[bit / 8] ^= (byte)(1 << (bit % 8));
                byte[] before = [.. forged];
                packets[0].Authentic = true;
                key.Open(forged, packets);
                Assert.False(packets[0].Authentic, $"bit {bit} of {length} bytes");
                AssertNotReleased(before.AsSpan(0, length), forged.AsSpan(0, length));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Implementations))]
    public void A_packet_sealed_under_another_counter_is_a_forgery(string implementation)
    {
        using AeadKey key = new(Key, Enum.Parse<AeadImplementation>(implementation));
        foreach (ulong other in new ulong[] { 0UL, 2, 1UL << 32, (1UL << 32) + 1, 1UL << 63 })
        {
            byte[] text = new byte[100 + TagSize];
            AeadPacket[] packets = [new() { Length = 100, Counter = 1 }];
            key.Seal(text, packets);
            packets[0].Counter = other;
            key.Open(text, packets);
            Assert.False(packets[0].Authentic);
        }
    }

    [Theory]
    [MemberData(nameof(Implementations))]
    public void Packets_may_lie_in_any_order_in_the_buffer(string implementation)
    {
        using AeadKey key = new(Key, Enum.Parse<AeadImplementation>(implementation));
        Random random = new(6);
        Run run = Run.Create(random, [.. Enumerable.Range(0, 40).Select(_ => random.Next(0, 1500))], gap: 5);
        random.Shuffle(run.Packets);
        run.SealsLikeSodium(key);
        run.OpensAgain(key, random, forged: _ => random.Next(3) == 0);
    }

    [Theory]
    [MemberData(nameof(Implementations))]
    public void An_empty_run_is_nothing_to_do(string implementation)
    {
        using AeadKey key = new(Key, Enum.Parse<AeadImplementation>(implementation));
        byte[] buffer = [1, 2, 3];
        key.Seal(buffer, []);
        key.Open(buffer, []);
        Assert.Equal([1, 2, 3], buffer);
    }

    [Theory]
    [MemberData(nameof(Implementations))]
    public void Nothing_is_allocated(string implementation)
    {
        using AeadKey key = new(Key, Enum.Parse<AeadImplementation>(implementation));
        byte[] buffer = new byte[128 * 1024];
        AeadPacket[] run = Pack([.. Enumerable.Repeat(1420, 45), 77], new Random(7), gap: 16, out _);
        AeadPacket[] single = Pack([64], new Random(7), gap: 16, out _);
        Allocations.AssertNone(50, () =>
        {
            key.Seal(buffer, run);
            key.Open(buffer, run);
            key.Seal(buffer, single);
            key.Open(buffer, single);
        });
    }

    [Theory]
    [MemberData(nameof(Implementations))]
    public async Task Several_threads_seal_and_open_with_one_key_at_once(string implementation)
    {
        using AeadKey key = new(Key, Enum.Parse<AeadImplementation>(implementation));
        await Task.WhenAll(Enumerable.Range(0, 4).Select(seed => Task.Run(() =>
        {
            Random random = new(seed);
            for (int i = 0; i < 100; i++)
            {
                Run run = Run.Create(random, [.. Enumerable.Range(0, random.Next(1, 20)).Select(_ => random.Next(0, 1500))], gap: 0);
                run.SealsLikeSodium(key);
                run.OpensAgain(key, random, forged: _ => random.Next(5) == 0);
            }
        })));
    }

    private static void AssertNotReleased(ReadOnlySpan<byte> ciphertext, ReadOnlySpan<byte> left) =>
        Assert.True(left.SequenceEqual(ciphertext) || !left.ContainsAnyExcept((byte)0));

    private static AeadPacket[] Pack(int[] lengths, Random random, int gap, out int total)
    {
        AeadPacket[] packets = new AeadPacket[lengths.Length];
        total = 0;
        for (int i = 0; i < lengths.Length; i++)
        {
            packets[i] = new() { Offset = total, Length = lengths[i], Counter = (ulong)random.NextInt64() };
            total += lengths[i] + TagSize + gap;
        }

        return packets;
    }

    /// <summary>A run in a buffer, and what was in the buffer before.</summary>
    private sealed class Run(byte[] original, AeadPacket[] packets)
    {
        private readonly byte[] _buffer = [.. original];

        public AeadPacket[] Packets => packets;

        public static Run Create(Random random, int[] lengths, int gap)
        {
            AeadPacket[] packets = Pack(lengths, random, gap, out int total);
            byte[] original = new byte[total];
            random.NextBytes(original);
            return new Run(original, packets);
        }

        /// <summary>Packets and tags are libsodium's, and every byte between them is what it was.</summary>
        public void SealsLikeSodium(AeadKey key)
        {
            byte[] expected = [.. original];
            foreach (AeadPacket packet in packets)
            {
                ChaCha20Poly1305.Seal(
                    Key, packet.Counter, original.AsSpan(packet.Offset, packet.Length), [], expected.AsSpan(packet.Offset, packet.Length + TagSize));
            }

            key.Seal(_buffer, packets);
            for (int i = 0; i < packets.Length; i++)
            {
                AeadPacket packet = packets[i];
                Assert.True(
                    expected.AsSpan(packet.Offset, packet.Length + TagSize).SequenceEqual(_buffer.AsSpan(packet.Offset, packet.Length + TagSize)),
                    $"packet {i} of {packets.Length}, {packet.Length} bytes");
            }

            Assert.True(expected.AsSpan().SequenceEqual(_buffer), "bytes between the packets");
        }

        public void OpensAgain(AeadKey key, Random random, Func<int, bool> forged)
        {
            bool[] isForged = new bool[packets.Length];
            for (int i = 0; i < packets.Length; i++)
            {
                isForged[i] = forged(i);
                packets[i].Authentic = isForged[i];
                if (isForged[i])
                {
                    int at = packets[i].Offset + random.Next(0, packets[i].Length + TagSize);
                    _buffer[at] ^= (byte)(1 << random.Next(8));
                }
            }

            byte[] received = [.. _buffer];
            key.Open(_buffer, packets);
            for (int i = 0; i < packets.Length; i++)
            {
                AeadPacket packet = packets[i];
                Assert.True(packet.Authentic != isForged[i], $"verdict on packet {i} of {packets.Length}, {packet.Length} bytes");
                ReadOnlySpan<byte> content = _buffer.AsSpan(packet.Offset, packet.Length);
                if (isForged[i])
                {
                    AssertNotReleased(received.AsSpan(packet.Offset, packet.Length), content);
                }
                else
                {
                    Assert.True(content.SequenceEqual(original.AsSpan(packet.Offset, packet.Length)), $"packet {i} of {packets.Length}, {packet.Length} bytes");
                }
            }
        }
    }
}
