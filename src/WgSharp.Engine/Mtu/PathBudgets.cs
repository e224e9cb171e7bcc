using WgSharp.Protocol;

namespace WgSharp.Engine.Mtu;

/// <summary>How long an inner packet may be so that its message reaches an endpoint whole. Any thread.</summary>
internal sealed class PathBudgets(IUdpSocket udp)
{
    /// <returns>Bytes, IP header included.</returns>
    public int MaxInner(Endpoint endpoint, Instant now) =>
        udp.PathMtu(endpoint, now) - (endpoint.Remote.Address.IsIPv6 ? IpPacket.IPv6HeaderSize : IpPacket.IPv4HeaderSize) - IpPacket.UdpHeaderSize
        - MessageSize.TransportOverhead;
}
