namespace WgSharp.Protocol;

/// <summary>
/// Peers for which the control loop has something to do. Any thread adds, without a lock and without allocation: the links and the flags lie in the
/// peers, so a peer stands here at most once, as a work item in the kernel's work queues. The control loop takes them out in the order in which they came.
/// </summary>
internal sealed class PeerWorkQueue
{
    /// <summary>Any thread, by Interlocked: the newest of a chain. Pushed one by one and taken whole, so that no link is ever compared after it changed.</summary>
    private Peer? _newest;

    /// <summary>Control loop only: what was taken, oldest first.</summary>
    private Peer? _oldestTaken;

    /// <returns>True if nobody was waiting yet: the control loop must be woken.</returns>
    public bool Add(Peer peer, PeerWork work)
    {
        if (work == PeerWork.None || !peer.AddWork(work))
        {
            return false;
        }

        Peer? newest = Volatile.Read(ref _newest);
        while (true)
        {
            peer.NextWithWork = newest;
            Peer? seen = Interlocked.CompareExchange(ref _newest, peer, newest);
            if (ReferenceEquals(seen, newest))
            {
                return newest is null;
            }

            newest = seen;
        }
    }

    /// <summary>Control loop: takes the oldest peer out, with all that was added for it until now.</summary>
    public bool TryTake(out Peer peer, out PeerWork work)
    {
        if (_oldestTaken is null)
        {
            Peer? newest = Interlocked.Exchange(ref _newest, null);
            while (newest is not null)
            {
                Peer? older = newest.NextWithWork;
                newest.NextWithWork = _oldestTaken;
                _oldestTaken = newest;
                newest = older;
            }
        }

        if (_oldestTaken is null)
        {
            peer = null!;
            work = PeerWork.None;
            return false;
        }

        peer = _oldestTaken;
        _oldestTaken = peer.NextWithWork;
        peer.NextWithWork = null;

        // Last: from here on the peer may be pushed again.
        work = peer.TakeWork();
        return true;
    }
}
