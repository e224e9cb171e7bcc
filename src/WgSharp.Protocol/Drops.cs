namespace WgSharp.Protocol;

/// <summary>Why the data path dropped a packet. A super-packet that is dropped whole counts once, and so does a datagram.</summary>
internal enum DropReason
{
    // ---- out ----

    /// <summary>Read from the TUN and no IP packet, or a super-packet whose headers contradict each other.</summary>
    MalformedFrame,

    /// <summary>The destination is nobody's allowed IP.</summary>
    NoPeer,

    /// <summary>The peer is not known to be anywhere.</summary>
    NoEndpoint,

    /// <summary>The tunnel's own message came back, or a WireGuard message has used its hops up.</summary>
    RoutingLoop,

    /// <summary>Longer than the path takes, and told so.</summary>
    TooBig,

    /// <summary>Pushed out by younger packets while there was no session.</summary>
    StagingFull,

    /// <summary>The socket did not take it: a full link, a route that is missing.</summary>
    SocketRefused,

    // ---- in ----

    /// <summary>None of the four messages.</summary>
    MalformedMessage,

    /// <summary>A handshake message whose mac1 is wrong: its sender does not know our public key.</summary>
    WrongMac,

    /// <summary>Handshake messages of a source that makes the load, beyond what is kept of them.</summary>
    HandshakeFlood,

    /// <summary>A receiver index that belongs to no session.</summary>
    NoSession,

    /// <summary>The session is too old to be received with (REJECT_AFTER_TIME, REJECT_AFTER_MESSAGES).</summary>
    SessionExpired,

    /// <summary>The tag is wrong: forged, or damaged on the way.</summary>
    NotAuthentic,

    /// <summary>The counter was accepted before, or is older than the replay window.</summary>
    Replayed,

    /// <summary>Authentic, and neither a keepalive nor an IP packet.</summary>
    MalformedPacket,

    /// <summary>The inner source is not one of the peer's allowed IPs.</summary>
    SourceNotAllowed,

    /// <summary>The TUN device did not take it.</summary>
    TunRefused,
}

/// <summary>
/// How much was dropped, by reason. Each batch has its own, written by whichever thread works on the batch, and so has each peer that something was dropped of;
/// anybody may read, and adds them up.
/// </summary>
internal sealed class DropCounters
{
    private readonly long[] _counts = new long[Enum.GetValues<DropReason>().Length];

    public long this[DropReason reason] => Volatile.Read(ref _counts[(int)reason]);

    /// <summary>One thread at a time: no locked addition.</summary>
    public void Add(DropReason reason, long count = 1) => Volatile.Write(ref _counts[(int)reason], _counts[(int)reason] + count);

    /// <summary>The same, and of whose.</summary>
    public void Add(Peer peer, DropReason reason, long count = 1)
    {
        Add(reason, count);
        peer.NoteDropped(reason, count);
    }

    /// <summary>Any number of threads at a time.</summary>
    public void AddShared(DropReason reason, long count) => Interlocked.Add(ref _counts[(int)reason], count);

    /// <summary>Adds up what others counted.</summary>
    public static DropCounters Sum(IEnumerable<DropCounters> all)
    {
        var sum = new DropCounters();
        foreach (DropCounters counters in all)
        {
            foreach (DropReason reason in Enum.GetValues<DropReason>())
            {
                sum.Add(reason, counters[reason]);
            }
        }

        return sum;
    }

    /// <summary>What is not zero: <c>NoPeer 3, Replayed 12</c>; or <c>nothing</c>.</summary>
    public override string ToString()
    {
        IEnumerable<string> some = Enum.GetValues<DropReason>().Where(reason => this[reason] > 0).Select(reason => $"{reason} {this[reason]}");
        return string.Join(", ", some) is { Length: > 0 } text ? text : "nothing";
    }
}
