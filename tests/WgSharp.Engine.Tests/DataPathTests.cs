using System.Buffers.Binary;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Crypto;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>The stages of both paths on one thread and on virtual time, with a session between two devices: what the threads run, without the threads.</summary>
public sealed class DataPathTests : IDisposable
{
    private static readonly InetEndpoint EndpointA = new(TunnelPair.Address("192.0.2.1"), 1111);
    private static readonly InetEndpoint EndpointB = new(TunnelPair.Address("192.0.2.2"), 2222);

    private readonly Device _a = new(RandomNumberGenerator.Fill);
    private readonly Device _b = new(RandomNumberGenerator.Fill);
    private readonly LoopTun _tunA = new();
    private readonly LoopTun _tunB = new();
    private readonly LoopUdp _udp = new(EndpointA);
    private readonly OutboundPath _outbound;
    private readonly InboundPath _inbound;
    private readonly PacketBatch _out = OutboundPath.CreateBatch();
    private readonly PacketBatch _in = InboundPath.CreateBatch();
    private readonly HandshakeQueue _handshakes = new(RandomNumberGenerator.Fill);
    private readonly IWaiter _waiter = new FakeWaiter(() => Readiness.None, () => default);
    private readonly List<string> _warnings = [];
    private Moment _moment = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

    public DataPathTests()
    {
        using PrivateKey keyA = TunnelPair.NewKey();
        using PrivateKey keyB = TunnelPair.NewKey();
        Configure(_a, keyA, X25519.PublicKeyOf(keyB), "10.0.0.2", EndpointB);
        Configure(_b, keyB, X25519.PublicKeyOf(keyA), "10.0.0.1", EndpointA);
        Shake();
        _outbound = new OutboundPath(Io(_tunA), _a, new TunnelLink(_a, _waiter), new WarningList(_warnings));
        var link = new TunnelLink(_b, _waiter);
        var screen = new HandshakeScreen(_b, _handshakes, link);
        _inbound = new InboundPath(Io(_tunB), _b, link, screen, InboundPath.CreateCoalescer(GroFeatures.None), NullLogger.Instance);
    }

    [Fact]
    public void Every_packet_of_a_batch_arrives_as_it_was_sent()
    {
        _tunA.Packets = [.. Enumerable.Range(0, 60).Select(i => TunnelPair.Packet("10.0.0.1", "10.0.0.2", 1 + (i * 23), i))];
        Assert.Equal(60, Cross());
        Assert.Equal(_tunA.Packets, _tunB.Written);
    }

    [Fact]
    public void Equal_sizes_to_one_peer_make_one_run_of_at_most_64_messages()
    {
        _tunA.Packets = [.. Enumerable.Range(0, 100).Select(i => TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500, i))];
        Cross();
        Assert.Equal([64, 36], _udp.RunCounts);
    }

    [Fact]
    public void A_shorter_message_closes_its_run()
    {
        int[] sizes = [500, 500, 100, 500];
        _tunA.Packets = [.. sizes.Select((size, i) => TunnelPair.Packet("10.0.0.1", "10.0.0.2", size, i))];
        Cross();
        Assert.Equal([3, 1], _udp.RunCounts);
    }

    [Fact]
    public void Packets_with_different_congestion_marks_do_not_share_a_run()
    {
        byte[] marks = [0, 2, 2, 3];
        _tunA.Packets = [.. marks.Select((mark, i) => TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500, i, mark))];
        Cross();
        Assert.Equal([1, 2, 1], _udp.RunCounts);
    }

    [Fact]
    public void A_replayed_train_is_dropped_whole_and_a_changed_byte_drops_one_packet()
    {
        _tunA.Packets = [.. Enumerable.Range(0, 10).Select(i => TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500, i))];
        Assert.Equal(10, Cross());
        _udp.Rewind();
        Assert.Equal(0, Receive());
        Send();
        _udp.Corrupt(100);
        Assert.Equal(9, Receive());
    }

    [Fact]
    public void There_is_room_for_every_packet_to_be_a_run_of_its_own()
    {
        Assert.Equal(_out.Slots.Length, _out.Runs.Length);
        Assert.Equal(_in.Slots.Length, _in.Runs.Length);
    }

    [Fact]
    public void Padding_never_crosses_the_budget_of_the_path()
    {
        _udp.Mtu = 1359;
        _tunA.Packets = [TunnelPair.Packet("10.0.0.1", "10.0.0.2", 1271), TunnelPair.Packet("10.0.0.1", "10.0.0.2", 1272)];
        Assert.Equal(2, Cross());
        Assert.Equal(_tunA.Packets, _tunB.Written);
        Assert.Equal([1359 - 28, 1300 + 32], _udp.RunLengths);
    }

    [Fact]
    public void Our_own_message_that_comes_back_as_an_inner_packet_is_dropped()
    {
        _tunA.Packets = [TunnelPair.Packet("10.0.0.1", "10.0.0.2", 40)];
        Cross();
        Configure(_a, null, _a.Peers.First().PublicKey, "192.0.2.2", EndpointB);
        byte[] returned = TunnelPair.Packet("192.0.2.1", "192.0.2.2", 100);
        BitConverter.TryWriteBytes(returned.AsSpan(22), (ushort)System.Net.IPAddress.HostToNetworkOrder((short)EndpointB.Port));
        returned.AsSpan(28, 16).Clear();
        returned[28] = 4;
        BitConverter.TryWriteBytes(returned.AsSpan(32), _a.Peers.First().Keypairs.Current!.RemoteIndex);
        byte[] foreign = [.. returned];
        foreign[32] ^= 1;
        _tunA.Packets = [returned];
        Send();
        Send();
        Assert.Empty(_udp.RunCounts);
        Assert.Contains(EndpointB.ToString(), Assert.Single(_warnings), StringComparison.Ordinal);
        _moment = new Moment(_moment.Now + TimeSpan.FromSeconds(10), _moment.Wall);
        Send();
        Assert.Equal(2, _warnings.Count);
        _tunA.Packets = [foreign];
        Send();
        Assert.Equal([1], _udp.RunCounts);
    }

    [Fact]
    public void A_message_within_a_message_hands_its_hop_limit_on_less_eight_until_none_are_left()
    {
        byte[] hopLimits = [64, 64, 9, 8, 1, 0];
        byte[] Inner(byte hopLimit, byte type, int payload)
        {
            byte[] packet = TunnelPair.Packet("10.0.0.1", "10.0.0.2", payload);
            packet[8] = hopLimit;
            packet.AsSpan(28, Math.Min(payload, 4)).Clear();
            packet[28] = type;
            return packet;
        }

        _tunA.Packets = [.. hopLimits.Select(limit => Inner(limit, 4, 100))];
        Send();
        Assert.Equal([2, 1], _udp.RunCounts);
        Assert.Equal([56, 1], _udp.HopLimits);
        Assert.Single(_warnings);

        _tunA.Packets = [Inner(3, 0, 100), Inner(3, 5, 100), Inner(3, 4, 31), Inner(33, 1, 148)];
        Send();
        Assert.Equal([0, 25], _udp.HopLimits);
    }

    [Theory]
    [InlineData(0, 48 - 8)]
    [InlineData(1, 48 - 8)]
    [InlineData(8, 0)]
    public void A_message_in_fragments_is_known_by_its_first_one(int fragmentField, int hopLimit)
    {
        byte[] packet = new byte[40 + 8 + 8 + 100];
        packet[0] = 0x60;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(4), (ushort)(packet.Length - 40));
        packet[6] = 44;
        packet[7] = 48;
        packet[40] = 17;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(42), (ushort)fragmentField);
        packet[56] = 4;
        Assert.True(IpPacket.TryParse(packet, out IpPacket parsed));
        Assert.True(RoutingLoop.TryHopLimit(packet, in parsed, out byte handedOn));
        Assert.Equal(hopLimit, handedOn);
    }

    [Fact]
    public void Neither_path_allocates()
    {
        _tunA.Packets = [.. Enumerable.Range(0, 40).Select(i => TunnelPair.Packet("10.0.0.1", "10.0.0.2", 1300, i))];
        _tunB.Keeps = false;
        for (int i = 0; i < 100; i++)
        {
            Assert.Equal(40, Cross());
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        int packets = 0;
        for (int i = 0; i < 1000; i++)
        {
            packets += Cross();
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(40_000, packets);
    }

    [Fact]
    public void Datagrams_of_every_length_and_type_are_met_with_silence_and_without_allocation()
    {
        var random = new Random(7);
        _tunB.Keeps = false;
        byte[] datagram = new byte[2000];
        long allocated = 0;
        for (int i = 0; i < 20_000; i++)
        {
            int length = random.Next(0, datagram.Length);
            random.NextBytes(datagram.AsSpan(0, length));
            if (length >= 8 && i % 2 == 0)
            {
                BitConverter.TryWriteBytes(datagram, i / 2 % 6);
                BitConverter.TryWriteBytes(datagram.AsSpan(4), _a.Peers.First().Keypairs.Current!.RemoteIndex);
            }

            _udp.Put(datagram.AsSpan(0, length));
            long before = GC.GetAllocatedBytesForCurrentThread();
            int delivered = Receive();
            allocated += i < 1000 ? 0 : GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.Equal(0, delivered);
        }

        Assert.Equal(0, allocated);
    }

    public void Dispose()
    {
        _a.LinkDown();
        _b.LinkDown();
        _waiter.Dispose();
    }

    private int Cross()
    {
        Send();
        return Receive();
    }

    private void Send()
    {
        _udp.RunCounts.Clear();
        _udp.RunLengths.Clear();
        _udp.HopLimits.Clear();
        _outbound.Read(_out);
        SplitPosition position = default;
        bool more;
        do
        {
            more = _outbound.Prepare(_out, ref position, _moment.Now);
            OutboundPath.Seal(_out);
            _outbound.Transmit(_out, _moment.Now);
        }
        while (more);
    }

    private int Receive()
    {
        int before = _tunB.WrittenCount;
        while (_inbound.Receive(_in) == IoStatus.Done)
        {
            DatagramCursor cursor = default;
            bool more;
            do
            {
                more = _inbound.Classify(_in, ref cursor, _moment.Now);
                InboundPath.Open(_in, _moment.Now);
                _inbound.Accept(_in, _moment.Now);
                _inbound.Deliver(_in);
            }
            while (more);
        }

        return _tunB.WrittenCount - before;
    }

    private void Shake()
    {
        byte[] initiation = new byte[148];
        byte[] response = new byte[148];
        Assert.True(_a.TryCreateInitiation(_a.Peers.First(), retry: false, _moment, initiation));
        Assert.Equal(HandshakeOutcome.Respond, _b.Handle(initiation, EndpointA, default, 0, false, _moment, response, out int length, out _));
        HandshakeOutcome outcome = _a.Handle(response.AsSpan(0, length), EndpointB, default, 0, false, _moment, initiation, out _, out _);
        Assert.Equal(HandshakeOutcome.SessionEstablished, outcome);
    }

    private void Configure(Device device, PrivateKey? key, PublicKey peer, string allowed, InetEndpoint endpoint)
    {
        var configuration = new DeviceConfiguration { PrivateKey = key is null ? null : new PrivateKey(key.Span) };
        var one = new PeerConfiguration { PublicKey = peer, Endpoint = endpoint };
        one.AllowedIps.Add(new AllowedIpChange(IpPrefix.Of(TunnelPair.Address(allowed), 32), Remove: false));
        configuration.Peers.Add(one);
        device.Apply(configuration, _moment);
        device.LinkUp(_moment);
    }

    private TunnelIo Io(ITunDevice tun) => new(tun, _udp, () => _moment, _ => _waiter, RandomNumberGenerator.Fill);

    /// <summary>Reads the same packets again and again; allocates nothing by itself.</summary>
    private sealed class WarningList(List<string> warnings) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            warnings.Add(formatter(state, exception));
    }

    private sealed class LoopTun : ITunDevice
    {
        public string Name => "loop0";

        public byte[][] Packets { get; set; } = [];

        public bool Keeps { get; set; } = true;

        public List<byte[]> Written { get; } = [];

        public int WrittenCount { get; private set; }

        public IoStatus Read(PacketBatch batch)
        {
            int offset = 0;
            foreach (byte[] packet in Packets)
            {
                packet.CopyTo(batch.Buffer.AsSpan(offset));
                batch.Frames[batch.FrameCount++] = new TunFrame { Offset = offset, Length = packet.Length };
                offset += packet.Length;
            }

            return IoStatus.Done;
        }

        public IoStatus Write(PacketBatch batch)
        {
            WrittenCount += batch.FrameCount;
            for (int i = 0; i < batch.FrameCount && Keeps; i++)
            {
                BufferSlice slice = batch.Slices[batch.Frames[i].FirstSlice];
                Written.Add(batch.Buffer.AsSpan(slice.Offset, slice.Length).ToArray());
            }

            return IoStatus.Done;
        }

        public void Dispose()
        {
        }
    }

    /// <summary>What is sent is what is received next, run by run as one train, as UDP_SEGMENT and UDP_GRO do.</summary>
    private sealed class LoopUdp(InetEndpoint from) : IUdpSocket
    {
        private const int MaxTrains = 128;
        private readonly byte[] _bytes = new byte[MaxTrains * 65536];
        private readonly (int Length, int Stride)[] _trains = new (int, int)[MaxTrains];
        private int _count;
        private int _received;

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

        public ushort Open(ushort port, uint fwmark) => port;

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
                batch.Trains[batch.TrainCount++] = new DatagramTrain { Offset = offset, Length = length, Stride = stride, Source = from };
            }

            return batch.TrainCount > 0 ? IoStatus.Done : IoStatus.WouldBlock;
        }

        public void Send(PacketBatch batch, int first, int count)
        {
            _count = 0;
            _received = 0;
            for (int r = first; r < first + count; r++)
            {
                ref PacketRun run = ref batch.Runs[r];
                run.Outcome = SendOutcome.Sent;
                RunCounts.Add(run.Count);
                RunLengths.Add(run.Length);
                HopLimits.Add(run.HopLimit);
                batch.Buffer.AsSpan(run.Offset, run.Length).CopyTo(_bytes.AsSpan(_count * 65536));
                _trains[_count++] = (run.Length, run.Stride);
            }
        }

        /// <summary>Of the path to everyone.</summary>
        public int Mtu { get; set; } = 1500;

        public int PathMtu(Endpoint endpoint, Instant now) => Mtu;

        public SendOutcome SendOne(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass) => SendOutcome.Lost;

        public void Dispose()
        {
        }
    }
}
