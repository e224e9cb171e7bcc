using System.Buffers.Binary;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Outbound;

/// <summary>
/// Keeps messages from going in circles. The kernel module sees a circle by the route's device (socket.c, ELOOP) and by the depth of its own
/// call stack; a daemon sees one encrypted message at a time, so it looks at the inner packet: its own message come back is known by its
/// receiver index, and a circle through several tunnels, whose daemons know nothing of each other, uses its hop limit up.
/// </summary>
internal static class RoutingLoop
{
    /// <summary>Hops that one more layer of WireGuard costs: from the usual 64 a message goes eight times around at most, and seven tunnels nest.</summary>
    public const int HopsPerLayer = 8;

    /// <param name="content">The inner packet that <paramref name="packet"/> was parsed from.</param>
    /// <param name="peer">Where it would be sent, at <paramref name="endpoint"/>.</param>
    public static bool IsOwnMessage(ReadOnlySpan<byte> content, in IpPacket packet, Peer peer, Endpoint endpoint)
    {
        if (new InetAddress(packet.Destination) != endpoint.Remote.Address || !TryFindMessage(content, in packet, out ReadOnlySpan<byte> datagram))
        {
            return false;
        }

        return BinaryPrimitives.ReadUInt16BigEndian(datagram[Udp.DestinationPortOffset..]) == endpoint.Remote.Port
            && TransportData.TryParse(datagram[Udp.HeaderSize..], out TransportData message)
            && IsSentTo(peer.Keypairs, message.ReceiverIndex);
    }

    /// <summary>The hop limit (IPv4: time to live) of the outer packet.</summary>
    /// <param name="content">The inner packet that <paramref name="packet"/> was parsed from.</param>
    /// <param name="hopLimit">0: the sockets' own. A WireGuard message within hands its own on, less <see cref="HopsPerLayer"/>.</param>
    /// <returns>False when the inner message has used its hops up: it goes in circles.</returns>
    public static bool TryHopLimit(ReadOnlySpan<byte> content, in IpPacket packet, out byte hopLimit)
    {
        hopLimit = 0;
        if (!TryFindMessage(content, in packet, out _))
        {
            return true;
        }

        int left = (packet.IsIPv4 ? content[8] : content[7]) - HopsPerLayer;
        hopLimit = (byte)Math.Max(left, 0);
        return left > 0;
    }

    /// <summary>Whether this is UDP (whole, or a first fragment) with what looks like a WireGuard message: one of its four types, and long enough for one.</summary>
    private static bool TryFindMessage(ReadOnlySpan<byte> content, in IpPacket packet, out ReadOnlySpan<byte> datagram)
    {
        datagram = default;
        if (!packet.TryFindPayload(out IpPayload payload)
            || payload.Protocol != Udp.Protocol
            || payload.IsLaterFragment
            || content.Length < payload.Offset + Udp.HeaderSize + MessageSize.TransportOverhead)
        {
            return false;
        }

        datagram = content[payload.Offset..];
        return BinaryPrimitives.ReadUInt32LittleEndian(datagram[Udp.HeaderSize..])
            is >= (uint)MessageType.HandshakeInitiation and <= (uint)MessageType.TransportData;
    }

    private static bool IsSentTo(Keypairs keypairs, uint receiverIndex) =>
        keypairs.Current?.RemoteIndex == receiverIndex
        || keypairs.Previous?.RemoteIndex == receiverIndex
        || keypairs.Next?.RemoteIndex == receiverIndex;
}
