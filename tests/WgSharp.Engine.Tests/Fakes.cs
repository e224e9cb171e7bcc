using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Cryptography;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>A waiter that what it watches can wake; the same contract as the epoll waiter: level-triggered, a wake before the wait counts.</summary>
internal sealed class FakeWaiter(Func<Readiness> ready, Func<Moment> clock) : IWaiter
{
    private readonly object _lock = new();
    private bool _woken;

    public Readiness Wait(Instant deadline)
    {
        lock (_lock)
        {
            while (true)
            {
                Readiness now = ready() | (_woken ? Readiness.Woken : Readiness.None);
                if (now != Readiness.None)
                {
                    _woken = false;
                    return now;
                }

                TimeSpan left = deadline == Instant.Never ? Timeout.InfiniteTimeSpan : deadline - clock().Now;
                if (left != Timeout.InfiniteTimeSpan && left <= TimeSpan.Zero)
                {
                    return Readiness.None;
                }

                Monitor.Wait(_lock, left);
            }
        }
    }

    public Readiness Poll() => Wait(default);

    public void Wake()
    {
        lock (_lock)
        {
            _woken = true;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>What is watched changed: look again.</summary>
    public void Signal()
    {
        lock (_lock)
        {
            Monitor.PulseAll(_lock);
        }
    }

    public void Dispose()
    {
    }
}

/// <summary>A TUN device whose other side is the test.</summary>
internal sealed class FakeTun : ITunDevice
{
    private readonly ConcurrentQueue<byte[]> _toRead = new();
    private readonly BlockingCollection<byte[]> _written = new();
    private volatile bool _gone;
    private int _reader;

    public string Name => "fake0";

    public event Action? Changed;

    public bool IsReadable => !_toRead.IsEmpty || Endless is not null || _gone;

    /// <summary>A local program that sends faster than anything: this packet can always be read.</summary>
    public byte[]? Endless { get; set; }

    public int WrittenCount => _written.Count;

    /// <summary>Frames for which this is true are refused, as a kernel refuses a super-packet that it does not like.</summary>
    public Predicate<TunFrame> Refuses { get; set; } = _ => false;

    /// <summary>The thread that read packets last.</summary>
    public int Reader
    {
        get => Volatile.Read(ref _reader);
        private set => Volatile.Write(ref _reader, value);
    }

    public void Inject(byte[] packet)
    {
        _toRead.Enqueue(packet);
        Changed?.Invoke();
    }

    public void Delete()
    {
        _gone = true;
        Changed?.Invoke();
    }

    public byte[] TakeWritten()
    {
        Assert.True(_written.TryTake(out byte[]? packet, TimeSpan.FromSeconds(20)), "nothing was written to the TUN");
        return packet;
    }

    public IoStatus Read(PacketBatch batch)
    {
        int offset = 0;
        while (batch.FrameCount < batch.Frames.Length
            && batch.ReadCapacity - offset >= PacketBatch.MaxPacket + VirtioNetHeader.Size
            && (_toRead.TryDequeue(out byte[]? packet) || (packet = Endless) is not null))
        {
            packet.CopyTo(batch.Buffer.AsSpan(offset + VirtioNetHeader.Size));
            batch.Frames[batch.FrameCount++] = new TunFrame { Offset = offset + VirtioNetHeader.Size, Length = packet.Length };
            offset += VirtioNetHeader.Size + packet.Length;
        }

        Reader = batch.FrameCount > 0 ? Environment.CurrentManagedThreadId : Reader;
        return batch.FrameCount > 0 ? IoStatus.Done : _gone ? IoStatus.Gone : IoStatus.WouldBlock;
    }

    public IoStatus Write(PacketBatch batch)
    {
        for (int i = 0; i < batch.FrameCount; i++)
        {
            ref TunFrame frame = ref batch.Frames[i];
            frame.Refused = Refuses(frame);
            if (!frame.Refused)
            {
                IEnumerable<byte> bytes = batch.Slices.Skip(frame.FirstSlice).Take(frame.SliceCount)
                    .SelectMany(slice => batch.Buffer.AsSpan(slice.Offset, slice.Length).ToArray());
                _written.Add([.. bytes]);
            }
        }

        return IoStatus.Done;
    }

    public void Dispose() => _written.Dispose();
}

/// <summary>An outer socket on a <see cref="FakeWire"/>.</summary>
internal sealed class FakeUdp(FakeWire wire, InetAddress address) : IUdpSocket
{
    private readonly ConcurrentQueue<(InetEndpoint From, byte[] Datagram, byte TrafficClass)> _received = new();

    /// <summary>A waiter reported something since the queue was found empty: before that, nothing is received.</summary>
    private volatile bool _expects;

    public event Action? Changed;

    public InetEndpoint Local { get; private set; }

    public bool IsOpen { get; private set; }

    /// <summary>A waiter looks.</summary>
    public bool IsReadable
    {
        get
        {
            _expects |= !_received.IsEmpty;
            return !_received.IsEmpty;
        }
    }

    public uint Mark { get; private set; }

    /// <summary>Ports that somebody else has.</summary>
    public HashSet<ushort> TakenPorts { get; } = [];

    /// <summary>What becomes of a run; Sent by default.</summary>
    public Func<OutboundRun, SendOutcome> Outcome { get; set; } = _ => SendOutcome.Sent;

    public ConcurrentQueue<OutboundRun> Runs { get; } = new();

    /// <summary>False for tests that send without end.</summary>
    public bool KeepsRuns { get; set; } = true;

    public ushort Open(ushort port, uint fwmark)
    {
        Try(port, fwmark);
        Local = new InetEndpoint(address, port == 0 ? (ushort)40000 : port);
        IsOpen = true;
        Mark = fwmark;
        wire.Attach(this);
        return Local.Port;
    }

    public void Try(ushort port, uint fwmark)
    {
        if (TakenPorts.Contains(port))
        {
            throw new IOException("Address already in use", 98);
        }
    }

    public void Close()
    {
        IsOpen = false;
        wire.Detach(this);
    }

    public void SetMark(uint fwmark) => Mark = fwmark;

    public void Arrive(InetEndpoint from, byte[] datagram, byte trafficClass)
    {
        _received.Enqueue((from, datagram, trafficClass));
        Changed?.Invoke();
    }

    public IoStatus Receive(PacketBatch batch)
    {
        if (!_expects)
        {
            batch.Drained = true;
            return IoStatus.WouldBlock;
        }

        while (batch.TrainCount < batch.Trains.Length)
        {
            if (!_received.TryDequeue(out var entry))
            {
                _expects = false;
                batch.Drained = true;
                break;
            }

            int offset = batch.TrainCount * (PacketBatch.MaxPacket + 1);
            entry.Datagram.CopyTo(batch.Buffer, offset);
            batch.Trains[batch.TrainCount++] = new DatagramTrain
            {
                Offset = offset,
                Length = entry.Datagram.Length,
                Stride = entry.Datagram.Length,
                Source = entry.From,
                LocalAddress = address,
                TrafficClass = entry.TrafficClass,
            };
        }

        return batch.TrainCount > 0 ? IoStatus.Done : IoStatus.WouldBlock;
    }

    public void Send(PacketBatch batch, int first, int count)
    {
        for (int r = first; r < first + count; r++)
        {
            ref OutboundRun run = ref batch.OutboundRuns[r];
            run.Outcome = Outcome(run);
            if (KeepsRuns)
            {
                Runs.Enqueue(run);
            }

            for (int offset = 0; run.Outcome == SendOutcome.Sent && offset < run.Length; offset += run.Stride)
            {
                int length = Math.Min(run.Stride, run.Length - offset);
                wire.Carry(Local, run.Endpoint!.Remote, batch.Buffer.AsSpan(run.Offset + offset, length).ToArray(), run.TrafficClass);
            }
        }
    }

    /// <summary>Of the path to everyone.</summary>
    public int Mtu { get; set; } = 1500;

    public int PathMtu(Endpoint endpoint, Instant now) => Mtu;

    public SendOutcome SendOne(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass)
    {
        wire.Carry(Local, endpoint.Remote, datagram.ToArray(), trafficClass);
        return SendOutcome.Sent;
    }

    public void Dispose() => Close();
}

/// <summary>The network between the sockets: a test may look at every datagram, change it, or lose it.</summary>
internal sealed class FakeWire
{
    private readonly ConcurrentDictionary<InetEndpoint, FakeUdp> _sockets = new();

    /// <summary>Every datagram in order of sending.</summary>
    public ConcurrentQueue<byte[]> Seen { get; } = new();

    /// <summary>False loses the datagram.</summary>
    public Predicate<byte[]> Carries { get; set; } = _ => true;

    /// <summary>What the network makes of the outer DS field.</summary>
    public Func<byte, byte> Marks { get; set; } = trafficClass => trafficClass;

    public void Attach(FakeUdp socket) => _sockets[socket.Local] = socket;

    public void Detach(FakeUdp socket) => _sockets.TryRemove(socket.Local, out _);

    public void Carry(InetEndpoint from, InetEndpoint to, byte[] datagram, byte trafficClass)
    {
        Seen.Enqueue(datagram);
        if (Carries(datagram) && _sockets.TryGetValue(to, out FakeUdp? socket))
        {
            socket.Arrive(from, datagram, Marks(trafficClass));
        }
    }
}

/// <summary>A machine: a TUN, a socket, a clock.</summary>
internal sealed class FakeMachine
{
    private readonly List<FakeWaiter> _waiters = [];
    private long _suspended;
    private long _suspendSeen;

    public FakeMachine(FakeWire wire, string address)
    {
        Tun = new FakeTun();
        Udp = new FakeUdp(wire, InetAddress.From(System.Net.IPAddress.Parse(address)));
        Tun.Changed += SignalAll;
        Udp.Changed += SignalAll;
        Io = new TunnelIo(Tun, Udp, ClockWithSuspends, CreateWaiter, RandomNumberGenerator.Fill) { Suspended = ReadSuspended };
    }

    public FakeTun Tun { get; }

    public FakeUdp Udp { get; }

    public TunnelIo Io { get; }

    public static Moment Clock() => new(
        new Instant((long)(Stopwatch.GetTimestamp() * (1e9 / Stopwatch.Frequency))),
        new UnixTime((DateTime.UtcNow - DateTime.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick));

    /// <summary>As after a suspend: the clocks have moved apart, and the waiters return. Returns when somebody has read the clocks since.</summary>
    public void Suspend(TimeSpan time)
    {
        Interlocked.Add(ref _suspended, time.Ticks);
        lock (_waiters)
        {
            _waiters.ForEach(waiter => waiter.Wake());
        }

        Assert.True(SpinWait.SpinUntil(() => Interlocked.Read(ref _suspendSeen) == Interlocked.Read(ref _suspended), TimeSpan.FromSeconds(20)));
    }

    /// <summary>CLOCK_BOOTTIME counts them.</summary>
    private Moment ClockWithSuspends()
    {
        Moment moment = Clock();
        return moment with { Now = moment.Now + new TimeSpan(Interlocked.Read(ref _suspended)) };
    }

    private TimeSpan ReadSuspended()
    {
        long suspended = Interlocked.Read(ref _suspended);
        Interlocked.Exchange(ref _suspendSeen, suspended);
        return new TimeSpan(suspended);
    }

    private FakeWaiter CreateWaiter(Readiness watched)
    {
        var waiter = new FakeWaiter(
            () => (watched.HasFlag(Readiness.Tun) && Tun.IsReadable ? Readiness.Tun : Readiness.None)
                | (watched.HasFlag(Readiness.Udp) && Udp.IsReadable ? Readiness.Udp : Readiness.None),
            ClockWithSuspends);
        lock (_waiters)
        {
            _waiters.Add(waiter);
        }

        return waiter;
    }

    private void SignalAll()
    {
        lock (_waiters)
        {
            _waiters.ForEach(waiter => waiter.Signal());
        }
    }
}
