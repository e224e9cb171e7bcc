namespace WgSharp.Protocol;

/// <summary>
/// Packets of one peer that wait for a session: at most 128, and no more bytes over all peers than the device's budget; the oldest go first.
/// Small lock inside; any thread.
/// </summary>
public sealed class StagedPackets
{
    /// <summary>Read without the lock: a hint that is right as soon as the writer is done.</summary>
    public bool IsEmpty => throw new NotSupportedException();

    public int Count => throw new NotSupportedException();

    /// <summary>Appends a copy of an inner packet; drops the oldest ones where a bound is reached. No-op once the peer was removed.</summary>
    public void Add(ReadOnlySpan<byte> packet) => throw new NotSupportedException();

    /// <summary>Takes the oldest packet out.</summary>
    /// <param name="destination">At least 65,535 bytes, or as long as the longest packet that was added.</param>
    /// <param name="length">Bytes written; 0 if there was none.</param>
    public bool TryTake(Span<byte> destination, out int length) => throw new NotSupportedException();

    public void Clear() => throw new NotSupportedException();
}
