// Stage 5 of the way in: packets of one flow that follow each other become one super-packet, which the kernel takes through its
// stack once instead of forty times (what GRO does for a network card).
//
// Every frame is a chain of slots. An open chain is found by its flow in a small table of four-way sets; a packet either is the
// next one of its flow's open chain, or closes it and starts a new frame: nothing of a flow overtakes anything else of it.
// Nothing is copied: the first packet's headers are rewritten in place, the others contribute slices of payload, and their
// headers stay where they are, so that a super-packet that the kernel refuses can be taken apart again.

using System.Runtime.CompilerServices;

namespace WgSharp.Engine.Offload;

/// <summary>Joins the packets of a flow to super-packets for the TUN device. One per thread; its tables are reused.</summary>
internal sealed class GroCoalescer
{
    /// <summary>No frame has more slices than this.</summary>
    public const int MaxSlices = 128;

    private const int Sets = 32;
    private const int Ways = 4;
    private const int None = -1;

    /// <summary>Open chains by flow: a set is chosen by hash, within it any way may hold the flow.</summary>
    private readonly int[] _openChains = new int[Sets * Ways];

    /// <summary>One per frame, same index.</summary>
    private readonly GroChain[] _chains;

    /// <summary>The slot that follows in the same chain.</summary>
    private readonly int[] _nextSlot;

    private int _chainCount;
    private int _evictionTurn;

    /// <summary>The batch's frames are those of <see cref="_chains"/>.</summary>
    private bool _framesAreChains;

    /// <summary>The first slot of those that <see cref="Uncoalesce"/> has still to deliver.</summary>
    private int _firstRefused = None;

    /// <param name="slots">The most slots a batch has.</param>
    /// <param name="frames">The most frames a batch has.</param>
    public GroCoalescer(TunOffload features, int slots, int frames)
    {
        Features = features;
        _nextSlot = new int[slots];
        _chains = new GroChain[frames];
    }

    public TunOffload Features { get; }

    /// <summary>
    /// Replaces the batch's frames by those for its packets from <paramref name="firstSlot"/> on (passing over those
    /// without content), until all are dealt with or the frames are full; then the caller writes and calls again.
    /// </summary>
    /// <returns>The slot to go on with; <see cref="PacketBatch.PacketCount"/> when all are done.</returns>
    public int Coalesce(PacketBatch batch, int firstSlot)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(batch.PacketCount, _nextSlot.Length);
        _openChains.AsSpan().Fill(None);
        _chainCount = 0;
        _firstRefused = None;
        int chainLimit = Math.Min(_chains.Length, batch.Frames.Length);
        int slot = firstSlot;
        for (; slot < batch.PacketCount; slot++)
        {
            if (batch.Packets[slot].Length > 0 && !TryAdd(batch, slot, chainLimit))
            {
                break;
            }
        }

        WriteFrames(batch);
        _framesAreChains = true;
        return slot;
    }

    /// <summary>
    /// After a write: takes the super-packets that the kernel refused apart again and replaces the batch's frames by their
    /// packets, bit for bit as they came. The caller writes these and calls again, as often as it returns true.
    /// </summary>
    /// <returns>False when there is nothing (more) to write.</returns>
    public bool Uncoalesce(PacketBatch batch)
    {
        if (_framesAreChains)
        {
            CollectRefused(batch);
            _framesAreChains = false;
        }

        batch.FrameCount = 0;
        batch.SliceCount = 0;
        while (_firstRefused != None && batch.FrameCount < batch.Frames.Length)
        {
            int slot = _firstRefused;
            _firstRefused = _nextSlot[slot];
            int length = batch.Packets[slot].Length;
            batch.Slices[batch.SliceCount] = new BufferSlice(batch.Packets[slot].Offset, length);
            batch.Frames[batch.FrameCount++] = new TunFrame { Length = length, FirstSlice = batch.SliceCount++, SliceCount = 1 };
        }

        return batch.FrameCount > 0;
    }

    /// <returns>False if the packet needs a frame and there is none.</returns>
    private bool TryAdd(PacketBatch batch, int slot, int chainLimit)
    {
        ReadOnlySpan<byte> packet = Packet(batch, slot);
        GroKind kind = GroPacket.Classify(packet, Features, out GroPacket fields);
        int way = None;
        bool mayOpen = kind == GroKind.Joinable && !fields.EndsSuperPacket;
        if (kind >= GroKind.Single)
        {
            way = FindOpenChain(batch, packet, fields);
        }

        if (way != None && kind == GroKind.Joinable)
        {
            ref GroChain chain = ref _chains[_openChains[way]];
            ReadOnlySpan<byte> first = Packet(batch, chain.FirstSlot);
            if (chain.Continues(first, packet, fields, out bool hasFixedId) && chain.VerifyFirst(first))
            {
                if (fields.HasValidChecksums(packet))
                {
                    _nextSlot[chain.LastSlot] = slot;
                    _nextSlot[slot] = None;
                    _openChains[way] = chain.Append(fields, slot, hasFixedId) ? None : _openChains[way];
                    return true;
                }

                mayOpen = false;
            }
        }

        if (_chainCount == chainLimit)
        {
            return false;
        }

        if (kind == GroKind.Obscure)
        {
            CloseBetween(batch, packet);
        }
        else if (way != None)
        {
            _openChains[way] = mayOpen ? _chainCount : None;
        }
        else if (mayOpen)
        {
            _openChains[FreeWay(fields.FlowHash)] = _chainCount;
        }

        _nextSlot[slot] = None;
        _chains[_chainCount++] = new GroChain(fields, slot) { Length = packet.Length };
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Span<byte> Packet(PacketBatch batch, int slot) =>
        batch.Buffer.AsSpan(batch.Packets[slot].Offset, batch.Packets[slot].Length);

    /// <returns>The way that holds the flow's open chain, or None.</returns>
    private int FindOpenChain(PacketBatch batch, ReadOnlySpan<byte> packet, in GroPacket fields)
    {
        int set = FirstWay(fields.FlowHash);
        for (int way = set; way < set + Ways; way++)
        {
            int chain = _openChains[way];
            if (chain != None && _chains[chain].IsSameFlow(Packet(batch, _chains[chain].FirstSlot), packet, fields))
            {
                return way;
            }
        }

        return None;
    }

    private static int FirstWay(uint hash) => (int)(hash % Sets) * Ways;

    /// <summary>A way of the flow's set, taken from another flow if need be: that one's chain is closed.</summary>
    private int FreeWay(uint hash)
    {
        int set = FirstWay(hash);
        int free = _openChains.AsSpan(set, Ways).IndexOf(None);
        return set + (free >= 0 ? free : _evictionTurn++ & (Ways - 1));
    }

    /// <summary>Closes every chain with the packet's addresses.</summary>
    private void CloseBetween(PacketBatch batch, ReadOnlySpan<byte> packet)
    {
        bool isIPv4 = packet[0] >> 4 == 4;
        for (int way = 0; way < _openChains.Length; way++)
        {
            int chain = _openChains[way];
            if (chain != None
                && _chains[chain].First.IsIPv4 == isIPv4
                && GroPacket.HaveSameAddresses(Packet(batch, _chains[chain].FirstSlot), packet, isIPv4))
            {
                _openChains[way] = None;
            }
        }
    }

    private void WriteFrames(PacketBatch batch)
    {
        int slice = 0;
        for (int frame = 0; frame < _chainCount; frame++)
        {
            ref readonly GroChain chain = ref _chains[frame];
            Span<byte> first = Packet(batch, chain.FirstSlot);
            batch.Frames[frame] = new TunFrame
            {
                Header = chain.Count > 1 ? chain.JoinHeaders(first) : default,
                Length = chain.Length,
                FirstSlice = slice,
                SliceCount = chain.Count,
            };
            batch.Slices[slice++] = new BufferSlice(batch.Packets[chain.FirstSlot].Offset, first.Length);
            for (int slot = _nextSlot[chain.FirstSlot]; slot != None; slot = _nextSlot[slot])
            {
                int headerLength = chain.First.HeaderLength;
                batch.Slices[slice++] = new BufferSlice(
                    batch.Packets[slot].Offset + headerLength, batch.Packets[slot].Length - headerLength);
            }
        }

        batch.FrameCount = _chainCount;
        batch.SliceCount = slice;
    }

    /// <summary>Restores the refused super-packets' headers and strings their packets together, in order.</summary>
    private void CollectRefused(PacketBatch batch)
    {
        for (int frame = batch.FrameCount - 1; frame >= 0; frame--)
        {
            ref readonly GroChain chain = ref _chains[frame];
            if (batch.Frames[frame].Refused && chain.Count > 1)
            {
                chain.RestoreHeaders(Packet(batch, chain.FirstSlot));
                _nextSlot[chain.LastSlot] = _firstRefused;
                _firstRefused = chain.FirstSlot;
            }
        }
    }
}
