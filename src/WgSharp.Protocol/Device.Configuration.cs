using WgSharp.Crypto;

namespace WgSharp.Protocol;

// What a `set` operation changes, in the order in which the kernel applies it (netlink.c): mark, port, replace_peers, private key, peers one by
// one. Everything was parsed before; the only thing that can be refused here is looked at first.

internal sealed partial class Device
{
    private readonly LinkedList<Peer> _peers = new();
    private readonly Dictionary<PublicKey, LinkedListNode<Peer>> _peersByKey = [];
    private readonly AllowedIpsTable _allowedIpsTable = new();

    /// <summary>Written by the control loop, read by any thread.</summary>
    private volatile AllowedIps _allowedIps = AllowedIps.Empty;

    private StaticIdentity? _identity;

    /// <summary>The kernel's MAX_PEERS_PER_DEVICE; less in tests.</summary>
    internal int MaxPeers { get; init; } = Limits.MaxPeers;

    /// <summary>
    /// Applies a parsed configuration: the whole of it, or nothing where it throws. Peers whose keepalive went 0→n while the link is up
    /// have a timer due afterwards, peers with something staged are queued. Keys are copied.
    /// </summary>
    /// <exception cref="ConfigurationException">More peers than MaxPeers.</exception>
    public void Apply(DeviceConfiguration configuration, Moment moment)
    {
        ThrowIfTooMany(configuration);
        if (configuration.Fwmark is { } fwmark)
        {
            Fwmark = fwmark;
            ForgetSources();
        }

        if (configuration.ListenPort is { } port && port != ListenPort)
        {
            ListenPort = port;
            ForgetSources();
        }

        if (configuration.ReplacePeers)
        {
            RemoveAllPeers();
        }

        if (configuration.RemovePrivateKey)
        {
            SetIdentity(null);
        }
        else if (configuration.PrivateKey is { } key && !key.SameAs(_identity?.PrivateKey))
        {
            SetIdentity(new StaticIdentity(key));
        }

        var keepalives = new FirstKeepalives(moment.Now);
        foreach (PeerConfiguration peer in configuration.Peers)
        {
            Apply(peer, ref keepalives);
        }

        PublishAllowedIps();
    }

    /// <summary>A copy of everything, independent of what happens later. The caller disposes the keys in it.</summary>
    public DeviceSnapshot Snapshot()
    {
        var peers = new List<PeerSnapshot>(_peers.Count);
        foreach (Peer peer in _peers)
        {
            peers.Add(new PeerSnapshot(
                peer.PublicKey,
                peer.PresharedKey is { } key ? new PresharedKey(key.Span) : null,
                peer.Endpoint?.Remote,
                peer.LastHandshake,
                peer.RxBytes,
                peer.TxBytes,
                peer.Timers.PersistentKeepaliveInterval,
                _allowedIpsTable.PrefixesOf(peer)));
        }

        PrivateKey? privateKey = _identity is { } identity ? new PrivateKey(identity.PrivateKey.Span) : null;
        return new DeviceSnapshot(privateKey, ListenPort, Fwmark, peers);
    }

    private void Apply(PeerConfiguration configuration, ref FirstKeepalives keepalives)
    {
        _peersByKey.TryGetValue(configuration.PublicKey, out LinkedListNode<Peer>? node);
        if (configuration.Remove)
        {
            if (node is not null)
            {
                RemovePeer(node);
            }

            return;
        }

        if (node is null)
        {
            if (configuration.UpdateOnly || configuration.PublicKey == _identity?.PublicKey)
            {
                return;
            }

            node = _peers.AddLast(new Peer(configuration.PublicKey, _stagingBudget) { Number = ++_lastPeerNumber });
            _peersByKey.Add(configuration.PublicKey, node);
        }

        Update(node.Value, configuration, ref keepalives);
    }

    private void Update(Peer peer, PeerConfiguration configuration, ref FirstKeepalives keepalives)
    {
        if (configuration.PresharedKey is { } key)
        {
            peer.SetPresharedKey(key);
        }

        if (configuration.Endpoint is { } endpoint)
        {
            peer.SetEndpoint(endpoint);
            peer.Timers.NoteInitiationPossible();
        }

        if (configuration.ReplaceAllowedIps)
        {
            _allowedIpsTable.RemoveAll(peer);
        }

        foreach (AllowedIpChange change in configuration.AllowedIps)
        {
            if (change.Remove)
            {
                _allowedIpsTable.Remove(change.Prefix, peer);
            }
            else
            {
                _allowedIpsTable.Set(change.Prefix, peer);
            }
        }

        if (configuration.PersistentKeepaliveInterval is { } interval)
        {
            keepalives.Count += peer.Timers.SetPersistentKeepalive(interval, _linkIsUp, keepalives.Next) ? 1 : 0;
        }

        QueueIfStaged(peer);
        Plan(peer);
    }

    private void SetIdentity(StaticIdentity? identity)
    {
        if (identity is not null && _peersByKey.TryGetValue(identity.PublicKey, out LinkedListNode<Peer>? ourselves))
        {
            RemovePeer(ourselves);
        }

        StaticIdentity? former = _identity;
        _identity = identity;
        former?.Dispose();
        foreach (Peer peer in _peers)
        {
            ExpireSessions(peer);
        }

        if (identity is not null)
        {
            _cookies.SetPublicKey(identity.PublicKey);
        }
        else
        {
            _cookies.ForgetPublicKey();
        }
    }

    private void RemovePeer(LinkedListNode<Peer> node)
    {
        Peer peer = node.Value;
        _peers.Remove(node);
        _peersByKey.Remove(peer.PublicKey);
        _allowedIpsTable.RemoveAll(peer);
        Close(peer);
    }

    private void RemoveAllPeers()
    {
        // In one go rather than prefix by prefix.
        _allowedIpsTable.Clear();
        foreach (Peer peer in _peers)
        {
            Close(peer);
        }

        _peers.Clear();
        _peersByKey.Clear();
    }

    private void Close(Peer peer)
    {
        StopTimers(peer);
        WipeSessions(peer);
        peer.Close();
    }

    private void PublishAllowedIps() => _allowedIps = _allowedIpsTable.Publish();

    private void ThrowIfTooMany(DeviceConfiguration configuration)
    {
        long most = (configuration.ReplacePeers ? 0 : _peers.Count) + (long)configuration.Peers.Count;
        if (most > MaxPeers && CountAfter(configuration) > MaxPeers)
        {
            throw new ConfigurationException($"More than {MaxPeers} peers on one interface.");
        }
    }

    /// <summary>The greatest number of peers that the configuration would make at any one time.</summary>
    private int CountAfter(DeviceConfiguration configuration)
    {
        HashSet<PublicKey> keys = configuration.ReplacePeers ? [] : [.. _peersByKey.Keys];
        int most = keys.Count;
        foreach (PeerConfiguration peer in configuration.Peers)
        {
            if (peer.Remove)
            {
                keys.Remove(peer.PublicKey);
            }
            else if (!peer.UpdateOnly)
            {
                keys.Add(peer.PublicKey);
                most = Math.Max(most, keys.Count);
            }
        }

        return most;
    }
}
