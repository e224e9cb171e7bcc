using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace WgSharp.Linux.Tests;

/// <summary>10.8.0.1 and fd08::1 here; a router, 10.8.0.2; behind it a link with a smaller MTU and 10.7.0.1, fd07::1 on it.</summary>
internal sealed class RoutedNamespaces : IDisposable
{
    internal const int HopMtu = 1400;

    private readonly Dictionary<bool, Socket> _forgers = [];

    internal RoutedNamespaces()
    {
        Near.Connect(Router, 1500);
        Router.Ip($"link add down0 mtu {HopMtu} type veth peer name down0 mtu {HopMtu} netns {Far.Path}");
        foreach ((TestNamespace side, int host) in ((TestNamespace, int)[])[(Router, 2), (Far, 1)])
        {
            side.Ip("link set down0 addrgenmode none");
            side.Ip("link set down0 up");
            side.Ip($"address add 10.7.0.{host}/24 dev down0");
            side.AddIPv6($"fd07::{host}/64", "down0");

            // Without a link-local address a router asks for no neighbour.
            side.AddIPv6($"fe80::{host}/64", "down0");
        }

        Router.Sysctl("net/ipv4/ip_forward", "1");
        Router.Sysctl("net/ipv6/conf/all/forwarding", "1");
        Router.Sysctl("net/ipv4/icmp_ratelimit", "0");
        Router.Sysctl("net/ipv4/icmp_msgs_per_sec", "1000000");
        Router.Sysctl("net/ipv6/icmp/ratelimit", "0");
        Near.Ip("route add default via 10.8.0.2");
        Near.Ip("-6 route add default via fd08::2");
        Far.Ip("route add default via 10.7.0.2");
        Far.Ip("-6 route add default via fd07::2");
    }

    internal TestNamespace Near { get; } = new();

    internal TestNamespace Router { get; } = new();

    internal TestNamespace Far { get; } = new();

    internal static string FarAddress(bool ipv6) => ipv6 ? "fd07::1" : "10.7.0.1";

    /// <summary>The largest datagram that the near link takes in one piece.</summary>
    internal static int Whole(bool ipv6) => ipv6 ? 1452 : 1472;

    /// <summary>ICMP about a datagram from the near side's port, whether that was ever sent or not.</summary>
    internal void Forge(bool ipv6, byte type, byte code, int mtu, ushort nearPort, ushort farPort, ReadOnlySpan<byte> payload)
    {
        string near = ipv6 ? "fd08::1" : "10.8.0.1";
        byte[] quote = Packets.Udp(
            new IPEndPoint(IPAddress.Parse(near), nearPort), new IPEndPoint(IPAddress.Parse(FarAddress(ipv6)), farPort), payload);
        byte[] message = new byte[8 + quote.Length];
        message[0] = type;
        message[1] = code;
        BinaryPrimitives.WriteInt32BigEndian(message.AsSpan(4), mtu);
        quote.CopyTo(message, 8);
        if (!ipv6)
        {
            BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(2), Checksum(message));
        }

        Forger(ipv6).SendTo(message, new IPEndPoint(IPAddress.Parse(near), 0));
    }

    internal void ForgeTooLarge(bool ipv6, int mtu, ushort nearPort, ushort farPort, ReadOnlySpan<byte> payload) =>
        Forge(ipv6, (byte)(ipv6 ? 2 : 3), (byte)(ipv6 ? 0 : 4), mtu, nearPort, farPort, payload);

    public void Dispose()
    {
        foreach (Socket forger in _forgers.Values)
        {
            forger.Dispose();
        }

        Near.Dispose();
        Router.Dispose();
        Far.Dispose();
    }

    private Socket Forger(bool ipv6)
    {
        if (!_forgers.TryGetValue(ipv6, out Socket? socket))
        {
            socket = Router.Run(() => ipv6
                ? new Socket(AddressFamily.InterNetworkV6, SocketType.Raw, ProtocolType.IcmpV6)
                : new Socket(AddressFamily.InterNetwork, SocketType.Raw, ProtocolType.Icmp));
            _forgers.Add(ipv6, socket);
        }

        return socket;
    }

    private static ushort Checksum(ReadOnlySpan<byte> bytes)
    {
        uint sum = 0;
        for (int i = 0; i < bytes.Length; i += 2)
        {
            sum += (uint)(bytes[i] << 8) + (i + 1 < bytes.Length ? bytes[i + 1] : 0u);
        }

        while (sum > 0xffff)
        {
            sum = (sum & 0xffff) + (sum >> 16);
        }

        return (ushort)~sum;
    }
}
