using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace WgSharp.Crypto;

/// <summary>
/// SipHash-2-4 (Aumasson and Bernstein, 2012): a short keyed hash for hash tables whose keys strangers choose. Without the key nobody can
/// aim for collisions. Not for anything else: 64 bits authenticate nothing.
/// </summary>
internal readonly struct SipHash
{
    public const int KeySize = 16;

    private readonly ulong _key0;
    private readonly ulong _key1;

    /// <param name="key">16 random bytes.</param>
    public SipHash(ReadOnlySpan<byte> key)
    {
        _key0 = BinaryPrimitives.ReadUInt64LittleEndian(key);
        _key1 = BinaryPrimitives.ReadUInt64LittleEndian(key[8..]);
    }

    public ulong Hash(ReadOnlySpan<byte> input)
    {
        var state = new State(_key0, _key1);
        int length = input.Length;
        for (; input.Length >= 8; input = input[8..])
        {
            state.Absorb(BinaryPrimitives.ReadUInt64LittleEndian(input));
        }

        ulong last = (ulong)length << 56;
        for (int i = 0; i < input.Length; i++)
        {
            last |= (ulong)input[i] << (8 * i);
        }

        state.Absorb(last);
        return state.Finish();
    }

    [StructLayout(LayoutKind.Auto)]
    private struct State(ulong key0, ulong key1)
    {
        // "somepseudorandomlygeneratedbytes", the constants of section 2.1.
        private ulong _v0 = key0 ^ 0x736f6d6570736575;
        private ulong _v1 = key1 ^ 0x646f72616e646f6d;
        private ulong _v2 = key0 ^ 0x6c7967656e657261;
        private ulong _v3 = key1 ^ 0x7465646279746573;

        public void Absorb(ulong word)
        {
            _v3 ^= word;
            Round();
            Round();
            _v0 ^= word;
        }

        public ulong Finish()
        {
            _v2 ^= 0xff;
            Round();
            Round();
            Round();
            Round();
            return _v0 ^ _v1 ^ _v2 ^ _v3;
        }

        private void Round()
        {
            _v0 += _v1;
            _v2 += _v3;
            _v1 = BitOperations.RotateLeft(_v1, 13) ^ _v0;
            _v3 = BitOperations.RotateLeft(_v3, 16) ^ _v2;
            _v0 = BitOperations.RotateLeft(_v0, 32);
            _v2 += _v1;
            _v0 += _v3;
            _v1 = BitOperations.RotateLeft(_v1, 17) ^ _v2;
            _v3 = BitOperations.RotateLeft(_v3, 21) ^ _v0;
            _v2 = BitOperations.RotateLeft(_v2, 32);
        }
    }
}
