using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace WgSharp.Crypto;

/// <summary>What a width of vectors brings to <see cref="AeadRun{TKernels}"/>: static members only, so that every call is bound and inlined when it is compiled.</summary>
internal unsafe interface IAeadKernels
{
    /// <summary>Blocks that ChaCha20 computes at once; at most 16.</summary>
    static abstract int StreamLanes { get; }

    /// <summary>Packets that Poly1305 computes at once; at most 8.</summary>
    static abstract int MacLanes { get; }

    /// <summary>Up to so many packets of one length are faster one after the other than as lanes.</summary>
    static abstract int MacSingles { get; }

    /// <summary>XORs the first <paramref name="count"/> lanes' blocks onto their addresses; further lanes may be computed and must be idle.</summary>
    static abstract void Xor(uint* state, AeadScratch* lanes, int count);

    static abstract void Fill(AeadScratch* lanes, int from, uint block, ulong nonce, byte* address);

    static abstract void Idle(AeadScratch* lanes, int from);

    static abstract void XorTail(byte* content, byte* keystream, int length);

    static abstract void MacInitialize(AeadScratch* scratch, byte* keys);

    static abstract void MacBlocks(AeadScratch* scratch, int count);

    static abstract void MacRestart(AeadScratch* scratch, uint lanes);

    static abstract void MacFinish(AeadScratch* scratch, byte* keys, byte* tags);
}

/// <summary>512-bit vectors: AVX-512 F, BW and VL.</summary>
internal readonly unsafe struct AeadKernels512 : IAeadKernels
{
    public static bool IsSupported => Avx512F.IsSupported && Avx512BW.IsSupported && Avx512F.VL.IsSupported && AeadKernels256.IsSupported;

    public static int StreamLanes => ChaCha20Vector512.Lanes;

    public static int MacLanes => Poly1305Vector512.Lanes;

    public static int MacSingles => 3;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Xor(uint* state, AeadScratch* lanes, int count)
    {
        if (count > ChaCha20Vector256.Lanes)
        {
            ChaCha20Vector512.Xor16(state, lanes);
        }
        else
        {
            ChaCha20Vector256.Xor8(state, lanes);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Fill(AeadScratch* lanes, int from, uint block, ulong nonce, byte* address) => ChaCha20Vector512.Fill(lanes, from, block, nonce, address);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Idle(AeadScratch* lanes, int from) => ChaCha20Vector512.Idle(lanes, from);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void XorTail(byte* content, byte* keystream, int length) => ChaCha20Vector512.XorTail(content, keystream, length);

    public static void MacInitialize(AeadScratch* scratch, byte* keys) => Poly1305Vector512.Initialize(scratch, keys);

    public static void MacBlocks(AeadScratch* scratch, int count) => Poly1305Vector512.Blocks(scratch, count);

    public static void MacRestart(AeadScratch* scratch, uint lanes) => Poly1305Vector512.Restart(scratch, lanes);

    public static void MacFinish(AeadScratch* scratch, byte* keys, byte* tags) => Poly1305Vector512.Finish(scratch, keys, tags);
}

/// <summary>256-bit vectors: AVX2.</summary>
internal readonly unsafe struct AeadKernels256 : IAeadKernels
{
    public static bool IsSupported => Avx2.IsSupported;

    public static int StreamLanes => ChaCha20Vector256.Lanes;

    public static int MacLanes => Poly1305Vector256.Lanes;

    public static int MacSingles => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Xor(uint* state, AeadScratch* lanes, int count) => ChaCha20Vector256.Xor8(state, lanes);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Fill(AeadScratch* lanes, int from, uint block, ulong nonce, byte* address) => ChaCha20Vector256.Fill(lanes, from, block, nonce, address);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Idle(AeadScratch* lanes, int from) => ChaCha20Vector256.Idle(lanes, from);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void XorTail(byte* content, byte* keystream, int length) => ChaCha20Vector256.XorTail(content, keystream, length);

    public static void MacInitialize(AeadScratch* scratch, byte* keys) => Poly1305Vector256.Initialize(scratch, keys);

    public static void MacBlocks(AeadScratch* scratch, int count) => Poly1305Vector256.Blocks(scratch, count);

    public static void MacRestart(AeadScratch* scratch, uint lanes) => Poly1305Vector256.Restart(scratch, lanes);

    public static void MacFinish(AeadScratch* scratch, byte* keys, byte* tags) => Poly1305Vector256.Finish(scratch, keys, tags);
}
