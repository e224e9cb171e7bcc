using System.Buffers.Binary;
using System.Net;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging.Abstractions;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>Two real tunnels, A (10.0.0.1, fd00::1) and B (10.0.0.2, fd00::2), over a wire in memory. B knows A's endpoint only when told.</summary>
internal sealed class TunnelPair : IDisposable
{
    public TunnelPair(int threads = 2, bool linkUp = true)
    {
        Wire = new FakeWire();
        A = new FakeMachine(Wire, "192.0.2.1");
        B = new FakeMachine(Wire, "192.0.2.2");
        TunnelA = Start(A, threads);
        TunnelB = Start(B, threads);
        using PrivateKey keyA = NewKey();
        using PrivateKey keyB = NewKey();
        PublicA = X25519.PublicKeyOf(keyA);
        PublicB = X25519.PublicKeyOf(keyB);
        TunnelA.Configure(Configuration(keyA, 1111, PublicB, "10.0.0.2/32", "fd00::2/128", new InetEndpoint(Address("192.0.2.2"), 2222)));
        TunnelB.Configure(Configuration(keyB, 2222, PublicA, "10.0.0.1/32", "fd00::1/128", null));
        if (linkUp)
        {
            TunnelA.LinkChanged(up: true, 1420);
            TunnelB.LinkChanged(up: true, 1420);
        }
    }

    public FakeWire Wire { get; }

    public FakeMachine A { get; }

    public FakeMachine B { get; }

    public Tunnel TunnelA { get; }

    public Tunnel TunnelB { get; }

    public PublicKey PublicA { get; }

    public PublicKey PublicB { get; }

    public static InetAddress Address(string text) => InetAddress.From(IPAddress.Parse(text));

    /// <summary>A UDP packet without a checksum, so that only its bytes matter.</summary>
    public static byte[] Packet(string source, string destination, int payload, int number = 0, byte trafficClass = 0)
    {
        byte[] packet = new byte[28 + payload];
        packet[0] = 0x45;
        packet[1] = trafficClass;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(2), (ushort)packet.Length);
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(4), (ushort)number);
        packet[6] = 0x40; // DF
        packet[8] = 64;
        packet[9] = 17;
        IPAddress.Parse(source).GetAddressBytes().CopyTo(packet, 12);
        IPAddress.Parse(destination).GetAddressBytes().CopyTo(packet, 16);
        uint sum = 0;
        for (int i = 0; i < 20; i += 2)
        {
            sum += BinaryPrimitives.ReadUInt16BigEndian(packet.AsSpan(i));
        }

        sum = (sum & 0xffff) + (sum >> 16);
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(10), (ushort)~(sum + (sum >> 16)));
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(20), 5000);
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(22), 6000);
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(24), (ushort)(8 + payload));
        for (int i = 0; i < payload; i++)
        {
            packet[28 + i] = (byte)(number + i);
        }

        return packet;
    }

    public void Dispose()
    {
        TunnelA.Dispose();
        TunnelB.Dispose();
    }

    internal static PrivateKey NewKey()
    {
        byte[] bytes = RandomNumberGenerator.GetBytes(32);
        return new PrivateKey(bytes);
    }

    private static Tunnel Start(FakeMachine machine, int threads)
    {
        var tunnel = new Tunnel(machine.Io, new TunnelOptions { Threads = threads }, NullLogger<Tunnel>.Instance);
        tunnel.Start();
        return tunnel;
    }

    private static DeviceConfiguration Configuration(PrivateKey key, ushort port, PublicKey peer, string v4, string v6, InetEndpoint? endpoint)
    {
        var configuration = new DeviceConfiguration { PrivateKey = new PrivateKey(key.Span), ListenPort = port };
        var one = new PeerConfiguration { PublicKey = peer, Endpoint = endpoint };
        foreach (string prefix in (string[])[v4, v6])
        {
            string[] parts = prefix.Split('/');
            one.AllowedIps.Add(new AllowedIpChange(IpPrefix.Of(Address(parts[0]), int.Parse(parts[1])), Remove: false));
        }

        configuration.Peers.Add(one);
        return configuration;
    }
}
