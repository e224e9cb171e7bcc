using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

/// <summary>How large messages to a peer may be, as the data path asks it: once per batch and peer. Any thread.</summary>
internal sealed class PathBudgets(IUdpSocket udp, TunnelLink link)
{
    /// <summary>Where nothing but the route is known: one object for all who have the same route MTU in a row.</summary>
    private volatile PathBudget _ofRoute = new(PacketBatch.MaxPacket, MtuOrigin.Route);

    /// <summary>Asks the control loop to follow the path, where it does not yet, or the route is another one.</summary>
    public PathBudget Of(Peer peer, Endpoint endpoint, Instant now)
    {
        int route = OfWhole(endpoint, now);
        if (link.MtuPolicy == MtuPolicy.Kernel)
        {
            return OfRoute(route);
        }

        PeerPath? path = peer.Path;
        bool isKnown = path is not null && path.Remote == endpoint.Remote;
        if (!isKnown || path!.RouteMtu != route)
        {
            link.QueueWork(peer, PeerWork.Path);
        }

        return isKnown ? path!.Budget : OfRoute(route);
    }

    /// <summary>The route's MTU, but no more than the interface's longest packet needs: nothing beyond that ever leaves, so it need not be known.</summary>
    /// <returns>Bytes of an outer packet.</returns>
    public int OfWhole(Endpoint endpoint, Instant now)
    {
        int route = udp.PathMtu(endpoint, now);
        return link.MtuPolicy == MtuPolicy.Kernel ? route : Math.Min(route, PathBudget.OuterSize(link.Mtu, endpoint.Remote.Address.IsIPv6));
    }

    private PathBudget OfRoute(int mtu)
    {
        PathBudget known = _ofRoute;
        return known.OuterMtu == mtu ? known : _ofRoute = new PathBudget(mtu, MtuOrigin.Route);
    }
}
