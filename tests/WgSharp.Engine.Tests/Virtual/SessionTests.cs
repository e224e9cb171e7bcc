using WgSharp.Crypto;
using WgSharp.Protocol;
using WgSharp.Protocol.Tests;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>How sessions begin: initiation, response, key confirmation, and what waits meanwhile.</summary>
public sealed class SessionTests
{
    private static readonly TimeSpan RoundTrip = VirtualWire.Latency * 2;

    [Fact]
    public void The_first_packet_starts_a_handshake_and_arrives_after_one_round_trip_and_a_half()
    {
        using var pair = new VirtualPair();
        pair.A.Send(1, 2, 3);
        Assert.Equal([MessageType.HandshakeInitiation], pair.Wire.Seen.Select(d => d.Type));

        pair.Wire.Advance(VirtualWire.Latency * 3);
        Assert.Equal([[1, 2, 3]], pair.B.Received);
        Assert.Equal(
            [MessageType.HandshakeInitiation, MessageType.HandshakeResponse, MessageType.TransportData],
            pair.Wire.Seen.Select(d => d.Type));
    }

    [Fact]
    public void Messages_have_the_sizes_of_the_whitepaper_and_zeros_behind_their_type()
    {
        using var pair = new VirtualPair();
        pair.B.Overload();
        pair.A.Send(1, 2, 3);
        pair.Wire.AdvanceSeconds(7);

        Datagram[] ours = [.. pair.Wire.Seen.Where(d => d.From == pair.A.Address || d.To == pair.A.Address)];
        Assert.Equal([148, 64, 148, 92, 64], ours.Select(d => d.Bytes.Length));
        Assert.Equal([1, 3, 1, 2, 4], ours.Select(d => (int)d.Bytes[0]));
        Assert.All(pair.Wire.Seen, d => Assert.Equal([0, 0, 0], d.Bytes[1..4]));
    }

    [Fact]
    public void The_responder_sends_no_data_until_the_initiator_confirms_the_key()
    {
        using var pair = new VirtualPair();
        pair.Wire.Fate = (datagram, _) => datagram.Type == MessageType.TransportData ? [] : [VirtualWire.Latency];
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(1);
        Assert.NotNull(pair.B.Peer.Keypairs.Next);
        Assert.Null(pair.B.Peer.Keypairs.Current);

        pair.B.Send(7);
        pair.B.Send(8);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal(0, pair.Wire.Count(MessageType.TransportData, pair.B));

        pair.Wire.Mend();
        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[2]], pair.B.Received);
        Assert.Equal([[7], [8]], pair.A.Received);
        Assert.NotNull(pair.B.Peer.Keypairs.Current);
        Assert.Null(pair.B.Peer.Keypairs.Next);
    }

    [Fact]
    public void An_initiator_with_nothing_to_send_confirms_with_a_keepalive()
    {
        using var pair = new VirtualPair();
        pair.Wire.Fate = (datagram, _) => datagram.Type == MessageType.TransportData ? [] : [VirtualWire.Latency];
        pair.A.Send(1);
        pair.Wire.Advance(VirtualWire.Latency);
        pair.A.Peer.Staged.Clear();
        pair.Wire.Mend();
        pair.Wire.AdvanceSeconds(1);

        Assert.Equal([148, 92, 32], pair.Wire.Seen.Select(d => d.Bytes.Length));
        Assert.Equal(148 + 32, pair.B.Snapshot.RxBytes);
        Assert.NotNull(pair.B.Peer.Keypairs.Current);
    }

    [Fact]
    public void Staged_packets_go_out_in_order_and_only_the_newest_128_of_them()
    {
        using var pair = new VirtualPair();
        for (int i = 0; i < 200; i++)
        {
            pair.A.Send((byte)i);
        }

        Assert.Equal(128, pair.A.Peer.Staged.Count);
        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal(Enumerable.Range(72, 128).Select(i => (byte)i), pair.B.Received.Select(content => content.Single()));
        Assert.True(pair.A.Peer.Staged.IsEmpty);
    }

    [Fact]
    public void Whoever_does_not_know_where_its_peer_is_stays_silent_and_says_so_until_it_is_spoken_to()
    {
        using var pair = new VirtualPair();
        pair.B.Send(5);
        pair.Wire.AdvanceSeconds(30);
        Assert.Empty(pair.Wire.Seen);
        Assert.Equal(1, pair.B.Unreachables);

        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(1);
        pair.B.Send(6);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[6]], pair.A.Received);
        Assert.Equal(1, pair.B.Unreachables);
    }

    [Fact]
    public void An_endpoint_that_is_configured_later_starts_the_handshake_that_packets_wait_for()
    {
        // Packets do not begin to wait while there is no endpoint; those that do are from before.
        using var pair = new VirtualPair(knowsEndpoints: false);
        pair.A.Peer.Staged.Add(VirtualTunnel.Inner(1, 2, [1]));
        pair.Wire.AdvanceSeconds(1);
        Assert.Empty(pair.Wire.Seen);

        pair.A.Configure(pair.B.PublicKey, peer => peer.Endpoint = pair.B.Address);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[1]], pair.B.Received);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(15)]
    [InlineData(20)]
    [InlineData(35)]
    [InlineData(60)]
    public void Initiations_from_both_sides_at_once_end_in_a_session_both_ways(int offsetMilliseconds)
    {
        using var pair = new VirtualPair();
        pair.B.Configure(pair.A.PublicKey, peer => peer.Endpoint = pair.A.Address);
        pair.A.Send(1);
        pair.Wire.Advance(TimeSpan.FromMilliseconds(offsetMilliseconds));
        pair.B.Send(2);
        pair.Wire.AdvanceSeconds(7);
        Assert.Equal([[2]], pair.A.Received);
        Assert.Equal([[1]], pair.B.Received);

        pair.A.Send(3);
        pair.B.Send(4);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[2], [4]], pair.A.Received);
        Assert.Equal([[1], [3]], pair.B.Received);
    }

    [Fact]
    public void An_initiation_that_is_wanted_too_soon_after_a_response_is_made_as_soon_as_it_may()
    {
        // B has answered; A has never heard it and has forgotten all about it.
        using var pair = new VirtualPair();
        pair.Wire.Fate = (datagram, _) => datagram.Type == MessageType.HandshakeResponse ? [] : [VirtualWire.Latency];
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(1);
        pair.A.LinkDown();
        pair.A.LinkUp();
        pair.Wire.Mend();
        Instant answered = pair.Wire.Seen[^1].SentAt;

        pair.B.Send(2);
        pair.Wire.AdvanceSeconds(10);
        Datagram initiation = Assert.Single(pair.Wire.Seen, d => d.Type == MessageType.HandshakeInitiation && d.From == pair.B.Address);
        Assert.InRange((initiation.SentAt - answered).TotalSeconds, 5, 5.334);
        Assert.Equal([[2]], pair.A.Received);
    }

    [Fact]
    public void A_packet_under_the_previous_key_is_still_read_after_a_rekey()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.Wire.AdvanceSeconds(125);
        pair.Wire.Fate = (datagram, _) => [datagram.Type == MessageType.TransportData && datagram.Bytes.Length == 80 ? RoundTrip * 10 : VirtualWire.Latency];
        byte[] longer = new byte[20];
        pair.A.Send(longer);
        pair.Wire.AdvanceSeconds(0.2);
        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(1);

        Assert.Equal([[2], longer], pair.B.Received);
        Assert.NotNull(pair.B.Peer.Keypairs.Previous);
    }

    [Fact]
    public void A_different_preshared_key_gives_no_session()
    {
        using var pair = new VirtualPair();
        using var other = new PresharedKey(new byte[32]);
        pair.B.Configure(pair.A.PublicKey, peer => peer.PresharedKey = other);
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(30);
        Assert.Empty(pair.B.Received);
        Assert.Null(pair.A.Peer.Keypairs.Current);
        Assert.DoesNotContain(HandshakeOutcome.SessionEstablished, pair.A.Outcomes);
    }

    [Fact]
    public void An_initiation_of_an_unknown_key_is_met_with_silence()
    {
        using var pair = new VirtualPair();
        pair.B.Configure(pair.A.PublicKey, peer => peer.Remove = true);
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(30);
        Assert.Equal(0, pair.Wire.Seen.Count(d => d.From == pair.B.Address));
        Assert.Equal(0, pair.B.Device.IndexCount());
    }

    [Fact]
    public void A_response_to_an_initiation_that_was_sent_again_meanwhile_is_dropped()
    {
        using var pair = new VirtualPair();
        pair.Wire.Fate = (datagram, _) => datagram.Type == MessageType.HandshakeResponse ? [TimeSpan.FromSeconds(5.5)] : [VirtualWire.Latency];
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(5.4);
        Assert.Equal(2, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));

        pair.Wire.Mend();
        pair.Wire.AdvanceSeconds(0.125);
        Assert.Contains(pair.Wire.Seen, d => d.Type == MessageType.HandshakeResponse && d.SentAt + TimeSpan.FromSeconds(5.5) <= pair.Wire.Now);
        Assert.Empty(pair.A.Outcomes);
        Assert.Null(pair.A.Sending);
    }

    [Fact]
    public void Duplicated_handshake_messages_change_nothing()
    {
        using var pair = new VirtualPair();
        pair.Wire.Fate = (_, _) => [VirtualWire.Latency, VirtualWire.Latency * 1.5, VirtualWire.Latency * 4];
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[1]], pair.B.Received);
        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeResponse, pair.B));
        Assert.Equal([HandshakeOutcome.Respond], pair.B.Outcomes);
        Assert.Equal([HandshakeOutcome.SessionEstablished], pair.A.Outcomes);
        Assert.Equal(1, pair.A.Device.IndexCount());
        Assert.Equal(1, pair.B.Device.IndexCount());
    }

    [Fact]
    public void A_replayed_initiation_is_dropped_for_ever()
    {
        using VirtualPair pair = new();
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(1);
        Datagram initiation = pair.Wire.Seen[0];
        foreach (int seconds in (int[])[1, 10, 200, 3600, 86400])
        {
            pair.Wire.AdvanceSeconds(seconds);
            pair.B.Receive(initiation.Bytes, VirtualPair.At("198.51.100.7", 4711));
        }

        Assert.Equal([HandshakeOutcome.Respond], pair.B.Outcomes);
        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeResponse, pair.B));
        Assert.Equal(pair.A.Address, pair.B.Peer.Endpoint!.Remote);
    }

    [Fact]
    public void Replayed_data_is_dropped()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.Wire.Fate = (_, _) => [VirtualWire.Latency, VirtualWire.Latency, TimeSpan.FromSeconds(3)];
        for (byte i = 0; i < 20; i++)
        {
            pair.A.Send(i);
            pair.Wire.AdvanceSeconds(0.1);
        }

        pair.Wire.AdvanceSeconds(5);
        Assert.Equal(20, pair.B.Received.Count);
    }

    [Fact]
    public void Initiations_are_still_accepted_after_the_wall_clock_was_set_back()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.Wire.WallOffset -= TimeSpan.FromDays(30);
        pair.Wire.AdvanceSeconds(200);
        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[2]], pair.B.Received);
    }

    [Theory]
    [InlineData("0000000000000000000000000000000000000000000000000000000000000000")]
    [InlineData("0100000000000000000000000000000000000000000000000000000000000000")]
    [InlineData("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")]
    [InlineData("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")]
    public void A_low_order_key_is_accepted_as_a_peer_and_nothing_is_ever_sent_to_it(string key)
    {
        using var pair = new VirtualPair();
        var lowOrder = new PublicKey(Convert.FromHexString(key));
        pair.A.Configure(lowOrder, peer =>
        {
            peer.Endpoint = pair.B.Address;
            peer.PersistentKeepaliveInterval = 5;
            peer.AllowedIps.Add(VirtualTunnel.Prefix(3));
        });
        Peer peer = pair.A.Device.Peers.Single(p => p.PublicKey == lowOrder);
        pair.A.SendTo(3, [1]);
        Assert.Equal(1, peer.Staged.Count);
        pair.Wire.AdvanceSeconds(300);
        Assert.Empty(pair.Wire.Seen);
        Assert.Equal(0, pair.A.Device.IndexCount());
    }

    [Fact]
    public void Counters_count_whole_messages_with_handshakes_as_the_kernel_does()
    {
        using var pair = new VirtualPair();
        for (int i = 0; i < 10; i++)
        {
            // A ping of 84 bytes, padded.
            pair.A.Send(new byte[56]);
            pair.Wire.AdvanceSeconds(0.5);
            pair.B.Send(new byte[56]);
            pair.Wire.AdvanceSeconds(0.5);
        }

        PeerSnapshot a = pair.A.Snapshot;
        PeerSnapshot b = pair.B.Snapshot;
        Assert.Equal((1372, 1428), (a.RxBytes, a.TxBytes));
        Assert.Equal((1428, 1372), (b.RxBytes, b.TxBytes));
    }

    [Fact]
    public void The_time_of_the_last_handshake_is_told_once_it_is_complete()
    {
        using var pair = new VirtualPair();
        Assert.Equal(default, pair.A.Snapshot.LastHandshake);
        pair.A.Send(1);
        UnixTime began = pair.Wire.Moment.Wall;
        pair.Wire.Advance(VirtualWire.Latency * 2.5);
        Assert.InRange(pair.A.Snapshot.LastHandshake.Nanoseconds, began.Nanoseconds, pair.Wire.Moment.Wall.Nanoseconds);
        Assert.Equal(default, pair.B.Snapshot.LastHandshake);
        pair.Wire.AdvanceSeconds(1);
        Assert.NotEqual(default, pair.B.Snapshot.LastHandshake);
    }
}
