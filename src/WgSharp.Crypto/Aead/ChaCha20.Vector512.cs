using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace WgSharp.Crypto;

/// <summary>
/// ChaCha20 (RFC 8439, section 2.3) of sixteen blocks at once on 512-bit vectors: one vector per word of the state, one lane per
/// block. Every block may be of another packet, for nonce and block counter are vectors too.
/// </summary>
internal static unsafe class ChaCha20Vector512
{
    public const int Lanes = 16;

    /// <summary>XORs each lane's block onto the 64 bytes at its address.</summary>
    /// <param name="state">The 16 words of the state; counter and the nonce's last 64 bits are the lanes'.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    [SuppressMessage("Design", "MA0051:Method is too long", Justification = "The sixteen words of the state live in registers: they cannot leave this method.")]
    public static void Xor16(uint* state, AeadScratch* lanes)
    {
        Vector512<uint> x0 = Vector512.Create(state[0]);
        Vector512<uint> x1 = Vector512.Create(state[1]);
        Vector512<uint> x2 = Vector512.Create(state[2]);
        Vector512<uint> x3 = Vector512.Create(state[3]);
        Vector512<uint> x4 = Vector512.Create(state[4]);
        Vector512<uint> x5 = Vector512.Create(state[5]);
        Vector512<uint> x6 = Vector512.Create(state[6]);
        Vector512<uint> x7 = Vector512.Create(state[7]);
        Vector512<uint> x8 = Vector512.Create(state[8]);
        Vector512<uint> x9 = Vector512.Create(state[9]);
        Vector512<uint> x10 = Vector512.Create(state[10]);
        Vector512<uint> x11 = Vector512.Create(state[11]);
        Vector512<uint> x12 = Vector512.Load(lanes->Counter);
        Vector512<uint> x13 = Vector512.Create(state[13]);
        Vector512<uint> x14 = Vector512.Load(lanes->NonceLow);
        Vector512<uint> x15 = Vector512.Load(lanes->NonceHigh);

        for (int i = 0; i < 10; i++)
        {
            QuarterRounds(
                ref x0, ref x4, ref x8, ref x12, ref x1, ref x5, ref x9, ref x13, ref x2, ref x6, ref x10, ref x14, ref x3, ref x7, ref x11, ref x15);
            QuarterRounds(
                ref x0, ref x5, ref x10, ref x15, ref x1, ref x6, ref x11, ref x12, ref x2, ref x7, ref x8, ref x13, ref x3, ref x4, ref x9, ref x14);
        }

        x0 += Vector512.Create(state[0]);
        x1 += Vector512.Create(state[1]);
        x2 += Vector512.Create(state[2]);
        x3 += Vector512.Create(state[3]);
        Transpose(ref x0, ref x1, ref x2, ref x3);
        x4 += Vector512.Create(state[4]);
        x5 += Vector512.Create(state[5]);
        x6 += Vector512.Create(state[6]);
        x7 += Vector512.Create(state[7]);
        Transpose(ref x4, ref x5, ref x6, ref x7);
        x8 += Vector512.Create(state[8]);
        x9 += Vector512.Create(state[9]);
        x10 += Vector512.Create(state[10]);
        x11 += Vector512.Create(state[11]);
        Transpose(ref x8, ref x9, ref x10, ref x11);
        x12 += Vector512.Load(lanes->Counter);
        x13 += Vector512.Create(state[13]);
        x14 += Vector512.Load(lanes->NonceLow);
        x15 += Vector512.Load(lanes->NonceHigh);
        Transpose(ref x12, ref x13, ref x14, ref x15);

        // Transposed, x0, x4, x8 and x12 hold the four quarters of blocks 0, 4, 8 and 12, x1 ... those of 1, 5, 9, 13.
        ulong* address = lanes->Address;
        XorQuarters(x0, x4, x8, x12, address[0], address[4], address[8], address[12]);
        XorQuarters(x1, x5, x9, x13, address[1], address[5], address[9], address[13]);
        XorQuarters(x2, x6, x10, x14, address[2], address[6], address[10], address[14]);
        XorQuarters(x3, x7, x11, x15, address[3], address[7], address[11], address[15]);
    }

    /// <summary>Sets all lanes from <paramref name="from"/> on to consecutive blocks of one packet; the next fill replaces those beyond its end.</summary>
    /// <param name="address">Of the first of these blocks.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Fill(AeadScratch* lanes, int from, uint block, ulong nonce, byte* address)
    {
        Vector512<uint> index = Vector512<uint>.Indices;
        Vector512<uint> mine = Vector512.GreaterThanOrEqual(index, Vector512.Create((uint)from));
        Merge(lanes->Counter, mine, index + Vector512.Create(block - (uint)from));
        Merge(lanes->NonceLow, mine, Vector512.Create((uint)nonce));
        Merge(lanes->NonceHigh, mine, Vector512.Create((uint)(nonce >> 32)));

        Vector512<ulong> addresses = Vector512.Create((ulong)address) + (Vector512<ulong>.Indices << 6);
        addresses.Store(lanes->Address + from);
        (addresses + Vector512.Create(8UL << 6)).Store(lanes->Address + from + 8);
    }

    /// <summary>Lets all lanes from <paramref name="from"/> on work on one address that nobody needs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Idle(AeadScratch* lanes, int from)
    {
        Vector512<ulong> idle = Vector512.Create((ulong)lanes->Idle);
        idle.Store(lanes->Address + from);
        idle.Store(lanes->Address + from + 8);
    }

    /// <summary>XORs keystream onto fewer than 64 bytes and touches no other.</summary>
    /// <param name="keystream">64 readable bytes.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void XorTail(byte* content, byte* keystream, int length)
    {
        Vector512<byte> mine = Vector512.LessThan(Vector512<byte>.Indices, Vector512.Create((byte)length));
        Avx512BW.MaskStore(content, mine, Avx512BW.MaskLoad(content, mine, Vector512<byte>.Zero) ^ Vector512.Load(keystream));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Merge(uint* lanes, Vector512<uint> mine, Vector512<uint> value) =>
        Vector512.ConditionalSelect(mine, value, Vector512.Load(lanes)).Store(lanes);

    /// <summary>Four quarter rounds side by side: their instructions are interleaved, since each one waits for the one before.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void QuarterRounds(
        ref Vector512<uint> a0, ref Vector512<uint> b0, ref Vector512<uint> c0, ref Vector512<uint> d0,
        ref Vector512<uint> a1, ref Vector512<uint> b1, ref Vector512<uint> c1, ref Vector512<uint> d1,
        ref Vector512<uint> a2, ref Vector512<uint> b2, ref Vector512<uint> c2, ref Vector512<uint> d2,
        ref Vector512<uint> a3, ref Vector512<uint> b3, ref Vector512<uint> c3, ref Vector512<uint> d3)
    {
        AddXorRotate(ref a0, b0, ref d0, ref a1, b1, ref d1, ref a2, b2, ref d2, ref a3, b3, ref d3, 16);
        AddXorRotate(ref c0, d0, ref b0, ref c1, d1, ref b1, ref c2, d2, ref b2, ref c3, d3, ref b3, 12);
        AddXorRotate(ref a0, b0, ref d0, ref a1, b1, ref d1, ref a2, b2, ref d2, ref a3, b3, ref d3, 8);
        AddXorRotate(ref c0, d0, ref b0, ref c1, d1, ref b1, ref c2, d2, ref b2, ref c3, d3, ref b3, 7);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddXorRotate(
        ref Vector512<uint> x0, Vector512<uint> y0, ref Vector512<uint> z0, ref Vector512<uint> x1, Vector512<uint> y1, ref Vector512<uint> z1,
        ref Vector512<uint> x2, Vector512<uint> y2, ref Vector512<uint> z2, ref Vector512<uint> x3, Vector512<uint> y3, ref Vector512<uint> z3,
        [ConstantExpected] byte count)
    {
        x0 += y0;
        z0 = Avx512F.RotateLeft(z0 ^ x0, count);
        x1 += y1;
        z1 = Avx512F.RotateLeft(z1 ^ x1, count);
        x2 += y2;
        z2 = Avx512F.RotateLeft(z2 ^ x2, count);
        x3 += y3;
        z3 = Avx512F.RotateLeft(z3 ^ x3, count);
    }

    /// <summary>Four words of sixteen blocks become, within each quarter of the vectors, four blocks' rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(ref Vector512<uint> a, ref Vector512<uint> b, ref Vector512<uint> c, ref Vector512<uint> d)
    {
        Vector512<ulong> ab0 = Avx512F.UnpackLow(a, b).AsUInt64();
        Vector512<ulong> ab1 = Avx512F.UnpackHigh(a, b).AsUInt64();
        Vector512<ulong> cd0 = Avx512F.UnpackLow(c, d).AsUInt64();
        Vector512<ulong> cd1 = Avx512F.UnpackHigh(c, d).AsUInt64();
        a = Avx512F.UnpackLow(ab0, cd0).AsUInt32();
        b = Avx512F.UnpackHigh(ab0, cd0).AsUInt32();
        c = Avx512F.UnpackLow(ab1, cd1).AsUInt32();
        d = Avx512F.UnpackHigh(ab1, cd1).AsUInt32();
    }

    /// <summary>Quarter i of the four vectors, in their order, is the keystream for address i.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void XorQuarters(
        Vector512<uint> a, Vector512<uint> b, Vector512<uint> c, Vector512<uint> d, ulong address0, ulong address1, ulong address2, ulong address3)
    {
        Vector512<uint> ab01 = Avx512F.Shuffle4x128(a, b, 0b01_00_01_00);
        Vector512<uint> cd01 = Avx512F.Shuffle4x128(c, d, 0b01_00_01_00);
        Vector512<uint> ab23 = Avx512F.Shuffle4x128(a, b, 0b11_10_11_10);
        Vector512<uint> cd23 = Avx512F.Shuffle4x128(c, d, 0b11_10_11_10);
        XorBlock(Avx512F.Shuffle4x128(ab01, cd01, 0b10_00_10_00), (uint*)address0);
        XorBlock(Avx512F.Shuffle4x128(ab01, cd01, 0b11_01_11_01), (uint*)address1);
        XorBlock(Avx512F.Shuffle4x128(ab23, cd23, 0b10_00_10_00), (uint*)address2);
        XorBlock(Avx512F.Shuffle4x128(ab23, cd23, 0b11_01_11_01), (uint*)address3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void XorBlock(Vector512<uint> keystream, uint* address) => (Vector512.Load(address) ^ keystream).Store(address);
}
