using System.Buffers.Binary;

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

    internal static Instant Min(Instant left, Instant right) => left < right ? left : right;

    /// <summary>The kernel's wg_birthdate_has_expired: at least <paramref name="age"/> has passed since this moment.</summary>
    internal bool IsOlderThan(TimeSpan age, Instant now) => this + age <= now;
}

/// <summary>Wall-clock time in nanoseconds since 1970 (CLOCK_REALTIME). 0 is "never".</summary>
public readonly record struct UnixTime(long Nanoseconds);

/// <summary>One reading of both clocks, taken once per batch or event and passed down.</summary>
public readonly record struct Moment(Instant Now, UnixTime Wall);

/// <summary>
/// The timestamp of a handshake initiation: TAI64N (https://cr.yp.to/libtai/tai64.html), 12 bytes, big-endian, compared as a number.
/// A peer accepts only growing ones, which is what makes a replayed initiation worthless (whitepaper, section 5.1).
/// </summary>
internal readonly record struct Tai64n(ulong Seconds, uint Nanoseconds) : IComparable<Tai64n>
{
    public const int Size = 12;

    /// <summary>2^62, the TAI64 label of 1970, and the ten leap seconds TAI was ahead then (the kernel adds no others).</summary>
    private const ulong Epoch = 0x400000000000000a;

    private const long NanosecondsPerSecond = 1_000_000_000;

    /// <summary>
    /// The largest power of two below 1 s / INITIATIONS_PER_SECOND: finer detail would tell the world about our clock and our load and
    /// serve nobody, since initiations that close together are refused anyway.
    /// </summary>
    private const uint Granularity = 1 << 24;

    public static Tai64n From(UnixTime time)
    {
        (long seconds, long nanoseconds) = Math.DivRem(time.Nanoseconds, NanosecondsPerSecond);
        return new Tai64n(Epoch + (ulong)seconds, (uint)nanoseconds & ~(Granularity - 1));
    }

    public static Tai64n Read(ReadOnlySpan<byte> source) =>
        new(BinaryPrimitives.ReadUInt64BigEndian(source), BinaryPrimitives.ReadUInt32BigEndian(source[sizeof(ulong)..]));

    public void WriteTo(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt64BigEndian(destination, Seconds);
        BinaryPrimitives.WriteUInt32BigEndian(destination[sizeof(ulong)..], Nanoseconds);
    }

    /// <summary>The next timestamp that is distinguishable from this one.</summary>
    public Tai64n Next() => Nanoseconds + Granularity < NanosecondsPerSecond
        ? this with { Nanoseconds = Nanoseconds + Granularity }
        : new Tai64n(Seconds + 1, 0);

    public int CompareTo(Tai64n other) => Seconds != other.Seconds ? Seconds.CompareTo(other.Seconds) : Nanoseconds.CompareTo(other.Nanoseconds);

    public static bool operator <(Tai64n left, Tai64n right) => left.CompareTo(right) < 0;

    public static bool operator >(Tai64n left, Tai64n right) => left.CompareTo(right) > 0;

    public static bool operator <=(Tai64n left, Tai64n right) => left.CompareTo(right) <= 0;

    public static bool operator >=(Tai64n left, Tai64n right) => left.CompareTo(right) >= 0;
}
