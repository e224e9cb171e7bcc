namespace WgSharp.Protocol;

/// <summary>Sliding window over 64-bit counters (RFC 6479), 8192 bits of which 8128 are usable. One lock per run, held by the caller.</summary>
public sealed class ReplayWindow
{
    /// <summary>Taken by the caller around the <see cref="TryAccept"/> calls of a run.</summary>
    public Lock Lock { get; } = new();

    /// <returns>False for a counter seen before, too old, or at or beyond REJECT_AFTER_MESSAGES.</returns>
    public bool TryAccept(ulong counter) => throw new NotSupportedException();
}
