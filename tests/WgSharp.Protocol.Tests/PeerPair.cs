using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>Two devices that know each other, and the wire between them. The link is up and nothing has been said yet.</summary>
internal sealed class PeerPair
{
    public PeerPair(int seed = 1, bool knowsEndpoints = true)
    {
        Wire = new VirtualWire(seed);
        A = new VirtualNode(Wire, At("192.0.2.1", 51820), seed * 10);
        B = new VirtualNode(Wire, At("2001:db8::2", 51821), (seed * 10) + 1);
        byte[] psk = new byte[PresharedKey.Size];
        Wire.Random.NextBytes(psk);
        Introduce(A, B, psk, knowsEndpoints);
        Introduce(B, A, psk, knowsEndpoints: false);
        A.Device.LinkUp(Wire.Moment);
        B.Device.LinkUp(Wire.Moment);
    }

    public VirtualWire Wire { get; }

    /// <summary>Knows where B is: the one that can begin.</summary>
    public VirtualNode A { get; }

    /// <summary>Knows A by its key only.</summary>
    public VirtualNode B { get; }

    /// <summary>Seconds: how old the session of <see cref="WithSession"/> is, give or take a round trip.</summary>
    public const double SessionAge = 20;

    public static InetEndpoint At(string address, ushort port) => new(InetAddress.From(System.Net.IPAddress.Parse(address)), port);

    /// <summary>A pair with a session that A began and B has seen confirmed, 20 seconds old and silent by now; what was on the wire is forgotten.</summary>
    public static PeerPair WithSession(int seed = 1)
    {
        var pair = new PeerPair(seed);
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(SessionAge);
        Assert.Equal([[1]], pair.B.Received);
        pair.B.Received.Clear();
        pair.Wire.Seen.Clear();
        return pair;
    }

    private static void Introduce(VirtualNode node, VirtualNode other, byte[] psk, bool knowsEndpoints)
    {
        using var key = new PresharedKey(psk);
        var configuration = new DeviceConfiguration { PrivateKey = node.PrivateKey };
        configuration.Peers.Add(new PeerConfiguration
        {
            PublicKey = other.PublicKey,
            PresharedKey = key,
            Endpoint = knowsEndpoints ? other.Address : null,
        });
        node.Apply(configuration);
    }
}
