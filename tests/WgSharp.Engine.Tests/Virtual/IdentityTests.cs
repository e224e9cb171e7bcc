using WgSharp.Crypto;
using WgSharp.Protocol;
using WgSharp.Protocol.Tests;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>What a private key, a preshared key and a limit do to a living device.</summary>
public sealed class IdentityTests
{
    [Fact]
    public void A_new_private_key_ends_sending_under_the_old_one_and_the_next_handshake_is_under_the_new()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        using PrivateKey key = Key(77);
        PublicKey renewed = X25519.PublicKeyOf(key);
        pair.B.Configure(renewed, peer => peer.PresharedKey = null);
        pair.A.Apply(new DeviceConfiguration { PrivateKey = key });

        // What B sends under the old session is still read, as in the kernel; nothing is answered under it.
        pair.B.Send(5);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[5]], pair.A.Received);
        Assert.False(pair.A.Peer.Keypairs.Current!.MaySend(pair.Wire.Now));

        // From now on the old inner address is the renewed peer's.
        pair.B.Configure(renewed, peer => peer.AllowedIps.Add(VirtualTunnel.Prefix(1)));
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
        using var pair = new VirtualPair();
        pair.A.Send(1);
        pair.Wire.Advance(VirtualWire.Latency);
        using PrivateKey key = Key(77);
        pair.A.Apply(new DeviceConfiguration { PrivateKey = key });
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal(1, pair.Wire.Count(MessageType.HandshakeResponse, pair.B));
        Assert.DoesNotContain(HandshakeOutcome.SessionEstablished, pair.A.Outcomes);
        Assert.Null(pair.A.Peer.Keypairs.Current);

        // The packet still waits: another handshake was begun at once, under the new key.
        Assert.Equal(2, pair.Wire.Count(MessageType.HandshakeInitiation, pair.A));
        Assert.Equal(1, pair.A.Device.IndexCount());
    }

    [Fact]
    public void Without_a_private_key_nothing_is_sent_and_with_one_again_the_waiting_packet_is()
    {
        using var pair = new VirtualPair();
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
        using VirtualPair pair = VirtualPair.WithSession();
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

    private static PrivateKey Key(byte value) => new([.. Enumerable.Repeat(value, 32)]);
}
