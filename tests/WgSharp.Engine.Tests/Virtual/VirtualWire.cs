using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>A datagram on its way, or what was seen of one.</summary>
internal sealed record Datagram(Instant SentAt, InetEndpoint From, InetEndpoint To, byte[] Bytes)
{
    public MessageType Type => WireMessage.Classify(Bytes);

    public bool DontFragment { get; init; }

    /// <summary>Bytes of the IP packet.</summary>
    public int OuterSize => (To.Address.IsIPv6 ? PathBudget.IPv6HeaderSize : PathBudget.IPv4HeaderSize) + PathBudget.UdpHeaderSize + Bytes.Length;

    public bool IsKeepalive => Type == MessageType.TransportData && Bytes.Length == MessageSize.Keepalive;
}

/// <summary>Who can be plugged into a <see cref="VirtualWire"/>.</summary>
internal interface IVirtualNode
{
    InetEndpoint Address { get; }

    /// <summary>When <see cref="Run"/> is to be called again, arrivals aside.</summary>
    Instant NextDeadline { get; }

    /// <summary>Packets with contents that arrived.</summary>
    int ReceivedCount { get; }

    /// <summary>What is sent with now.</summary>
    Keypair? Sending { get; }

    /// <summary>Tells of every transport message that arrives whether it could be opened; what was opened before is not told of.</summary>
    Action<bool>? Heard { get; set; }

    void Send(params byte[] content);

    /// <summary>A datagram comes; what it leads to is done with the next <see cref="Run"/>.</summary>
    void Arrive(byte[] datagram, InetEndpoint from);

    /// <summary>As <see cref="Arrive(byte[], InetEndpoint)"/>, in fragments; the largest of this size.</summary>
    void ArriveInFragments(byte[] datagram, InetEndpoint from, int fragmentSize) => Arrive(datagram, from);

    /// <summary>A router says something of what this node sent.</summary>
    void ArriveReport(PathReport report)
    {
    }

    /// <summary>Does what there is to do now.</summary>
    void Run();
}

/// <summary>The narrowest link on the way of a datagram, behind the sender's own.</summary>
internal sealed record VirtualHop
{
    public static readonly VirtualHop Wide = new();

    /// <summary>Of outer packets, IP header included.</summary>
    public int Mtu { get; init; } = PacketBatch.MaxPacket;

    /// <summary>What is fragmented arrives.</summary>
    public bool PassesFragments { get; init; } = true;

    /// <summary>The router tells by ICMP what it could not forward, and that arrives.</summary>
    public bool Tells { get; init; }
}

/// <summary>
/// A network on virtual time: a queue that a test can look into, lose from, delay, duplicate, reorder and corrupt. Nothing happens but in
/// <see cref="Advance"/>, which goes from event to event: the next arrival, the next timer.
/// </summary>
internal sealed class VirtualWire(int seed = 1)
{
    public static readonly TimeSpan Latency = TimeSpan.FromMilliseconds(20);

    private readonly PriorityQueue<(Datagram Datagram, byte[] Bytes, Action<IVirtualNode, byte[]> Arrive), (Instant, long)> _underWay = new();
    private readonly List<IVirtualNode> _nodes = [];
    private long _sequence;

    /// <summary>What everything random here, and in the machines, is drawn from.</summary>
    public int Seed { get; } = seed;

    public Random Random { get; } = new(seed);

    /// <summary>An hour after the machine was started.</summary>
    public Instant Now { get; private set; } = new Instant(0) + TimeSpan.FromHours(1);

    /// <summary>How far the wall clock is ahead of the monotonic one; a test may set it.</summary>
    public TimeSpan WallOffset { get; set; } = TimeSpan.FromDays(365 * 55);

    public Moment Moment => new(Now, new UnixTime((Now + WallOffset).Nanoseconds));

    /// <summary>Everything that was ever sent, lost or not. A test that runs for long turns it off.</summary>
    public List<Datagram> Seen { get; } = [];

    public bool KeepsSeen { get; set; } = true;

    public int SentCount { get; private set; }

    /// <summary>What becomes of a datagram: after which delays copies of it arrive. None: it is lost. The bytes may be changed.</summary>
    public Func<Datagram, byte[], TimeSpan[]> Fate { get; set; } = (_, _) => [Latency];

    /// <summary>What is on the way from one to another.</summary>
    public Func<InetEndpoint, InetEndpoint, VirtualHop> Hop { get; set; } = (_, _) => VirtualHop.Wide;

    /// <summary>Datagrams that arrived in fragments, or left in them and did not arrive.</summary>
    public int FragmentedCount { get; private set; }

    public void Add(IVirtualNode node) => _nodes.Add(node);

    public void Cut() => Fate = (_, _) => [];

    public void Mend() => Fate = (_, _) => [Latency];

    public void Lose(double share) => Fate = (_, _) => Random.NextDouble() < share ? [] : [Latency];

    /// <param name="dontFragment">Nobody may fragment it.</param>
    /// <param name="localMtu">In fragments of this size it leaves, where it is longer.</param>
    public void Send(InetEndpoint from, InetEndpoint to, ReadOnlySpan<byte> bytes, bool dontFragment = false, int localMtu = PacketBatch.MaxPacket)
    {
        var datagram = new Datagram(Now, from, to, bytes.ToArray()) { DontFragment = dontFragment };
        SentCount++;
        if (KeepsSeen)
        {
            Seen.Add(datagram);
        }

        byte[] arriving = bytes.ToArray();
        VirtualHop hop = Hop(from, to);
        TimeSpan[] copies = Fate(datagram, arriving);
        if (!TryPass(datagram, hop, localMtu, out int fragmentSize))
        {
            return;
        }

        foreach (TimeSpan delay in copies)
        {
            Action<IVirtualNode, byte[]> arrive = fragmentSize == 0
                ? (node, content) => node.Arrive(content, from)
                : (node, content) => node.ArriveInFragments(content, from, fragmentSize);
            _underWay.Enqueue((datagram, arriving, arrive), (Now + delay, _sequence++));
        }
    }

    public void Advance(TimeSpan span)
    {
        Instant end = Now + span;
        int events = 0;
        Instant last = Now;
        while (true)
        {
            foreach (IVirtualNode node in _nodes)
            {
                node.Run();
            }

            Instant next = _underWay.TryPeek(out _, out (Instant At, long) first) ? first.At : Instant.Never;
            foreach (IVirtualNode node in _nodes)
            {
                Instant deadline = node.NextDeadline;
                next = deadline < next ? deadline : next;
            }

            if (next > end)
            {
                break;
            }

            Now = next > Now ? next : Now;
            events = Now > last ? 0 : events + 1;
            last = Now;
            Assert.True(events < 100_000, "The same moment goes on for ever: a deadline is due and nobody takes it.");
            while (_underWay.TryPeek(out (Datagram Datagram, byte[] Bytes, Action<IVirtualNode, byte[]> Arrive) arriving, out (Instant At, long) at) && at.At <= Now)
            {
                _underWay.Dequeue();
                Deliver(arriving.Datagram, arriving.Bytes, arriving.Arrive);
            }
        }

        Now = end;
    }

    public void AdvanceSeconds(double seconds) => Advance(TimeSpan.FromSeconds(seconds));

    public int Count(MessageType type, VirtualTunnel from) => Seen.Count(d => d.Type == type && d.From == from.Address);

    public int Keepalives(VirtualTunnel from) => Seen.Count(d => d.IsKeepalive && d.From == from.Address);

    /// <param name="fragmentSize">Of the largest fragment, or 0.</param>
    private bool TryPass(Datagram datagram, VirtualHop hop, int localMtu, out int fragmentSize)
    {
        fragmentSize = 0;
        bool isIPv6 = datagram.To.Address.IsIPv6;
        int narrowest = Math.Min(hop.Mtu, localMtu);
        if (datagram.OuterSize <= narrowest)
        {
            return true;
        }

        // Routers fragment IPv4 only; a sender fragments both, to its own link's MTU.
        if (datagram.DontFragment || (isIPv6 && hop.Mtu < localMtu))
        {
            if (hop.Tells)
            {
                var report = new PathReport
                {
                    Kind = isIPv6 ? PathReportKind.PacketTooBig : PathReportKind.FragmentationNeeded,
                    Mtu = hop.Mtu,
                    Remote = datagram.To,
                    QuotedLength = Math.Min(QuotedBytes.Size, datagram.Bytes.Length),
                };
                datagram.Bytes.AsSpan(0, report.QuotedLength).CopyTo(report.Quote);
                _underWay.Enqueue((datagram with { To = datagram.From }, [], (node, _) => node.ArriveReport(report)), (Now + Latency, _sequence++));
            }

            return false;
        }

        FragmentedCount++;
        int header = isIPv6 ? 48 : 20;
        fragmentSize = header + ((narrowest - header) & ~7);
        return hop.PassesFragments;
    }

    private void Deliver(Datagram datagram, byte[] bytes, Action<IVirtualNode, byte[]> arrive)
    {
        foreach (IVirtualNode node in _nodes)
        {
            if (node.Address == datagram.To)
            {
                arrive(node, bytes);
            }
        }
    }
}
