using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace WgSharp.Crypto;

/// <summary>
/// What one call of <see cref="AeadRun{TKernels}"/> needs on its stack: the lanes being filled for ChaCha20, the one-time keys of the
/// packets of a chunk, and the lanes of Poly1305. All of it is secret or derived from secrets, and wiped as far as it was used.
/// </summary>
/// <remarks>Placed at a multiple of 64 bytes: every array begins at a cache line.</remarks>
internal unsafe struct AeadScratch
{
    /// <summary>Packets whose one-time keys are held at once: a multiple of every kernel's lanes, and little enough for the first-level cache.</summary>
    public const int Chunk = 16;

    public const int BlockSize = 64;

    // ChaCha20: one lane is one block of one packet. Twice the addresses, since a fill writes all lanes' worth from any lane on.
    public fixed uint Counter[16];
    public fixed uint NonceLow[16];
    public fixed uint NonceHigh[16];
    public fixed ulong Address[32];

    // Poly1305: one lane is one packet. Accumulators (5 limbs), then r (4 limbs), then s (16 bytes) of up to 8 lanes.
    public fixed ulong Accumulator[5 * 8];
    public fixed ulong Multiplier[4 * 8];
    public fixed ulong Pointer[8];
    public fixed byte LastBlocks[8 * 32];

    public fixed byte Tags[Chunk * 16];

    /// <summary>Block 0 of each packet of the chunk; the first 32 bytes are its one-time key (RFC 8439, section 2.6).</summary>
    public fixed byte Keys[Chunk * BlockSize];

    /// <summary>Stands in for the last block of a packet where that is not a whole one, and holds keystream that waits for a verdict.</summary>
    public fixed byte Blocks[Chunk * BlockSize];

    /// <summary>Lanes without a block work on this one.</summary>
    public fixed byte Idle[BlockSize];

    /// <summary>For a kernel with fewer registers than words: four words of eight lanes.</summary>
    public fixed uint Row[4 * 8];

    // The lanes' book-keeping: no secrets.
    public fixed ulong TailAddress[Chunk];
    public fixed int TailLength[Chunk];
    public int Used;
    public int Tails;
    public int BlocksTouched;

    /// <summary>Bytes to reserve so that the scratch can be placed at a multiple of 64.</summary>
    public static int Size => sizeof(AeadScratch) + BlockSize - 1;

    public static AeadScratch* Place(byte* memory) => (AeadScratch*)(((nuint)memory + BlockSize - 1) & ~(nuint)(BlockSize - 1));

    public void Reset()
    {
        Used = 0;
        Tails = 0;
        BlocksTouched = 0;
    }

    /// <param name="packets">The largest number of packets that were in it at once.</param>
    /// <param name="macLanes">Whether Poly1305's lanes were in use.</param>
    public static void Wipe(AeadScratch* scratch, int packets, bool macLanes)
    {
        Wipe(scratch->Keys, Math.Min(packets, Chunk));
        Wipe(scratch->Blocks, scratch->BlocksTouched);
        // Idle, and the row behind it.
        Wipe(scratch->Idle, 1 + (4 * 8 * sizeof(uint) / BlockSize));
        if (macLanes)
        {
            Wipe((byte*)scratch->Accumulator, (5 + 4) * 8 * sizeof(ulong) / BlockSize);
        }
    }

    /// <summary>Zeros on blocks of 64 bytes. The compiler keeps stores through a pointer, and a call for each would be half the cost of a small packet's wiping.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Wipe(byte* memory, int blocks)
    {
        for (int i = 0; i < blocks; i++)
        {
            Vector512<byte>.Zero.Store(memory + (i * BlockSize));
        }
    }
}
