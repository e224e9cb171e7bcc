using System.Buffers.Binary;
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using System.Security.Cryptography;

namespace WgSharp.Crypto;

/// <summary>BLAKE2s (RFC 7693) as the whitepaper's Hash, Mac, Hmac and Kdf (section 5.4). No allocation; scratch is cleared.</summary>
internal static class Blake2s
{
    public const int HashSize = 32;
    public const int MacSize = 16;
    internal const int BlockSize = 64;
    private const int MaximumKeySize = 32;

    /// <summary>Hash(first || second), 32 bytes. The digest may overlap the inputs.</summary>
    public static void Hash(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, Span<byte> digest)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(digest.Length, HashSize);
        Blake2sState state = new(HashSize, 0);
        try
        {
            state.Update(first);
            state.Update(second);
            state.Finish(digest);
        }
        finally
        {
            state.Wipe();
        }
    }

    /// <summary>Mac(key, input): keyed BLAKE2s with as many output bytes as <paramref name="digest"/> has (1-32); key 0-32 bytes.</summary>
    public static void Mac(ReadOnlySpan<byte> key, ReadOnlySpan<byte> input, Span<byte> digest)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(key.Length, MaximumKeySize);
        ArgumentOutOfRangeException.ThrowIfZero(digest.Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(digest.Length, HashSize);
        Span<byte> keyBlock = stackalloc byte[BlockSize];
        Blake2sState state = new(digest.Length, key.Length);
        try
        {
            if (!key.IsEmpty)
            {
                key.CopyTo(keyBlock);
                state.Update(keyBlock);
            }

            state.Update(input);
            state.Finish(digest);
        }
        finally
        {
            state.Wipe();
            CryptographicOperations.ZeroMemory(keyBlock);
        }
    }

    /// <summary>Hmac(key, input) with BLAKE2s, 32 bytes (RFC 2104). The digest may overlap the inputs.</summary>
    public static void Hmac(ReadOnlySpan<byte> key, ReadOnlySpan<byte> input, Span<byte> digest)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(digest.Length, HashSize);
        Span<byte> pad = stackalloc byte[BlockSize];
        Span<byte> inner = stackalloc byte[HashSize];
        try
        {
            if (key.Length > BlockSize)
            {
                Hash(key, [], pad[..HashSize]);
            }
            else
            {
                key.CopyTo(pad);
            }

            Xor(pad, 0x36);
            Hash(pad, input, inner);
            Xor(pad, 0x36 ^ 0x5c);
            Hash(pad, inner, digest);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(pad);
            CryptographicOperations.ZeroMemory(inner);
        }
    }

    /// <summary>
    /// Kdf1, Kdf2, Kdf3: the outputs are 32 bytes each, or empty where not wanted (whitepaper, section 5.4; HKDF, RFC 5869).
    /// Outputs may overlap the inputs, not each other.
    /// </summary>
    public static void Kdf(ReadOnlySpan<byte> key, ReadOnlySpan<byte> input, Span<byte> first, Span<byte> second, Span<byte> third)
    {
        Span<byte> extracted = stackalloc byte[HashSize];
        Span<byte> previous = stackalloc byte[HashSize + 1];
        try
        {
            Hmac(key, input, extracted);

            // T(n) = Hmac(extracted, T(n - 1) || n), where T(0) is empty.
            previous[HashSize] = 1;
            Hmac(extracted, previous[HashSize..], previous[..HashSize]);
            CopyWanted(previous, first);
            if (second.IsEmpty && third.IsEmpty)
            {
                return;
            }

            previous[HashSize] = 2;
            Hmac(extracted, previous, previous[..HashSize]);
            CopyWanted(previous, second);
            if (third.IsEmpty)
            {
                return;
            }

            previous[HashSize] = 3;
            Hmac(extracted, previous, previous[..HashSize]);
            CopyWanted(previous, third);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(extracted);
            CryptographicOperations.ZeroMemory(previous);
        }
    }

    private static void CopyWanted(ReadOnlySpan<byte> derived, Span<byte> output)
    {
        if (!output.IsEmpty)
        {
            ArgumentOutOfRangeException.ThrowIfNotEqual(output.Length, HashSize);
            derived[..HashSize].CopyTo(output);
        }
    }

    private static void Xor(Span<byte> block, byte value)
    {
        foreach (ref byte b in block)
        {
            b ^= value;
        }
    }
}

/// <summary>One hash in progress; lives on the stack of <see cref="Blake2s"/>'s methods, which wipe it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Blake2sState
{
    private Vector128<uint> _low;
    private Vector128<uint> _high;
    private ulong _hashed;
    private int _buffered;
    private int _digestLength;
    private Block _buffer;

    public Blake2sState(int digestLength, int keyLength)
    {
        // The parameter block (RFC 7693, section 2.5): fanout 1, depth 1, key length, digest length.
        _low = Iv0 ^ Vector128.CreateScalar(0x01010000u | ((uint)keyLength << 8) | (uint)digestLength);
        _high = Iv1;
        _digestLength = digestLength;
    }

    private static Vector128<uint> Iv0 => Vector128.Create(0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au);

    private static Vector128<uint> Iv1 => Vector128.Create(0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u);

    /// <summary>
    /// The message schedule SIGMA (RFC 7693, section 2.7), each round in the order in which the vectors take it: the first words of
    /// the four column steps, their second words, the first words of the four diagonal steps, their second words.
    /// </summary>
    private static ReadOnlySpan<byte> Schedule =>
    [
        0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15,
        14, 4, 9, 13, 10, 8, 15, 6, 1, 0, 11, 5, 12, 2, 7, 3,
        11, 12, 5, 15, 8, 0, 2, 13, 10, 3, 7, 9, 14, 6, 1, 4,
        7, 3, 13, 11, 9, 1, 12, 14, 2, 5, 4, 15, 6, 10, 0, 8,
        9, 5, 2, 10, 0, 7, 4, 15, 14, 11, 6, 3, 1, 12, 8, 13,
        2, 6, 0, 8, 12, 10, 11, 3, 4, 7, 15, 1, 13, 5, 14, 9,
        12, 1, 14, 4, 5, 15, 13, 10, 0, 6, 9, 8, 7, 3, 2, 11,
        13, 7, 12, 3, 11, 14, 1, 9, 5, 15, 8, 2, 0, 4, 6, 10,
        6, 14, 11, 0, 15, 9, 3, 8, 12, 13, 1, 10, 2, 7, 4, 5,
        10, 8, 7, 1, 2, 4, 6, 5, 15, 9, 3, 13, 11, 14, 12, 0,
    ];

    public void Update(ReadOnlySpan<byte> input)
    {
        // The last block is hashed by Finish: a full buffer waits until more input shows that it was not the last.
        while (!input.IsEmpty)
        {
            if (_buffered == Blake2s.BlockSize)
            {
                Compress(last: false);
                _buffered = 0;
            }

            int count = Math.Min(Blake2s.BlockSize - _buffered, input.Length);
            input[..count].CopyTo(Buffer[_buffered..]);
            _buffered += count;
            input = input[count..];
        }
    }

    public void Finish(Span<byte> digest)
    {
        Debug.Assert(digest.Length == _digestLength, "The digest's length is part of the hash.");
        Buffer[_buffered..].Clear();
        Compress(last: true);

        Span<byte> whole = stackalloc byte[Blake2s.HashSize];
        for (int i = 0; i < 4; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(whole[(4 * i)..], _low[i]);
            BinaryPrimitives.WriteUInt32LittleEndian(whole[(16 + (4 * i))..], _high[i]);
        }

        whole[..digest.Length].CopyTo(digest);
        CryptographicOperations.ZeroMemory(whole);
    }

    public void Wipe() => CryptographicOperations.ZeroMemory(MemoryMarshal.AsBytes(new Span<Blake2sState>(ref this)));

    [UnscopedRef]
    private Span<byte> Buffer => _buffer;

    private void Compress(bool last)
    {
        _hashed += (ulong)_buffered;
        Vector512<uint> message = Vector512.LoadUnsafe(ref Unsafe.As<Block, uint>(ref _buffer));

        Vector128<uint> a = _low;
        Vector128<uint> b = _high;
        Vector128<uint> c = Iv0;
        Vector128<uint> d = Iv1 ^ Vector128.Create((uint)_hashed, (uint)(_hashed >> 32), last ? uint.MaxValue : 0, 0);

        for (int round = 0; round < 10; round++)
        {
            Vector512<uint> words = Pick(message, round);
            Mix(ref a, ref b, ref c, ref d, words.GetLower().GetLower(), words.GetLower().GetUpper());

            // Rotate the rows so that the diagonals stand in columns, and back.
            b = Vector128.Shuffle(b, Vector128.Create(1u, 2, 3, 0));
            c = Vector128.Shuffle(c, Vector128.Create(2u, 3, 0, 1));
            d = Vector128.Shuffle(d, Vector128.Create(3u, 0, 1, 2));
            Mix(ref a, ref b, ref c, ref d, words.GetUpper().GetLower(), words.GetUpper().GetUpper());
            b = Vector128.Shuffle(b, Vector128.Create(3u, 0, 1, 2));
            c = Vector128.Shuffle(c, Vector128.Create(2u, 3, 0, 1));
            d = Vector128.Shuffle(d, Vector128.Create(1u, 2, 3, 0));
        }

        _low ^= a ^ c;
        _high ^= b ^ d;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mix(
        ref Vector128<uint> a, ref Vector128<uint> b, ref Vector128<uint> c, ref Vector128<uint> d, Vector128<uint> x, Vector128<uint> y)
    {
        a += b + x;
        d = RotateRight(d ^ a, 16);
        c += d;
        b = RotateRight(b ^ c, 12);
        a += b + y;
        d = RotateRight(d ^ a, 8);
        c += d;
        b = RotateRight(b ^ c, 7);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> RotateRight(Vector128<uint> value, [ConstantExpected] byte count) =>
        Avx512F.VL.IsSupported ? Avx512F.VL.RotateRight(value, count) : (value >>> count) | (value << (32 - count));

    /// <summary>The sixteen message words in the order of a round. The order is public: loads by it tell nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Pick(Vector512<uint> message, int round)
    {
        ref byte order = ref Unsafe.Add(ref MemoryMarshal.GetReference(Schedule), round * 16);
        if (Avx512F.IsSupported)
        {
            return Avx512F.PermuteVar16x32(message, Avx512F.ConvertToVector512UInt32(Vector128.LoadUnsafe(ref order)));
        }

        ref uint word = ref Unsafe.As<Vector512<uint>, uint>(ref message);
        return Vector512.Create(Vector256.Create(Gather(ref word, ref order, 0), Gather(ref word, ref order, 4)),
            Vector256.Create(Gather(ref word, ref order, 8), Gather(ref word, ref order, 12)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> Gather(ref uint word, ref byte order, int at) => Vector128.Create(
        Unsafe.Add(ref word, Unsafe.Add(ref order, at)),
        Unsafe.Add(ref word, Unsafe.Add(ref order, at + 1)),
        Unsafe.Add(ref word, Unsafe.Add(ref order, at + 2)),
        Unsafe.Add(ref word, Unsafe.Add(ref order, at + 3)));

    [InlineArray(Blake2s.BlockSize)]
    private struct Block
    {
        private byte _first;
    }
}
