namespace WgSharp.Linux;

/// <summary>
/// A descriptor that becomes readable when the machine comes back from suspend, for a thread that would otherwise sleep on with the keys of before. It is a
/// timerfd that nobody waits for the end of: the kernel cancels those that ask for it whenever CLOCK_REALTIME jumps, which it does over a suspend as well as
/// when somebody sets it. Why it became readable, the clocks tell.
/// </summary>
internal static unsafe class ResumeSignal
{
    /// <returns>Null where the kernel has no timerfd, or none that can be cancelled (before 3.0): a suspend is then noticed with whatever wakes the thread next.</returns>
    internal static FileDescriptor? Create(KernelFeatures features)
    {
        FileDescriptor? signal = features.Wants(KernelFeature.TimerFd)
            ? FileDescriptor.From(Libc.timerfd_create(Libc.CLOCK_REALTIME, Libc.O_CLOEXEC | Libc.O_NONBLOCK))
            : null;
        if (signal is not null && !TryArm(signal))
        {
            signal.Dispose();
            signal = null;
        }

        return signal;
    }

    /// <summary>Takes the news (ECANCELED), so that the next jump is news again.</summary>
    internal static void Take(FileDescriptor signal)
    {
        ulong expirations;
        Libc.read(signal, &expirations, sizeof(ulong));
        TryArm(signal);
    }

    private static bool TryArm(FileDescriptor signal)
    {
        // The end of time.
        itimerspec setting = default;
        setting.it_value.tv_sec = long.MaxValue;
        return Libc.timerfd_settime(signal, Libc.TFD_TIMER_ABSTIME | Libc.TFD_TIMER_CANCEL_ON_SET, &setting, null) == 0;
    }
}
