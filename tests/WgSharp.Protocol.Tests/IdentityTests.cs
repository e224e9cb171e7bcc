using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>What a private key, a preshared key and a limit do to a living device.</summary>
public sealed class IdentityTests
{
    [Fact]
    public void A_new_private_key_ends_sending_under_the_old_one_and_the_next_handshake_is_under_the_new()
    {
        PeerPair pair = PeerPair.WithSession();
        using PrivateKey key = Key(77);
        PublicKey renewed = X25519.PublicKeyOf(key);
        pair.B.Configure(renewed, peer => peer.PresharedKey = null);
        pair.A.Apply(new DeviceConfiguration { PrivateKey = key });

        // What B sends under the old session is still read, as in the kernel; nothing is answered under it.
        pair.B.Send(pair.B.Device.Peers.First(), [5]);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[5]], pair.A.Received);
        Assert.False(pair.A.Peer.Keypairs.Current!.MaySend(pair.Wire.Now));

        using var none = new PresharedKey(new byte[32]);
        pair.A.Configure(pair.B.PublicKey, peer => peer.PresharedKey = none);
        pair.Wire.Seen.Clear();
        pair.A.Send(6);
        Assert.Equal([MessageType.HandshakeInitiation], pair.Wire.Seen.Select(d => d.Type));
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[6]], pair.B.Received);
        Assert.NotNull(pair.B.Device.Peers.Single(peer => peer.PublicKey == renewed).Keypairs.Current);
    }

    [Fact]
    public void A_handshake_under_way_ends_with_the_key_it_was_begun_with()
    {
        var pair = new PeerPair();
        pair.A.Send(1);
        pair.Wire.Advance(VirtualWire.Latency);
        using PrivateKey key = Key(77);
        pair.A.Apply(new DeviceConfiguration { PrivateKey = key });
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([HandshakeOutcome.Dropped], pair.A.Outcomes);
        Assert.Null(pair.A.Peer.Keypairs.Current);

        // The packet still waits: another handshake was begun at once, under the new key.
        Assert.Equal(2, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
        Assert.Equal(1, pair.A.Device.IndexCount);
    }

    [Fact]
    public void The_same_private_key_again_changes_nothing()
    {
        PeerPair pair = PeerPair.WithSession();
        pair.A.Apply(new DeviceConfiguration { PrivateKey = pair.A.PrivateKey });
        Assert.True(pair.A.Peer.Keypairs.Current!.MaySend(pair.Wire.Now));
    }

    [Fact]
    public void Our_own_public_key_is_never_a_peer()
    {
        PeerPair pair = PeerPair.WithSession();
        Peer peer = pair.A.Peer;
        pair.A.Configure(pair.A.PublicKey, p => p.Endpoint = pair.B.Address);
        Assert.Equal([peer], pair.A.Device.Peers);

        // A takes over B's identity: the peer that was B is gone.
        pair.A.Apply(new DeviceConfiguration { PrivateKey = pair.B.PrivateKey });
        Assert.Empty(pair.A.Device.Peers);
        Assert.True(peer.IsRemoved);
    }

    [Fact]
    public void Without_a_private_key_nothing_is_sent_and_with_one_again_the_waiting_packet_is()
    {
        var pair = new PeerPair();
        pair.A.Apply(new DeviceConfiguration { RemovePrivateKey = true });
        Assert.Null(pair.A.Device.Snapshot().PrivateKey);
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(100);
        Assert.Empty(pair.Wire.Seen);

        pair.A.Apply(new DeviceConfiguration { PrivateKey = pair.A.PrivateKey });
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[1]], pair.B.Received);
    }

    [Fact]
    public void A_new_preshared_key_counts_from_the_next_handshake_on()
    {
        PeerPair pair = PeerPair.WithSession();
        using var psk = new PresharedKey([.. Enumerable.Range(1, 32).Select(i => (byte)i)]);
        pair.A.Configure(pair.B.PublicKey, peer => peer.PresharedKey = psk);
        pair.A.Send(2);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[2]], pair.B.Received);
        pair.Wire.AdvanceSeconds(180);
        pair.A.Send(3);
        pair.Wire.AdvanceSeconds(10);
        Assert.Equal([[2]], pair.B.Received);

        pair.B.Configure(pair.A.PublicKey, peer => peer.PresharedKey = psk);
        pair.Wire.AdvanceSeconds(10);
        Assert.Equal([[2], [3]], pair.B.Received);
    }

    [Fact]
    public void A_snapshot_and_a_configuration_share_no_key_with_the_device()
    {
        var device = new Device(new SeededRandom(1).Fill);
        PrivateKey key = Key(5);
        var psk = new PresharedKey([.. Enumerable.Repeat((byte)9, 32)]);
        var configuration = new DeviceConfiguration { PrivateKey = key };
        configuration.Peers.Add(new PeerConfiguration { PublicKey = X25519.PublicKeyOf(Key(6)), PresharedKey = psk });
        device.Apply(configuration, new Moment(new Instant(1), new UnixTime(1)));
        key.Dispose();
        psk.Dispose();

        DeviceSnapshot first = device.Snapshot();
        Assert.False(first.PrivateKey!.IsZero || first.Peers[0].PresharedKey!.IsZero);
        first.PrivateKey.Dispose();
        first.Peers[0].PresharedKey!.Dispose();
        DeviceSnapshot second = device.Snapshot();
        Assert.False(second.PrivateKey!.IsZero || second.Peers[0].PresharedKey!.IsZero);
        device.Dispose();
        Assert.Empty(device.Peers);
    }

    [Fact]
    public void One_peer_too_many_and_nothing_at_all_is_applied()
    {
        using var device = new Device(new SeededRandom(1).Fill) { MaxPeers = 3 };
        var moment = new Moment(new Instant(1), new UnixTime(1));
        device.Apply(Peers(1, 2), moment);

        DeviceConfiguration tooMany = Peers(3, 4);
        tooMany.ListenPort = 7;
        tooMany.PrivateKey = Key(9);
        Assert.Throws<ConfigurationException>(() => device.Apply(tooMany, moment));
        DeviceSnapshot snapshot = device.Snapshot();
        Assert.Equal((0, null, 2), (snapshot.ListenPort, snapshot.PrivateKey, snapshot.Peers.Count));

        // As many as fit, in whatever way they are counted.
        DeviceConfiguration known = Peers(1, 2, 3, 1, 2);
        device.Apply(known, moment);
        DeviceConfiguration exchange = Peers(1, 4);
        exchange.Peers[0].Remove = true;
        device.Apply(exchange, moment);
        DeviceConfiguration replacement = Peers(5, 6, 7);
        replacement.ReplacePeers = true;
        device.Apply(replacement, moment);
        DeviceConfiguration update = Peers(8, 9, 10);
        foreach (PeerConfiguration peer in update.Peers)
        {
            peer.UpdateOnly = true;
        }

        device.Apply(update, moment);
        Assert.Equal(3, device.Peers.Count);
    }

    private static DeviceConfiguration Peers(params byte[] keys)
    {
        var configuration = new DeviceConfiguration();
        foreach (byte key in keys)
        {
            configuration.Peers.Add(new PeerConfiguration { PublicKey = new PublicKey([.. Enumerable.Repeat(key, 32)]) });
        }

        return configuration;
    }

    private static PrivateKey Key(byte value) => new([.. Enumerable.Repeat(value, 32)]);
}
