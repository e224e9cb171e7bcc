using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// One thread's way to sleep: an epoll instance over the TUN, the UDP sockets, an eventfd for <see cref="Wake"/> and a timerfd on
/// CLOCK_BOOTTIME for the deadline. Level-triggered: what was not read to the end is reported again. Only a TUN that is gone stays
/// ready for ever, and that is reported as such. The eventfd alone is edge-triggered: each write is told once and nobody reads it, so that no
/// read can take a wake away that came in the meantime.
/// </summary>
internal sealed unsafe class EpollWaiter : IWaiter
{
    // The keys of the UDP sockets are theirs (UdpWatch.FirstKey).
    private const ulong WakeKey = 1;
    private const ulong TimerKey = 2;
    private const ulong TunKey = 3;
    private const ulong ResumeKey = 4;
    private const int MaxEvents = 8;

    private readonly Epoll _epoll;
    private readonly FileDescriptor _wake;
    private readonly FileDescriptor? _timer;
    private readonly int _timerClock;
    private readonly FileDescriptor? _resume;
    private readonly UdpSocket? _udp;
    private Instant _armed = Instant.Never;

    /// <summary>1 from a wake until its wait returns: further wakes need no system call.</summary>
    private int _wakePending;

    /// <param name="tun">The TUN to watch, or null.</param>
    /// <param name="udp">The sockets to watch, whichever are open at a time, or null.</param>
    public EpollWaiter(TunDevice? tun, UdpSocket? udp, KernelFeatures features)
    {
        _epoll = new Epoll();
        _wake = FileDescriptor.Required(Libc.eventfd(0, Libc.O_CLOEXEC | Libc.O_NONBLOCK), "eventfd");
        _timer = CreateTimer(features, out _timerClock);
        _epoll.Add(_wake, WakeKey, Libc.EPOLLIN | Libc.EPOLLET);
        _epoll.Add(_timer, TimerKey);
        _epoll.Add(tun?.Descriptor, TunKey);

        // Who waits for packets is woken by them; the control loop sleeps for as long as it likes.
        _resume = tun is null && udp is null ? ResumeSignal.Create(features) : null;
        _epoll.Add(_resume, ResumeKey);
        _udp = udp;
        udp?.Watch(_epoll);
    }

    /// <inheritdoc/>
    [SkipLocalsInit]
    public Readiness Wait(Instant deadline)
    {
        Span<EpollEvent> events = stackalloc EpollEvent[MaxEvents];
        while (true)
        {
            Readiness ready = Collect(events[.._epoll.Wait(events, Arm(deadline))]);
            if (ready != Readiness.None)
            {
                return ready;
            }

            if (deadline != Instant.Never && SystemClock.Now >= deadline)
            {
                return Readiness.None;
            }
        }
    }

    /// <inheritdoc/>
    [SkipLocalsInit]
    public Readiness Poll()
    {
        Span<EpollEvent> events = stackalloc EpollEvent[MaxEvents];
        return Collect(events[.._epoll.Wait(events, milliseconds: 0)]);
    }

    /// <inheritdoc/>
    public void Wake()
    {
        if (Interlocked.Exchange(ref _wakePending, 1) != 0)
        {
            return;
        }

        ulong one = 1;
        try
        {
            Libc.write(_wake, &one, sizeof(ulong));
        }
        catch (ObjectDisposedException)
        {
            // The thread that slept here has ended: nobody is left to be woken.
        }
    }

    public void Dispose()
    {
        _udp?.Unwatch(_epoll);
        _epoll.Dispose();
        _wake.Dispose();
        _timer?.Dispose();
        _resume?.Dispose();
    }

    /// <summary>
    /// Sets the timer only if it would go off too late: one that goes off too early costs one turn of the loop, and usually the
    /// next deadline has been set by then.
    /// </summary>
    /// <returns>The timeout for epoll_wait: -1, or milliseconds where there is no timerfd.</returns>
    private int Arm(Instant deadline)
    {
        if (_timer is null)
        {
            return MillisecondsUntil(deadline);
        }

        if (deadline >= _armed)
        {
            return -1;
        }

        // 0 would disarm it. On a clock that is not the program's, the deadline becomes a distance.
        bool absolute = _timerClock == SystemClock.ClockId;
        long value = absolute ? deadline.Nanoseconds : deadline.Nanoseconds - SystemClock.Now.Nanoseconds;
        itimerspec setting = default;
        setting.it_value = timespec.Of(Math.Max(value, 1));
        if (Libc.timerfd_settime(_timer, absolute ? Libc.TFD_TIMER_ABSTIME : 0, &setting, null) < 0)
        {
            throw Errno.Exception("timerfd_settime", Marshal.GetLastPInvokeError());
        }

        _armed = deadline;
        return -1;
    }

    private static int MillisecondsUntil(Instant deadline)
    {
        if (deadline == Instant.Never)
        {
            return -1;
        }

        long left = deadline.Nanoseconds - SystemClock.Now.Nanoseconds;
        return left <= 0 ? 0 : (int)Math.Min(((left - 1) / 1_000_000) + 1, int.MaxValue);
    }

    private Readiness Collect(ReadOnlySpan<EpollEvent> events)
    {
        Readiness ready = Readiness.None;
        foreach (EpollEvent told in events)
        {
            switch (told.Key)
            {
                case WakeKey:
                    // A wake before this finds it pending, and what it is about was done before this returns; one after this writes again.
                    Interlocked.Exchange(ref _wakePending, 0);
                    ready |= Readiness.Woken;
                    break;
                case TimerKey:
                    Drain(_timer!);
                    _armed = Instant.Never;
                    break;
                case ResumeKey:
                    ResumeSignal.Take(_resume!);
                    ready |= Readiness.Woken;
                    break;
                case TunKey:
                    ready |= (told.Events & Libc.EPOLLIN) != 0 ? Readiness.Tun : Readiness.None;
                    ready |= (told.Events & (Libc.EPOLLERR | Libc.EPOLLHUP)) != 0 ? Readiness.TunGone : Readiness.None;
                    break;
                default:
                    ready |= _udp!.Note(told);
                    break;
            }
        }

        return ready;
    }

    /// <summary>Reads how often the timer went off, after which it is ready no more.</summary>
    private static void Drain(FileDescriptor timer)
    {
        ulong times;
        Libc.read(timer, &times, sizeof(ulong));
    }

    /// <summary>Finds out what the deadlines of all waiters will be kept by, so that it is told of once.</summary>
    internal static void Probe(KernelFeatures features)
    {
        Try(KernelFeature.TimerFd, Libc.CLOCK_MONOTONIC, "timerfd_create");
        if (features.Has(KernelFeature.TimerFd))
        {
            Try(KernelFeature.BootTimer, Libc.CLOCK_BOOTTIME, "timerfd_create of CLOCK_BOOTTIME");
        }

        void Try(KernelFeature feature, int clock, string call)
        {
            if (!features.Wants(feature))
            {
                return;
            }

            using FileDescriptor? timer = FileDescriptor.From(Libc.timerfd_create(clock, Libc.O_CLOEXEC));
            if (timer is null)
            {
                features.Refused(feature, call, Marshal.GetLastPInvokeError());
            }
            else
            {
                features.Found(feature);
            }
        }
    }

    private static FileDescriptor? CreateTimer(KernelFeatures features, out int clock)
    {
        const int flags = Libc.O_CLOEXEC | Libc.O_NONBLOCK;
        clock = SystemClock.ClockId;
        if (!features.Wants(KernelFeature.TimerFd))
        {
            return null;
        }

        FileDescriptor? timer = features.Wants(KernelFeature.BootTimer) ? FileDescriptor.From(Libc.timerfd_create(clock, flags)) : null;
        if (timer is null)
        {
            clock = Libc.CLOCK_MONOTONIC;
            timer = FileDescriptor.From(Libc.timerfd_create(clock, flags));
        }

        return timer;
    }
}
