using WgSharp.Crypto;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>A packet on the TUN side: one read, or one write. May be a super-packet of up to 64 KiB (TSO, USO) that stands for many.</summary>
public struct TunFrame
{
    /// <summary>All zeros for a plain packet.</summary>
    public VirtioNetHeader Header;

    /// <summary>Where the IP packet begins in <see cref="PacketBatch.Buffer"/> (reads only).</summary>
    public int Offset;

    /// <summary>Bytes of the IP packet (all slices together).</summary>
    public int Length;

    /// <summary>Writes only: the first of the <see cref="PacketBatch.Slices"/> that make up the packet.</summary>
    public int FirstSlice;

    /// <summary>Writes only.</summary>
    public int SliceCount;

    /// <summary>Written by <see cref="ITunDevice.Write"/>: the kernel refused the frame with EINVAL or the like (not because the link is down).</summary>
    public bool Refused;
}

/// <summary>A piece of <see cref="PacketBatch.Buffer"/>.</summary>
public record struct BufferSlice(int Offset, int Length);

/// <summary>One received datagram, or a train of equal-sized ones that UDP_GRO put together (the last may be shorter).</summary>
public struct DatagramTrain
{
    public int Offset;
    public int Length;

    /// <summary>Bytes per datagram; equal to <see cref="Length"/> for a single one.</summary>
    public int Stride;

    public InetEndpoint Source;

    /// <summary>The local address it was sent to, or none where the kernel does not tell.</summary>
    public InetAddress LocalAddress;

    /// <summary>The interface it arrived on, or 0.</summary>
    public int LocalInterface;

    /// <summary>The outer DS field; its lower two bits are ECN.</summary>
    public byte TrafficClass;

    /// <summary>IP_RECVFRAGSIZE: the size of the largest fragment it arrived in, 0 if it was not fragmented.</summary>
    public int FragmentSize;
}

/// <summary>What the path stages know of a packet beside what the AEAD knows (<see cref="PacketBatch.Packets"/>, same index).</summary>
public struct PacketSlot
{
    /// <summary>Bytes of the inner IP packet, without padding. 0 for a keepalive.</summary>
    public int InnerLength;

    /// <summary>Outbound: the inner DS field. Inbound: the outer one of its train.</summary>
    public byte TrafficClass;

    /// <summary>Dropped: the later stages pass over it.</summary>
    public bool Dropped;
}

/// <summary>Consecutive slots with the same keypair: what is numbered, sealed, opened and accounted in one go. Outbound also: contiguous bytes at one stride, sent at once.</summary>
public struct PacketRun
{
    public int FirstSlot;
    public int Count;

    /// <summary>Outbound: where the first message begins.</summary>
    public int Offset;

    /// <summary>Outbound: bytes of all messages together.</summary>
    public int Length;

    /// <summary>Outbound: bytes from one message to the next; only the last message may be shorter.</summary>
    public int Stride;

    public Peer? Peer;
    public Keypair? Keypair;

    /// <summary>Outbound: destination and sticky source.</summary>
    public Endpoint? Endpoint;

    /// <summary>Inbound: the train it came with.</summary>
    public int Train;

    /// <summary>Outbound: the outer DS field.</summary>
    public byte TrafficClass;

    /// <summary>Outbound: the outer hop limit (IPv4: time to live); 0 is the sockets' own.</summary>
    public byte HopLimit;

    /// <summary>Outbound: these packets were staged, so nothing that is staged stands before them.</summary>
    public bool WasStaged;

    /// <summary>Outbound: send the messages one by one (this path refused segmentation lately).</summary>
    public bool Unsegmented;

    /// <summary>Written by <see cref="IUdpSocket.Send"/>: what became of it.</summary>
    public SendOutcome Outcome;
}

/// <summary>
/// The unit of the data path: one pinned buffer and the tables that describe what lies in it. Made once, reused for ever.
/// Outbound: Frames (read) → Slots → Runs → sent. Inbound: Trains (received) → Slots → Runs → Frames (written).
/// </summary>
public sealed class PacketBatch
{
    /// <summary>Super-packets and trains are at most this long.</summary>
    public const int MaxPacket = 65535;

    /// <param name="bufferSize">Bytes of <see cref="Buffer"/>.</param>
    /// <param name="slots">How many packets it can describe.</param>
    /// <param name="frames">How many TUN frames.</param>
    /// <param name="trains">How many received datagram trains, each of up to 64 KiB.</param>
    public PacketBatch(int bufferSize, int slots, int frames, int trains)
    {
        Buffer = GC.AllocateUninitializedArray<byte>(bufferSize, pinned: true);
        Packets = new AeadPacket[slots];
        Slots = new PacketSlot[slots];
        Runs = new PacketRun[slots]; // whoever sends decides how well packets join: each may be a run of its own
        Frames = new TunFrame[frames];
        Trains = new DatagramTrain[trains];
        Slices = new BufferSlice[slots];
    }

    /// <summary>Pinned: its address may be handed to the kernel.</summary>
    public byte[] Buffer { get; }

    /// <summary>Position, length, counter and verdict of each packet's sealed content; same index as <see cref="Slots"/>.</summary>
    public AeadPacket[] Packets { get; }

    public PacketSlot[] Slots { get; }

    public int SlotCount { get; set; }

    public PacketRun[] Runs { get; }

    public int RunCount { get; set; }

    public TunFrame[] Frames { get; }

    public int FrameCount { get; set; }

    public DatagramTrain[] Trains { get; }

    public int TrainCount { get; set; }

    public BufferSlice[] Slices { get; }

    public int SliceCount { get; set; }

    /// <summary>Outbound: bytes of <see cref="Buffer"/> that TUN reads may fill; what is behind holds the messages to send.</summary>
    public int ReadCapacity { get; init; }

    /// <summary>Written by whoever filled the batch: it was looked, and nothing was left to take. The next step is to wait.</summary>
    public bool Drained { get; set; }

    /// <summary>Empties the tables; the buffer keeps its bytes.</summary>
    public void Clear()
    {
        SlotCount = 0;
        RunCount = 0;
        FrameCount = 0;
        TrainCount = 0;
        SliceCount = 0;
        Drained = false;
    }
}
