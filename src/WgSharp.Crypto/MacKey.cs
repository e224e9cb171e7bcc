using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace WgSharp.Crypto;

/// <summary>
/// Mac(key, input) of the whitepaper (keyed BLAKE2s, 16 bytes) under one key and for several messages of one length at once: a lane of a vector for each.
/// Whoever is flooded with handshake messages checks eight mac1 in the time of two. Immutable; any thread; not for keys that must be wiped.
/// </summary>
internal sealed class MacKey
{
    /// <summary>Messages at once.</summary>
    public const int Lanes = 8;

    private const int BlockWords = Blake2s.BlockSize / sizeof(uint);

    /// <summary>The state after the block that holds the key, which is the same for every message (RFC 7693, section 2.9).</summary>
    private readonly uint[] _afterKey = new uint[8];

    /// <param name="key">1 to 32 bytes.</param>
    public MacKey(ReadOnlySpan<byte> key)
    {
        ArgumentOutOfRangeException.ThrowIfZero(key.Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(key.Length, Blake2s.HashSize);
        Span<byte> block = stackalloc byte[Blake2s.BlockSize];
        block.Clear();
        key.CopyTo(block);
        Span<Vector256<uint>> words = stackalloc Vector256<uint>[BlockWords];
        for (int i = 0; i < BlockWords; i++)
        {
            words[i] = Vector256.Create(MemoryMarshal.Read<uint>(block[(4 * i)..]));
        }

        Span<Vector256<uint>> state = stackalloc Vector256<uint>[8];
        for (int i = 0; i < 8; i++)
        {
            state[i] = Vector256.Create(Iv[i]);
        }

        // The parameter block (section 2.5): fanout 1, depth 1, key length, digest length.
        state[0] ^= Vector256.Create(0x01010000u | ((uint)key.Length << 8) | Blake2s.MacSize);
        Compress(state, words, Blake2s.BlockSize, last: false);
        for (int i = 0; i < 8; i++)
        {
            _afterKey[i] = state[i][0];
        }
    }

    private static ReadOnlySpan<uint> Iv =>
        [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

    /// <summary>The message schedule SIGMA (section 2.7).</summary>
    private static ReadOnlySpan<byte> Sigma =>
    [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3,
        11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4,
        7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8,
        9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13,
        2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9,
        12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11,
        13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10,
        6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5,
        10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0,
    ];

    /// <summary>Computes the MACs of up to <see cref="Lanes"/> messages.</summary>
    /// <param name="buffer">Holds the messages.</param>
    /// <param name="offsets">Where each begins; 1 to 8 of them.</param>
    /// <param name="length">Bytes of each; a multiple of 4, not 0.</param>
    /// <param name="macs">16 bytes for each.</param>
    [SkipLocalsInit]
    public void Compute(ReadOnlySpan<byte> buffer, ReadOnlySpan<int> offsets, int length, Span<byte> macs)
    {
        ArgumentOutOfRangeException.ThrowIfZero(offsets.Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offsets.Length, Lanes);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(length, 0);
        ArgumentOutOfRangeException.ThrowIfNotEqual(length % sizeof(uint), 0);
        Span<int> lanes = stackalloc int[Lanes];
        for (int i = 0; i < Lanes; i++)
        {
            // An idle lane computes the first message once more.
            lanes[i] = i < offsets.Length ? offsets[i] : offsets[0];
            _ = buffer.Slice(lanes[i], length);
        }

        Span<Vector256<uint>> state = stackalloc Vector256<uint>[8];
        for (int i = 0; i < 8; i++)
        {
            state[i] = Vector256.Create(_afterKey[i]);
        }

        Span<Vector256<uint>> words = stackalloc Vector256<uint>[BlockWords];
        for (int done = 0; done < length; done += Blake2s.BlockSize)
        {
            int left = Math.Min(length - done, Blake2s.BlockSize);
            Gather(buffer, lanes, done, left / sizeof(uint), words);
            Compress(state, words, (ulong)(Blake2s.BlockSize + done + left), last: done + left == length);
        }

        for (int i = 0; i < offsets.Length; i++)
        {
            for (int word = 0; word < Blake2s.MacSize / sizeof(uint); word++)
            {
                MemoryMarshal.Write(macs[((i * Blake2s.MacSize) + (word * sizeof(uint)))..], state[word].GetElement(i));
            }
        }
    }

    /// <summary>The same words of all messages, side by side.</summary>
    private static void Gather(ReadOnlySpan<byte> buffer, ReadOnlySpan<int> lanes, int done, int count, Span<Vector256<uint>> words)
    {
        ref byte start = ref Unsafe.Add(ref MemoryMarshal.GetReference(buffer), done);
        ref byte m0 = ref Unsafe.Add(ref start, lanes[0]);
        ref byte m1 = ref Unsafe.Add(ref start, lanes[1]);
        ref byte m2 = ref Unsafe.Add(ref start, lanes[2]);
        ref byte m3 = ref Unsafe.Add(ref start, lanes[3]);
        ref byte m4 = ref Unsafe.Add(ref start, lanes[4]);
        ref byte m5 = ref Unsafe.Add(ref start, lanes[5]);
        ref byte m6 = ref Unsafe.Add(ref start, lanes[6]);
        ref byte m7 = ref Unsafe.Add(ref start, lanes[7]);
        for (int i = 0; i < count; i++)
        {
            int at = i * sizeof(uint);
            words[i] = Vector256.Create(
                Word(ref m0, at), Word(ref m1, at), Word(ref m2, at), Word(ref m3, at),
                Word(ref m4, at), Word(ref m5, at), Word(ref m6, at), Word(ref m7, at));
        }

        words[count..].Clear();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Word(ref byte message, int at) => Unsafe.ReadUnaligned<uint>(ref Unsafe.Add(ref message, at));

    [SkipLocalsInit]
    private static void Compress(Span<Vector256<uint>> state, ReadOnlySpan<Vector256<uint>> words, ulong hashed, bool last)
    {
        Vector256<uint> v0 = state[0], v1 = state[1], v2 = state[2], v3 = state[3];
        Vector256<uint> v4 = state[4], v5 = state[5], v6 = state[6], v7 = state[7];
        Vector256<uint> v8 = Vector256.Create(Iv[0]), v9 = Vector256.Create(Iv[1]), va = Vector256.Create(Iv[2]), vb = Vector256.Create(Iv[3]);
        Vector256<uint> vc = Vector256.Create(Iv[4] ^ (uint)hashed), vd = Vector256.Create(Iv[5] ^ (uint)(hashed >> 32));
        Vector256<uint> ve = Vector256.Create(last ? ~Iv[6] : Iv[6]), vf = Vector256.Create(Iv[7]);
        ref Vector256<uint> m = ref MemoryMarshal.GetReference(words);
        ref byte order = ref MemoryMarshal.GetReference(Sigma);
        for (int round = 0; round < 10; round++)
        {
            Mix(ref v0, ref v4, ref v8, ref vc, ref m, ref order, 0);
            Mix(ref v1, ref v5, ref v9, ref vd, ref m, ref order, 2);
            Mix(ref v2, ref v6, ref va, ref ve, ref m, ref order, 4);
            Mix(ref v3, ref v7, ref vb, ref vf, ref m, ref order, 6);
            Mix(ref v0, ref v5, ref va, ref vf, ref m, ref order, 8);
            Mix(ref v1, ref v6, ref vb, ref vc, ref m, ref order, 10);
            Mix(ref v2, ref v7, ref v8, ref vd, ref m, ref order, 12);
            Mix(ref v3, ref v4, ref v9, ref ve, ref m, ref order, 14);
            order = ref Unsafe.Add(ref order, BlockWords);
        }

        state[0] ^= v0 ^ v8;
        state[1] ^= v1 ^ v9;
        state[2] ^= v2 ^ va;
        state[3] ^= v3 ^ vb;
        state[4] ^= v4 ^ vc;
        state[5] ^= v5 ^ vd;
        state[6] ^= v6 ^ ve;
        state[7] ^= v7 ^ vf;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mix(
        ref Vector256<uint> a,
        ref Vector256<uint> b,
        ref Vector256<uint> c,
        ref Vector256<uint> d,
        ref Vector256<uint> words,
        ref byte order,
        int at)
    {
        a += b + Unsafe.Add(ref words, Unsafe.Add(ref order, at));
        d = RotateRight(d ^ a, 16);
        c += d;
        b = RotateRight(b ^ c, 12);
        a += b + Unsafe.Add(ref words, Unsafe.Add(ref order, at + 1));
        d = RotateRight(d ^ a, 8);
        c += d;
        b = RotateRight(b ^ c, 7);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> RotateRight(Vector256<uint> value, [ConstantExpected] byte count) =>
        Avx512F.VL.IsSupported ? Avx512F.VL.RotateRight(value, count) : (value >>> count) | (value << (32 - count));
}
