using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>Keepalives: the passive one, its second, and the persistent one.</summary>
public sealed class KeepaliveTests
{
    [Fact]
    public void Ten_seconds_after_data_that_nothing_was_sent_after_a_keepalive_goes_out()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(60);
        Datagram keepalive = Assert.Single(pair.Wire.Seen, d => d.IsKeepalive);
        Assert.Equal(pair.B.Address, keepalive.From);
        Assert.Equal(TimeSpan.FromSeconds(10) + VirtualWire.Latency, keepalive.SentAt - pair.Wire.Seen[0].SentAt);
    }

    [Fact]
    public void Data_sent_meanwhile_is_as_good()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(9);
        pair.B.Send(2);
        pair.Wire.AdvanceSeconds(9);
        Assert.DoesNotContain(pair.Wire.Seen, d => d.IsKeepalive);
        pair.Wire.AdvanceSeconds(2);
        Assert.Equal(1, pair.Wire.Keepalives(pair.A));
    }

    [Fact]
    public void More_data_while_the_keepalive_is_due_earns_a_second_one()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(5);
        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(60);
        Datagram[] keepalives = [.. pair.Wire.Seen.Where(d => d.IsKeepalive)];
        Assert.Equal(2, keepalives.Length);
        Assert.Equal(TimeSpan.FromSeconds(10), keepalives[1].SentAt - keepalives[0].SentAt);
    }

    [Fact]
    public void Whatever_is_sent_after_the_first_makes_the_second_needless()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(5);
        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(8);
        pair.B.Send(3);
        pair.Wire.AdvanceSeconds(8);
        Assert.Equal(1, pair.Wire.Keepalives(pair.B));
    }

    [Fact]
    public void A_keepalive_is_not_answered()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(100);
        Assert.Equal(1, pair.Wire.Keepalives(pair.B));
        Assert.Equal(0, pair.Wire.Keepalives(pair.A));
    }

    [Fact]
    public void Switched_on_while_the_link_is_up_the_persistent_keepalive_goes_out_at_once_and_then_at_its_interval()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 25);
        Instant began = pair.Wire.Now;
        pair.Wire.AdvanceSeconds(76);
        Assert.All(pair.Wire.Seen, d => Assert.True(d.IsKeepalive));
        Assert.Equal([0, 25, 50, 75], pair.Wire.Seen.Select(d => (d.SentAt - began).TotalSeconds));
    }

    [Fact]
    public void Traffic_either_way_puts_it_off()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 5);
        pair.Wire.AdvanceSeconds(1);
        pair.Wire.Seen.Clear();
        for (int i = 0; i < 20; i++)
        {
            (i % 2 == 0 ? pair.A : pair.B).Send(1);
            pair.Wire.AdvanceSeconds(2);
        }

        Assert.DoesNotContain(pair.Wire.Seen, d => d.IsKeepalive);
    }

    [Fact]
    public void Another_interval_counts_from_now_and_none_ends_it()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 50);
        pair.Wire.AdvanceSeconds(1);
        pair.Wire.Seen.Clear();
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 10);
        pair.Wire.AdvanceSeconds(10);
        Assert.Equal(1, pair.Wire.Keepalives(pair.A));
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 0);
        pair.Wire.AdvanceSeconds(100);
        Assert.Equal(1, pair.Wire.Keepalives(pair.A));
        Assert.Equal(0, pair.A.Snapshot.PersistentKeepaliveInterval);
    }

    [Fact]
    public void With_no_session_it_starts_a_handshake_also_at_link_up()
    {
        using var pair = new VirtualPair();
        pair.A.LinkDown();
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 25);
        pair.Wire.AdvanceSeconds(100);
        Assert.Empty(pair.Wire.Seen);

        pair.A.LinkUp();
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal(
            [MessageType.HandshakeInitiation, MessageType.HandshakeResponse, MessageType.TransportData],
            pair.Wire.Seen.Select(d => d.Type));
        Assert.Equal([148, 92, 32], pair.Wire.Seen.Select(d => d.Bytes.Length));
        Assert.Equal(148 + 32, pair.B.Snapshot.RxBytes);
    }

    [Fact]
    public void What_was_staged_before_link_up_goes_out_then()
    {
        using var pair = new VirtualPair();
        pair.A.LinkDown();
        pair.A.Send(4);
        Assert.Equal(1, pair.A.Peer.Staged.Count);
        Assert.Empty(pair.Wire.Seen);
        pair.A.LinkUp();
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[4]], pair.B.Received);
    }

    [Fact]
    public void It_keeps_a_session_alive_for_ever()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 25);
        for (int minute = 0; minute < 60; minute++)
        {
            pair.Wire.AdvanceSeconds(60);
            Assert.True(pair.A.Peer.Keypairs.Current!.MaySend(pair.Wire.Now));
            Assert.True(pair.B.Peer.Keypairs.Current!.MaySend(pair.Wire.Now));
        }
    }

    [Fact]
    public void Steady_traffic_wakes_the_control_loop_about_once_in_ten_seconds()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.Wire.KeepsSeen = false;
        int before = pair.A.Wakes + pair.B.Wakes;
        for (int i = 0; i < 90 * 50; i++)
        {
            pair.A.Send(1);
            pair.B.Send(2);
            pair.Wire.Advance(TimeSpan.FromMilliseconds(20));
        }

        Assert.InRange(pair.A.Wakes + pair.B.Wakes - before, 1, 2 * 10);
        Assert.Equal(4500, pair.B.ReceivedCount - 1);
    }
}
