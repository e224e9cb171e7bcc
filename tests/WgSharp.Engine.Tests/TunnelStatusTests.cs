using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>What a running tunnel tells of itself, asked from another thread.</summary>
public class TunnelStatusTests
{
    [Fact]
    public void Both_ends_of_a_session_tell_of_it()
    {
        using var pair = new TunnelPair();
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 56));
        pair.B.Tun.TakeWritten();
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.9.9.9", 56));
        pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 56));
        pair.B.Tun.TakeWritten();

        TunnelStatus a = pair.TunnelA.Status();
        Assert.Equal((pair.PublicA, 1111, true, 1420, 1), (a.PublicKey!.Value, a.ListenPort, a.LinkIsUp, a.Mtu, a.PeerCount));
        Assert.Equal("NoPeer 1", a.Drops.ToString());
        Assert.Equal((0, 0L), (a.StagedPackets, a.StrangerCount));
        PeerStatus onA = Assert.Single(Describe(pair.TunnelA));
        PeerStatus onB = Assert.Single(Describe(pair.TunnelB));
        Assert.Equal((pair.PublicB, true, true), (onA.PublicKey, onA.IsInitiator, onA.HasSession));
        Assert.Equal((pair.PublicA, false, true), (onB.PublicKey, onB.IsInitiator, onB.HasSession));
        Assert.Equal((HandshakeTrouble.None, 0), (onA.Trouble, onA.HandshakeAttempts));
        Assert.Equal(onA.TxBytes, onB.RxBytes);
        Assert.True(onA.PathMtu > 0 && onA.RouteMtu > 0);
        Assert.Equal(2, onA.MessagesSent);
        Assert.Equal(["10.0.0.2/32", "fd00::2/128"], onA.AllowedIps.Select(prefix => prefix.ToString()));
    }

    [Fact]
    public void Packets_that_wait_and_strangers_are_told_of()
    {
        using var pair = new TunnelPair();
        var configuration = new DeviceConfiguration();
        configuration.Peers.Add(new PeerConfiguration { PublicKey = pair.PublicA, Remove = true });
        pair.TunnelB.Configure(configuration);
        for (int i = 0; i < 5; i++)
        {
            pair.A.Tun.Inject(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 56, i));
        }

        Assert.True(SpinWait.SpinUntil(() => pair.TunnelB.Status().StrangerCount == 1 && pair.TunnelA.Status().StagedPackets == 5, TimeSpan.FromSeconds(30)));
        TunnelStatus b = pair.TunnelB.Status();
        Assert.Equal(pair.PublicA, b.StrangerKey);
        Assert.Equal(new InetEndpoint(TunnelPair.Address("192.0.2.1"), 1111), b.StrangerSource);
        Assert.Equal((5, 1), (Assert.Single(Describe(pair.TunnelA)).StagedPackets, Assert.Single(Describe(pair.TunnelA)).HandshakeAttempts));
        Assert.True(pair.TunnelA.Status().StagedBytes >= 5 * 84);
    }

    [Fact]
    public void A_thousand_peers_come_in_portions_that_the_control_loop_has_time_for()
    {
        using var pair = new TunnelPair();
        var configuration = new DeviceConfiguration();
        for (int i = 0; i < 1000; i++)
        {
            byte[] key = new byte[PublicKey.Size];
            BitConverter.TryWriteBytes(key, i + 1);
            configuration.Peers.Add(new PeerConfiguration { PublicKey = new PublicKey(key) });
        }

        pair.TunnelA.Configure(configuration);
        var cursor = new PeerCursor();
        var counts = new List<int>();
        bool more = true;
        while (more)
        {
            var portion = new List<PeerStatus>();
            more = pair.TunnelA.DescribePeers(cursor, 1, portion);
            counts.Add(portion.Count);
        }

        Assert.Equal(1001, counts.Sum());
        Assert.InRange(counts.Max(), 1, 128);
    }

    private static List<PeerStatus> Describe(Tunnel tunnel)
    {
        var peers = new List<PeerStatus>();
        Assert.False(tunnel.DescribePeers(new PeerCursor(), 10, peers));
        return peers;
    }
}
