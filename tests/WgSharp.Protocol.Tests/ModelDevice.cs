using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>The keys, endpoints and prefixes that random configurations draw from: few, so that operations meet each other.</summary>
internal static class Palette
{
    public const int Identities = 3;
    public const int Peers = 7;

    private static readonly byte[][] PrivateKeys = [.. Enumerable.Range(0, Identities).Select(i => Bytes(32, (byte)(0x11 * (i + 1))))];

    /// <summary>The first three are our own possible identities, the last is the low-order point zero.</summary>
    public static readonly PublicKey[] PublicKeys =
    [
        .. PrivateKeys.Select(bytes => X25519.PublicKeyOf(new PrivateKey(bytes))),
        .. Enumerable.Range(Identities, Peers - Identities - 1).Select(i => new PublicKey(Bytes(32, (byte)(0xa0 + i)))),
        new PublicKey(new byte[32]),
    ];

    public static readonly InetEndpoint[] Endpoints =
    [
        new(new InetAddress([192, 0, 2, 1]), 51820),
        new(new InetAddress([192, 0, 2, 1]), 51821),
        new(new InetAddress(Bytes(16, 0x20)), 1),
        new(new InetAddress([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), 9, ScopeId: 3),
    ];

    /// <summary>Nested and neighbouring prefixes of both families.</summary>
    public static readonly IpPrefix[] Prefixes =
    [
        .. new[] { 0, 1, 8, 15, 16, 24, 31, 32 }.Select(length => IpPrefix.Of(new InetAddress([10, 1, 2, 3]), length)),
        .. new[] { 16, 24, 32 }.Select(length => IpPrefix.Of(new InetAddress([10, 0, 2, 3]), length)),
        .. new[] { 0, 1, 32, 63, 64, 65, 127, 128 }.Select(length => IpPrefix.Of(new InetAddress(Bytes(16, 0x55)), length)),
        .. new[] { 64, 128 }.Select(length => IpPrefix.Of(new InetAddress([.. Bytes(8, 0x55), .. Bytes(8, 0x54)]), length)),
    ];

    public static readonly byte[][] Addresses =
    [
        [10, 1, 2, 3], [10, 1, 2, 2], [10, 1, 2, 77], [10, 1, 77, 3], [10, 0, 2, 3], [10, 0, 3, 3], [10, 77, 2, 3], [77, 1, 2, 3], [200, 1, 2, 3],
        Bytes(16, 0x55), [.. Bytes(15, 0x55), 0x54], [.. Bytes(8, 0x55), .. Bytes(8, 0x54)], [.. Bytes(8, 0x55), .. Bytes(8, 0xd5)],
        [.. Bytes(7, 0x55), .. Bytes(9, 0x54)], [.. Bytes(4, 0x55), .. Bytes(12, 0)], Bytes(16, 0x20), Bytes(16, 0xfd),
    ];

    public static PrivateKey Identity(int number) => new(PrivateKeys[number]);

    /// <summary>Number 0 is all zeros: none.</summary>
    public static PresharedKey Psk(int number) => new(Bytes(32, (byte)number));

    private static byte[] Bytes(int count, byte value)
    {
        var bytes = new byte[count];
        Array.Fill(bytes, value);
        return bytes;
    }
}

/// <summary>One random operation on a device.</summary>
internal abstract record Step;

internal sealed record LinkStep(bool Up) : Step;

/// <param name="Identity">-1 removes the private key.</param>
internal sealed record SetStep(int? Identity, ushort? Port, uint? Fwmark, bool ReplacePeers, IReadOnlyList<PeerStep> Peers) : Step
{
    public DeviceConfiguration ToConfiguration()
    {
        var configuration = new DeviceConfiguration
        {
            PrivateKey = Identity >= 0 ? Palette.Identity(Identity.Value) : null,
            RemovePrivateKey = Identity == -1,
            ListenPort = Port,
            Fwmark = Fwmark,
            ReplacePeers = ReplacePeers,
        };
        foreach (PeerStep peer in Peers)
        {
            var one = new PeerConfiguration
            {
                PublicKey = Palette.PublicKeys[peer.Key],
                Remove = peer.Remove,
                UpdateOnly = peer.UpdateOnly,
                PresharedKey = peer.Psk is { } psk ? Palette.Psk(psk) : null,
                Endpoint = peer.Endpoint is { } endpoint ? Palette.Endpoints[endpoint] : null,
                PersistentKeepaliveInterval = peer.Keepalive,
                ReplaceAllowedIps = peer.ReplaceAllowedIps,
            };
            foreach (AllowedIpChange change in peer.AllowedIps)
            {
                one.AllowedIps.Add(change);
            }

            configuration.Peers.Add(one);
        }

        return configuration;
    }

    public override string ToString() =>
        $"set identity={Identity} port={Port} mark={Fwmark} replace={ReplacePeers} [{string.Join("; ", Peers)}]";
}

internal sealed record PeerStep(
    int Key,
    bool Remove,
    bool UpdateOnly,
    int? Psk,
    int? Endpoint,
    ushort? Keepalive,
    bool ReplaceAllowedIps,
    IReadOnlyList<AllowedIpChange> AllowedIps)
{
    public override string ToString() =>
        $"peer {Key} remove={Remove} updateOnly={UpdateOnly} psk={Psk} endpoint={Endpoint} keepalive={Keepalive} replace={ReplaceAllowedIps} "
        + string.Join(' ', AllowedIps.Select(change => (change.Remove ? "-" : "+") + change.Prefix));
}

/// <summary>One peer as configured, and the living peer that stood for it the first time it was looked at.</summary>
internal sealed class ModelPeer(int key)
{
    public int Key { get; } = key;

    public int Psk { get; set; }

    public InetEndpoint? Endpoint { get; set; }

    public ushort Keepalive { get; set; }

    /// <summary>In the order given; a prefix given again is the last.</summary>
    public List<IpPrefix> Prefixes { get; } = [];

    /// <summary>A persistent keepalive is to be sent at once.</summary>
    public bool KeepaliveDue { get; set; }

    public Peer? Actual { get; set; }
}

/// <summary>What a device's configuration should be: lists, searched from end to end.</summary>
internal sealed class ModelDevice
{
    public int? Identity { get; private set; }

    public ushort Port { get; private set; }

    public uint Fwmark { get; private set; }

    public bool IsUp { get; private set; }

    public List<ModelPeer> Peers { get; } = [];

    public void Apply(Step step)
    {
        switch (step)
        {
            case LinkStep link:
                foreach (ModelPeer peer in Peers)
                {
                    peer.KeepaliveDue = link.Up && !IsUp && peer.Keepalive > 0;
                }

                IsUp = link.Up;
                break;
            case SetStep set:
                Apply(set);
                break;
        }
    }

    public ModelPeer? OwnerOf(byte[] address)
    {
        var wanted = new InetAddress(address);
        return Peers
            .SelectMany(peer => peer.Prefixes.Select(prefix => (Peer: peer, Prefix: prefix)))
            .Where(owned => owned.Prefix.Address.Length == address.Length && IpPrefix.Of(wanted, owned.Prefix.Length) == owned.Prefix)
            .OrderBy(owned => owned.Prefix.Length)
            .LastOrDefault().Peer;
    }

    private void Apply(SetStep set)
    {
        Fwmark = set.Fwmark ?? Fwmark;
        Port = set.Port ?? Port;
        if (set.ReplacePeers)
        {
            Peers.Clear();
        }

        if (set.Identity is { } identity)
        {
            bool hadNone = Identity is null;
            Identity = identity >= 0 ? identity : null;
            Peers.RemoveAll(peer => peer.Key == Identity);
            Peers.ForEach(peer => peer.KeepaliveDue |= hadNone && Identity is not null && IsUp && peer.Keepalive > 0);
        }

        foreach (PeerStep peer in set.Peers)
        {
            Apply(peer);
        }
    }

    private void Apply(PeerStep step)
    {
        ModelPeer? peer = Peers.Find(p => p.Key == step.Key);
        if (step.Remove)
        {
            Peers.RemoveAll(p => p == peer);
            return;
        }

        if (peer is null)
        {
            if (step.UpdateOnly || step.Key == Identity)
            {
                return;
            }

            Peers.Add(peer = new ModelPeer(step.Key));
        }

        peer.Psk = step.Psk ?? peer.Psk;
        peer.Endpoint = step.Endpoint is { } endpoint ? Palette.Endpoints[endpoint] : peer.Endpoint;
        if (step.Keepalive is { } interval)
        {
            peer.KeepaliveDue = interval > 0 && (peer.KeepaliveDue || (IsUp && peer.Keepalive == 0));
            peer.Keepalive = interval;
        }

        if (step.ReplaceAllowedIps)
        {
            peer.Prefixes.Clear();
        }

        foreach (AllowedIpChange change in step.AllowedIps)
        {
            if (change.Remove)
            {
                peer.Prefixes.Remove(change.Prefix);
                continue;
            }

            Peers.ForEach(p => p.Prefixes.Remove(change.Prefix));
            peer.Prefixes.Add(change.Prefix);
        }
    }
}
