using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace WgSharp.Crypto;

/// <summary>
/// Poly1305 over one packet (RFC 8439, sections 2.5 and 2.8, no associated data) in 64-bit arithmetic: for a packet that is alone
/// and small. The accumulator is h0 + h1·2^64 + h2·2^128; 2^130 is 5. No branch depends on it: carries are added, not tested.
/// </summary>
internal static unsafe class Poly1305
{
    public const int BlockSize = 16;
    public const int TagSize = 16;

    /// <param name="key">32 bytes: r, then s.</param>
    /// <param name="content">The ciphertext; 16 more bytes behind it are readable (the tag's place) and do not count.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Mac(byte* key, byte* content, int length, byte* tag)
    {
        ulong r0 = Unsafe.ReadUnaligned<ulong>(key) & 0x0ffffffc0fffffff;
        ulong r1 = Unsafe.ReadUnaligned<ulong>(key + 8) & 0x0ffffffc0ffffffc;
        ulong h0 = 0, h1 = 0, h2 = 0;

        byte* end = content + (length & ~15);
        for (; content < end; content += BlockSize)
        {
            Absorb(ref h0, ref h1, ref h2, r0, r1, Unsafe.ReadUnaligned<ulong>(content), Unsafe.ReadUnaligned<ulong>(content + 8));
        }

        if ((length & 15) != 0)
        {
            Vector128<ulong> last = LastBlock(content, length & 15).AsUInt64();
            Absorb(ref h0, ref h1, ref h2, r0, r1, last[0], last[1]);
        }

        Absorb(ref h0, ref h1, ref h2, r0, r1, 0, (ulong)length);
        Finish(h0, h1, h2, key + 16, tag);
    }

    /// <summary>The first <paramref name="length"/> of 16 bytes, and zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> LastBlock(byte* source, int length) =>
        Vector128.Load(source) & Vector128.LessThan(Vector128<byte>.Indices, Vector128.Create((byte)length));

    /// <summary>h = (h + block + 2^128) · r, reduced to little more than 130 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Absorb(ref ulong h0, ref ulong h1, ref ulong h2, ulong r0, ulong r1, ulong block0, ulong block1)
    {
        ulong carry = Add(ref h0, block0);
        h2 += 1 + Add(ref h1, block1) + Add(ref h1, carry);

        // r1 is a multiple of 4: what it multiplies at 2^128 comes back at 1 with a factor of 5/4.
        ulong s1 = r1 + (r1 >> 2);
        ulong high0 = Math.BigMul(h0, r0, out ulong low0);
        ulong high0b = Math.BigMul(h1, s1, out ulong low0b);
        ulong high1 = Math.BigMul(h0, r1, out ulong low1);
        ulong high1b = Math.BigMul(h1, r0, out ulong low1b);
        high0 += high0b + Add(ref low0, low0b);
        high1 += high1b + Add(ref low1, low1b);
        high1 += Add(ref low1, h2 * s1);
        ulong top = h2 * r0;

        h0 = low0;
        h1 = low1;
        top += high1 + Add(ref h1, high0);
        h2 = top & 3;
        carry = Add(ref h0, (top & ~3UL) + (top >> 2));
        h2 += Add(ref h1, carry);
    }

    /// <summary>h mod p, plus s, mod 2^128.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish(ulong h0, ulong h1, ulong h2, byte* s, byte* tag)
    {
        // h - p is h + 5 without its bit 130; it is the residue when that bit is set.
        ulong g0 = h0, g1 = h1;
        ulong carry = Add(ref g0, 5);
        ulong g2 = h2 + Add(ref g1, carry);
        ulong reduced = 0 - (g2 >> 2);
        h0 ^= (h0 ^ g0) & reduced;
        h1 ^= (h1 ^ g1) & reduced;

        carry = Add(ref h0, Unsafe.ReadUnaligned<ulong>(s));
        h1 += Unsafe.ReadUnaligned<ulong>(s + 8) + carry;
        Unsafe.WriteUnaligned(tag, h0);
        Unsafe.WriteUnaligned(tag + 8, h1);
    }

    /// <summary>Adds, and returns the carry: the comparison's result as a number, so that no compiler has a reason to branch on it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Add(ref ulong sum, ulong addend)
    {
        sum += addend;
        return Unsafe.BitCast<bool, byte>(sum < addend);
    }
}
