using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>What a private key, a preshared key and a limit do to a living device.</summary>
public sealed class IdentityTests
{
    [Fact]
    public void The_same_private_key_again_changes_nothing()
    {
        DevicePair pair = DevicePair.WithSession();
        pair.A.Apply(new DeviceConfiguration { PrivateKey = pair.A.PrivateKey });
        Assert.True(pair.A.Peer.Keypairs.Current!.MaySend(pair.Now));
    }

    [Fact]
    public void Our_own_public_key_is_never_a_peer()
    {
        DevicePair pair = DevicePair.WithSession();
        Peer peer = pair.A.Peer;
        pair.A.Configure(pair.A.PublicKey, p => p.Endpoint = pair.B.Address);
        Assert.Equal([peer], pair.A.Device.Peers);

        // A takes over B's identity: the peer that was B is gone.
        pair.A.Apply(new DeviceConfiguration { PrivateKey = pair.B.PrivateKey });
        Assert.Empty(pair.A.Device.Peers);
        Assert.True(peer.IsRemoved);
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
