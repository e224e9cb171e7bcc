using System.Buffers.Binary;
using BenchmarkDotNet.Attributes;
using WgSharp.Crypto;
using WgSharp.Engine;
using WgSharp.Engine.Offload;
using WgSharp.Engine.Outbound;
using WgSharp.Protocol;

namespace WgSharp.Benchmarks;

/// <summary>
/// What the offloads cost per packet: a TCP super-packet of 47 segments is split into messages, and the 47 packets are joined
/// again (which includes verifying each one's checksum). The batch without joining is what small flows pay.
/// </summary>
[MemoryDiagnoser]
public class OffloadBenchmarks
{
    private const int Segments = 47;
    private const int SegmentSize = 1368;
    private const int HeaderSize = 52;
    private const int MessageOverhead = 32;

    private readonly PacketBatch _outbound = new(160 * 1024, 64, 4, 0) { ReadCapacity = 68 * 1024 };
    private readonly PacketBatch _inbound = new(80 * 1024, 64, 64, 0);
    private readonly byte[] _firstHeaders = new byte[HeaderSize];
    private readonly GroCoalescer _joining = new(TunOffload.All, 64, 64);
    private readonly GroCoalescer _plain = new(TunOffload.None, 64, 64);

    [GlobalSetup]
    public void Fill()
    {
        int length = HeaderSize + (Segments * SegmentSize);
        Span<byte> packet = _outbound.Buffer.AsSpan(0, length);
        new Random(1).NextBytes(packet);
        new byte[] { 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2 }.CopyTo(packet);
        BinaryPrimitives.WriteUInt16BigEndian(packet[2..], (ushort)length);
        packet[32] = (HeaderSize - 20) / 4 << 4;
        packet[33] = 0x10;
        _outbound.FrameCount = 1;
        _outbound.Frames[0] = new TunFrame
        {
            Header = new VirtioNetHeader { GsoType = VirtioNetHeader.GsoTcp4, GsoSize = SegmentSize, HdrLen = HeaderSize },
            Length = length,
        };
        Split();

        for (int i = 0, offset = 0; i < Segments; i++)
        {
            AeadPacket sent = _outbound.Packets[i];
            _outbound.Buffer.AsSpan(sent.Offset, sent.Length).CopyTo(_inbound.Buffer.AsSpan(offset));
            _inbound.Packets[i] = new AeadPacket { Offset = offset, Length = HeaderSize + SegmentSize };
            offset += sent.Length + MessageOverhead;
        }

        _inbound.PacketCount = Segments;
        _inbound.Buffer.AsSpan(0, HeaderSize).CopyTo(_firstHeaders);
    }

    [Benchmark(OperationsPerInvoke = Segments)]
    public int Split()
    {
        _outbound.ClearPackets();
        SplitPosition position = default;
        ref readonly TunFrame frame = ref _outbound.Frames[0];
        _ = IpPacket.TryParse(_outbound.Buffer.AsSpan(frame.Offset, frame.Length), out IpPacket packet);
        ReadOnlySpan<byte> bytes = _outbound.Buffer.AsSpan(frame.Offset, packet.TotalLength);
        _ = SuperPacket.TryParse(bytes, packet, frame.Header, out SuperPacket super);
        GsoSplitter.Split(_outbound, bytes, in super, 0, new Padding(1420, int.MaxValue), ref position);
        return _outbound.PacketCount;
    }

    [Benchmark(OperationsPerInvoke = Segments)]
    public int Coalesce()
    {
        _firstHeaders.CopyTo(_inbound.Buffer, 0); // joining rewrote them
        _joining.Coalesce(_inbound, 0);
        return _inbound.FrameCount;
    }

    [Benchmark(OperationsPerInvoke = Segments)]
    public int DeliverSingly()
    {
        _plain.Coalesce(_inbound, 0);
        return _inbound.FrameCount;
    }
}

/// <summary>The Internet checksum of small and large packets, and copying with and without it.</summary>
public class ChecksumBenchmarks
{
    private byte[] _data = [];
    private byte[] _copy = [];

    [Params(20, 64, 512, 1420, 65535)]
    public int Length { get; set; }

    [GlobalSetup]
    public void Fill()
    {
        _data = new byte[Length];
        _copy = new byte[Length];
        new Random(1).NextBytes(_data);
    }

    [Benchmark(Baseline = true)]
    public uint Sum() => InternetChecksum.Sum(_data);

    [Benchmark]
    public uint CopyAndSum() => InternetChecksum.CopyAndSum(_data, _copy);

    [Benchmark]
    public uint CopyThenSum()
    {
        _data.CopyTo(_copy, 0);
        return InternetChecksum.Sum(_copy);
    }
}
