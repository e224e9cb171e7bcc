using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace WgSharp.Crypto;

/// <summary>
/// ChaCha20 (RFC 8439, section 2.3) on 256-bit vectors: eight blocks of any packets at once, as <see cref="ChaCha20Vector512"/> with
/// half the lanes; and the four blocks of a small packet.
/// </summary>
internal static unsafe class ChaCha20Vector256
{
    public const int Lanes = 8;

    /// <summary>XORs the block of each of the first eight lanes onto the 64 bytes at its address.</summary>
    /// <param name="state">The 16 words of the state; counter and the nonce's last 64 bits are the lanes'.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Xor8(uint* state, AeadScratch* lanes)
    {
        if (Avx512F.VL.IsSupported)
        {
            Xor8InRegisters(state, lanes);
        }
        else
        {
            Xor8WithRow(state, lanes);
        }
    }

    /// <summary>Where there are 32 registers, as AVX-512 has for this width too.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    [SuppressMessage("Design", "MA0051:Method is too long", Justification = "The sixteen words of the state live in registers: they cannot leave this method.")]
    private static void Xor8InRegisters(uint* state, AeadScratch* lanes)
    {
        Vector256<uint> x0 = Vector256.Create(state[0]);
        Vector256<uint> x1 = Vector256.Create(state[1]);
        Vector256<uint> x2 = Vector256.Create(state[2]);
        Vector256<uint> x3 = Vector256.Create(state[3]);
        Vector256<uint> x4 = Vector256.Create(state[4]);
        Vector256<uint> x5 = Vector256.Create(state[5]);
        Vector256<uint> x6 = Vector256.Create(state[6]);
        Vector256<uint> x7 = Vector256.Create(state[7]);
        Vector256<uint> x8 = Vector256.Create(state[8]);
        Vector256<uint> x9 = Vector256.Create(state[9]);
        Vector256<uint> x10 = Vector256.Create(state[10]);
        Vector256<uint> x11 = Vector256.Create(state[11]);
        Vector256<uint> x12 = Vector256.Load(lanes->Counter);
        Vector256<uint> x13 = Vector256.Create(state[13]);
        Vector256<uint> x14 = Vector256.Load(lanes->NonceLow);
        Vector256<uint> x15 = Vector256.Load(lanes->NonceHigh);

        for (int i = 0; i < 10; i++)
        {
            QuarterRound(ref x0, ref x4, ref x8, ref x12);
            QuarterRound(ref x1, ref x5, ref x9, ref x13);
            QuarterRound(ref x2, ref x6, ref x10, ref x14);
            QuarterRound(ref x3, ref x7, ref x11, ref x15);
            QuarterRound(ref x0, ref x5, ref x10, ref x15);
            QuarterRound(ref x1, ref x6, ref x11, ref x12);
            QuarterRound(ref x2, ref x7, ref x8, ref x13);
            QuarterRound(ref x3, ref x4, ref x9, ref x14);
        }

        x0 += Vector256.Create(state[0]);
        x1 += Vector256.Create(state[1]);
        x2 += Vector256.Create(state[2]);
        x3 += Vector256.Create(state[3]);
        Transpose(ref x0, ref x1, ref x2, ref x3);
        x4 += Vector256.Create(state[4]);
        x5 += Vector256.Create(state[5]);
        x6 += Vector256.Create(state[6]);
        x7 += Vector256.Create(state[7]);
        Transpose(ref x4, ref x5, ref x6, ref x7);
        x8 += Vector256.Create(state[8]);
        x9 += Vector256.Create(state[9]);
        x10 += Vector256.Create(state[10]);
        x11 += Vector256.Create(state[11]);
        Transpose(ref x8, ref x9, ref x10, ref x11);
        x12 += Vector256.Load(lanes->Counter);
        x13 += Vector256.Create(state[13]);
        x14 += Vector256.Load(lanes->NonceLow);
        x15 += Vector256.Load(lanes->NonceHigh);
        Transpose(ref x12, ref x13, ref x14, ref x15);

        // Transposed, x0, x4, x8 and x12 hold the four rows of blocks 0 and 4, x1 ... those of 1 and 5.
        ulong* address = lanes->Address;
        XorHalves(x0, x4, x8, x12, address[0], address[4]);
        XorHalves(x1, x5, x9, x13, address[1], address[5]);
        XorHalves(x2, x6, x10, x14, address[2], address[6]);
        XorHalves(x3, x7, x11, x15, address[3], address[7]);
    }

    /// <summary>Where there are sixteen registers: the third row lives in memory, or the compiler would move what is needed next.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    [SuppressMessage("Design", "MA0051:Method is too long", Justification = "The sixteen words of the state live in registers: they cannot leave this method.")]
    private static void Xor8WithRow(uint* state, AeadScratch* lanes)
    {
        Vector256<uint> x0 = Vector256.Create(state[0]);
        Vector256<uint> x1 = Vector256.Create(state[1]);
        Vector256<uint> x2 = Vector256.Create(state[2]);
        Vector256<uint> x3 = Vector256.Create(state[3]);
        Vector256<uint> x4 = Vector256.Create(state[4]);
        Vector256<uint> x5 = Vector256.Create(state[5]);
        Vector256<uint> x6 = Vector256.Create(state[6]);
        Vector256<uint> x7 = Vector256.Create(state[7]);
        uint* row = lanes->Row;
        Vector256.Create(state[8]).Store(row);
        Vector256.Create(state[9]).Store(row + 8);
        Vector256.Create(state[10]).Store(row + 16);
        Vector256.Create(state[11]).Store(row + 24);
        Vector256<uint> x12 = Vector256.Load(lanes->Counter);
        Vector256<uint> x13 = Vector256.Create(state[13]);
        Vector256<uint> x14 = Vector256.Load(lanes->NonceLow);
        Vector256<uint> x15 = Vector256.Load(lanes->NonceHigh);

        for (int i = 0; i < 10; i++)
        {
            QuarterRound(ref x0, ref x4, row, ref x12);
            QuarterRound(ref x1, ref x5, row + 8, ref x13);
            QuarterRound(ref x2, ref x6, row + 16, ref x14);
            QuarterRound(ref x3, ref x7, row + 24, ref x15);
            QuarterRound(ref x0, ref x5, row + 16, ref x15);
            QuarterRound(ref x1, ref x6, row + 24, ref x12);
            QuarterRound(ref x2, ref x7, row, ref x13);
            QuarterRound(ref x3, ref x4, row + 8, ref x14);
        }

        x0 += Vector256.Create(state[0]);
        x1 += Vector256.Create(state[1]);
        x2 += Vector256.Create(state[2]);
        x3 += Vector256.Create(state[3]);
        Transpose(ref x0, ref x1, ref x2, ref x3);
        x4 += Vector256.Create(state[4]);
        x5 += Vector256.Create(state[5]);
        x6 += Vector256.Create(state[6]);
        x7 += Vector256.Create(state[7]);
        Transpose(ref x4, ref x5, ref x6, ref x7);
        Vector256<uint> x8 = Vector256.Load(row) + Vector256.Create(state[8]);
        Vector256<uint> x9 = Vector256.Load(row + 8) + Vector256.Create(state[9]);
        Vector256<uint> x10 = Vector256.Load(row + 16) + Vector256.Create(state[10]);
        Vector256<uint> x11 = Vector256.Load(row + 24) + Vector256.Create(state[11]);
        Transpose(ref x8, ref x9, ref x10, ref x11);
        x12 += Vector256.Load(lanes->Counter);
        x13 += Vector256.Create(state[13]);
        x14 += Vector256.Load(lanes->NonceLow);
        x15 += Vector256.Load(lanes->NonceHigh);
        Transpose(ref x12, ref x13, ref x14, ref x15);

        // Transposed, x0, x4, x8 and x12 hold the four rows of blocks 0 and 4, x1 ... those of 1 and 5.
        ulong* address = lanes->Address;
        XorHalves(x0, x4, x8, x12, address[0], address[4]);
        XorHalves(x1, x5, x9, x13, address[1], address[5]);
        XorHalves(x2, x6, x10, x14, address[2], address[6]);
        XorHalves(x3, x7, x11, x15, address[3], address[7]);
    }

    /// <summary>
    /// Keystream blocks 0 to 3 of one packet: all that a small packet needs, its one-time key included, in the time of one. Here the
    /// vectors hold rows of the state, each half another block's.
    /// </summary>
    /// <param name="keystream">256 bytes.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Keystream4(uint* state, ulong nonce, byte* keystream)
    {
        Vector256<uint> row0 = Avx2.BroadcastVector128ToVector256(state);
        Vector256<uint> row1 = Avx2.BroadcastVector128ToVector256(state + 4);
        Vector256<uint> row2 = Avx2.BroadcastVector128ToVector256(state + 8);
        Vector256<uint> row3 = Avx2.BroadcastVector128ToVector256(state + 12) | Vector256.Create(0, nonce, 0, nonce).AsUInt32();
        Vector256<uint> row3First = row3 + Vector256.Create(0u, 0, 0, 0, 1, 0, 0, 0);
        Vector256<uint> row3Second = row3 + Vector256.Create(2u, 0, 0, 0, 3, 0, 0, 0);
        Vector256<uint> a = row0, b = row1, c = row2, d = row3First;
        Vector256<uint> e = row0, f = row1, g = row2, h = row3Second;

        for (int i = 0; i < 10; i++)
        {
            QuarterRoundPair(ref a, ref b, ref c, ref d, ref e, ref f, ref g, ref h);

            // The diagonals come into columns. b is the last to be ready: it stays, and the others move.
            a = Avx2.Shuffle(a, 0b10_01_00_11);
            d = Avx2.Shuffle(d, 0b01_00_11_10);
            c = Avx2.Shuffle(c, 0b00_11_10_01);
            e = Avx2.Shuffle(e, 0b10_01_00_11);
            h = Avx2.Shuffle(h, 0b01_00_11_10);
            g = Avx2.Shuffle(g, 0b00_11_10_01);
            QuarterRoundPair(ref a, ref b, ref c, ref d, ref e, ref f, ref g, ref h);
            a = Avx2.Shuffle(a, 0b00_11_10_01);
            d = Avx2.Shuffle(d, 0b01_00_11_10);
            c = Avx2.Shuffle(c, 0b10_01_00_11);
            e = Avx2.Shuffle(e, 0b00_11_10_01);
            h = Avx2.Shuffle(h, 0b01_00_11_10);
            g = Avx2.Shuffle(g, 0b10_01_00_11);
        }

        StoreHalves(a + row0, b + row1, c + row2, d + row3First, (uint*)keystream);
        StoreHalves(e + row0, f + row1, g + row2, h + row3Second, (uint*)(keystream + (2 * AeadScratch.BlockSize)));
    }

    /// <summary>Sets all lanes from <paramref name="from"/> on to consecutive blocks of one packet; the next fill replaces those beyond its end.</summary>
    /// <param name="address">Of the first of these blocks.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Fill(AeadScratch* lanes, int from, uint block, ulong nonce, byte* address)
    {
        Vector256<uint> index = Vector256<uint>.Indices;

        // No index is beyond 2^31: the signed comparison, which AVX2 has, does.
        Vector256<uint> mine = Vector256.GreaterThan(index.AsInt32(), Vector256.Create(from - 1)).AsUInt32();
        Merge(lanes->Counter, mine, index + Vector256.Create(block - (uint)from));
        Merge(lanes->NonceLow, mine, Vector256.Create((uint)nonce));
        Merge(lanes->NonceHigh, mine, Vector256.Create((uint)(nonce >> 32)));

        Vector256<ulong> addresses = Vector256.Create((ulong)address) + (Vector256<ulong>.Indices << 6);
        addresses.Store(lanes->Address + from);
        (addresses + Vector256.Create(4UL << 6)).Store(lanes->Address + from + 4);
    }

    /// <summary>Lets all lanes from <paramref name="from"/> on work on one address that nobody needs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Idle(AeadScratch* lanes, int from)
    {
        Vector256<ulong> idle = Vector256.Create((ulong)lanes->Idle);
        idle.Store(lanes->Address + from);
        idle.Store(lanes->Address + from + 4);
    }

    /// <summary>XORs keystream onto fewer than 64 bytes and touches no other: first and last bytes overlap, both are read before one is written.</summary>
    public static void XorTail(byte* content, byte* keystream, int length)
    {
        if (length >= 32)
        {
            Vector256<byte> first = Vector256.Load(content) ^ Vector256.Load(keystream);
            Vector256<byte> last = Vector256.Load(content + length - 32) ^ Vector256.Load(keystream + length - 32);
            first.Store(content);
            last.Store(content + length - 32);
        }
        else if (length >= 16)
        {
            Vector128<byte> first = Vector128.Load(content) ^ Vector128.Load(keystream);
            Vector128<byte> last = Vector128.Load(content + length - 16) ^ Vector128.Load(keystream + length - 16);
            first.Store(content);
            last.Store(content + length - 16);
        }
        else
        {
            for (int i = 0; i < length; i++)
            {
                content[i] ^= keystream[i];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Merge(uint* lanes, Vector256<uint> mine, Vector256<uint> value) =>
        Vector256.ConditionalSelect(mine, value, Vector256.Load(lanes)).Store(lanes);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void QuarterRound(ref Vector256<uint> a, ref Vector256<uint> b, ref Vector256<uint> c, ref Vector256<uint> d)
    {
        a += b;
        d = RotateLeft(d ^ a, 16);
        c += d;
        b = RotateLeft(b ^ c, 12);
        a += b;
        d = RotateLeft(d ^ a, 8);
        c += d;
        b = RotateLeft(b ^ c, 7);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void QuarterRound(ref Vector256<uint> a, ref Vector256<uint> b, uint* row, ref Vector256<uint> d)
    {
        Vector256<uint> c = Vector256.Load(row);
        QuarterRound(ref a, ref b, ref c, ref d);
        c.Store(row);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void QuarterRoundPair(
        ref Vector256<uint> a0, ref Vector256<uint> b0, ref Vector256<uint> c0, ref Vector256<uint> d0,
        ref Vector256<uint> a1, ref Vector256<uint> b1, ref Vector256<uint> c1, ref Vector256<uint> d1)
    {
        AddXorRotatePair(ref a0, b0, ref d0, ref a1, b1, ref d1, 16);
        AddXorRotatePair(ref c0, d0, ref b0, ref c1, d1, ref b1, 12);
        AddXorRotatePair(ref a0, b0, ref d0, ref a1, b1, ref d1, 8);
        AddXorRotatePair(ref c0, d0, ref b0, ref c1, d1, ref b1, 7);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddXorRotatePair(
        ref Vector256<uint> x0, Vector256<uint> y0, ref Vector256<uint> z0, ref Vector256<uint> x1, Vector256<uint> y1, ref Vector256<uint> z1,
        [ConstantExpected] byte count)
    {
        x0 += y0;
        x1 += y1;
        z0 = RotateLeft(z0 ^ x0, count);
        z1 = RotateLeft(z1 ^ x1, count);
    }

    /// <summary>By whole bytes as a byte shuffle, else as two shifts; one instruction where the processor has it for this width.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> RotateLeft(Vector256<uint> value, [ConstantExpected] byte count)
    {
        if (Avx512F.VL.IsSupported)
        {
            return Avx512F.VL.RotateLeft(value, count);
        }

        return count switch
        {
            16 => Avx2.Shuffle(value.AsByte(), By16).AsUInt32(),
            8 => Avx2.Shuffle(value.AsByte(), By8).AsUInt32(),
            _ => (value << count) | (value >>> (32 - count)),
        };
    }

    // A constant in memory, once these are inlined: they must be, and are too long to be so by themselves.
    private static Vector256<byte> By16
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector256.Create(
            (byte)2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    }

    private static Vector256<byte> By8
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector256.Create(
            (byte)3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
    }

    /// <summary>Four words of eight blocks become, within each half of the vectors, four blocks' rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(ref Vector256<uint> a, ref Vector256<uint> b, ref Vector256<uint> c, ref Vector256<uint> d)
    {
        Vector256<ulong> ab0 = Avx2.UnpackLow(a, b).AsUInt64();
        Vector256<ulong> ab1 = Avx2.UnpackHigh(a, b).AsUInt64();
        Vector256<ulong> cd0 = Avx2.UnpackLow(c, d).AsUInt64();
        Vector256<ulong> cd1 = Avx2.UnpackHigh(c, d).AsUInt64();
        a = Avx2.UnpackLow(ab0, cd0).AsUInt32();
        b = Avx2.UnpackHigh(ab0, cd0).AsUInt32();
        c = Avx2.UnpackLow(ab1, cd1).AsUInt32();
        d = Avx2.UnpackHigh(ab1, cd1).AsUInt32();
    }

    /// <summary>The lower halves of the four vectors, in their order, are the keystream for one address, the upper halves for the other.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void XorHalves(Vector256<uint> a, Vector256<uint> b, Vector256<uint> c, Vector256<uint> d, ulong lower, ulong upper)
    {
        XorBlock(Avx2.Permute2x128(a, b, 0x20), Avx2.Permute2x128(c, d, 0x20), (uint*)lower);
        XorBlock(Avx2.Permute2x128(a, b, 0x31), Avx2.Permute2x128(c, d, 0x31), (uint*)upper);
    }

    /// <summary>As <see cref="XorHalves"/>, the bare keystream of two blocks in a row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreHalves(Vector256<uint> a, Vector256<uint> b, Vector256<uint> c, Vector256<uint> d, uint* keystream)
    {
        Avx2.Permute2x128(a, b, 0x20).Store(keystream);
        Avx2.Permute2x128(c, d, 0x20).Store(keystream + 8);
        Avx2.Permute2x128(a, b, 0x31).Store(keystream + 16);
        Avx2.Permute2x128(c, d, 0x31).Store(keystream + 24);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void XorBlock(Vector256<uint> first, Vector256<uint> second, uint* address)
    {
        (Vector256.Load(address) ^ first).Store(address);
        (Vector256.Load(address + 8) ^ second).Store(address + 8);
    }
}
