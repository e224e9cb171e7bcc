using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>The whole engine: two tunnels with their threads, over a wire in memory.</summary>
public class TunnelTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void Packets_cross_in_order_both_ways_whatever_the_number_of_threads(int threads)
    {
        using var pair = new TunnelPair(threads);
        const int count = 100;
        for (int i = 0; i < count; i++)
        {
            pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 10 + i, i));
        }

        for (int i = 0; i < count; i++)
        {
            Assert.Equal(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 10 + i, i), pair.B.Tun.TakeWritten());
            pair.B.Tun.Inject(TunnelPair.Packet("10.0.0.2", "10.0.0.1", 10 + i, i));
            Assert.Equal(TunnelPair.Packet("10.0.0.2", "10.0.0.1", 10 + i, i), pair.A.Tun.TakeWritten());
        }
    }

    [Fact]
    public void Of_two_threads_the_second_takes_the_way_out_while_both_ways_carry_bulk_and_gives_it_back()
    {
        using var pair = new TunnelPair(threads: 2);
        pair.A.Udp.Mtu = PacketBatch.MaxPacket;
        pair.B.Udp.Mtu = PacketBatch.MaxPacket;
        pair.TunnelA.LinkChanged(up: true, mtu: 9000);
        pair.TunnelB.LinkChanged(up: true, mtu: 9000);
        int sent = 0;
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 20));
        pair.B.Tun.TakeWritten(); // now B knows where A is
        CrossBothWays(pair, 1, 100, ref sent);
        int first = pair.A.Tun.Reader;
        while (pair.A.Tun.Reader == first && sent < 200_000)
        {
            CrossBothWays(pair, 20, 8000, ref sent);
        }

        Assert.NotEqual(first, pair.A.Tun.Reader);
        while (pair.A.Tun.Reader != first && sent < 400_000)
        {
            CrossBothWays(pair, 1, 100, ref sent);
        }

        Assert.Equal(first, pair.A.Tun.Reader);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void A_local_program_that_sends_without_a_pause_hides_nothing_that_comes_in(int threads)
    {
        using var pair = new TunnelPair(threads);
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100));
        pair.B.Tun.TakeWritten(); // now B knows where A is
        pair.A.Udp.KeepsRuns = false;
        pair.A.Udp.Outcome = run => run.Length > 1000 ? SendOutcome.Lost : SendOutcome.Sent;
        pair.A.Tun.Endless = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 1300);
        for (int i = 0; i < 20; i++)
        {
            byte[] packet = TunnelPair.Packet("10.0.0.2", "10.0.0.1", 50, i);
            pair.B.Tun.Inject(packet);
            Assert.Equal(packet, pair.A.Tun.TakeWritten());
        }

        // A new session too: the handshake is received by the same thread.
        pair.TunnelB.LinkChanged(up: false, 1420);
        pair.TunnelB.LinkChanged(up: true, 1420);
        byte[] last = TunnelPair.Packet("10.0.0.2", "10.0.0.1", 60);
        pair.B.Tun.Inject(last);
        Assert.Equal(last, pair.A.Tun.TakeWritten());
        pair.A.Tun.Endless = null;
    }

    [Theory]
    [InlineData(7, true)] // in less than KEEPALIVE_TIMEOUT: after that a keepalive would begin the session
    [InlineData(0.001, false)]
    public void After_a_suspend_an_idle_tunnel_has_forgotten_its_sessions_and_the_next_packet_begins_one(double seconds, bool forgets)
    {
        using var pair = new TunnelPair();
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 20));
        pair.B.Tun.TakeWritten();

        pair.B.Suspend(TimeSpan.FromSeconds(seconds));

        // Taken on the control loop, after what it made of the suspend.
        long received = Assert.Single(pair.TunnelB.Snapshot().Peers).RxBytes;
        byte[] packet = TunnelPair.Packet("10.0.0.2", "10.0.0.1", 30);
        pair.B.Tun.Inject(packet);
        Assert.Equal(packet, pair.A.Tun.TakeWritten());
        Assert.Equal(forgets, Assert.Single(pair.TunnelB.Snapshot().Peers).RxBytes > received);
    }

    [Fact]
    public void The_responder_learns_the_endpoint_and_counters_count_whole_messages()
    {
        using var pair = new TunnelPair();
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 56));
        pair.B.Tun.TakeWritten();
        PeerSnapshot onB = Assert.Single(pair.TunnelB.Snapshot().Peers);
        Assert.Equal(new InetEndpoint(TunnelPair.Address("192.0.2.1"), 1111), onB.Endpoint);

        // An initiation in, a response out, then 84 bytes padded to 96 with header and tag.
        Assert.Equal(148 + 96 + 32, onB.RxBytes);
        Assert.Equal(92, onB.TxBytes);
        PeerSnapshot onA = Assert.Single(pair.TunnelA.Snapshot().Peers);
        Assert.Equal(92, onA.RxBytes);
        Assert.Equal(148 + 96 + 32, onA.TxBytes);
        Assert.NotEqual(0, onA.LastHandshake.Nanoseconds);
    }

    [Fact]
    public void Nothing_is_readable_on_the_wire_and_sizes_are_padded_to_16()
    {
        using var pair = new TunnelPair();
        byte[] packet = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 33);
        pair.A.Tun.Inject(packet);
        Assert.Equal(packet, pair.B.Tun.TakeWritten());
        byte[] data = Assert.Single(pair.Wire.Seen, datagram => datagram[0] == 4);
        Assert.Equal(64 + 32, data.Length);
        Assert.Equal(-1, data.AsSpan().IndexOf(packet.AsSpan(28, 16)));
    }

    [Fact]
    public void A_source_that_is_not_allowed_is_dropped_and_the_next_packet_passes()
    {
        using var pair = new TunnelPair();
        pair.A.Tun.Inject(TunnelPair.Packet("10.9.9.9", "10.0.0.2", 20, 1));
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 20, 2));
        Assert.Equal(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 20, 2), pair.B.Tun.TakeWritten());
    }

    [Fact]
    public void A_destination_without_a_peer_is_answered_with_host_unreachable()
    {
        using var pair = new TunnelPair();
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.7.7.7", 20));
        byte[] answer = pair.A.Tun.TakeWritten();
        Assert.Equal(1, answer[9]);
        Assert.Equal((3, 1), (answer[20], answer[21]));
    }

    [Fact]
    public void A_peer_without_an_endpoint_is_answered_with_host_unreachable()
    {
        using var pair = new TunnelPair();
        pair.B.Tun.Inject(TunnelPair.Packet("10.0.0.2", "10.0.0.1", 20));
        byte[] answer = pair.B.Tun.TakeWritten();
        Assert.Equal((3, 1), (answer[20], answer[21]));
    }

    [Fact]
    public void Congestion_marks_of_the_network_reach_the_inner_packet()
    {
        using var pair = new TunnelPair();
        pair.Wire.Marks = trafficClass => (trafficClass & 3) == 2 ? (byte)3 : trafficClass;
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 20, 1, trafficClass: 0x02));
        byte[] marked = pair.B.Tun.TakeWritten();
        Assert.Equal(3, marked[1] & 3);
        Assert.Equal(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 20, 1, trafficClass: 0x03), marked);
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 20, 2));
        Assert.Equal(0, pair.B.Tun.TakeWritten()[1] & 3);
    }

    [Fact]
    public void What_was_sent_before_the_link_came_up_goes_out_when_it_does()
    {
        using var pair = new TunnelPair(linkUp: false);
        Assert.False(pair.A.Udp.IsOpen);
        pair.TunnelB.LinkChanged(up: true, 1420);
        pair.TunnelA.LinkChanged(up: true, 1420);
        Assert.True(pair.A.Udp.IsOpen);
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 20));
        pair.B.Tun.TakeWritten();
    }

    [Fact]
    public void Link_down_closes_the_sockets_and_link_up_starts_a_new_session()
    {
        using var pair = new TunnelPair();
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 20));
        pair.B.Tun.TakeWritten();
        pair.TunnelA.LinkChanged(up: false, 1420);
        Assert.False(pair.A.Udp.IsOpen);
        pair.TunnelA.LinkChanged(up: true, 1420);
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 20, 2));
        pair.B.Tun.TakeWritten();

        // Two, or one more where the second came within the 20 ms in which a responder takes no other.
        Assert.InRange(pair.Wire.Seen.Count(datagram => datagram[0] == 1), 2, 3);
    }

    [Fact]
    public void A_taken_port_fails_the_configuration_and_changes_nothing()
    {
        using var pair = new TunnelPair();
        pair.A.Udp.TakenPorts.Add(5555);
        var configuration = new DeviceConfiguration { ListenPort = 5555, ReplacePeers = true };
        IOException e = Assert.Throws<IOException>(() => pair.TunnelA.Configure(configuration));
        Assert.Equal(98, e.HResult);
        DeviceSnapshot snapshot = pair.TunnelA.Snapshot();
        Assert.Equal(1111, snapshot.ListenPort);
        Assert.Single(snapshot.Peers);
    }

    [Fact]
    public void A_taken_port_fails_the_configuration_while_the_link_is_down_as_well()
    {
        using var pair = new TunnelPair(linkUp: false);
        pair.A.Udp.TakenPorts.Add(5555);
        var configuration = new DeviceConfiguration { ListenPort = 5555, ReplacePeers = true };
        IOException e = Assert.Throws<IOException>(() => pair.TunnelA.Configure(configuration));
        Assert.Equal(98, e.HResult);
        DeviceSnapshot snapshot = pair.TunnelA.Snapshot();
        Assert.Equal(1111, snapshot.ListenPort);
        Assert.Single(snapshot.Peers);
        Assert.False(pair.A.Udp.IsOpen);
    }

    [Fact]
    public void A_port_that_was_taken_since_it_was_set_is_asked_for_again_when_it_is_set_again()
    {
        using var pair = new TunnelPair(linkUp: false);
        pair.A.Udp.TakenPorts.Add(1111);
        Assert.Throws<IOException>(() => pair.TunnelA.Configure(new DeviceConfiguration { ListenPort = 1111 }));
        pair.TunnelA.Configure(new DeviceConfiguration { ListenPort = 0 });
        pair.TunnelA.Configure(new DeviceConfiguration { Fwmark = 7 });
    }

    [Fact]
    public void Port_and_mark_change_on_a_living_tunnel()
    {
        using var pair = new TunnelPair();
        pair.TunnelA.Configure(new DeviceConfiguration { ListenPort = 3333, Fwmark = 7 });
        Assert.Equal(3333, pair.A.Udp.Local.Port);
        Assert.Equal(7u, pair.A.Udp.Mark);
        pair.TunnelA.Configure(new DeviceConfiguration { Fwmark = 9 });
        Assert.Equal(9u, pair.A.Udp.Mark);
        Assert.Equal(3333, pair.TunnelA.Snapshot().ListenPort);
    }

    [Fact]
    public void A_refused_source_and_a_refused_segmentation_are_sent_again_at_once()
    {
        using var pair = new TunnelPair();
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 20));
        pair.B.Tun.TakeWritten();
        pair.B.Udp.Outcome = run => run.Endpoint!.Source.IsNone ? SendOutcome.Sent : SendOutcome.SourceRefused;
        pair.B.Tun.Inject(TunnelPair.Packet("10.0.0.2", "10.0.0.1", 20, 1));
        Assert.Equal(TunnelPair.Packet("10.0.0.2", "10.0.0.1", 20, 1), pair.A.Tun.TakeWritten());
        pair.B.Udp.Outcome = run => run.Unsegmented ? SendOutcome.Sent : SendOutcome.SegmentationRefused;
        pair.B.Tun.Inject(TunnelPair.Packet("10.0.0.2", "10.0.0.1", 20, 2));
        Assert.Equal(TunnelPair.Packet("10.0.0.2", "10.0.0.1", 20, 2), pair.A.Tun.TakeWritten());
    }

    [Fact]
    public async Task A_deleted_device_completes_the_tunnel()
    {
        using var pair = new TunnelPair();
        pair.A.Tun.Delete();
        await pair.TunnelA.Completion.WaitAsync(TimeSpan.FromSeconds(20));
    }

    [Fact]
    public void A_stopped_tunnel_refuses_configuration()
    {
        using var pair = new TunnelPair();
        pair.TunnelA.Dispose();
        Assert.Throws<ObjectDisposedException>(() => pair.TunnelA.Configure(new DeviceConfiguration()));
    }

    /// <summary>Packets in both directions at once; all arrive in order.</summary>
    private static void CrossBothWays(TunnelPair pair, int count, int size, ref int number)
    {
        for (int i = 0; i < count; i++)
        {
            pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", size, number + i));
            pair.B.Tun.Inject(TunnelPair.Packet("10.0.0.2", "10.0.0.1", size, number + i));
        }

        for (int i = 0; i < count; i++)
        {
            Assert.Equal(TunnelPair.Packet("10.0.0.1", "10.0.0.2", size, number + i), pair.B.Tun.TakeWritten());
            Assert.Equal(TunnelPair.Packet("10.0.0.2", "10.0.0.1", size, number + i), pair.A.Tun.TakeWritten());
        }

        number += count;
    }
}
