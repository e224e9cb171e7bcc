using System.Buffers.Binary;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>The stages of both paths on one thread and on virtual time, with a session between two devices: what the threads run, without the threads.</summary>
public sealed class DataPathTests : DataPathFixture
{
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
    public void A_batch_without_room_for_one_packet_is_misuse()
    {
        PacketBatch batch = new(3000, packets: 4, frames: 1, trains: 0) { ReadCapacity = 2000 };
        _tunA.Packets = [TunnelPair.Packet("10.0.0.1", "10.0.0.2", 1400)];
        _outbound.Read(batch);
        Assert.Throws<InvalidOperationException>(() =>
        {
            SplitPosition position = default;
            _outbound.Prepare(batch, ref position, _moment.Now);
        });
    }

    [Fact]
    public void There_is_room_for_every_packet_to_be_a_run_of_its_own()
    {
        Assert.Equal(_out.Packets.Length, _out.OutboundRuns.Length);
        Assert.Equal(_in.Packets.Length, _in.InboundRuns.Length);
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
        bool all = true;
        Allocations.AssertNone(1000, () => all &= Cross() == 40);
        Assert.True(all);
    }

    [Fact]
    public void Datagrams_of_every_length_and_type_are_met_with_silence_and_without_allocation()
    {
        var random = new Random(7);
        _tunB.Keeps = false;
        byte[] datagram = new byte[2000];
        int i = 0;
        int delivered = 0;
        long TwentyThousand()
        {
            long allocated = 0;
            for (int end = i + 20_000; i < end; i++)
            {
                MakeDatagram();
                long before = GC.GetAllocatedBytesForCurrentThread();
                delivered += Receive();
                allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            }

            return allocated;
        }

        TwentyThousand();
        Allocations.AssertNone(TwentyThousand);
        Assert.Equal(0, delivered);
        void MakeDatagram()
        {
            int length = random.Next(0, datagram.Length);
            random.NextBytes(datagram.AsSpan(0, length));
            if (length >= 8 && i % 2 == 0)
            {
                BitConverter.TryWriteBytes(datagram, i / 2 % 6);
                BitConverter.TryWriteBytes(datagram.AsSpan(4), _a.Peers.First().Keypairs.Current!.RemoteIndex);
            }

            _udp.Put(datagram.AsSpan(0, length));
        }
    }
}
