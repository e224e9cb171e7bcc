using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace WgSharp.Crypto;

/// <summary>
/// Poly1305 over one large packet (RFC 8439, sections 2.5 and 2.8, no associated data), four blocks at a time: each lane takes every
/// fourth block and multiplies by r^4, and at the end by the power of r that its place is short of.
/// </summary>
/// <remarks>
/// The powers of r have no bits that are known to be zero, so the accumulator has five limbs of 26 bits here (compare
/// <see cref="Poly1305Vector512"/>). The lanes take the blocks of a group in the order 0, 2, 1, 3, as unpacking leaves them.
/// 256 bits for all processors: twice the width would halve the steps, but double what comes before and after them.
/// </remarks>
internal static unsafe class Poly1305Wide
{
    /// <summary>Shorter packets are done sooner block by block.</summary>
    public const int WorthwhileLength = 256;

    private const int GroupSize = 4 * Poly1305.BlockSize;
    private const ulong Mask = (1 << 26) - 1;

    /// <param name="key">32 bytes: r, then s.</param>
    /// <param name="content">The ciphertext, at least 64 bytes; 16 more bytes behind it are readable (the tag's place) and do not count.</param>
    /// <param name="lengths">The last block: of the associated data (here 0) and of the ciphertext.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    [SkipLocalsInit]
    public static void Mac(byte* key, byte* content, int length, Vector128<ulong> lengths, byte* tag)
    {
        byte* group = stackalloc byte[GroupSize];
        Number r = Number.Split(
            Vector256.Create(Unsafe.ReadUnaligned<ulong>(key) & 0x0ffffffc0fffffff), Vector256.Create(Unsafe.ReadUnaligned<ulong>(key + 8) & 0x0ffffffc0ffffffc));
        Number square = Multiply(r, r);
        Number power34 = Multiply(square, Number.Select(Vector256.Create(ulong.MaxValue, ulong.MaxValue, 0, 0), square, r));
        Number power4 = power34.FirstLane();
        Number last = Number.Select(
            Vector256.Create(ulong.MaxValue, 0, ulong.MaxValue, 0), power34, Number.Select(Vector256.Create(0, ulong.MaxValue, 0, 0), square, r));

        // All blocks, the one with the length included, end together with a group; the first group may lack up to three.
        int whole = length / Poly1305.BlockSize;
        int tail = length % Poly1305.BlockSize;
        int blocks = whole + (tail == 0 ? 1 : 2);
        int missing = -blocks & 3;
        new Span<byte>(group, missing * Poly1305.BlockSize).Clear();
        Copy(content, group + (missing * Poly1305.BlockSize), 4 - missing);
        Number h = Multiply(Add(Number.Nothing(missing), group), power4);

        content += (4 - missing) * Poly1305.BlockSize;
        int groups = (blocks + missing) / 4;
        h = Absorb(h, power4, content, groups - 2);
        content += (groups - 2) * GroupSize;

        int trailing = tail == 0 ? 1 : 2;
        Copy(content, group, 4 - trailing);
        Poly1305.LastBlock(content + ((4 - trailing) * Poly1305.BlockSize), tail).Store(group + (2 * Poly1305.BlockSize));
        if (tail == 0)
        {
            Copy(content + (2 * Poly1305.BlockSize), group + (2 * Poly1305.BlockSize), 1);
        }

        lengths.Store((ulong*)(group + (3 * Poly1305.BlockSize)));
        Multiply(Add(h, group), last).Finish(key + 16, tag);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy(byte* source, byte* destination, int blocks)
    {
        for (int i = 0; i < blocks; i++)
        {
            Vector128.Load(source + (i * Poly1305.BlockSize)).Store(destination + (i * Poly1305.BlockSize));
        }
    }

    /// <summary>Adds a group of blocks, each with its 2^128.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Number Add(Number h, byte* group)
    {
        Vector256<ulong> blocks01 = Vector256.Load((ulong*)group);
        Vector256<ulong> blocks23 = Vector256.Load((ulong*)group + 4);
        Number message = Number.Split(Avx2.UnpackLow(blocks01, blocks23), Avx2.UnpackHigh(blocks01, blocks23));
        return new Number(
            h.Limb0 + message.Limb0, h.Limb1 + message.Limb1, h.Limb2 + message.Limb2, h.Limb3 + message.Limb3,
            h.Limb4 + message.Limb4 + Vector256.Create(1UL << 24));
    }

    /// <summary>h = (h + group) · r for each group.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Number Absorb(Number h, Number r, byte* content, int groups)
    {
        for (; groups > 0; groups--, content += GroupSize)
        {
            h = Multiply(Add(h, content), r);
        }

        return h;
    }

    /// <summary>The product, its limbs carried once round: below 2^26 and a little.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Number Multiply(Number h, Number r)
    {
        Vector256<ulong> s1 = TimesFive(r.Limb1), s2 = TimesFive(r.Limb2), s3 = TimesFive(r.Limb3), s4 = TimesFive(r.Limb4);
        Vector256<ulong> d0 = Multiply(h.Limb0, r.Limb0) + Multiply(h.Limb1, s4) + (Multiply(h.Limb2, s3) + Multiply(h.Limb3, s2)) + Multiply(h.Limb4, s1);
        Vector256<ulong> d1 = Multiply(h.Limb0, r.Limb1) + Multiply(h.Limb1, r.Limb0) + (Multiply(h.Limb2, s4) + Multiply(h.Limb3, s3)) + Multiply(h.Limb4, s2);
        Vector256<ulong> d2 = Multiply(h.Limb0, r.Limb2) + Multiply(h.Limb1, r.Limb1) + (Multiply(h.Limb2, r.Limb0) + Multiply(h.Limb3, s4)) + Multiply(h.Limb4, s3);
        Vector256<ulong> d3 = Multiply(h.Limb0, r.Limb3) + Multiply(h.Limb1, r.Limb2) + (Multiply(h.Limb2, r.Limb1) + Multiply(h.Limb3, r.Limb0)) + Multiply(h.Limb4, s4);
        Vector256<ulong> d4 = Multiply(h.Limb0, r.Limb4) + Multiply(h.Limb1, r.Limb3) + (Multiply(h.Limb2, r.Limb2) + Multiply(h.Limb3, r.Limb1)) + Multiply(h.Limb4, r.Limb0);

        // Two chains of carries at once: 0, 1, 2, 3 and 3, 4, 0, 1.
        Vector256<ulong> mask = Vector256.Create(Mask);
        d1 += d0 >>> 26;
        d4 += d3 >>> 26;
        d0 &= mask;
        d3 &= mask;
        d2 += d1 >>> 26;
        d0 += TimesFive(d4 >>> 26);
        d1 &= mask;
        d4 &= mask;
        d3 += d2 >>> 26;
        d1 += d0 >>> 26;
        d2 &= mask;
        d0 &= mask;
        d4 += d3 >>> 26;
        d3 &= mask;
        return new Number(d0, d1, d2, d3, d4);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> Multiply(Vector256<ulong> left, Vector256<ulong> right) => Avx2.Multiply(left.AsUInt32(), right.AsUInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> TimesFive(Vector256<ulong> value) => value + (value << 2);

    /// <summary>Four numbers mod 2^130 - 5 side by side, in limbs of 26 bits.</summary>
    private readonly struct Number(Vector256<ulong> limb0, Vector256<ulong> limb1, Vector256<ulong> limb2, Vector256<ulong> limb3, Vector256<ulong> limb4)
    {
        public readonly Vector256<ulong> Limb0 = limb0;
        public readonly Vector256<ulong> Limb1 = limb1;
        public readonly Vector256<ulong> Limb2 = limb2;
        public readonly Vector256<ulong> Limb3 = limb3;
        public readonly Vector256<ulong> Limb4 = limb4;

        /// <summary>Of 128 bits each.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Number Split(Vector256<ulong> low, Vector256<ulong> high)
        {
            Vector256<ulong> mask = Vector256.Create(Mask);
            return new Number(low & mask, (low >>> 26) & mask, ((low >>> 52) | (high << 12)) & mask, (high >>> 14) & mask, high >>> 40);
        }

        /// <summary>
        /// What makes nothing of the first <paramref name="missing"/> blocks of a group, if they are zeros: p - 2^128, which their 2^128
        /// completes to a multiple of p. The other lanes start at 0.
        /// </summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Number Nothing(int missing)
        {
            Vector256<ulong> lanes = Vector256.LessThan(Vector256.Create(0L, 2, 1, 3), Vector256.Create((long)missing)).AsUInt64();
            Vector256<ulong> full = Vector256.Create(Mask) & lanes;
            return new Number(Vector256.Create(Mask - 4) & lanes, full, full, full, Vector256.Create(Mask - (1 << 24)) & lanes);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Number Select(Vector256<ulong> mask, Number left, Number right) => new(
            Vector256.ConditionalSelect(mask, left.Limb0, right.Limb0),
            Vector256.ConditionalSelect(mask, left.Limb1, right.Limb1),
            Vector256.ConditionalSelect(mask, left.Limb2, right.Limb2),
            Vector256.ConditionalSelect(mask, left.Limb3, right.Limb3),
            Vector256.ConditionalSelect(mask, left.Limb4, right.Limb4));

        /// <summary>The first lane's number in all lanes.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Number FirstLane() => new(
            Avx2.BroadcastScalarToVector256(Limb0.GetLower()),
            Avx2.BroadcastScalarToVector256(Limb1.GetLower()),
            Avx2.BroadcastScalarToVector256(Limb2.GetLower()),
            Avx2.BroadcastScalarToVector256(Limb3.GetLower()),
            Avx2.BroadcastScalarToVector256(Limb4.GetLower()));

        /// <summary>Adds the four up, and writes the tag.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Finish(byte* s, byte* tag)
        {
            ulong h0 = Vector256.Sum(Limb0);
            ulong h1 = Vector256.Sum(Limb1) + (h0 >> 26);
            ulong h2 = Vector256.Sum(Limb2) + (h1 >> 26);
            ulong h3 = Vector256.Sum(Limb3) + (h2 >> 26);
            ulong h4 = Vector256.Sum(Limb4) + (h3 >> 26);
            ulong lower = (h0 & Mask) | ((h1 & Mask) << 26) | (h2 << 52);
            ulong upper = ((h2 & Mask) >> 12) | ((h3 & Mask) << 14) | (h4 << 40);
            Poly1305.Finish(lower, upper, h4 >> 24, s, tag);
        }
    }
}
