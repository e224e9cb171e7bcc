using System.Runtime.CompilerServices;
using WgSharp.Protocol;

namespace WgSharp.Linux;

// What a socket has sent is charged to it until the link has taken it. One peer behind a slow uplink therefore fills the buffer of a socket that
// all peers share, and nothing leaves for anybody. So a peer that finds the common socket full gets a socket of its own: the slow one fills only
// that, and whoever was hindered by it goes on at once. Nobody ever sleeps for buffer space: what a peer's own socket does not take is lost, as on
// any full link.
//
// The sockets of the lanes have the same port. They form a SO_REUSEPORT group whose program (SO_ATTACH_REUSEPORT_CBPF) hands whatever arrives to
// its first member, the common socket; so lanes only send, nobody watches them, and a peer that roams is received as ever. The group is formed
// once by a guard that goes at once, so that no lane is ever bound without the program. The common socket is bound without SO_REUSEPORT, so that a
// taken port is an error, and has the option only while another member is bound.

/// <summary>A socket of its own, per family, that one peer sends through while the common one is full.</summary>
internal sealed class SendLane(SendLanes owner)
{
    /// <summary>Messages or runs taken in a row, after which the common socket is tried again.</summary>
    private const int Calm = 4096;

    private FileDescriptor? _v4;
    private FileDescriptor? _v6;

    /// <summary>Any sending thread; a lost count does no harm.</summary>
    private int _takenInARow;

    internal SendLanes Owner { get; } = owner;

    /// <summary>Whose it is; null while it is spare, or shared by handshake messages. Guarded by the owner.</summary>
    internal Peer? Peer { get; set; }

    /// <summary>When something was sent through it last. Any sending thread.</summary>
    internal Instant LastUse { get; set; }

    internal FileDescriptor? Of(bool ipv6) => Volatile.Read(ref (ipv6 ? ref _v6 : ref _v4));

    internal void SetSocket(bool ipv6, FileDescriptor socket) => Volatile.Write(ref (ipv6 ? ref _v6 : ref _v4), socket);

    /// <summary>What became of a vector that was sent through it.</summary>
    internal void Note(int taken, bool full, Instant now)
    {
        LastUse = now;
        _takenInARow = full ? 0 : _takenInARow + taken;
        if (_takenInARow > Calm)
        {
            _takenInARow = 0;
            Owner.GiveBack(this);
        }
    }

    internal void Close()
    {
        _v4?.Dispose();
        _v6?.Dispose();
    }
}

/// <summary>The lanes of one pair of sockets: made when they are needed, given back when they are calm, closed with the pair. Any thread.</summary>
internal sealed class SendLanes : IDisposable
{
    /// <summary>More peers than that behind links that are full at once share what the common socket takes.</summary>
    internal const int MaxLanes = 64;

    private static readonly TimeSpan Idle = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan PauseAfterRefusal = TimeSpan.FromSeconds(1);

    private readonly Lock _gate = new();
    private readonly KernelFeatures _features;
    private readonly FileDescriptor? _v4;
    private readonly FileDescriptor? _v6;
    private readonly ushort _port;
    private readonly List<SendLane> _taken = [];
    private readonly Stack<SendLane> _spare = new();

    /// <summary>The sockets of lanes, in the order they were made; <see cref="Errors"/> names them by their place. None goes before all do.</summary>
    private readonly List<(FileDescriptor Socket, bool IPv6)> _sockets = [];
    private SendLane? _handshakes;
    private uint _mark;
    private Instant _refusedUntil;
    private Listening _listens;
    private bool _isClosed;

    /// <summary>Forms the groups; where the kernel does not, there are no lanes.</summary>
    internal SendLanes(FileDescriptor? v4, FileDescriptor? v6, ushort port, uint mark, Listening listens, KernelFeatures features)
    {
        _features = features;
        _listens = listens;
        _port = port;
        _mark = mark;
        if (features.Has(KernelFeature.Lanes))
        {
            _v4 = v4 is not null && UdpSetup.TryFormGroup(v4, ipv6: false, port, features) ? v4 : null;
            _v6 = v6 is not null && UdpSetup.TryFormGroup(v6, ipv6: true, port, features) ? v6 : null;
            Errors = features.Has(KernelFeature.RecvErr) ? Epoll.TryCreate() : null;
        }
    }

    /// <summary>An epoll instance that is readable while the error queue of a lane is not empty; null where there are none. Lanes come and go on sending
    /// threads, so waiters watch this one.</summary>
    internal Epoll? Errors { get; }

    /// <summary>How many peers have one.</summary>
    internal int TakenCount
    {
        get
        {
            lock (_gate)
            {
                return _taken.Count;
            }
        }
    }

    /// <summary>The lane that a peer has, with a socket of this family, or null: the common socket.</summary>
    internal SendLane? LaneOf(Peer? peer, bool ipv6) =>
        peer?.SendShare is SendLane lane && ReferenceEquals(lane.Owner, this) && lane.Of(ipv6) is not null ? lane : null;

    /// <summary>The common socket was full for this peer.</summary>
    /// <returns>Null where no more are to be had.</returns>
    internal SendLane? Take(Peer peer, bool ipv6, Instant now)
    {
        lock (_gate)
        {
            if (_isClosed)
            {
                return null;
            }

            if (peer.SendShare is SendLane own && ReferenceEquals(own.Owner, this))
            {
                return TryOpenSocket(own, ipv6, now) ? own : null;
            }

            SendLane? lane = _spare.Count > 0 ? _spare.Pop() : _taken.Count < MaxLanes ? new SendLane(this) : Reclaim(now);
            if (lane is null || !TryOpenSocket(lane, ipv6, now))
            {
                if (lane is not null)
                {
                    _spare.Push(lane);
                }

                return null;
            }

            lane.Peer = peer;
            lane.LastUse = now;
            _taken.Add(lane);
            peer.SendShare = lane;
            return lane;
        }
    }

    /// <summary>One for all handshake messages: they are few, and must not wait for anybody's data.</summary>
    internal SendLane? ForHandshakes(bool ipv6, Instant now)
    {
        lock (_gate)
        {
            _handshakes ??= new SendLane(this);
            return !_isClosed && TryOpenSocket(_handshakes, ipv6, now) ? _handshakes : null;
        }
    }

    /// <summary>
    /// One datagram that leaves in one piece. IP_MTU_DISCOVER belongs to the socket and is no control message, and on a socket that other threads send through it must
    /// not change; so there is one for this datagram. It is gone when the answers come, and the others of the group get them: an IP_PMTUDISC_PROBE socket that
    /// stayed would let strangers teach the kernel a path MTU.
    /// </summary>
    /// <returns>Null where there is none.</returns>
    internal FileDescriptor? OpenWhole(bool ipv6)
    {
        lock (_gate)
        {
            FileDescriptor? common = ipv6 ? _v6 : _v4;
            FileDescriptor? socket = _isClosed || common is null ? null : UdpSetup.OpenMember(common, ipv6, _port, _mark, _listens, _features);
            if (socket is not null && !UdpSetup.TrySendWholeOnly(socket, ipv6, _listens))
            {
                socket.Dispose();
                return null;
            }

            return socket;
        }
    }

    /// <summary>Takes a turn at the error queue of every lane that has something in it.</summary>
    /// <returns>How many errors there were, of whatever kind.</returns>
    [SkipLocalsInit]
    internal int DrainErrors(PathReports reports)
    {
        Span<EpollEvent> events = stackalloc EpollEvent[8];
        int count = Errors?.Wait(events, milliseconds: 0) ?? 0;
        int errors = 0;
        for (int i = 0; i < count; i++)
        {
            FileDescriptor socket;
            bool ipv6;
            lock (_gate)
            {
                (socket, ipv6) = _sockets[(int)events[i].Key];
            }

            int drained = ErrorQueue.Drain(socket, ipv6, reports, _features.Has(KernelFeature.Mmsg));
            errors += drained;
            if (drained == 0)
            {
                // An error whose report found no room in the queue: it is told once, then forgotten.
                UdpSetup.ForgetError(socket);
            }
        }

        return errors;
    }

    internal void Listen(Listening listens)
    {
        lock (_gate)
        {
            _listens = listens;
            foreach ((FileDescriptor socket, bool ipv6) in _sockets)
            {
                UdpSetup.Listen(socket, ipv6, listens, _features);
            }
        }
    }

    /// <summary>As <see cref="SocketPair.SetDeaf"/>. A lane that is made meanwhile hears.</summary>
    internal void SetHearing(bool on)
    {
        lock (_gate)
        {
            foreach ((FileDescriptor socket, bool ipv6) in _sockets)
            {
                if (!ipv6 || _listens != Listening.Raw6)
                {
                    UdpSetup.SetHearing(socket, ipv6, on);
                }
            }
        }
    }

    internal void GiveBack(SendLane lane)
    {
        lock (_gate)
        {
            if (_taken.Remove(lane))
            {
                Free(lane);
                _spare.Push(lane);
            }
        }
    }

    /// <exception cref="IOException">CAP_NET_ADMIN is missing.</exception>
    internal void SetMark(uint mark)
    {
        lock (_gate)
        {
            _mark = mark;
            foreach (SendLane lane in All())
            {
                UdpSetup.SetMark(lane.Of(ipv6: false), lane.Of(ipv6: true), mark);
            }
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _isClosed = true;
            foreach (SendLane lane in All())
            {
                Free(lane);
                lane.Close();
            }

            _taken.Clear();
            _spare.Clear();
            _handshakes = null;
            Errors?.Dispose();
        }
    }

    private List<SendLane> All() => _handshakes is null ? [.. _taken, .. _spare] : [.. _taken, .. _spare, _handshakes];

    private static void Free(SendLane lane)
    {
        if (lane.Peer is { } peer && ReferenceEquals(peer.SendShare, lane))
        {
            peer.SendShare = null;
        }

        lane.Peer = null;
    }

    /// <summary>The lane of a peer that has nothing to send any more.</summary>
    private SendLane? Reclaim(Instant now)
    {
        SendLane? idle = _taken.Find(lane => lane.LastUse.IsOlderThan(Idle, now));
        if (idle is not null)
        {
            _taken.Remove(idle);
            Free(idle);
        }

        return idle;
    }

    private bool TryOpenSocket(SendLane lane, bool ipv6, Instant now)
    {
        if (lane.Of(ipv6) is not null)
        {
            return true;
        }

        FileDescriptor? common = ipv6 ? _v6 : _v4;
        if (common is null || now < _refusedUntil)
        {
            return false;
        }

        FileDescriptor? socket = UdpSetup.OpenMember(common, ipv6, _port, _mark, _listens, _features);
        if (socket is null)
        {
            // Out of descriptors or memory: not to be asked for again with every packet.
            _refusedUntil = now + PauseAfterRefusal;
            return false;
        }

        // Errors only; they are reported without being asked for.
        Errors?.Add(socket, (ulong)_sockets.Count, events: 0);
        _sockets.Add((socket, ipv6));
        lane.SetSocket(ipv6, socket);
        return true;
    }
}
