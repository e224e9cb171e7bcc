using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace WgSharp.Crypto;

/// <summary>
/// Poly1305 (RFC 8439, section 2.5) of eight packets side by side, one per 64-bit lane, all stepping through their blocks together.
/// </summary>
/// <remarks>
/// The accumulator has five limbs of 32 bits. That radix has fewer products than the usual 26 bits and needs no regrouping of the
/// message, and it is possible because r itself is the multiplier, never a power of it: r's words are below 2^28 and all but the
/// first are multiples of 4, so that what overflows 2^128 comes back with a factor of 5/4, and sums of five products fit 64 bits.
/// Between two blocks the limbs are the uncarried 64-bit sums; the next block is added to them before the carries are passed on.
/// </remarks>
internal static unsafe class Poly1305Vector512
{
    public const int Lanes = 8;

    /// <summary>Takes r from eight one-time keys that are 64 bytes apart, and empties the accumulators.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Initialize(AeadScratch* scratch, byte* keys)
    {
        for (int i = 0; i < Lanes; i++)
        {
            scratch->Pointer[i] = (ulong)(keys + (i * AeadScratch.BlockSize));
        }

        Load(scratch->Pointer, 0, out Vector512<ulong> low, out Vector512<ulong> high);
        low &= Vector512.Create(0x0ffffffc0fffffffUL);
        high &= Vector512.Create(0x0ffffffc0ffffffcUL);
        ulong* r = scratch->Multiplier;
        (low & Vector512.Create((ulong)uint.MaxValue)).Store(r);
        (low >>> 32).Store(r + Lanes);
        (high & Vector512.Create((ulong)uint.MaxValue)).Store(r + (2 * Lanes));
        (high >>> 32).Store(r + (3 * Lanes));
        for (int i = 0; i < 5; i++)
        {
            Vector512<ulong>.Zero.Store(scratch->Accumulator + (i * Lanes));
        }
    }

    /// <summary>Takes <paramref name="count"/> blocks of 16 bytes from each lane's pointer.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    [SuppressMessage("Design", "MA0051:Method is too long", Justification = "Accumulator and multiplier live in registers: they cannot leave this method.")]
    public static void Blocks(AeadScratch* scratch, int count)
    {
        Vector512<ulong> word = Vector512.Create((ulong)uint.MaxValue);
        Vector512<ulong> three = Vector512.Create(3UL);
        ulong* r = scratch->Multiplier;
        Vector512<ulong> r0 = Vector512.Load(r);
        Vector512<ulong> r1 = Vector512.Load(r + Lanes);
        Vector512<ulong> r2 = Vector512.Load(r + (2 * Lanes));
        Vector512<ulong> r3 = Vector512.Load(r + (3 * Lanes));
        Vector512<ulong> s1 = r1 + (r1 >>> 2);
        Vector512<ulong> s2 = r2 + (r2 >>> 2);
        Vector512<ulong> s3 = r3 + (r3 >>> 2);
        ulong* accumulator = scratch->Accumulator;
        Vector512<ulong> h0 = Vector512.Load(accumulator);
        Vector512<ulong> h1 = Vector512.Load(accumulator + Lanes);
        Vector512<ulong> h2 = Vector512.Load(accumulator + (2 * Lanes));
        Vector512<ulong> h3 = Vector512.Load(accumulator + (3 * Lanes));
        Vector512<ulong> h4 = Vector512.Load(accumulator + (4 * Lanes));
        ulong* pointer = scratch->Pointer;

        for (nint offset = 0; offset < (nint)count * Poly1305.BlockSize; offset += Poly1305.BlockSize)
        {
            Load(pointer, offset, out Vector512<ulong> low, out Vector512<ulong> high);
            h0 += low & word;
            h1 += low >>> 32;
            h2 += high & word;
            h3 += high >>> 32;
            h4 += Vector512<ulong>.One;
            h1 += h0 >>> 32;
            h2 += h1 >>> 32;
            h3 += h2 >>> 32;
            h4 += h3 >>> 32;

            // A multiplication reads the low 32 bits only: what was carried on needs no masking. h4 is below 2^32 as it stands.
            Vector512<ulong> over = Multiply(h4, r0);
            Vector512<ulong> small = over & three;
            Vector512<ulong> p0 = Multiply(h0, r0) + Multiply(h1, s3) + (Multiply(h2, s2) + Multiply(h3, s1)) + ((over - small) + (over >>> 2));
            Vector512<ulong> p1 = Multiply(h0, r1) + Multiply(h1, r0) + (Multiply(h2, s3) + Multiply(h3, s2)) + Multiply(h4, s1);
            Vector512<ulong> p2 = Multiply(h0, r2) + Multiply(h1, r1) + (Multiply(h2, r0) + Multiply(h3, s3)) + Multiply(h4, s2);
            Vector512<ulong> p3 = Multiply(h0, r3) + Multiply(h1, r2) + (Multiply(h2, r1) + Multiply(h3, r0)) + Multiply(h4, s3);
            h0 = p0;
            h1 = p1;
            h2 = p2;
            h3 = p3;
            h4 = small;
        }

        h0.Store(accumulator);
        h1.Store(accumulator + Lanes);
        h2.Store(accumulator + (2 * Lanes));
        h3.Store(accumulator + (3 * Lanes));
        h4.Store(accumulator + (4 * Lanes));
    }

    /// <summary>Empties the accumulators of some lanes: their packets begin with the next block.</summary>
    /// <param name="lanes">Bit i for lane i.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Restart(AeadScratch* scratch, uint lanes)
    {
        Vector512<ulong> bit = Vector512.Create(1UL, 2, 4, 8, 16, 32, 64, 128);
        Vector512<ulong> others = Vector512.Equals(bit & Vector512.Create((ulong)lanes), Vector512<ulong>.Zero);
        for (int i = 0; i < 5; i++)
        {
            ulong* limb = scratch->Accumulator + (i * Lanes);
            (Vector512.Load(limb) & others).Store(limb);
        }
    }

    /// <summary>Writes eight tags of 16 bytes: the accumulators mod p, plus s, mod 2^128.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Finish(AeadScratch* scratch, byte* keys, byte* tags)
    {
        Vector512<ulong> word = Vector512.Create((ulong)uint.MaxValue);
        ulong* accumulator = scratch->Accumulator;
        Vector512<ulong> h0 = Vector512.Load(accumulator);
        Vector512<ulong> h1 = Vector512.Load(accumulator + Lanes) + (h0 >>> 32);
        Vector512<ulong> h2 = Vector512.Load(accumulator + (2 * Lanes)) + (h1 >>> 32);
        Vector512<ulong> h3 = Vector512.Load(accumulator + (3 * Lanes)) + (h2 >>> 32);
        Vector512<ulong> top = Vector512.Load(accumulator + (4 * Lanes)) + (h3 >>> 32);
        Vector512<ulong> low = (h0 & word) | (h1 << 32);
        Vector512<ulong> high = (h2 & word) | (h3 << 32);

        // What is above 2^130 comes back times 5; then h is below 2p.
        Vector512<ulong> carry = Add(ref low, (top >>> 2) + (top & Vector512.Create(~3UL)));
        top = (top & Vector512.Create(3UL)) + Add(ref high, carry);

        // h - p is h + 5 without its bit 130; it is the residue when that bit is set.
        Vector512<ulong> reducedLow = low, reducedHigh = high;
        carry = Add(ref reducedLow, Vector512.Create(5UL));
        Vector512<ulong> reduced = Vector512<ulong>.Zero - ((top + Add(ref reducedHigh, carry)) >>> 2);
        low = Vector512.ConditionalSelect(reduced, reducedLow, low);
        high = Vector512.ConditionalSelect(reduced, reducedHigh, high);

        for (int i = 0; i < Lanes; i++)
        {
            scratch->Pointer[i] = (ulong)(keys + (i * AeadScratch.BlockSize));
        }

        Load(scratch->Pointer, 16, out Vector512<ulong> lowS, out Vector512<ulong> highS);
        carry = Add(ref low, lowS);
        high += highS + carry;
        Vector512<ulong> even = Avx512F.UnpackLow(low, high);
        Vector512<ulong> odd = Avx512F.UnpackHigh(low, high);
        for (int i = 0; i < Lanes / 2; i++)
        {
            Quarter(even, i).Store((ulong*)(tags + (32 * i)));
            Quarter(odd, i).Store((ulong*)(tags + (32 * i) + 16));
        }
    }

    /// <summary>One block of 16 bytes from each lane's pointer, its lower and its upper half apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load(ulong* pointer, nint offset, out Vector512<ulong> low, out Vector512<ulong> high)
    {
        Vector512<ulong> even = Join(
            Vector256.Create(Block(pointer[0], offset), Block(pointer[2], offset)), Vector256.Create(Block(pointer[4], offset), Block(pointer[6], offset)));
        Vector512<ulong> odd = Join(
            Vector256.Create(Block(pointer[1], offset), Block(pointer[3], offset)), Vector256.Create(Block(pointer[5], offset), Block(pointer[7], offset)));
        low = Avx512F.UnpackLow(even, odd);
        high = Avx512F.UnpackHigh(even, odd);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> Block(ulong pointer, nint offset) => Vector128.Load((ulong*)((byte*)pointer + offset));

    /// <summary>One insertion, where <c>Vector512.Create</c> inserts both halves into zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<ulong> Join(Vector256<ulong> lower, Vector256<ulong> upper) => Avx512F.InsertVector256(lower.ToVector512Unsafe(), upper, 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<ulong> Multiply(Vector512<ulong> left, Vector512<ulong> right) => Avx512F.Multiply(left.AsUInt32(), right.AsUInt32());

    /// <summary>Adds, and returns the carry, 0 or 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<ulong> Add(ref Vector512<ulong> sum, Vector512<ulong> addend)
    {
        sum += addend;
        return Vector512<ulong>.Zero - Vector512.LessThan(sum, addend);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> Quarter(Vector512<ulong> vector, int index) => index switch
    {
        0 => vector.GetLower().GetLower(),
        1 => vector.GetLower().GetUpper(),
        2 => vector.GetUpper().GetLower(),
        _ => vector.GetUpper().GetUpper(),
    };
}
