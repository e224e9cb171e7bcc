namespace WgSharp.Protocol;

/// <summary>A monotonic moment in nanoseconds that counts suspend (CLOCK_BOOTTIME in the daemon, a variable in tests). 0 is "never happened".</summary>
public readonly record struct Instant(long Nanoseconds) : IComparable<Instant>
{
    /// <summary>Later than everything: a deadline that is not set.</summary>
    public static readonly Instant Never = new(long.MaxValue);

    public int CompareTo(Instant other) => Nanoseconds.CompareTo(other.Nanoseconds);

    public static Instant operator +(Instant instant, TimeSpan span) => new(instant.Nanoseconds + (span.Ticks * TimeSpan.NanosecondsPerTick));

    public static TimeSpan operator -(Instant later, Instant earlier) => new((later.Nanoseconds - earlier.Nanoseconds) / TimeSpan.NanosecondsPerTick);

    public static bool operator <(Instant left, Instant right) => left.Nanoseconds < right.Nanoseconds;

    public static bool operator >(Instant left, Instant right) => left.Nanoseconds > right.Nanoseconds;

    public static bool operator <=(Instant left, Instant right) => left.Nanoseconds <= right.Nanoseconds;

    public static bool operator >=(Instant left, Instant right) => left.Nanoseconds >= right.Nanoseconds;
}

/// <summary>Wall-clock time in nanoseconds since 1970 (CLOCK_REALTIME). 0 is "never".</summary>
public readonly record struct UnixTime(long Nanoseconds);

/// <summary>One reading of both clocks, taken once per batch or event and passed down.</summary>
public readonly record struct Moment(Instant Now, UnixTime Wall);
