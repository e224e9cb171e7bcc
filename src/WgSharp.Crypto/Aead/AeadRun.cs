using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace WgSharp.Crypto;

/// <summary>
/// ChaCha20-Poly1305 (RFC 8439, section 2.8, no associated data) over a run of packets with vectors.
/// <para>
/// ChaCha20's lanes take blocks of whichever packets come next, block 0 (the one-time key) as any other, so that no lane idles but at
/// the end of a chunk. Poly1305's lanes take one packet each. Packets of unequal length end together and begin apart: a
/// lane's accumulator is emptied when its packet begins, and what it computed before is of no consequence.
/// </para>
/// <para>Time depends on lengths and on which packets are forged, which is all visible from outside; not on keys or content.</para>
/// </summary>
internal static unsafe class AeadRun<TKernels>
    where TKernels : struct, IAeadKernels
{
    /// <summary>A lone packet of up to so many bytes goes without lanes: its three blocks and its one-time key are one small kernel's work.</summary>
    private const int SmallLength = 3 * AeadScratch.BlockSize;

    /// <summary>Every packet with its tag lies within the buffer: the caller has checked.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Seal(uint* state, byte* buffer, ReadOnlySpan<AeadPacket> packets)
    {
        if (packets.Length == 1 && packets[0].Length <= SmallLength)
        {
            SealSmall(state, buffer + packets[0].Offset, packets[0].Length, packets[0].Counter);
        }
        else
        {
            SealLanes(state, buffer, packets);
        }
    }

    /// <summary>Every packet with its tag lies within the buffer: the caller has checked. A forged packet stays as it was.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Open(uint* state, byte* buffer, Span<AeadPacket> packets)
    {
        if (packets.Length == 1 && packets[0].Length <= SmallLength)
        {
            packets[0].Authentic = OpenSmall(state, buffer + packets[0].Offset, packets[0].Length, packets[0].Counter);
        }
        else
        {
            OpenLanes(state, buffer, packets);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    private static void SealSmall(uint* state, byte* content, int length, ulong nonce)
    {
        byte* keystream = stackalloc byte[4 * AeadScratch.BlockSize];
        try
        {
            ChaCha20Vector256.Keystream4(state, nonce, keystream);
            XorKeystream(content, keystream + AeadScratch.BlockSize, length);
            Poly1305.Mac(keystream, content, length, Vector128.Create(0, (ulong)length), content + length);
        }
        finally
        {
            AeadScratch.Wipe(keystream, 4);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    private static bool OpenSmall(uint* state, byte* content, int length, ulong nonce)
    {
        byte* keystream = stackalloc byte[4 * AeadScratch.BlockSize];
        Vector128<byte> tag;
        try
        {
            ChaCha20Vector256.Keystream4(state, nonce, keystream);
            Poly1305.Mac(keystream, content, length, Vector128.Create(0, (ulong)length), (byte*)&tag);
            bool authentic = tag == Vector128.Load(content + length);
            if (authentic)
            {
                XorKeystream(content, keystream + AeadScratch.BlockSize, length);
            }

            return authentic;
        }
        finally
        {
            AeadScratch.Wipe(keystream, 4);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    private static void SealLanes(uint* state, byte* buffer, ReadOnlySpan<AeadPacket> packets)
    {
        byte* memory = stackalloc byte[AeadScratch.Size];
        AeadScratch* scratch = AeadScratch.Place(memory);
        scratch->Reset();
        int count = packets.Length;
        try
        {
            for (; packets.Length > AeadScratch.Chunk; packets = packets[AeadScratch.Chunk..])
            {
                SealChunk(state, buffer, packets[..AeadScratch.Chunk], scratch);
            }

            SealChunk(state, buffer, packets, scratch);
        }
        finally
        {
            AeadScratch.Wipe(scratch, count, count > TKernels.MacSingles);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    private static void OpenLanes(uint* state, byte* buffer, Span<AeadPacket> packets)
    {
        byte* memory = stackalloc byte[AeadScratch.Size];
        AeadScratch* scratch = AeadScratch.Place(memory);
        scratch->Reset();
        int count = packets.Length;
        try
        {
            for (; packets.Length > AeadScratch.Chunk; packets = packets[AeadScratch.Chunk..])
            {
                OpenChunk(state, buffer, packets[..AeadScratch.Chunk], scratch);
            }

            if (packets.Length == 1)
            {
                OpenSingle(state, buffer, ref packets[0], scratch);
            }
            else
            {
                OpenChunk(state, buffer, packets, scratch);
            }
        }
        finally
        {
            AeadScratch.Wipe(scratch, count, count > TKernels.MacSingles);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void SealChunk(uint* state, byte* buffer, ReadOnlySpan<AeadPacket> packets, AeadScratch* scratch)
    {
        for (int i = 0; i < packets.Length; i++)
        {
            ref readonly AeadPacket packet = ref packets[i];
            Stream(state, scratch, buffer + packet.Offset, packet.Length, packet.Counter, 0, i);
        }

        Flush(state, scratch);
        MacRun<TKernels>.Mac(scratch, buffer, packets);
        for (int i = 0; i < packets.Length; i++)
        {
            Vector128.Load(scratch->Tags + (i * Poly1305.TagSize)).Store(buffer + packets[i].Offset + packets[i].Length);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OpenChunk(uint* state, byte* buffer, Span<AeadPacket> packets, AeadScratch* scratch)
    {
        Keys(state, scratch, packets);
        MacRun<TKernels>.Mac(scratch, buffer, packets);
        for (int i = 0; i < packets.Length; i++)
        {
            ref AeadPacket packet = ref packets[i];
            byte* content = buffer + packet.Offset;
            packet.Authentic = Vector128.Load(scratch->Tags + (i * Poly1305.TagSize)) == Vector128.Load(content + packet.Length);
            if (packet.Authentic)
            {
                Stream(state, scratch, content, packet.Length, packet.Counter, 1, i);
            }
        }

        Flush(state, scratch);
    }

    /// <summary>
    /// A lone packet: as many blocks as do not fill all lanes are computed together with block 0, and wait as keystream for the verdict.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OpenSingle(uint* state, byte* buffer, ref AeadPacket packet, AeadScratch* scratch)
    {
        byte* content = buffer + packet.Offset;
        int blocks = 1 + ((packet.Length + AeadScratch.BlockSize - 1) / AeadScratch.BlockSize);
        int first = ((blocks - 1) & (TKernels.StreamLanes - 1)) + 1;
        scratch->BlocksTouched = first - 1;
        for (int i = 0; i < first - 1; i++)
        {
            Vector512<byte>.Zero.Store(scratch->Blocks + (i * AeadScratch.BlockSize));
        }

        Stream(state, scratch, scratch->Blocks, (first - 1) * AeadScratch.BlockSize, packet.Counter, 0, 0);
        Flush(state, scratch);
        MacRun<TKernels>.MacSingle(scratch->Keys, content, packet.Length, scratch->Tags);
        packet.Authentic = Vector128.Load(scratch->Tags) == Vector128.Load(content + packet.Length);
        if (!packet.Authentic)
        {
            return;
        }

        int waiting = Math.Min(packet.Length, (first - 1) * AeadScratch.BlockSize);
        XorKeystream(content, scratch->Blocks, waiting);
        Stream(state, scratch, content, packet.Length, packet.Counter, (uint)first, 0);
        Flush(state, scratch);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void XorKeystream(byte* content, byte* keystream, int length)
    {
        int whole = length & ~(AeadScratch.BlockSize - 1);
        for (int i = 0; i < whole; i += AeadScratch.BlockSize)
        {
            (Vector512.Load(content + i) ^ Vector512.Load(keystream + i)).Store(content + i);
        }

        if (whole < length)
        {
            TKernels.XorTail(content + whole, keystream + whole, length - whole);
        }
    }

    /// <summary>Only the one-time keys: one lane for each packet.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Keys(uint* state, AeadScratch* scratch, ReadOnlySpan<AeadPacket> packets)
    {
        for (int i = 0; i < packets.Length; i++)
        {
            int lane = scratch->Used++;
            byte* key = scratch->Keys + (i * AeadScratch.BlockSize);
            Vector512<byte>.Zero.Store(key);
            scratch->Counter[lane] = 0;
            scratch->NonceLow[lane] = (uint)packets[i].Counter;
            scratch->NonceHigh[lane] = (uint)(packets[i].Counter >> 32);
            scratch->Address[lane] = (ulong)key;
            if (scratch->Used == TKernels.StreamLanes)
            {
                Flush(state, scratch);
            }
        }

        Flush(state, scratch);
    }

    /// <summary>Gives the lanes a packet's blocks from <paramref name="block"/> on, and computes whenever all lanes are taken.</summary>
    /// <param name="block">0 with the packet's one-time key, 1 without.</param>
    /// <param name="slot">Where the key goes.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Stream(uint* state, AeadScratch* scratch, byte* content, int length, ulong nonce, uint block, int slot)
    {
        uint end = 1 + (((uint)length + AeadScratch.BlockSize - 1) / AeadScratch.BlockSize);
        int tail = length & (AeadScratch.BlockSize - 1);
        while (block < end)
        {
            int used = scratch->Used;
            int taken = Math.Min(TKernels.StreamLanes - used, (int)(end - block));
            TKernels.Fill(scratch, used, block, nonce, content + (((long)block - 1) * AeadScratch.BlockSize));
            if (block == 0)
            {
                byte* key = scratch->Keys + (slot * AeadScratch.BlockSize);
                Vector512<byte>.Zero.Store(key);
                scratch->Address[used] = (ulong)key;
            }

            block += (uint)taken;
            used += taken;
            scratch->Used = used;
            if (block == end && tail != 0)
            {
                SetAside(scratch, used - 1, content + length - tail, tail);
            }

            if (used == TKernels.StreamLanes)
            {
                Flush(state, scratch);
            }
        }
    }

    /// <summary>Lets a lane leave its keystream in the scratch, for a packet's last bytes: a whole block would reach beyond them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetAside(AeadScratch* scratch, int lane, byte* address, int length)
    {
        int index = scratch->Tails++;
        byte* block = scratch->Blocks + (index * AeadScratch.BlockSize);
        Vector512<byte>.Zero.Store(block);
        scratch->BlocksTouched = Math.Max(scratch->BlocksTouched, scratch->Tails);
        scratch->Address[lane] = (ulong)block;
        scratch->TailAddress[index] = (ulong)address;
        scratch->TailLength[index] = length;
    }

    /// <summary>Computes the lanes that are taken.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Flush(uint* state, AeadScratch* scratch)
    {
        int used = scratch->Used;
        if (used == 0)
        {
            return;
        }

        TKernels.Idle(scratch, used);
        TKernels.Xor(state, scratch, used);
        for (int i = 0; i < scratch->Tails; i++)
        {
            TKernels.XorTail((byte*)scratch->TailAddress[i], scratch->Blocks + (i * AeadScratch.BlockSize), scratch->TailLength[i]);
        }

        scratch->Used = 0;
        scratch->Tails = 0;
    }
}
