using System.Runtime.InteropServices;

namespace WgSharp.Protocol;

/// <summary>A probe to be sent: an echo request padded to this size.</summary>
/// <param name="Id">For <see cref="PathMtu.NoteAnswered"/>.</param>
/// <param name="OuterSize">Bytes of the outer IP packet.</param>
/// <param name="DontFragment">DF set; else plain: may be fragmented, here and on the way.</param>
internal readonly record struct PathProbe(uint Id, int OuterSize, bool DontFragment);

/// <summary>One size under way (RFC 8899's PROBED_SIZE with its PROBE_COUNT and PROBE_TIMER): at any time at most one probe of it is unanswered and not timed out.</summary>
internal struct ProbedSize(int size, Instant due)
{
    /// <summary>RFC 8899's PROBE_TIMER. Later answers count too.</summary>
    public static readonly TimeSpan Timeout = TimeSpan.FromSeconds(1);

    public readonly int Size = size;

    /// <summary>How often it was sent.</summary>
    public int Count { get; private set; }

    /// <summary>When it is to be sent again, or given up.</summary>
    public Instant Due { get; private set; } = due;

    /// <summary>Nothing is under way.</summary>
    public readonly bool IsIdle => Size == 0;

    /// <returns>False if it was sent as often as that already.</returns>
    public bool TryCount(int max, Instant now)
    {
        if (Count == max)
        {
            return false;
        }

        Count++;
        Due = now + Timeout;
        return true;
    }
}

/// <summary>The last few probes that were sent, until they are answered.</summary>
internal struct SentProbes
{
    private const int Capacity = 16;

    private uint _lastId;
    private Sent[]? _sent;

    public PathProbe Add(int size, bool dontFragment, Instant now)
    {
        _sent ??= new Sent[Capacity];
        _sent[++_lastId % Capacity] = new Sent(now, _lastId, (ushort)size, dontFragment);
        return new PathProbe(_lastId, size, dontFragment);
    }

    /// <summary>Each is found once.</summary>
    /// <param name="sentAt">When it was sent.</param>
    public readonly bool TryTake(uint id, out PathProbe probe, out Instant sentAt)
    {
        Sent sent = _sent is null || id == 0 ? default : _sent[id % Capacity];
        probe = new PathProbe(sent.Id, sent.Size, sent.DontFragment);
        sentAt = sent.At;
        if (id == 0 || sent.Id != id)
        {
            return false;
        }

        _sent![id % Capacity] = default;
        return true;
    }

    [StructLayout(LayoutKind.Auto)]
    private readonly record struct Sent(Instant At, uint Id, ushort Size, bool DontFragment);
}
