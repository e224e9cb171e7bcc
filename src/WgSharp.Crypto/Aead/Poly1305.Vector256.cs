using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace WgSharp.Crypto;

/// <summary>
/// Poly1305 (RFC 8439, section 2.5) of four packets side by side, one per 64-bit lane, all stepping through their blocks together.
/// </summary>
/// <remarks>Radix and order of the carries: see <see cref="Poly1305Vector512"/>; this is the same with half the lanes.</remarks>
internal static unsafe class Poly1305Vector256
{
    public const int Lanes = 4;

    /// <summary>Takes r from four one-time keys that are 64 bytes apart, and empties the accumulators.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Initialize(AeadScratch* scratch, byte* keys)
    {
        for (int i = 0; i < Lanes; i++)
        {
            scratch->Pointer[i] = (ulong)(keys + (i * AeadScratch.BlockSize));
        }

        Load(scratch->Pointer, 0, out Vector256<ulong> low, out Vector256<ulong> high);
        low &= Vector256.Create(0x0ffffffc0fffffffUL);
        high &= Vector256.Create(0x0ffffffc0ffffffcUL);
        ulong* r = scratch->Multiplier;
        (low & Vector256.Create((ulong)uint.MaxValue)).Store(r);
        (low >>> 32).Store(r + Lanes);
        (high & Vector256.Create((ulong)uint.MaxValue)).Store(r + (2 * Lanes));
        (high >>> 32).Store(r + (3 * Lanes));
        for (int i = 0; i < 5; i++)
        {
            Vector256<ulong>.Zero.Store(scratch->Accumulator + (i * Lanes));
        }
    }

    /// <summary>Takes <paramref name="count"/> blocks of 16 bytes from each lane's pointer.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    [SuppressMessage("Design", "MA0051:Method is too long", Justification = "Accumulator and multiplier live in registers: they cannot leave this method.")]
    public static void Blocks(AeadScratch* scratch, int count)
    {
        Vector256<ulong> word = Vector256.Create((ulong)uint.MaxValue);
        Vector256<ulong> three = Vector256.Create(3UL);
        ulong* r = scratch->Multiplier;
        Vector256<ulong> r0 = Vector256.Load(r);
        Vector256<ulong> r1 = Vector256.Load(r + Lanes);
        Vector256<ulong> r2 = Vector256.Load(r + (2 * Lanes));
        Vector256<ulong> r3 = Vector256.Load(r + (3 * Lanes));
        Vector256<ulong> s1 = r1 + (r1 >>> 2);
        Vector256<ulong> s2 = r2 + (r2 >>> 2);
        Vector256<ulong> s3 = r3 + (r3 >>> 2);
        ulong* accumulator = scratch->Accumulator;
        Vector256<ulong> h0 = Vector256.Load(accumulator);
        Vector256<ulong> h1 = Vector256.Load(accumulator + Lanes);
        Vector256<ulong> h2 = Vector256.Load(accumulator + (2 * Lanes));
        Vector256<ulong> h3 = Vector256.Load(accumulator + (3 * Lanes));
        Vector256<ulong> h4 = Vector256.Load(accumulator + (4 * Lanes));
        ulong* pointer = scratch->Pointer;

        for (nint offset = 0; offset < (nint)count * Poly1305.BlockSize; offset += Poly1305.BlockSize)
        {
            Load(pointer, offset, out Vector256<ulong> low, out Vector256<ulong> high);
            h0 += low & word;
            h1 += low >>> 32;
            h2 += high & word;
            h3 += high >>> 32;
            h4 += Vector256<ulong>.One;
            h1 += h0 >>> 32;
            h2 += h1 >>> 32;
            h3 += h2 >>> 32;
            h4 += h3 >>> 32;

            // A multiplication reads the low 32 bits only: what was carried on needs no masking. h4 is below 2^32 as it stands.
            Vector256<ulong> over = Multiply(h4, r0);
            Vector256<ulong> small = over & three;
            Vector256<ulong> p0 = Multiply(h0, r0) + Multiply(h1, s3) + (Multiply(h2, s2) + Multiply(h3, s1)) + ((over - small) + (over >>> 2));
            Vector256<ulong> p1 = Multiply(h0, r1) + Multiply(h1, r0) + (Multiply(h2, s3) + Multiply(h3, s2)) + Multiply(h4, s1);
            Vector256<ulong> p2 = Multiply(h0, r2) + Multiply(h1, r1) + (Multiply(h2, r0) + Multiply(h3, s3)) + Multiply(h4, s2);
            Vector256<ulong> p3 = Multiply(h0, r3) + Multiply(h1, r2) + (Multiply(h2, r1) + Multiply(h3, r0)) + Multiply(h4, s3);
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
        Vector256<ulong> bit = Vector256.Create(1UL, 2, 4, 8);
        Vector256<ulong> others = Vector256.Equals(bit & Vector256.Create((ulong)lanes), Vector256<ulong>.Zero);
        for (int i = 0; i < 5; i++)
        {
            ulong* limb = scratch->Accumulator + (i * Lanes);
            (Vector256.Load(limb) & others).Store(limb);
        }
    }

    /// <summary>Writes four tags of 16 bytes: the accumulators mod p, plus s, mod 2^128.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Finish(AeadScratch* scratch, byte* keys, byte* tags)
    {
        Vector256<ulong> word = Vector256.Create((ulong)uint.MaxValue);
        ulong* accumulator = scratch->Accumulator;
        Vector256<ulong> h0 = Vector256.Load(accumulator);
        Vector256<ulong> h1 = Vector256.Load(accumulator + Lanes) + (h0 >>> 32);
        Vector256<ulong> h2 = Vector256.Load(accumulator + (2 * Lanes)) + (h1 >>> 32);
        Vector256<ulong> h3 = Vector256.Load(accumulator + (3 * Lanes)) + (h2 >>> 32);
        Vector256<ulong> top = Vector256.Load(accumulator + (4 * Lanes)) + (h3 >>> 32);
        Vector256<ulong> low = (h0 & word) | (h1 << 32);
        Vector256<ulong> high = (h2 & word) | (h3 << 32);

        // What is above 2^130 comes back times 5; then h is below 2p.
        Vector256<ulong> carry = Add(ref low, (top >>> 2) + (top & Vector256.Create(~3UL)));
        top = (top & Vector256.Create(3UL)) + Add(ref high, carry);

        // h - p is h + 5 without its bit 130; it is the residue when that bit is set.
        Vector256<ulong> reducedLow = low, reducedHigh = high;
        carry = Add(ref reducedLow, Vector256.Create(5UL));
        Vector256<ulong> reduced = Vector256<ulong>.Zero - ((top + Add(ref reducedHigh, carry)) >>> 2);
        low = Vector256.ConditionalSelect(reduced, reducedLow, low);
        high = Vector256.ConditionalSelect(reduced, reducedHigh, high);

        for (int i = 0; i < Lanes; i++)
        {
            scratch->Pointer[i] = (ulong)(keys + (i * AeadScratch.BlockSize));
        }

        Load(scratch->Pointer, 16, out Vector256<ulong> lowS, out Vector256<ulong> highS);
        carry = Add(ref low, lowS);
        high += highS + carry;
        Vector256<ulong> even = Avx2.UnpackLow(low, high);
        Vector256<ulong> odd = Avx2.UnpackHigh(low, high);
        even.GetLower().Store((ulong*)tags);
        odd.GetLower().Store((ulong*)(tags + 16));
        even.GetUpper().Store((ulong*)(tags + 32));
        odd.GetUpper().Store((ulong*)(tags + 48));
    }

    /// <summary>One block of 16 bytes from each lane's pointer, its lower and its upper half apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load(ulong* pointer, nint offset, out Vector256<ulong> low, out Vector256<ulong> high)
    {
        Vector256<ulong> even = Vector256.Create(Block(pointer[0], offset), Block(pointer[2], offset));
        Vector256<ulong> odd = Vector256.Create(Block(pointer[1], offset), Block(pointer[3], offset));
        low = Avx2.UnpackLow(even, odd);
        high = Avx2.UnpackHigh(even, odd);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> Block(ulong pointer, nint offset) => Vector128.Load((ulong*)((byte*)pointer + offset));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> Multiply(Vector256<ulong> left, Vector256<ulong> right) => Avx2.Multiply(left.AsUInt32(), right.AsUInt32());

    /// <summary>Adds, and returns the carry, 0 or 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> Add(ref Vector256<ulong> sum, Vector256<ulong> addend)
    {
        sum += addend;
        return Vector256<ulong>.Zero - Vector256.LessThan(sum, addend);
    }
}
