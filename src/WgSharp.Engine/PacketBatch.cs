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

/// <summary>
/// Consecutive messages to one peer, contiguous at one stride: numbered, sealed, sent and accounted in one go. A frame that was read becomes a run, or
/// several; neighbours of one peer and size join.
/// </summary>
internal struct OutboundRun
{
    /// <summary>The first of its <see cref="PacketBatch.Packets"/>.</summary>
    public int FirstPacket;

    public int Count;

    /// <summary>Where the first message begins.</summary>
    public int Offset;

    /// <summary>Bytes of all messages together.</summary>
    public int Length;

    /// <summary>Bytes from one message to the next; only the last message may be shorter.</summary>
    public int Stride;

    public Peer? Peer;

    /// <summary>Leased from numbering until it was sent.</summary>
    public Keypair? Keypair;

    /// <summary>Destination and sticky source.</summary>
    public Endpoint? Endpoint;

    /// <summary>The outer DS field.</summary>
    public byte TrafficClass;

    /// <summary>The outer hop limit (IPv4: time to live); 0 is the sockets' own.</summary>
    public byte HopLimit;

    /// <summary>Send the messages one by one (this path refused segmentation lately).</summary>
    public bool Unsegmented;

    /// <summary>Over IPv6, where only the sender can: IP packets larger than this leave in fragments of no more. 0: the kernel knows. A hint: where a socket
    /// can not, they leave as the kernel will have it.</summary>
    public int FragmentAt;

    /// <summary>Written by <see cref="IUdpSocket.Send"/>: what became of it.</summary>
    public SendOutcome Outcome;
}

/// <summary>Consecutive datagrams of one train and one keypair: opened and accepted in one go.</summary>
internal struct InboundRun
{
    /// <summary>The first of its <see cref="PacketBatch.Packets"/>.</summary>
    public int FirstPacket;

    public int Count;

    public Keypair? Keypair;

    /// <summary>The train it came with.</summary>
    public int Train;
}

/// <summary>
/// The unit of the data path: one pinned buffer and the tables that describe what lies in it. Made once, reused for ever.
/// Outbound: Frames (read) → Packets → OutboundRuns → sent. Inbound: Trains (received) → Packets → InboundRuns → Frames (written).
/// </summary>
internal sealed class PacketBatch
{
    /// <summary>Super-packets and trains are at most this long.</summary>
    public const int MaxPacket = 65535;

    /// <param name="bufferSize">Bytes of <see cref="Buffer"/>.</param>
    /// <param name="packets">How many packets it can describe.</param>
    /// <param name="frames">How many TUN frames.</param>
    /// <param name="trains">How many received datagram trains, each of up to 64 KiB. 0: the batch is outbound.</param>
    public PacketBatch(int bufferSize, int packets, int frames, int trains)
    {
        // Whoever sends decides how well packets join: each may be a run of its own.
        bool isInbound = trains > 0;
        Buffer = GC.AllocateUninitializedArray<byte>(bufferSize, pinned: true);
        Packets = new AeadPacket[packets];
        OutboundRuns = isInbound ? [] : new OutboundRun[packets];
        InboundRuns = isInbound ? new InboundRun[packets] : [];
        Frames = new TunFrame[frames];
        Trains = new DatagramTrain[trains];
        Slices = new BufferSlice[packets];
    }

    /// <summary>Pinned: its address may be handed to the kernel.</summary>
    public byte[] Buffer { get; }

    /// <summary>
    /// Position, length, counter and verdict of each packet. Outbound: the padded content of a message. Inbound: its content; once accepted, the inner
    /// IP packet, or nothing (length 0) where there is nothing to deliver.
    /// </summary>
    public AeadPacket[] Packets { get; }

    public int PacketCount { get; set; }

    public OutboundRun[] OutboundRuns { get; }

    public InboundRun[] InboundRuns { get; }

    /// <summary>How many runs there are, of whichever direction the batch is.</summary>
    public int RunCount { get; set; }

    public TunFrame[] Frames { get; }

    public int FrameCount { get; set; }

    public DatagramTrain[] Trains { get; }

    public int TrainCount { get; set; }

    public BufferSlice[] Slices { get; }

    public int SliceCount { get; set; }

    /// <summary>Outbound: bytes of <see cref="Buffer"/> that TUN reads may fill; what is behind holds the messages to send.</summary>
    public int ReadCapacity { get; init; }

    /// <summary>Outbound: where the next message begins. What is read lies before <see cref="ReadCapacity"/>, messages behind each other from there on.</summary>
    public int MessagesEnd { get; set; }

    /// <summary>What was dropped by whoever worked on this batch; never reset.</summary>
    public DropCounters Drops { get; } = new();

    /// <summary>Written by whoever filled the batch: it was looked, and nothing was left to take. The next step is to wait.</summary>
    public bool Drained { get; set; }

    /// <summary>Empties the tables; the buffer keeps its bytes.</summary>
    public void Clear()
    {
        ClearPackets();
        FrameCount = 0;
        TrainCount = 0;
        SliceCount = 0;
        Drained = false;
    }
    /// <summary>Forgets packets and runs; what was read or received stays, to be gone on with.</summary>
    public void ClearPackets()
    {
        PacketCount = 0;
        RunCount = 0;
        MessagesEnd = ReadCapacity;
    }
}
