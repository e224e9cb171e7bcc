using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace WgSharp.Crypto;

/// <summary>
/// Poly1305 over one packet (RFC 8439, sections 2.5 and 2.8, no associated data), block by block: for a packet that is alone and
/// small. The arithmetic is that of <see cref="Poly1305Vector512"/>, in the lower lane of vectors that the processor multiplies
/// two at a time, where it would multiply one at a time in its general registers.
/// </summary>
internal static unsafe class Poly1305
{
    public const int BlockSize = 16;
    public const int TagSize = 16;

    /// <param name="key">32 bytes: r, then s.</param>
    /// <param name="content">The ciphertext; 16 more bytes behind it are readable (the tag's place) and do not count.</param>
    /// <param name="lengths">The last block: of the associated data (here 0) and of the ciphertext.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Mac(byte* key, byte* content, int length, Vector128<ulong> lengths, byte* tag)
    {
        Vector128<ulong> low = Vector128.CreateScalar(Unsafe.ReadUnaligned<ulong>(key) & 0x0ffffffc0fffffff);
        Vector128<ulong> high = Vector128.CreateScalar(Unsafe.ReadUnaligned<ulong>(key + 8) & 0x0ffffffc0ffffffc);
        Multiplier r = new(low, low >>> 32, high, high >>> 32);
        Vector128<ulong> h0 = default, h1 = default, h2 = default, h3 = default, h4 = default;

        byte* end = content + (length & ~15);
        for (; content < end; content += BlockSize)
        {
            Absorb(ref h0, ref h1, ref h2, ref h3, ref h4, r, Vector128.Load((ulong*)content));
        }

        if ((length & 15) != 0)
        {
            Absorb(ref h0, ref h1, ref h2, ref h3, ref h4, r, LastBlock(content, length & 15).AsUInt64());
        }

        Absorb(ref h0, ref h1, ref h2, ref h3, ref h4, r, lengths);
        Carry(ref h0, ref h1, ref h2, ref h3, ref h4);
        ulong lower = (uint)h0.ToScalar() | (h1.ToScalar() << 32);
        ulong upper = (uint)h2.ToScalar() | (h3.ToScalar() << 32);
        Finish(lower, upper, h4.ToScalar(), key + 16, tag);
    }

    /// <summary>The first <paramref name="length"/> of 16 bytes, and zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> LastBlock(byte* source, int length) =>
        Vector128.Load(source) & Vector128.LessThan(Vector128<byte>.Indices, Vector128.Create((byte)length));

    /// <summary>Writes the tag: h = lower + upper · 2^64 + top · 2^128, mod p, plus s, mod 2^128.</summary>
    /// <param name="top">Below 2^62.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Finish(ulong lower, ulong upper, ulong top, byte* s, byte* tag)
    {
        // What is above 2^130 comes back times 5; then h is below 2p.
        ulong carry = Add(ref lower, (top & ~3UL) + (top >> 2));
        top = (top & 3) + Add(ref upper, carry);

        // h - p is h + 5 without its bit 130; it is the residue when that bit is set.
        ulong reducedLower = lower, reducedUpper = upper;
        carry = Add(ref reducedLower, 5);
        ulong reduced = 0 - ((top + Add(ref reducedUpper, carry)) >> 2);
        lower ^= (lower ^ reducedLower) & reduced;
        upper ^= (upper ^ reducedUpper) & reduced;

        carry = Add(ref lower, Unsafe.ReadUnaligned<ulong>(s));
        Unsafe.WriteUnaligned(tag, lower);
        Unsafe.WriteUnaligned(tag + 8, upper + Unsafe.ReadUnaligned<ulong>(s + 8) + carry);
    }

    /// <summary>h = (h + block + 2^128) · r, with the carries left to the next.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Absorb(
        ref Vector128<ulong> h0, ref Vector128<ulong> h1, ref Vector128<ulong> h2, ref Vector128<ulong> h3, ref Vector128<ulong> h4,
        in Multiplier r, Vector128<ulong> block)
    {
        Vector128<ulong> word = Vector128.Create((ulong)uint.MaxValue);
        Vector128<ulong> upper = Sse2.UnpackHigh(block, block);
        h0 += block & word;
        h1 += block >>> 32;
        h2 += upper & word;
        h3 += upper >>> 32;
        h4 += Vector128<ulong>.One;
        Carry(ref h0, ref h1, ref h2, ref h3, ref h4);

        Vector128<ulong> over = Multiply(h4, r.R0);
        Vector128<ulong> small = over & Vector128.Create(3UL);
        Vector128<ulong> p0 = Multiply(h0, r.R0) + Multiply(h1, r.S3) + (Multiply(h2, r.S2) + Multiply(h3, r.S1)) + ((over - small) + (over >>> 2));
        Vector128<ulong> p1 = Multiply(h0, r.R1) + Multiply(h1, r.R0) + (Multiply(h2, r.S3) + Multiply(h3, r.S2)) + Multiply(h4, r.S1);
        Vector128<ulong> p2 = Multiply(h0, r.R2) + Multiply(h1, r.R1) + (Multiply(h2, r.R0) + Multiply(h3, r.S3)) + Multiply(h4, r.S2);
        Vector128<ulong> p3 = Multiply(h0, r.R3) + Multiply(h1, r.R2) + (Multiply(h2, r.R1) + Multiply(h3, r.R0)) + Multiply(h4, r.S3);
        h0 = p0;
        h1 = p1;
        h2 = p2;
        h3 = p3;
        h4 = small;
    }

    /// <summary>Passes on what is above the low 32 bits of a limb; it also stays there, where no multiplication sees it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Carry(
        ref Vector128<ulong> h0, ref Vector128<ulong> h1, ref Vector128<ulong> h2, ref Vector128<ulong> h3, ref Vector128<ulong> h4)
    {
        h1 += h0 >>> 32;
        h2 += h1 >>> 32;
        h3 += h2 >>> 32;
        h4 += h3 >>> 32;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> Multiply(Vector128<ulong> left, Vector128<ulong> right) => Sse2.Multiply(left.AsUInt32(), right.AsUInt32());

    /// <summary>Adds, and returns the carry: the comparison's result as a number, so that no compiler has a reason to branch on it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Add(ref ulong sum, ulong addend)
    {
        sum += addend;
        return Unsafe.BitCast<bool, byte>(sum < addend);
    }

    /// <summary>The words of r, and those of 5/4 r.</summary>
    private readonly struct Multiplier(Vector128<ulong> r0, Vector128<ulong> r1, Vector128<ulong> r2, Vector128<ulong> r3)
    {
        public readonly Vector128<ulong> R0 = r0;
        public readonly Vector128<ulong> R1 = r1;
        public readonly Vector128<ulong> R2 = r2;
        public readonly Vector128<ulong> R3 = r3;
        public readonly Vector128<ulong> S1 = r1 + (r1 >>> 2);
        public readonly Vector128<ulong> S2 = r2 + (r2 >>> 2);
        public readonly Vector128<ulong> S3 = r3 + (r3 >>> 2);
    }
}
