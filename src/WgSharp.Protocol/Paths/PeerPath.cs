namespace WgSharp.Protocol;

/// <summary>
/// The path to a peer at one endpoint: made when data is first sent there, gone when the peer is somewhere else. The control loop writes; the
/// data path reads the budget and leaves what it sees.
/// </summary>
internal sealed class PeerPath
{
    private volatile int _routeMtu;
    private int _fragment;

    /// <param name="former">Where the peer was before: answers may still come from there.</param>
    internal PeerPath(in InetEndpoint remote, int routeMtu, MtuPolicy policy, PeerPath? former)
    {
        Probes = former?.Probes ?? new PendingProbes();
        Probes.Disregard();
        Remote = remote;
        _routeMtu = routeMtu;
        Mtu = new PathMtu(policy, remote.Address.IsIPv6, routeMtu);
    }

    /// <summary>Whom it leads to.</summary>
    public InetEndpoint Remote { get; }

    /// <summary>Any thread: the MTU of the route, in bytes, that was noted last.</summary>
    public int RouteMtu => _routeMtu;

    /// <summary>Any thread.</summary>
    public PathBudget Budget => Mtu.Budget;

    public PendingProbes Probes { get; }

    /// <summary>Any thread: a message came in fragments, the largest of this size.</summary>
    /// <returns>True if that is news for the control loop.</returns>
    public bool NoteFragment(int size) => size + 8 <= Budget.InboundMtu && Interlocked.Exchange(ref _fragment, size) != size;

    // ---- control loop only ----

    public PathMtu Mtu { get; }

    /// <summary>The peer's own address in the tunnel, if an answer told it.</summary>
    public InetAddress Speaker { get; set; }

    /// <summary>What was last said of it in the log.</summary>
    public PathBudget? Told { get; set; }

    /// <returns>The fragment size that was noted since the last call, or 0.</returns>
    public int TakeFragment() => Interlocked.Exchange(ref _fragment, 0);

    internal void NoteRouteMtu(int mtu, Instant now)
    {
        _routeMtu = mtu;
        Mtu.NoteRouteMtu(mtu, now);
    }
}
