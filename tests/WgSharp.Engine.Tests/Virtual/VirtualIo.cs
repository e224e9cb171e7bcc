using Microsoft.Extensions.Logging;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>A thread's way to sleep where there are no threads: who was woken, and what is ready, is asked by whoever gives out the turns.</summary>
/// <param name="ready">What is ready of what is watched.</param>
/// <param name="woke">Called after each <see cref="Wake"/>.</param>
internal sealed class VirtualWaiter(Func<Readiness> ready, Action woke) : IWaiter
{
    private bool _woken;

    public int Wakes { get; private set; }

    /// <summary>Whether a wait would return without a deadline.</summary>
    public bool IsReady => _woken || ready() != Readiness.None;

    public Readiness Wait(Instant deadline) => throw new InvalidOperationException("Nobody sleeps here: the turns are given out.");

    public Readiness Poll()
    {
        Readiness now = ready() | (_woken ? Readiness.Woken : Readiness.None);
        _woken = false;
        return now;
    }

    public void Wake()
    {
        _woken = true;
        Wakes++;
        woke();
    }

    public void Dispose()
    {
    }
}

/// <summary>A TUN device whose other side is the test.</summary>
/// <param name="write">Takes each packet that is delivered.</param>
/// <param name="atIo">Called wherever a thread asks for something.</param>
internal sealed class VirtualTun(Action<byte[]> write, Action atIo) : ITunDevice
{
    private readonly Queue<byte[]> _toRead = new();

    public string Name => "virtual0";

    public bool IsReadable => _toRead.Count > 0;

    public void Inject(byte[] packet) => _toRead.Enqueue(packet);

    public IoStatus Read(PacketBatch batch)
    {
        atIo();
        int offset = 0;
        while (batch.FrameCount < batch.Frames.Length
            && batch.ReadCapacity - offset >= PacketBatch.MaxPacket + VirtioNetHeader.Size
            && _toRead.TryDequeue(out byte[]? packet))
        {
            packet.CopyTo(batch.Buffer.AsSpan(offset + VirtioNetHeader.Size));
            batch.Frames[batch.FrameCount++] = new TunFrame { Offset = offset + VirtioNetHeader.Size, Length = packet.Length };
            offset += VirtioNetHeader.Size + packet.Length;
        }

        batch.Drained = _toRead.Count == 0;
        return batch.FrameCount > 0 ? IoStatus.Done : IoStatus.WouldBlock;
    }

    public IoStatus Write(PacketBatch batch)
    {
        for (int i = 0; i < batch.FrameCount; i++)
        {
            ref readonly TunFrame frame = ref batch.Frames[i];
            byte[] packet = new byte[frame.Length];
            int at = 0;
            foreach (BufferSlice slice in batch.Slices.AsSpan(frame.FirstSlice, frame.SliceCount))
            {
                batch.Buffer.AsSpan(slice.Offset, slice.Length).CopyTo(packet.AsSpan(at));
                at += slice.Length;
            }

            write(packet);
        }

        atIo();
        return IoStatus.Done;
    }

    public void Dispose()
    {
    }
}

/// <summary>An outer socket on a <see cref="VirtualWire"/>. Datagrams of one source and size that arrived one after the other come as a train, as with UDP_GRO.</summary>
/// <param name="address">Where the socket is seen by the others: a test moves it.</param>
internal sealed class VirtualUdp(VirtualWire wire, Func<InetEndpoint> address, Action atIo) : IUdpSocket
{
    private readonly Queue<(InetEndpoint From, byte[] Bytes, int FragmentSize)> _received = new();
    private readonly Queue<PathReport> _errors = new();
    private readonly Queue<PathReport> _reports = new();
    private readonly Dictionary<InetEndpoint, int> _learned = [];

    /// <summary>A waiter reported something since the queue was found empty: before that, nothing is received.</summary>
    private bool _expects;

    public bool IsOpen { get; private set; }

    /// <summary>Of the local link.</summary>
    public int LinkMtu { get; set; } = 1500;

    /// <summary>The kernel takes any ICMPv6 for true.</summary>
    public bool Believes { get; set; } = true;

    public bool CanSendWhole { get; set; } = true;

    public bool HasPathReports => _reports.Count > 0;

    /// <summary>Runs are lost at once, as by a full socket.</summary>
    public bool LosesData { get; set; }

    /// <summary>A waiter looks.</summary>
    public bool IsReadable
    {
        get
        {
            bool any = _received.Count > 0 || _errors.Count > 0;
            _expects |= any;
            return any;
        }
    }

    public ushort Open(ushort port, uint fwmark)
    {
        IsOpen = true;
        return port == 0 ? (ushort)40000 : port;
    }

    public void Try(ushort port, uint fwmark)
    {
    }

    public void Close()
    {
        IsOpen = false;
        _received.Clear();
    }

    public void SetMark(uint fwmark)
    {
    }

    /// <param name="fragmentSize">Of the largest fragment that it came in, or 0.</param>
    public void Arrive(byte[] datagram, InetEndpoint from, int fragmentSize = 0)
    {
        if (IsOpen)
        {
            _received.Enqueue((from, datagram, fragmentSize));
        }
    }

    /// <summary>ICMP comes. The kernel learns of it what the route takes, over IPv6; over IPv4 it does not (IP_PMTUDISC_OMIT).</summary>
    public void ArriveReport(PathReport report)
    {
        if (IsOpen)
        {
            _errors.Enqueue(report);
            if (Believes && report.Kind == PathReportKind.PacketTooBig && report.Mtu >= Protocol.PathMtu.FloorIPv6 && report.Mtu < LinkMtu)
            {
                _learned[report.Remote] = report.Mtu;
            }
        }
    }

    public int TakePathReports(Span<PathReport> reports)
    {
        int count = 0;
        while (count < reports.Length && _reports.TryDequeue(out PathReport report))
        {
            reports[count++] = report;
        }

        return count;
    }

    public IoStatus Receive(PacketBatch batch)
    {
        atIo();
        batch.Drained = true;
        if (!_expects)
        {
            return IoStatus.WouldBlock;
        }

        while (_errors.TryDequeue(out PathReport error))
        {
            _reports.Enqueue(error);
        }

        while (batch.TrainCount < batch.Trains.Length && _received.Count > 0)
        {
            ReceiveTrain(batch);
        }

        batch.Drained = _received.Count == 0;
        _expects = !batch.Drained;
        return batch.TrainCount > 0 ? IoStatus.Done : IoStatus.WouldBlock;
    }

    public void Send(PacketBatch batch, int first, int count)
    {
        atIo();
        for (int r = first; r < first + count; r++)
        {
            ref OutboundRun run = ref batch.OutboundRuns[r];
            run.Outcome = LosesData ? SendOutcome.Lost : SendOutcome.Sent;
            for (int offset = 0; offset < run.Length && !LosesData; offset += run.Stride)
            {
                int length = Math.Min(run.Stride, run.Length - offset);
                wire.Send(
                    address(), run.Endpoint!.Remote, batch.Buffer.AsSpan(run.Offset + offset, length), localMtu: RouteMtu(run.Endpoint.Remote));
            }
        }

        atIo();
    }

    public int PathMtu(Endpoint endpoint, Instant now)
    {
        atIo();
        return RouteMtu(endpoint.Remote);
    }

    public SendOutcome SendWhole(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass)
    {
        atIo();
        int outer = datagram.Length + PathBudget.OuterSize(0, endpoint.Remote.Address.IsIPv6) - MessageSize.TransportOverhead;
        if (outer > LinkMtu)
        {
            return SendOutcome.TooLarge;
        }

        wire.Send(address(), endpoint.Remote, datagram, dontFragment: true);
        atIo();
        return SendOutcome.Sent;
    }

    public SendOutcome SendOne(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass)
    {
        atIo();
        wire.Send(address(), endpoint.Remote, datagram);
        atIo();
        return SendOutcome.Sent;
    }

    public void Dispose() => Close();

    private int RouteMtu(InetEndpoint remote) => Math.Min(LinkMtu, _learned.GetValueOrDefault(remote, int.MaxValue));

    private void ReceiveTrain(PacketBatch batch)
    {
        int offset = batch.TrainCount * (PacketBatch.MaxPacket + 1);
        (InetEndpoint from, byte[] first, int fragmentSize) = _received.Dequeue();
        first.CopyTo(batch.Buffer, offset);
        int length = first.Length;
        while (_received.TryPeek(out (InetEndpoint From, byte[] Bytes, int FragmentSize) next)
            && next.From == from && next.FragmentSize == fragmentSize && next.Bytes.Length == first.Length && length > 0 && length + next.Bytes.Length <= PacketBatch.MaxPacket)
        {
            _received.Dequeue();
            next.Bytes.CopyTo(batch.Buffer, offset + length);
            length += next.Bytes.Length;
        }

        batch.Trains[batch.TrainCount++] = new DatagramTrain
        {
            Offset = offset,
            Length = length,
            Stride = first.Length,
            Source = from,
            LocalAddress = address().Address,
            LocalInterface = 2,
            FragmentSize = fragmentSize,
        };
    }
}

/// <summary>What the control loop tells of handshake messages that were worth something, in order.</summary>
internal sealed class OutcomeLog(List<HandshakeOutcome> outcomes) : ILogger<Tunnel>
{
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel == LogLevel.Debug;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (state is IEnumerable<KeyValuePair<string, object?>> values)
        {
            outcomes.AddRange(values.Select(pair => pair.Value).OfType<HandshakeOutcome>());
        }
    }
}
