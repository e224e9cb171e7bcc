using WgSharp.Crypto;

namespace WgSharp.Protocol;

/// <summary>One session's two transport keys, their counters and their age. Used by any thread, under a lease.</summary>
public sealed class Keypair
{
    public Peer Peer => throw new NotSupportedException();

    /// <summary>The index by which the peer addresses us.</summary>
    public uint LocalIndex => throw new NotSupportedException();

    /// <summary>The index by which we address the peer: goes into every transport message.</summary>
    public uint RemoteIndex => throw new NotSupportedException();

    public bool IsInitiator => throw new NotSupportedException();

    /// <summary>Valid only between <see cref="TryLease"/> and <see cref="Release"/>.</summary>
    public AeadKey SendKey => throw new NotSupportedException();

    /// <summary>Valid only between <see cref="TryLease"/> and <see cref="Release"/>.</summary>
    public AeadKey ReceiveKey => throw new NotSupportedException();

    public ReplayWindow ReplayWindow => throw new NotSupportedException();

    /// <summary>Keeps the keys from being wiped while a run is sealed or opened with them. Once per run.</summary>
    /// <returns>False if they are wiped already.</returns>
    public bool TryLease() => throw new NotSupportedException();

    /// <summary>Gives the lease back; the last one out of a retired keypair wipes it.</summary>
    public void Release() => throw new NotSupportedException();

    /// <summary>Takes <paramref name="count"/> consecutive counters for a run.</summary>
    /// <returns>False if the keypair may not send any more (REJECT_AFTER_TIME, REJECT_AFTER_MESSAGES).</returns>
    public bool TryReserve(int count, Instant now, out ulong firstCounter) => throw new NotSupportedException();

    /// <summary>False once REJECT_AFTER_TIME or REJECT_AFTER_MESSAGES is reached: what arrives is dropped unopened.</summary>
    public bool MayReceive(Instant now) => throw new NotSupportedException();
}

/// <summary>A peer's previous, current and next keypair: an immutable triple, replaced as a whole by the control loop.</summary>
public sealed record Keypairs(Keypair? Previous, Keypair? Current, Keypair? Next)
{
    public static readonly Keypairs None = new(null, null, null);
}
