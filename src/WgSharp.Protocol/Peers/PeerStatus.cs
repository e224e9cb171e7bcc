using WgSharp.Crypto;

namespace WgSharp.Protocol;

/// <summary>
/// What can be told of a peer, no secret among it: a copy, independent of the living peer. Ages are null where the thing has never been. The
/// daemon fills it, and so does whoever reads the daemon's answer.
/// </summary>
internal sealed class PeerStatus
{
    public required PublicKey PublicKey { get; init; }

    /// <summary>Whether there is one.</summary>
    public bool HasPresharedKey { get; set; }

    public InetEndpoint? Endpoint { get; set; }

    /// <summary>The local address that the peer is answered from, or none.</summary>
    public InetAddress Source { get; set; }

    /// <summary>Seconds; 0: off.</summary>
    public int PersistentKeepalive { get; set; }

    /// <summary>In the order they were given; no more than were asked for.</summary>
    public IList<IpPrefix> AllowedIps { get; set; } = [];

    /// <summary>How many there are.</summary>
    public int AllowedIpCount { get; set; }

    /// <summary>Wall-clock time, 0 if never.</summary>
    public UnixTime LastHandshake { get; set; }

    public long RxBytes { get; set; }

    public long TxBytes { get; set; }

    // ---- the session ----

    /// <summary>Of the keypair that is sent with.</summary>
    public TimeSpan? KeypairAge { get; set; }

    /// <summary>We began the session.</summary>
    public bool IsInitiator { get; set; }

    /// <summary>Messages sent with it.</summary>
    public long MessagesSent { get; set; }

    /// <summary>It is young enough to be sent with.</summary>
    public bool HasSession { get; set; }

    // ---- the next one ----

    /// <summary>Initiations since there was a session.</summary>
    public int HandshakeAttempts { get; set; }

    /// <summary>Since the first of them.</summary>
    public TimeSpan? HandshakeSince { get; set; }

    public HandshakeTrouble Trouble { get; set; }

    public TimeSpan? TroubleAge { get; set; }

    /// <summary>Of <see cref="HandshakeTrouble.SendFailed"/>.</summary>
    public int TroubleErrno { get; set; }

    /// <summary>Packets that wait for a session.</summary>
    public int StagedPackets { get; set; }

    /// <summary>What was dropped on its way there or from there; null: nothing.</summary>
    public DropCounters? Drops { get; set; }

    public void AddDrops(DropReason reason, long count) => (Drops ??= new DropCounters()).Add(reason, count);

    // ---- the path ----

    /// <summary>Bytes of an outer packet; 0: nothing was sent there yet.</summary>
    public int PathMtu { get; set; }

    public MtuOrigin PathMtuOrigin { get; set; }

    /// <summary>Since a probe of that size was answered.</summary>
    public TimeSpan? PathConfirmedAge { get; set; }

    /// <summary>Fragments do not pass: the budget is hard.</summary>
    public bool AreFragmentsLost { get; set; }

    /// <summary>What the peer's messages come in, if that is known to be less; 0 otherwise.</summary>
    public int InboundMtu { get; set; }

    public int RouteMtu { get; set; }

    public long ProbesSent { get; set; }

    public long ProbesAnswered { get; set; }

    /// <summary>A search is under way.</summary>
    public bool IsProbing { get; set; }

    // ---- how messages leave ----

    /// <summary>Messages of this size and more leave one by one, because the path refused segmentation offload; 0: none.</summary>
    public int UnsegmentedFrom { get; set; }

    /// <summary>It is behind a full link, and has a socket of its own.</summary>
    public bool HasLane { get; set; }
}

/// <summary>Initiations whose senders know our public key, and are no peers of ours.</summary>
/// <param name="Count">Since the start.</param>
/// <param name="LastKey">Whose the last one was.</param>
/// <param name="LastSource">Where that came from.</param>
/// <param name="LastAt">When.</param>
internal readonly record struct Strangers(long Count, PublicKey LastKey, InetEndpoint LastSource, Instant LastAt);
