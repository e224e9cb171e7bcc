using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// The two clocks of the protocol: CLOCK_BOOTTIME, which counts suspend, so that a machine that slept rekeys when it wakes
/// (CLOCK_MONOTONIC where an old kernel answers EINVAL), and CLOCK_REALTIME for TAI64N and for what <c>wg show</c> prints.
/// </summary>
public static unsafe class SystemClock
{
    /// <summary>CLOCK_BOOTTIME or CLOCK_MONOTONIC: which clock <see cref="Now"/> reads.</summary>
    internal static readonly int ClockId = ChooseClock();

    public static Instant Now => new(Read(ClockId));

    /// <summary>One reading of both.</summary>
    public static Moment Read() => new(Now, new UnixTime(Read(Libc.CLOCK_REALTIME)));

    /// <summary>
    /// How long the machine has been suspended since it started: what CLOCK_BOOTTIME has counted and CLOCK_MONOTONIC has not. Between the readings time may
    /// pass, which makes it less and never more: one that is too small is corrected by the next, one that is too large would be a suspend that never was.
    /// </summary>
    public static TimeSpan Suspended()
    {
        long boot = Read(ClockId);
        long monotonic = Read(Libc.CLOCK_MONOTONIC);
        return TimeSpan.FromTicks(Math.Max(boot - monotonic, 0) / TimeSpan.NanosecondsPerTick);
    }

    private static int ChooseClock()
    {
        timespec time;
        return Libc.clock_gettime(Libc.CLOCK_BOOTTIME, &time) == 0 ? Libc.CLOCK_BOOTTIME : Libc.CLOCK_MONOTONIC;
    }

    private static long Read(int clock)
    {
        timespec time;
        if (Libc.clock_gettime(clock, &time) != 0)
        {
            throw new InvalidOperationException("clock_gettime failed: this machine has no clock.");
        }

        return time.Nanoseconds;
    }
}
