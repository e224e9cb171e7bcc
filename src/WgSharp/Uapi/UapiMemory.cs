using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp;

/// <summary>What peers cost in bytes, rounded up: while they are asked for, once they are configured, while they are shown.</summary>
internal static class MemoryPrice
{
    public const int RequestedPeer = 320;
    public const int RequestedAllowedIp = 80;
    public const int Peer = 1280;
    public const int AllowedIp = 112;

    /// <summary>A copy here, and what wg makes of it, which lives in the same container.</summary>
    public const int ShownPeer = 800;

    /// <summary>Three times the records of a peer with a preshared key: a log, as long again behind it, and the one that takes its place.</summary>
    public const int KeptPeer = 3 * 128;
    public const int KeptAllowedIp = 3 * 18;

    /// <summary>What a configuration takes beyond itself when it is applied. Peers that exist already are not known here: they cost the same again.</summary>
    public static long Of(DeviceConfiguration configuration)
    {
        long price = 0;
        foreach (PeerConfiguration peer in configuration.Peers)
        {
            if (!peer.Remove)
            {
                price += (peer.UpdateOnly ? 0 : Peer) + ((long)peer.AllowedIps.Count * AllowedIp);
            }
        }

        return price;
    }

    /// <summary>What a successor would find of it (<see cref="Survival"/>): memory that belongs to nobody's heap, and to this process's control group.</summary>
    public static long Kept(DeviceConfiguration configuration) =>
        configuration.Peers.Sum(static peer => KeptPeer + ((long)peer.AllowedIps.Count * KeptAllowedIp));
}

/// <summary>How much memory this process may still take: until the heap's limit, or that of its control groups, beyond which the kernel kills it.</summary>
internal sealed class MemoryRoom(ControlGroups groups)
{
    // What traffic, garbage and the pages of the kernel may need meanwhile.
    private const long LeastReserve = 1 << 20;
    private const long MostReserve = 8 << 20;

    /// <summary>Whether something of this price fits, with a reserve.</summary>
    public bool Has(long price)
    {
        long wanted = price + Math.Min(price, MostReserve) + LeastReserve;
        if (Now() >= wanted)
        {
            return true;
        }

        // What is garbage is given back before anybody is refused.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        return Now() >= wanted;
    }

    private long Now()
    {
        long heap = (GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 8 * 7) - GC.GetTotalMemory(forceFullCollection: false);
        return Math.Min(heap, groups.MemoryRoom());
    }
}

/// <summary>
/// Memory for requests under way, over all connections: what somebody sends cannot grow without bound, and what could not be applied
/// in the end is refused before it is there. One thread.
/// </summary>
/// <param name="bytes">For what was parsed and waits for its blank line.</param>
/// <param name="hasRoom">Whether the machine has room for so many bytes more.</param>
internal sealed class UapiMemory(long bytes, Func<long, bool> hasRoom)
{
    // How much is taken between two looks at the machine.
    private const long Step = 1 << 20;

    private long _left = bytes;
    private long _ahead;
    private long _unseen;

    public bool TryTake(int peers, int allowedIps)
    {
        long price = Requested(peers, allowedIps);
        if (price > _left)
        {
            return false;
        }

        _left -= price;
        _ahead += Configured(peers, allowedIps);
        _unseen += price;
        if (_unseen < Step)
        {
            return true;
        }

        _unseen = 0;
        if (hasRoom(_ahead))
        {
            return true;
        }

        Return(peers, allowedIps);
        return false;
    }

    public void Return(int peers, int allowedIps)
    {
        _left += Requested(peers, allowedIps);
        _ahead -= Configured(peers, allowedIps);
    }

    private static long Requested(int peers, int allowedIps) =>
        ((long)peers * MemoryPrice.RequestedPeer) + ((long)allowedIps * MemoryPrice.RequestedAllowedIp);

    private static long Configured(int peers, int allowedIps) =>
        ((long)peers * MemoryPrice.Peer) + ((long)allowedIps * MemoryPrice.AllowedIp);
}
