using System.Reflection;
using System.Runtime.CompilerServices;
using WgSharp.Crypto;
using WgSharp.Engine;
using WgSharp.Protocol;
using WgSharp.Status;

namespace WgSharp.Tests.Status;

/// <summary>An interface with peers in all states, always the same; and what was approved of how it is shown.</summary>
internal static class StatusExample
{
    /// <summary>Compares with a file beside this one. APPROVE=1 in the environment writes it: look at the difference before it is committed.</summary>
    public static void AssertApproved(string name, string text, [CallerFilePath] string here = "")
    {
        string path = Path.Combine(Path.GetDirectoryName(here)!, "Approved", name);
        if (Environment.GetEnvironmentVariable("APPROVE") == "1")
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, text);
        }

        Assert.Equal(File.ReadAllText(path), text);
    }

    public static PublicKey Key(int number)
    {
        byte[] bytes = new byte[PublicKey.Size];
        new Random(number).NextBytes(bytes);
        return new PublicKey(bytes);
    }

    public static InterfaceStatus Interface(int plainPeers = 0)
    {
        var tunnel = new TunnelStatus
        {
            PublicKey = Key(1000),
            ListenPort = 51820,
            Fwmark = 0xca6c,
            LinkIsUp = true,
            Mtu = 1420,
            MtuPolicy = MtuPolicy.ClampOnly,
            Threads = "2",
            StagedPackets = 3,
            StagedBytes = 6144,
            HandshakesWaiting = 1,
            Lanes = 1,
            StrangerCount = 7,
            StrangerKey = Key(1001),
            StrangerSource = DevicePoint("203.0.113.9", 4242),
            StrangerAge = TimeSpan.FromSeconds(75),
        };
        tunnel.Drops.Add(DropReason.NoPeer, 12);
        tunnel.Drops.Add(DropReason.Replayed, 1);
        var status = new InterfaceStatus
        {
            Name = "wg0",
            Version = "1.2.3",
            ProcessId = 4711,
            Uptime = TimeSpan.FromHours(27.5),
            Features = "tun vnet_hdr+ tso4+ tso6+ uso- | udp gso+ gro+ mmsg+ pktinfo+ | ipv6+",
            Aead = "avx2",
            Tasks = 12,
            ResidentBytes = 38 << 20,
            HeapBytes = 4_500_000,
            ProcessorTime = TimeSpan.FromSeconds(12.34),
            Tunnel = tunnel,
            Peers = [Active(), Waiting(), .. Enumerable.Range(0, plainPeers).Select(Plain)],
        };
        status.Missing.Add("uso is not available: TUNSETOFFLOAD: Invalid argument (EINVAL)");
        tunnel.PeerCount = status.Peers.Count;
        return status;
    }

    public static InetEndpoint DevicePoint(string address, ushort port) => new(InetAddress.From(System.Net.IPAddress.Parse(address)), port);

    /// <summary>As the daemon answers.</summary>
    public static string Answer(InterfaceStatus status) =>
        string.Concat(StatusLines.Of(status).Concat(status.Peers.SelectMany(StatusLines.Of)).Select(line => line + "\n")) + "errno=0\n\n";

    /// <summary>Sets every property of an object to something that it does not have by itself.</summary>
    public static void FillWithSomething(object target)
    {
        int number = 1000;
        foreach (PropertyInfo property in target.GetType().GetProperties().Where(property => property.SetMethod is { IsPublic: true }))
        {
            number++;
            object? value = property.PropertyType switch
            {
                var type when type == typeof(bool) => true,
                var type when type == typeof(int) => number,
                var type when type == typeof(long) => (long)number,
                var type when type == typeof(string) => $"text {number}",
                var type when type == typeof(TimeSpan) || type == typeof(TimeSpan?) => TimeSpan.FromMilliseconds(number),
                var type when type == typeof(UnixTime) => new UnixTime(number),
                var type when type == typeof(InetEndpoint?) => DevicePoint("2001:db8::7", (ushort)number),
                var type when type == typeof(InetAddress) => InetAddress.From(System.Net.IPAddress.Parse("192.0.2.7")),
                var type when type == typeof(PublicKey?) => Key(number),
                var type when type == typeof(HandshakeTrouble) => HandshakeTrouble.SendFailed,
                var type when type == typeof(MtuOrigin) => MtuOrigin.Fragments,
                var type when type == typeof(MtuPolicy) => MtuPolicy.Kernel,
                _ => null,
            };
            if (value is not null)
            {
                property.SetValue(target, value);
            }
        }
    }

    private static PeerStatus Active()
    {
        PeerStatus peer = Sending();
        peer.AddDrops(DropReason.Replayed, 1);
        peer.AddDrops(DropReason.SocketRefused, 3);
        return peer;
    }

    private static PeerStatus Sending() => new()
    {
        PublicKey = Key(1),
        HasPresharedKey = true,
        Endpoint = DevicePoint("192.0.2.1", 51820),
        Source = InetAddress.From(System.Net.IPAddress.Parse("198.51.100.2")),
        PersistentKeepalive = 25,
        AllowedIps = [Prefix("10.0.0.2", 32), Prefix("fd00::2", 128), Prefix("10.1.0.0", 16)],
        AllowedIpCount = 3,
        LastHandshake = new UnixTime(1_700_000_000_500_000_000),
        RxBytes = 1_300_000_000,
        TxBytes = 1023,
        KeypairAge = TimeSpan.FromSeconds(43),
        IsInitiator = true,
        MessagesSent = 99,
        HasSession = true,
        PathMtu = 1400,
        PathMtuOrigin = MtuOrigin.Probe,
        PathConfirmedAge = TimeSpan.FromSeconds(4),
        RouteMtu = 1500,
        ProbesSent = 12,
        ProbesAnswered = 5,
        AreFragmentsLost = true,
        UnsegmentedFrom = 1432,
        HasLane = true,
    };

    private static PeerStatus Waiting() => new()
    {
        PublicKey = Key(2),
        Endpoint = DevicePoint("2001:db8::1", 7),
        AllowedIps = [Prefix("10.0.0.3", 32)],
        AllowedIpCount = 1,
        HandshakeAttempts = 3,
        HandshakeSince = TimeSpan.FromSeconds(12),
        Trouble = HandshakeTrouble.NoAnswer,
        TroubleAge = TimeSpan.FromSeconds(12),
        StagedPackets = 3,
    };

    private static PeerStatus Plain(int number) => new()
    {
        PublicKey = Key(10 + number),
        Endpoint = DevicePoint($"192.0.{number / 200}.{2 + (number % 200)}", 51820),
        AllowedIps = [Prefix($"10.2.{number / 200}.{number % 200}", 32)],
        AllowedIpCount = 1,
        LastHandshake = new UnixTime(1_600_000_000_000_000_000 + (number * 1_000_000_000L)),
        RxBytes = number * 1000L,
        TxBytes = number * 100_000L,
        KeypairAge = TimeSpan.FromSeconds(number),
        HasSession = true,
        PathMtu = 1500,
        RouteMtu = 1500,
    };

    private static IpPrefix Prefix(string address, int length) => IpPrefix.Of(InetAddress.From(System.Net.IPAddress.Parse(address)), length);
}
