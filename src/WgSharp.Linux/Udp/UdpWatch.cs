using WgSharp.Engine;

namespace WgSharp.Linux;

/// <summary>
/// Which of the open sockets may have something to receive. The waiters' epoll instances watch all of them; what those tell is kept here until a receive has
/// come to the end, so that nobody looks into an empty queue. Whoever opens and closes says what is to be watched, one thread at a time; the rest is for any thread.
/// </summary>
/// <param name="news">Watched too, from the first to the last.</param>
internal sealed class UdpWatch(RouteNews news)
{
    /// <summary>The keys under which an <see cref="Epoll"/> watches begin here; below are those of whoever has it.</summary>
    internal const ulong FirstKey = 16;

    internal const ulong V4Key = FirstKey;
    internal const ulong V6Key = FirstKey + 1;
    internal const ulong TooBigKey = FirstKey + 2;
    private const ulong LanesKey = FirstKey + 3;
    private const ulong RoutesKey = FirstKey + 4;

    /// <summary>A socket that anybody can fill wakes a thread only once until its reports are taken: <see cref="WatchTooBigAgain"/>.</summary>
    private const uint TooBigEvents = Libc.EPOLLIN | Libc.EPOLLONESHOT;

    private readonly List<Epoll> _epolls = [];

    private Latch _readable4;
    private Latch _readable6;

    /// <summary>An error queue is not empty; the next receive takes a turn at it.</summary>
    private Latch _errors4;
    private Latch _errors6;
    private Latch _laneErrors;
    private Latch _tooBig;
    private Latch _tooBigIsUnwatched;

    // ---- what is watched: one thread at a time ----

    /// <summary>From now on this epoll instance watches whatever sockets are open.</summary>
    internal void Join(Epoll epoll, SocketPair? open)
    {
        _epolls.Add(epoll);
        epoll.Add(news.Descriptor, RoutesKey);
        if (open is not null)
        {
            Add(epoll, open);
        }
    }

    /// <summary>It will be closed.</summary>
    internal void Leave(Epoll epoll, SocketPair? open)
    {
        _epolls.Remove(epoll);
        if (open is not null)
        {
            Remove(epoll, open);
        }
    }

    internal void Add(SocketPair opened)
    {
        foreach (Epoll epoll in _epolls)
        {
            Add(epoll, opened);
        }
    }

    internal void Remove(SocketPair closing)
    {
        foreach (Epoll epoll in _epolls)
        {
            Remove(epoll, closing);
        }
    }

    /// <summary>The reports of the "packet too big" socket were taken: it may wake a thread again.</summary>
    internal void WatchTooBigAgain(SocketPair? open)
    {
        _tooBigIsUnwatched.Reset();
        foreach (Epoll epoll in _epolls)
        {
            epoll.Modify(open?.Raw?.TooBig, TooBigKey, TooBigEvents);
        }
    }

    private static void Add(Epoll epoll, SocketPair pair)
    {
        epoll.Add(pair.V4, V4Key);
        epoll.Add(pair.V6, V6Key);
        epoll.Add(pair.Lanes.Errors?.Descriptor, LanesKey);
        epoll.Add(pair.Raw?.TooBig, TooBigKey, TooBigEvents);
    }

    private static void Remove(Epoll epoll, SocketPair pair)
    {
        epoll.Remove(pair.V4);
        epoll.Remove(pair.V6);
        epoll.Remove(pair.Lanes.Errors?.Descriptor);
        epoll.Remove(pair.Raw?.TooBig);
    }

    // ---- what was told: any thread ----

    /// <summary>One of those epoll instances told this.</summary>
    internal Readiness Note(in EpollEvent told)
    {
        switch (told.Key)
        {
            case RoutesKey:
                news.Read();
                return Readiness.None;
            case LanesKey:
                _laneErrors.Set();
                break;
            case TooBigKey:
                _tooBigIsUnwatched.Set();
                _tooBig.Set();
                break;
            case V4Key:
            case V6Key:
                bool ipv6 = told.Key == V6Key;
                Readable(ipv6).Set();
                if ((told.Events & Libc.EPOLLERR) != 0)
                {
                    Errors(ipv6).Set();
                }

                break;
        }

        return Readiness.Udp;
    }

    /// <summary>New sockets are open: nobody has looked yet.</summary>
    internal void ExpectBoth()
    {
        _readable4.Set();
        _readable6.Set();
    }

    internal bool ExpectsAny => _readable4.IsSet || _readable6.IsSet;

    internal bool ExpectsErrors => _errors4.IsSet || _errors6.IsSet || _laneErrors.IsSet || _tooBig.IsSet;

    /// <summary>The "packet too big" socket wakes nobody until <see cref="WatchTooBigAgain"/>.</summary>
    internal bool TooBigIsUnwatched => _tooBigIsUnwatched.IsSet;

    internal bool Expects(bool ipv6) => Readable(ipv6).IsSet;

    /// <summary>A receive came to the end of what there is.</summary>
    internal void NoteEnd(bool ipv6) => Readable(ipv6).Reset();

    /// <summary>Whether a common socket's error queue is to be looked at. As with those below, once: whatever is left then is told again.</summary>
    internal bool TakeErrors(bool ipv6) => Errors(ipv6).Take();

    internal bool TakeLaneErrors() => _laneErrors.Take();

    internal bool TakeTooBig() => _tooBig.Take();

    private ref Latch Readable(bool ipv6)
    {
        if (ipv6)
        {
            return ref _readable6;
        }

        return ref _readable4;
    }

    private ref Latch Errors(bool ipv6)
    {
        if (ipv6)
        {
            return ref _errors6;
        }

        return ref _errors4;
    }

    /// <summary>Set by any thread.</summary>
    private struct Latch
    {
        private volatile bool _isSet;

        internal readonly bool IsSet => _isSet;

        internal void Set() => _isSet = true;

        internal void Reset() => _isSet = false;

        internal bool Take()
        {
            bool wasSet = _isSet;
            if (wasSet)
            {
                _isSet = false;
            }

            return wasSet;
        }
    }
}
