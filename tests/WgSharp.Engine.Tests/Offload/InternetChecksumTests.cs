using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using WgSharp.Engine.Offload;

namespace WgSharp.Engine.Tests.Offload;

public sealed class InternetChecksumTests
{
    private static byte[] RandomBytes(int length, int seed)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    [Fact]
    public void Every_length_and_alignment_sums_as_the_naive_loop_does()
    {
        byte[] bytes = RandomBytes(2100, 1);
        for (int length = 0; length <= 2048; length++)
        {
            ReadOnlySpan<byte> data = bytes.AsSpan(length % 7, length);
            Assert.Equal(InnerPackets.NaiveChecksum(data), (ushort)~InternetChecksum.Fold(InternetChecksum.Sum(data)));
        }
    }

    [Theory]
    [InlineData(0u, 0)]
    [InlineData(0xFFFFu, 0xFFFF)]
    [InlineData(0x10000u, 1)]
    [InlineData(0x1FFFFu, 1)]
    [InlineData(0xFFFF_0001u, 1)]
    [InlineData(0xFFFF_FFFFu, 0xFFFF)]
    public void Folding_adds_the_carry_of_the_carry_too(uint sum, int folded) => Assert.Equal(folded, InternetChecksum.Fold(sum));

    [Fact]
    public void The_longest_packet_of_all_ones_does_not_overflow()
    {
        byte[] bytes = new byte[65535];
        bytes.AsSpan().Fill(0xFF);
        Assert.Equal(InnerPackets.NaiveChecksum(bytes), (ushort)~InternetChecksum.Fold(InternetChecksum.Sum(bytes)));
        Assert.Equal(InternetChecksum.Fold(InternetChecksum.Sum(bytes)), InternetChecksum.Fold(InternetChecksum.CopyAndSum(bytes, new byte[65535])));
    }

    [Fact]
    public void Every_vector_width_gives_the_same_sum()
    {
        byte[] bytes = RandomBytes(1500, 2);
        for (int length = 64; length <= 1500; length += 13)
        {
            ReadOnlySpan<byte> data = bytes.AsSpan(0, length);
            ushort expected = InternetChecksum.Fold(InternetChecksum.FromMemoryOrder(InternetChecksum.SumTail(data)));
            for (int width = 128; width <= 512; width *= 2)
            {
                nuint done = 0;
                ref byte start = ref MemoryMarshal.GetReference(data);
                ulong sum = width switch
                {
                    128 => InternetChecksum.Sum128(ref start, (nuint)length, ref done),
                    256 => InternetChecksum.Sum256(ref start, (nuint)length, ref done),
                    _ => InternetChecksum.Sum512(ref start, (nuint)length, ref done),
                };
                Assert.Equal(length / (width / 8) * (width / 8), (int)done);
                sum += InternetChecksum.SumTail(data[(int)done..]);
                Assert.Equal(expected, InternetChecksum.Fold(InternetChecksum.FromMemoryOrder(sum)));
            }
        }
    }

    [Fact]
    public void Copying_sums_the_same_and_writes_nothing_behind_the_copy()
    {
        byte[] bytes = RandomBytes(1500, 3);
        for (int length = 0; length <= 1500; length += length < 200 ? 1 : 37)
        {
            byte[] copy = new byte[length + 64];
            uint sum = InternetChecksum.CopyAndSum(bytes.AsSpan(0, length), copy);
            Assert.Equal(InnerPackets.NaiveChecksum(bytes.AsSpan(0, length)), (ushort)~InternetChecksum.Fold(sum));
            Assert.Equal(bytes.AsSpan(0, length), copy.AsSpan(0, length));
            Assert.Equal(new byte[64], copy.AsSpan(length).ToArray());
        }

        Assert.Throws<ArgumentOutOfRangeException>(() => InternetChecksum.CopyAndSum(bytes, new byte[1499]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_packet_verifies_until_a_bit_of_it_flips(bool isIPv6)
    {
        Flow flow = new() { IsIPv6 = isIPv6 };
        byte[] packet = InnerPackets.Build(flow, RandomBytes(333, 4));
        int start = flow.TransportStart;
        uint pseudo = InternetChecksum.PseudoHeader(packet.AsSpan(isIPv6 ? 8 : 12, isIPv6 ? 32 : 8), 6, packet.Length - start);
        Assert.True(InternetChecksum.Verify(packet.AsSpan(start), pseudo));
        for (int bit = start * 8; bit < packet.Length * 8; bit++)
        {
            packet[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.False(InternetChecksum.Verify(packet.AsSpan(start), pseudo));
            packet[bit / 8] ^= (byte)(1 << (bit % 8));
        }
    }

    [Fact]
    public void An_update_equals_a_full_recomputation()
    {
        Random random = new(5);
        for (int i = 0; i < 20_000; i++)
        {
            byte[] data = RandomBytes(20, random.Next());
            data[0] |= 1; // a header is never all zeros, for which RFC 1624 has no unique answer
            data[10] = data[11] = 0;
            ushort checksum = InnerPackets.NaiveChecksum(data);
            ushort oldWord = BinaryPrimitives.ReadUInt16BigEndian(data.AsSpan(4));
            ushort newWord = i % 5 == 0 ? (ushort)0 : i % 7 == 0 ? (ushort)0xFFFF : (ushort)random.Next();
            BinaryPrimitives.WriteUInt16BigEndian(data.AsSpan(4), newWord);
            Assert.Equal(InnerPackets.NaiveChecksum(data), InternetChecksum.Update(checksum, oldWord, newWord));
        }
    }

    [Fact]
    public void The_example_of_RFC_1624_comes_out_right() =>
        Assert.Equal(0x0000, InternetChecksum.Update(0xDD2F, 0x5555, 0x3285));

    [Fact]
    public void This_machine_uses_vectors() => Assert.True(Vector128.IsHardwareAccelerated);
}
