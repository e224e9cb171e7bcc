using WgSharp.Crypto;

namespace WgSharp.Protocol;

// What is told of the device to who asks what it is doing. Control loop only, and in portions: 25,000 peers at once would make everything else wait.

internal sealed partial class Device
{
    private long _lastPeerNumber;

    /// <summary>Packets of all peers that wait for a session.</summary>
    public int StagedPackets => _stagingBudget.Count;

    /// <summary>The memory that they take.</summary>
    public int StagedBytes => _stagingBudget.Used;

    /// <summary>Who came in vain.</summary>
    public Strangers Strangers { get; private set; }

    /// <summary>Null: there is no private key.</summary>
    public PublicKey? PublicKey => _identity?.PublicKey;

    /// <summary>Describes the next peers, in order of insertion. A peer that is there all the while is described once, whoever comes and goes meanwhile.</summary>
    /// <param name="cursor">Where to go on.</param>
    /// <param name="mostAllowedIps">Of each peer.</param>
    /// <param name="described">Takes them; <paramref name="most"/> at most.</param>
    /// <returns>False if these were the last.</returns>
    public bool DescribePeers(PeerCursor cursor, int most, int mostAllowedIps, Instant now, ICollection<PeerStatus> described)
    {
        LinkedListNode<Peer>? next = cursor.NextOf(_peers);
        for (int i = 0; i < most && next is not null; i++)
        {
            described.Add(Describe(next.Value, mostAllowedIps, now));
            cursor.Last = next;
            next = next.Next;
        }

        return next is not null;
    }

    private PeerStatus Describe(Peer peer, int mostAllowedIps, Instant now)
    {
        Keypairs keypairs = peer.Keypairs;
        Keypair? sending = keypairs.Sending;
        Endpoint? endpoint = peer.Endpoint;
        var status = new PeerStatus
        {
            PublicKey = peer.PublicKey,
            HasPresharedKey = peer.PresharedKey is not null,
            Endpoint = endpoint?.Remote,
            Source = endpoint?.Source ?? InetAddress.None,
            PersistentKeepalive = peer.Timers.PersistentKeepaliveInterval,
            AllowedIps = _allowedIpsTable.PrefixesOf(peer, mostAllowedIps, out int count),
            AllowedIpCount = count,
            LastHandshake = peer.LastHandshake,
            RxBytes = peer.RxBytes,
            TxBytes = peer.TxBytes,
            KeypairAge = sending?.AgeAt(now),
            IsInitiator = sending?.IsInitiator ?? false,
            MessagesSent = (long)(sending?.SentCount ?? 0),
            HasSession = sending?.MaySend(now) ?? false,
            StagedPackets = peer.Staged.Count,
            HasLane = peer.SendShare is not null,
        };
        DescribeDrops(peer, status);
        peer.HandshakeLog.Describe(status, keypairs.Next is { IsConfirmed: false }, now);
        if (peer.Path is { } path)
        {
            Describe(path, status, now);
        }

        return status;
    }

    private static void DescribeDrops(Peer peer, PeerStatus status)
    {
        if (peer.Drops is { } drops)
        {
            status.Drops = DropCounters.Sum([drops]);
        }

        if (peer.Staged.PushedOut is var pushedOut and > 0)
        {
            status.AddDrops(DropReason.StagingFull, pushedOut);
        }
    }

    private static void Describe(PeerPath path, PeerStatus status, Instant now)
    {
        PathBudget budget = path.Budget;
        status.PathMtu = budget.OuterMtu;
        status.PathMtuOrigin = budget.Origin;
        status.PathConfirmedAge = budget.ConfirmedAt != default ? now - budget.ConfirmedAt : null;
        status.AreFragmentsLost = budget.IsHard;
        status.InboundMtu = budget.InboundMtu < budget.OuterMtu ? budget.InboundMtu : 0;
        status.RouteMtu = path.RouteMtu;
        status.ProbesSent = path.Mtu.ProbesSent;
        status.ProbesAnswered = path.Mtu.ProbesAnswered;
        status.IsProbing = path.Mtu.IsBusy;
    }
}

/// <summary>How far <see cref="Device.DescribePeers"/> has come. Control loop only.</summary>
internal sealed class PeerCursor
{
    internal LinkedListNode<Peer>? Last { get; set; }

    /// <summary>The peer after the last one; if that one was removed meanwhile, the first that is younger.</summary>
    internal LinkedListNode<Peer>? NextOf(LinkedList<Peer> peers)
    {
        if (Last is null || Last.List == peers)
        {
            return Last is null ? peers.First : Last.Next;
        }

        LinkedListNode<Peer>? next = peers.First;
        while (next is not null && next.Value.Number <= Last.Value.Number)
        {
            next = next.Next;
        }

        return next;
    }
}
