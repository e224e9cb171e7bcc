using WgSharp.Crypto;
using WgSharp.Engine.Tests.Offload;
using WgSharp.Protocol;
using WgSharp.Protocol.Tests;

namespace WgSharp.Engine.Tests.Inbound;

/// <summary>What B makes of what arrives, train by train; A is only the one who could have sealed it.</summary>
public sealed class InboundPathTests : DataPathFixture
{
    private static readonly InetEndpoint Elsewhere = new(TunnelPair.Address("198.51.100.66"), 4711);

    private ulong _counter;

    private Peer PeerOfA => _a.Peers.First();

    private Peer PeerOfB => _b.Peers.First();

    // ---- what counts ----

    [Fact]
    public void A_keepalive_counts_as_received_and_wants_no_answer()
    {
        Put(Elsewhere, Sealed([]));
        long before = RxBytes();
        Assert.Equal(0, Take());
        Assert.Equal(before + 32, RxBytes());
        Assert.Equal(Elsewhere, PeerOfB.Endpoint!.Remote);
        Assert.True(NextDeadline() > _moment.Now + Limits.KeepaliveTimeout);
    }

    [Fact]
    public void Data_counts_with_all_that_it_was_wrapped_in_and_is_answered_after_ten_seconds()
    {
        byte[] packet = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 90);
        Put(EndpointA, Sealed([.. packet, .. new byte[128 - packet.Length]]));
        long before = RxBytes();
        Assert.Equal(1, Take());
        Assert.Equal(packet, Assert.Single(_tunB.Written));
        Assert.Equal(before + 128 + 32, RxBytes());
        Assert.Equal(_moment.Now + Limits.KeepaliveTimeout, NextDeadline());
    }

    [Theory]
    [InlineData("10.0.0.3", 0x45)]
    [InlineData("10.0.0.1", 0x05)]
    public void What_the_peer_may_not_send_is_dropped_and_not_counted_among_what_it_may(string source, byte version)
    {
        byte[] packet = TunnelPair.Packet(source, "10.0.0.2", 100);
        packet[0] = version;
        byte[] good = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100);
        Put(EndpointA, Sealed(packet), Sealed(good));
        long before = RxBytes();
        Assert.Equal(1, Take());
        Assert.Equal(good, Assert.Single(_tunB.Written));
        Assert.Equal(before + good.Length + 32, RxBytes());
    }

    [Fact]
    public void Whoever_may_send_nothing_is_still_there_and_gets_its_keepalive()
    {
        Put(EndpointA, Sealed(TunnelPair.Packet("10.0.0.3", "10.0.0.2", 100)));
        Assert.Equal(0, Take());
        Assert.Equal(_moment.Now + Limits.KeepaliveTimeout, NextDeadline());
    }

    [Fact]
    public void A_repeated_message_among_new_ones_is_dropped_alone()
    {
        byte[][] packets = [.. Enumerable.Range(0, 3).Select(i => TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100, i))];
        byte[][] messages = [.. packets.Select(packet => Sealed(packet))];
        Put(EndpointA, messages[1]);
        Take();
        long before = RxBytes();
        Put(EndpointA, messages);
        Assert.Equal(2, Take());
        Assert.Equal([packets[1], packets[0], packets[2]], _tunB.Written);
        Assert.Equal(before + (2 * (128 + 32)), RxBytes());
        Assert.Equal("Replayed 1", _in.Drops.ToString());
    }

    [Fact]
    public void Of_a_peer_that_loses_nothing_no_losses_are_kept()
    {
        Put(EndpointA, Sealed(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100)), Sealed([]));
        Take();
        Assert.Null(PeerOfB.Drops);
    }

    [Theory]
    [InlineData(true, Readiness.Woken)]
    [InlineData(false, Readiness.None)]
    public void What_routers_say_of_datagrams_wakes_the_control_loop(bool reports, Readiness seen)
    {
        _udp.HasPathReports = reports;
        Assert.Equal(IoStatus.WouldBlock, _inbound.Receive(_in));
        Assert.Equal(seen, _waiter.Wait(default));
    }

    // ---- trains and runs ----

    [Fact]
    public void Neighbours_of_one_session_are_one_run_and_trains_are_not_joined()
    {
        Put(EndpointA, Sealed([]), Sealed([]), Sealed([]));
        Put(EndpointA, Sealed([]));
        DatagramCursor cursor = default;
        Assert.False(_inbound.Classify(_in, ref cursor, _moment.Now));
        Assert.Equal([3, 1], _in.InboundRuns.Take(_in.RunCount).Select(run => run.Count));
    }

    [Fact]
    public void Of_two_trains_in_one_batch_each_has_its_own_source_and_congestion_mark_and_the_last_is_where_the_peer_is()
    {
        byte[][] packets = [.. Enumerable.Range(0, 4).Select(i => TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100, i, Ecn.Ect0))];
        Put(EndpointA, Sealed(packets[0]), Sealed(packets[1]));
        Put(Elsewhere, Sealed(packets[2]), Sealed(packets[3]));
        _in.Trains[1].TrafficClass = Ecn.Ce;
        Assert.Equal(4, Take());
        Assert.Equal(Elsewhere, PeerOfB.Endpoint!.Remote);
        Assert.Equal([Ecn.Ect0, Ecn.Ect0, Ecn.Ce, Ecn.Ce], _tunB.Written.Select(packet => packet[1]));
    }

    [Fact]
    public void The_last_session_and_the_one_before_may_take_turns_within_a_train()
    {
        Put(EndpointA, Sealed([]));
        Take();
        NextDeadline();
        Keypair former = PeerOfA.Keypairs.Current!;
        NewSession();
        Keypair latter = PeerOfA.Keypairs.Current!;
        Assert.NotSame(former, latter);
        byte[][] packets = [.. Enumerable.Range(0, 4).Select(i => TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100, i))];
        Put(EndpointA, [.. packets.Select((packet, i) => Sealed(packet, i % 2 == 0 ? former : latter))]);
        Assert.Equal(4, Take());
        Assert.Equal(packets, _tunB.Written);
    }

    [Fact]
    public void More_datagrams_than_a_batch_has_slots_are_all_taken_in()
    {
        byte[][] keepalives = [.. Enumerable.Range(0, 2000).Select(_ => Sealed([]))];
        Put(EndpointA, keepalives);
        Put(EndpointA, Sealed([]));
        long before = RxBytes();
        Take();
        Assert.Equal(before + (2001 * 32), RxBytes());
    }

    [Fact]
    public void There_is_room_for_eight_trains_of_the_largest_size() =>
        Assert.True(_in.Trains.Length == 8 && _in.Buffer.Length >= 8 * 65536);

    [Fact]
    public void A_train_that_ends_in_less_than_a_message_loses_only_that()
    {
        byte[] packet = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100);
        byte[] message = Sealed(packet);
        Put(EndpointA, message, message[..31]);
        Assert.Equal(1, Take());
        Put(EndpointA, message[..31]);
        Assert.Equal(0, Take());
    }

    [Fact]
    public void No_session_outlives_its_packets_in_a_batch_and_none_is_kept_from_being_wiped()
    {
        Put(EndpointA, Sealed(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100)));
        DatagramCursor cursor = default;
        Assert.False(_inbound.Classify(_in, ref cursor, _moment.Now));
        Keypair keypair = _in.InboundRuns[0].Keypair!;
        InboundPath.Open(_in, _moment.Now);
        _inbound.Accept(_in, _moment.Now);
        Assert.Equal(0, _in.RunCount);
        Assert.All(_in.InboundRuns, run => Assert.Null(run.Keypair));
        Assert.False(keypair.IsWiped());
        _b.LinkDown();
        Assert.True(keypair.IsWiped());
    }

    [Fact]
    public void A_session_that_is_wiped_or_too_old_opens_nothing()
    {
        byte[] packet = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100);
        Put(EndpointA, Sealed(packet));
        DatagramCursor cursor = default;
        _inbound.Classify(_in, ref cursor, _moment.Now);
        InboundPath.Open(_in, _moment.Now + Limits.RejectAfterTime);
        Assert.False(_in.Packets[0].Authentic);
        _b.LinkDown();
        InboundPath.Open(_in, _moment.Now);
        Assert.False(_in.Packets[0].Authentic);
    }

    // ---- handshake messages ----

    [Theory]
    [InlineData(1, 148, true)]
    [InlineData(1, 92, false)]
    [InlineData(1, 149, false)]
    [InlineData(2, 148, false)]
    [InlineData(3, 148, false)]
    [InlineData(4, 148, false)]
    [InlineData(0, 148, false)]
    [InlineData(0x101, 148, false)]
    public void Only_a_handshake_message_of_its_length_takes_a_place_in_the_queue(int type, int length, bool isTaken)
    {
        byte[] message = new byte[length];
        BitConverter.TryWriteBytes(message, type);
        Span<byte> key = stackalloc byte[32];
        Blake2s.Hash("mac1----"u8, PeerOfA.PublicKey.Span, key);
        int signed = (length < 148 ? 92 : 148) - 32;
        Blake2s.Mac(key, message.AsSpan(0, signed), message.AsSpan(signed, 16));
        Put(EndpointA, message);
        Take();
        Assert.Equal(!isTaken, _handshakes.IsEmpty);
    }

    [Fact]
    public void Nothing_of_a_batch_before_is_looked_at_again()
    {
        Put(EndpointA, Sealed(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100)));
        Assert.Equal(IoStatus.WouldBlock, _inbound.Receive(_in));
        Assert.Equal(0, Take());
    }

    // ---- delivery ----

    [Theory]
    [InlineData(IoStatus.Done, 2)]
    [InlineData(IoStatus.LinkDown, 2)]
    [InlineData(IoStatus.Gone, 1)]
    public void A_batch_of_more_packets_than_one_write_takes_is_written_in_portions_while_there_is_a_device(IoStatus status, int writes)
    {
        var tun = new CountingTun(status);
        InboundPath inbound = Inbound(tun, TunOffload.None, []);
        Put(EndpointA, [.. Enumerable.Range(0, 300).Select(i => Sealed(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100, i)))]);
        Assert.Equal(status, Deliver(inbound));
        Assert.Equal(writes, tun.Writes);
    }

    [Theory]
    [InlineData(IoStatus.Done, 2)]
    [InlineData(IoStatus.LinkDown, 1)]
    public void A_refused_super_packet_is_taken_apart_and_told_of_only_where_there_was_a_write(IoStatus status, int writes)
    {
        var warnings = new List<string>();
        var tun = new CountingTun(status) { Refuses = true };
        InboundPath inbound = Inbound(tun, TunOffload.All, warnings);
        Put(EndpointA, [.. InnerPackets.Stream(new Flow(), 5, 1000, 1000, new Random(1)).Select(packet => Sealed(packet))]);
        Assert.Equal(status, Deliver(inbound));
        Assert.Equal(writes, tun.Writes);
        Assert.Equal(writes - 1, warnings.Count);
    }

    [Fact]
    public void Where_everything_was_dropped_nothing_is_written()
    {
        var tun = new CountingTun(IoStatus.Done);
        InboundPath inbound = Inbound(tun, TunOffload.None, []);
        Put(EndpointA, Sealed([]), Sealed([]));
        Assert.Equal(IoStatus.Done, Deliver(inbound));
        Assert.Equal(0, tun.Writes);
    }

    private InboundPath Inbound(ITunDevice tun, TunOffload features, List<string> warnings)
    {
        var link = new TunnelLink(_b, _waiter);
        return new InboundPath(
            Io(tun), _b, link, new HandshakeScreen(_b, _handshakes, link), InboundPath.CreateCoalescer(features), new WarningList(warnings));
    }

    /// <summary>A message of A's to B under the next counter.</summary>
    private byte[] Sealed(ReadOnlySpan<byte> content, Keypair? keypair = null)
    {
        keypair ??= PeerOfA.Keypairs.Current!;
        byte[] message = new byte[content.Length + MessageSize.Keepalive];
        message[0] = (byte)MessageType.TransportData;
        BitConverter.TryWriteBytes(message.AsSpan(4), keypair.RemoteIndex);
        BitConverter.TryWriteBytes(message.AsSpan(8), _counter);
        content.CopyTo(message.AsSpan(MessageSize.TransportHeader));
        keypair.SendKey.Seal(message, [new AeadPacket { Offset = MessageSize.TransportHeader, Length = content.Length, Counter = _counter++ }]);
        return message;
    }

    /// <summary>Another train for the batch.</summary>
    private void Put(InetEndpoint from, params byte[][] datagrams)
    {
        int offset = _in.TrainCount * 65536;
        int length = 0;
        foreach (byte[] datagram in datagrams)
        {
            datagram.CopyTo(_in.Buffer, offset + length);
            length += datagram.Length;
        }

        _in.Trains[_in.TrainCount++] = new DatagramTrain { Offset = offset, Length = length, Stride = datagrams[0].Length, Source = from };
    }

    /// <returns>Packets that reached B's device.</returns>
    private int Take()
    {
        int before = _tunB.WrittenCount;
        Deliver(_inbound);
        return _tunB.WrittenCount - before;
    }

    private IoStatus Deliver(InboundPath inbound)
    {
        IoStatus status = IoStatus.Done;
        DatagramCursor cursor = default;
        bool more = true;
        while (more)
        {
            more = inbound.Classify(_in, ref cursor, _moment.Now);
            InboundPath.Open(_in, _moment.Now);
            inbound.Accept(_in, _moment.Now);
            status = inbound.Deliver(_in);
        }

        _in.Clear();
        return status;
    }

    private void NewSession()
    {
        _moment = new Moment(_moment.Now + TimeSpan.FromSeconds(6), new UnixTime(_moment.Wall.Nanoseconds + 6_000_000_000));
        byte[] initiation = new byte[148];
        byte[] response = new byte[148];
        Assert.True(_a.TryCreateInitiation(PeerOfA, retry: false, _moment, initiation));
        HandshakeResult answered = _b.Handle(initiation, new HandshakeOrigin(EndpointA), false, _moment, response);
        Assert.Equal(HandshakeOutcome.Respond, answered.Outcome);
        HandshakeResult established = _a.Handle(response.AsSpan(0, answered.ReplyLength), new HandshakeOrigin(EndpointB), false, _moment, initiation);
        Assert.Equal(HandshakeOutcome.SessionEstablished, established.Outcome);
    }

    private long RxBytes() => _b.Snapshot().Peers.Single().RxBytes;

    /// <summary>B's, after everything that was to be done for peers has been taken.</summary>
    private Instant NextDeadline()
    {
        while (_b.TryTakeWork(_moment, out _, out _))
        {
            // Looked at by being taken.
        }

        return _b.NextDeadline;
    }

    /// <summary>Counts writes, and answers them as it is told.</summary>
    private sealed class CountingTun(IoStatus status) : ITunDevice
    {
        public string Name => "counting0";

        public bool Refuses { get; init; }

        public int Writes { get; private set; }

        public IoStatus Read(PacketBatch batch) => IoStatus.WouldBlock;

        public IoStatus Write(PacketBatch batch)
        {
            Writes++;
            for (int i = 0; i < batch.FrameCount; i++)
            {
                batch.Frames[i].Refused = Refuses && batch.Frames[i].SliceCount > 1;
            }

            return status;
        }

        public void Dispose()
        {
        }
    }
}
