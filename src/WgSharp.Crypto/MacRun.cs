using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace WgSharp.Crypto;

/// <summary>
/// The Poly1305 half of <see cref="AeadRun{TKernels}"/>: tags from one-time keys, one packet per lane. Packets of unequal length end
/// together and begin apart: a lane's accumulator is emptied when its packet begins, and what it computed before is of no consequence.
/// </summary>
internal static unsafe class MacRun<TKernels>
    where TKernels : struct, IAeadKernels
{
    /// <summary>One packet, by whichever way is the shorter for its length.</summary>
    public static void MacSingle(byte* key, byte* content, int length, byte* tag)
    {
        Vector128<ulong> lengths = Vector128.Create(0, (ulong)length);
        if (length >= Poly1305Wide.WorthwhileLength)
        {
            Poly1305Wide.Mac(key, content, length, lengths, tag);
        }
        else
        {
            Poly1305.Mac(key, content, length, lengths, tag);
        }
    }

    /// <summary>The tags of all packets, from their keys, into the scratch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Mac(AeadScratch* scratch, byte* buffer, ReadOnlySpan<AeadPacket> packets)
    {
        for (int i = 0; i < packets.Length;)
        {
            byte* keys = scratch->Keys + (i * AeadScratch.BlockSize);
            byte* tags = scratch->Tags + (i * Poly1305.TagSize);
            int count = Math.Min(TKernels.MacLanes, packets.Length - i);
            if (IsWorthLanes(packets.Slice(i, count)))
            {
                MacGroup(scratch, buffer, packets.Slice(i, count), keys, tags);
                i += count;
            }
            else
            {
                MacSingle(keys, buffer + packets[i].Offset, packets[i].Length, tags);
                i++;
            }
        }
    }

    /// <summary>Lanes cost what the longest packet in them costs, however little the others have.</summary>
    private static bool IsWorthLanes(ReadOnlySpan<AeadPacket> packets)
    {
        long all = 0;
        long longest = 0;
        foreach (ref readonly AeadPacket packet in packets)
        {
            long length = packet.Length + Poly1305.BlockSize;
            all += length;
            longest = Math.Max(longest, length);
        }

        return all > TKernels.MacSingles * longest;
    }

    /// <summary>
    /// Up to <see cref="IAeadKernels.MacLanes"/> packets at once. All but the last 1-16 bytes of a packet is its body, taken from where
    /// it lies; the rest, padded, and the block with the length are taken from a copy. An empty packet has only the latter.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void MacGroup(AeadScratch* scratch, byte* buffer, ReadOnlySpan<AeadPacket> packets, byte* keys, byte* tags)
    {
        TKernels.MacInitialize(scratch, keys);
        int* body = stackalloc int[8];
        int longest = 0;
        uint empty = 0;
        for (int i = 0; i < packets.Length; i++)
        {
            byte* content = buffer + packets[i].Offset;
            int length = packets[i].Length;
            body[i] = (length - 1) >> 4;
            int before = Math.Max(body[i], 0) * Poly1305.BlockSize;
            byte* last = scratch->LastBlocks + (i * 2 * Poly1305.BlockSize);
            Poly1305.LastBlock(content + before, length - before).Store(last);
            Vector128.Create(0UL, (ulong)length).Store((ulong*)(last + Poly1305.BlockSize));
            scratch->Pointer[i] = (ulong)content;
            empty |= (length == 0 ? 1u : 0u) << i;
            longest = body[i] > body[longest] ? i : longest;
        }

        for (int i = packets.Length; i < TKernels.MacLanes; i++)
        {
            body[i] = body[longest];
            scratch->Pointer[i] = scratch->Pointer[longest];
        }

        MacBodies(scratch, buffer, packets, body, longest);
        for (int i = 0; i < TKernels.MacLanes; i++)
        {
            scratch->Pointer[i] = (ulong)(scratch->LastBlocks + (Math.Min(i, packets.Length - 1) * 2 * Poly1305.BlockSize));
        }

        if (empty == 0)
        {
            TKernels.MacBlocks(scratch, 2);
        }
        else
        {
            TKernels.MacBlocks(scratch, 1);
            TKernels.MacRestart(scratch, empty);
            for (int i = 0; i < TKernels.MacLanes; i++)
            {
                scratch->Pointer[i] += Poly1305.BlockSize;
            }

            TKernels.MacBlocks(scratch, 1);
        }

        TKernels.MacFinish(scratch, keys, tags);
    }

    /// <summary>The bodies, right-aligned: with <c>left</c> blocks to go, the lanes whose bodies have as many or more are at work.</summary>
    /// <param name="body">Blocks in each lane's body.</param>
    /// <param name="longest">A lane that works all the time: the others read along with it until their own turn.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MacBodies(AeadScratch* scratch, byte* buffer, ReadOnlySpan<AeadPacket> packets, int* body, int longest)
    {
        int left = Math.Max(body[longest], 0);
        while (true)
        {
            uint beginning = 0;
            int next = 0;
            for (int i = 0; i < packets.Length; i++)
            {
                if (body[i] == left)
                {
                    beginning |= 1u << i;
                    scratch->Pointer[i] = (ulong)(buffer + packets[i].Offset);
                }
                else if (body[i] < left)
                {
                    next = Math.Max(next, body[i]);
                    scratch->Pointer[i] = scratch->Pointer[longest];
                }
            }

            if (left < body[longest])
            {
                TKernels.MacRestart(scratch, beginning);
            }

            if (left == 0)
            {
                return;
            }

            TKernels.MacBlocks(scratch, left - next);
            for (int i = 0; i < TKernels.MacLanes; i++)
            {
                scratch->Pointer[i] += (ulong)(left - next) * Poly1305.BlockSize;
            }

            left = next;
        }
    }
}
