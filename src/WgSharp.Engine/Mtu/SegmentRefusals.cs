using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

/// <summary>
/// Remembers for a while which endpoints' paths refused segmentation offload (EMSGSIZE where a segment exceeds the route's MTU, EIO where the
/// device cannot), and from which message size on. A small direct-mapped table: a collision costs one refused system call, never a packet.
/// </summary>
internal sealed class SegmentRefusals
{
    private static readonly TimeSpan Remembered = TimeSpan.FromSeconds(10);

    private readonly Lock _lock = new();
    private readonly Entry[] _entries = new Entry[64];
    private volatile bool _any;

    /// <param name="stride">Bytes per message.</param>
    public bool Refuses(in InetEndpoint endpoint, int stride, Instant now)
    {
        if (!_any)
        {
            return false;
        }

        lock (_lock)
        {
            ref Entry entry = ref _entries[Slot(endpoint)];
            return stride >= entry.Stride && now < entry.Until && entry.Endpoint == endpoint;
        }
    }

    /// <summary>The message size from which on it is refused now; 0: none is. For people.</summary>
    public int RefusedFrom(in InetEndpoint endpoint, Instant now)
    {
        if (!_any)
        {
            return 0;
        }

        lock (_lock)
        {
            ref Entry entry = ref _entries[Slot(endpoint)];
            return now < entry.Until && entry.Endpoint == endpoint ? entry.Stride : 0;
        }
    }

    /// <param name="stride">The refused message size in bytes; smaller ones are still tried.</param>
    public void Refuse(in InetEndpoint endpoint, int stride, Instant now)
    {
        lock (_lock)
        {
            ref Entry entry = ref _entries[Slot(endpoint)];
            bool known = entry.Endpoint == endpoint && now < entry.Until;
            entry = new Entry(endpoint, known ? Math.Min(stride, entry.Stride) : stride, now + Remembered);
            _any = true;
        }
    }

    private int Slot(in InetEndpoint endpoint) => (int)((uint)endpoint.GetHashCode() % (uint)_entries.Length);

    private readonly record struct Entry(InetEndpoint Endpoint, int Stride, Instant Until);
}
