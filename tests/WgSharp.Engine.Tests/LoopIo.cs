using Microsoft.Extensions.Logging;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>Keeps what would stand in the log as a warning.</summary>
internal sealed class WarningList(List<string> warnings) : ILogger
{
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        warnings.Add(formatter(state, exception));
}

/// <summary>Reads the same packets again and again; allocates nothing by itself.</summary>
internal sealed class LoopTun : ITunDevice
{
    public string Name => "loop0";

    public byte[][] Packets { get; set; } = [];

    /// <summary>What the kernel says of each of them; of the rest, nothing.</summary>
    public VirtioNetHeader[] Headers { get; set; } = [];

    public bool Keeps { get; set; } = true;

    /// <summary>Super-packets are refused, as by a kernel that does not like them.</summary>
    public bool RefusesSuperPackets { get; set; }

    /// <summary>Everything is.</summary>
    public bool RefusesAll { get; set; }

    public List<byte[]> Written { get; } = [];

    public int WrittenCount { get; private set; }

    public IoStatus Read(PacketBatch batch)
    {
        int offset = 0;
        for (int i = 0; i < Packets.Length; i++)
        {
            byte[] packet = Packets[i];
            packet.CopyTo(batch.Buffer.AsSpan(offset));
            VirtioNetHeader header = i < Headers.Length ? Headers[i] : default;
            batch.Frames[batch.FrameCount++] = new TunFrame { Header = header, Offset = offset, Length = packet.Length };
            offset += packet.Length;
        }

        return IoStatus.Done;
    }

    public IoStatus Write(PacketBatch batch)
    {
        for (int i = 0; i < batch.FrameCount; i++)
        {
            ref TunFrame frame = ref batch.Frames[i];
            frame.Refused = RefusesAll || (RefusesSuperPackets && frame.SliceCount > 1);
            WrittenCount += frame.Refused ? 0 : 1;
            if (Keeps && !frame.Refused)
            {
                BufferSlice slice = batch.Slices[frame.FirstSlice];
                Written.Add(batch.Buffer.AsSpan(slice.Offset, slice.Length).ToArray());
            }
        }

        return IoStatus.Done;
    }

    public void Dispose()
    {
    }
}

/// <summary>What is sent, and was not received yet, is what is received next, run by run as one train, as UDP_SEGMENT and UDP_GRO do.</summary>
internal sealed class LoopUdp(InetEndpoint from) : IUdpSocket
{
    private const int MaxTrains = 128;
    private readonly byte[] _bytes = new byte[MaxTrains * 65536];
    private readonly (int Length, int Stride)[] _trains = new (int, int)[MaxTrains];
    private int _count;
    private int _received;

    /// <summary>Where the datagrams seem to come from.</summary>
    public InetEndpoint From { get; set; } = from;

    /// <summary>What becomes of a run; null: it is sent.</summary>
    public Func<OutboundRun, SendOutcome>? Outcome { get; set; }

    public bool HasPathReports { get; set; }

    /// <summary>What routers say.</summary>
    public Queue<PathReport> Reports { get; } = new();

    /// <summary>What becomes of a datagram that is to leave whole, by its bytes; null: none can.</summary>
    public Func<byte[], SendOutcome>? Whole { get; set; }

    public bool CanSendWhole => Whole is not null;

    public List<int> RunCounts { get; } = new(MaxTrains);

    public List<int> RunLengths { get; } = new(MaxTrains);

    public List<byte> HopLimits { get; } = new(MaxTrains);

    public void Put(ReadOnlySpan<byte> datagram)
    {
        datagram.CopyTo(_bytes);
        _trains[0] = (datagram.Length, datagram.Length);
        _count = 1;
        _received = 0;
    }

    /// <summary>What was received comes a second time.</summary>
    public void Rewind() => _received = 0;

    public void Corrupt(int offset) => _bytes[offset] ^= 1;

    /// <summary>The port that is had of the one that is asked for.</summary>
    public Func<ushort, ushort> Opens { get; set; } = port => port;

    public ushort Open(ushort port, uint fwmark) => Opens(port);

    public void Try(ushort port, uint fwmark)
    {
    }

    public void Close()
    {
    }

    public void SetMark(uint fwmark)
    {
    }

    public IoStatus Receive(PacketBatch batch)
    {
        for (; _received < _count && batch.TrainCount < batch.Trains.Length; _received++)
        {
            (int length, int stride) = _trains[_received];
            int offset = batch.TrainCount * 65536;
            _bytes.AsSpan(_received * 65536, length).CopyTo(batch.Buffer.AsSpan(offset));
            batch.Trains[batch.TrainCount++] = new DatagramTrain { Offset = offset, Length = length, Stride = stride, Source = From };
        }

        return batch.TrainCount > 0 ? IoStatus.Done : IoStatus.WouldBlock;
    }

    public void Send(PacketBatch batch, int first, int count)
    {
        BeginAnew();
        for (int r = first; r < first + count; r++)
        {
            ref OutboundRun run = ref batch.OutboundRuns[r];
            run.Outcome = Outcome?.Invoke(run) ?? SendOutcome.Sent;
            if (run.Outcome != SendOutcome.Sent)
            {
                continue;
            }

            RunCounts.Add(run.Count);
            RunLengths.Add(run.Length);
            HopLimits.Add(run.HopLimit);
            batch.Buffer.AsSpan(run.Offset, run.Length).CopyTo(_bytes.AsSpan(_count * 65536));
            _trains[_count++] = (run.Length, run.Stride);
        }
    }

    public SendOutcome SendWhole(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass)
    {
        BeginAnew();
        SendOutcome outcome = Whole?.Invoke(datagram.ToArray()) ?? SendOutcome.Lost;
        if (outcome == SendOutcome.Sent)
        {
            datagram.CopyTo(_bytes.AsSpan(_count * 65536));
            _trains[_count++] = (datagram.Length, datagram.Length);
        }

        return outcome;
    }

    public int TakePathReports(Span<PathReport> reports)
    {
        int taken = 0;
        while (taken < reports.Length && Reports.TryDequeue(out PathReport report))
        {
            reports[taken++] = report;
        }

        HasPathReports = taken == 0 ? HasPathReports : Reports.Count > 0;
        return taken;
    }

    /// <summary>Of the path to everyone.</summary>
    public int Mtu { get; set; } = 1500;

    public int PathMtu(Endpoint endpoint, Instant now) => Mtu;

    public SendOutcome SendOne(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass) => SendOutcome.Lost;

    public void Dispose()
    {
    }

    private void BeginAnew()
    {
        if (_received == _count)
        {
            _count = 0;
            _received = 0;
        }
    }
}
