using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Outbound;

/// <summary>What the control loop sends of transport messages.</summary>
public sealed class StagedSenderTests : DataPathFixture
{
    private Peer Peer => _a.Peers.First();

    [Fact]
    public void A_portion_is_two_runs()
    {
        int[] sizes = [100, 200, 300, 400, 500];
        Assert.All(sizes, size => Peer.Staged.Add(TunnelPair.Packet("10.0.0.1", "10.0.0.2", size)));
        Assert.Equal([1, 1], Portion());
        Assert.Equal([1, 1], Portion());
        Assert.Equal([1], Portion());
        Assert.False(_staged.SendStaged(Peer, _moment.Now));
        Assert.Equal(5, Receive());
    }

    [Fact]
    public void Of_equal_packets_it_is_a_whole_run_and_the_first_of_the_next()
    {
        byte[] packet = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100);
        for (int i = 0; i < 100; i++)
        {
            Peer.Staged.Add(packet);
        }

        Assert.Equal([64, 1], Portion());
        Assert.Equal([35], Portion());
    }

    [Fact]
    public void The_longest_packets_there_are_fit_into_a_portion()
    {
        byte[][] packets = [TunnelPair.Packet("10.0.0.1", "10.0.0.2", 65_000, 1), TunnelPair.Packet("10.0.0.1", "10.0.0.2", 65_400, 2)];
        Assert.All(packets, packet => Peer.Staged.Add(packet));
        Assert.Equal([1, 1], Portion());
        Assert.Equal(2, Receive());
        Assert.Equal(packets, _tunB.Written);
    }

    [Fact]
    public void Without_an_endpoint_there_is_no_keepalive()
    {
        var configuration = new DeviceConfiguration();
        configuration.Peers.Add(new PeerConfiguration { PublicKey = X25519.PublicKeyOf(TunnelPair.NewKey()) });
        _a.Apply(configuration, _moment);
        Assert.False(_staged.SendKeepalive(_a.Peers.Single(peer => peer.Endpoint is null), _moment.Now));
        Assert.Empty(_udp.RunCounts);
    }

    [Fact]
    public void A_probe_is_sent_alone_and_may_have_no_padding()
    {
        Assert.True(_staged.SendKeepalive(Peer, _moment.Now));
        _udp.RunLengths.Clear();
        byte[] packet = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500);
        int whole = PathBudget.OuterSize(packet.Length, outerIPv6: false);
        byte[] header = new byte[MessageSize.TransportHeader];
        Assert.Equal(SendOutcome.Lost, Probe(whole - 1));
        Assert.Equal(SendOutcome.Sent, Probe(whole));
        Assert.Equal([packet.Length + MessageSize.TransportOverhead], _udp.RunLengths);
        Assert.Equal(1, Receive());
        Assert.Equal([packet], _tunB.Written);

        SendOutcome Probe(int outerSize) => _staged.SendProbe(Peer, Peer.Endpoint!, packet, outerSize, dontFragment: false, _moment.Now, header);
    }

    /// <returns>How many packets are in each run that was sent.</returns>
    private int[] Portion()
    {
        _udp.RunCounts.Clear();
        Assert.True(_staged.SendStaged(Peer, _moment.Now));
        return [.. _udp.RunCounts];
    }
}
