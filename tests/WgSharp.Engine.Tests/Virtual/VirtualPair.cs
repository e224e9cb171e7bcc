using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>Two tunnels that know each other, and the wire between them. The link is up and nothing has been said yet.</summary>
internal sealed class VirtualPair : IDisposable
{
    public VirtualPair(int seed = 1, bool knowsEndpoints = true)
    {
        Wire = new VirtualWire(seed);
        A = new VirtualTunnel(Wire, At("192.0.2.1", 51820), seed * 10, number: 1);
        B = new VirtualTunnel(Wire, At("2001:db8::2", 51821), (seed * 10) + 1, number: 2);
        byte[] psk = new byte[PresharedKey.Size];
        Wire.Random.NextBytes(psk);
        Introduce(A, B.PublicKey, knowsEndpoints ? B.Address : null, psk, number: 2);
        Introduce(B, A.PublicKey, null, psk, number: 1);
        A.LinkUp();
        B.LinkUp();
    }

    public VirtualWire Wire { get; }

    /// <summary>Knows where B is: the one that can begin.</summary>
    public VirtualTunnel A { get; }

    /// <summary>Knows A by its key only.</summary>
    public VirtualTunnel B { get; }

    /// <summary>Seconds: how old the session of <see cref="WithSession"/> is, give or take a round trip.</summary>
    public const double SessionAge = 20;

    public static InetEndpoint At(string address, ushort port) => new(TunnelPair.Address(address), port);

    /// <summary>A pair with a session that A began and B has seen confirmed, 20 seconds old and silent by now; what was on the wire is forgotten.</summary>
    public static VirtualPair WithSession(int seed = 1)
    {
        var pair = new VirtualPair(seed);
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(SessionAge);
        Assert.Equal([[1]], pair.B.Received);
        pair.B.Received.Clear();
        pair.Wire.Seen.Clear();
        return pair;
    }

    /// <summary>Gives a tunnel its key and its peer.</summary>
    /// <param name="number">The peer's.</param>
    public static void Introduce(VirtualTunnel tunnel, PublicKey peer, InetEndpoint? endpoint, byte[] psk, byte number)
    {
        using var key = new PresharedKey(psk);
        var configuration = new DeviceConfiguration { PrivateKey = tunnel.PrivateKey };
        var one = new PeerConfiguration { PublicKey = peer, PresharedKey = key, Endpoint = endpoint };
        one.AllowedIps.Add(VirtualTunnel.Prefix(number));
        configuration.Peers.Add(one);
        tunnel.Apply(configuration);
    }

    public void Dispose()
    {
        A.Dispose();
        B.Dispose();
    }
}
