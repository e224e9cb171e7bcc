using System.Buffers.Binary;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>
/// Recognises our own message that comes back as an inner packet: a peer's endpoint that is routed into the very tunnel would be wrapped, sent
/// and read again for ever. The kernel module sees it by the route's device (socket.c, ELOOP); here the message is known by its receiver index.
/// </summary>
internal static class RoutingLoop
{
    private const byte Udp = 17;
    private const int UdpHeaderSize = 8;

    /// <param name="content">The inner packet that <paramref name="packet"/> was parsed from.</param>
    /// <param name="peer">Where it would be sent, at <paramref name="endpoint"/>.</param>
    public static bool IsOwnMessage(ReadOnlySpan<byte> content, in IpPacket packet, Peer peer, Endpoint endpoint)
    {
        if (new InetAddress(packet.Destination) != endpoint.Remote.Address)
        {
            return false;
        }

        int header = packet.IsIPv4 ? (content[0] & 15) * 4 : IpPacket.IPv6HeaderSize;
        byte protocol = packet.IsIPv4 ? content[9] : content[6];
        bool laterFragment = packet.IsIPv4 && (BinaryPrimitives.ReadUInt16BigEndian(content[6..]) & 0x1fff) != 0;
        if (protocol != Udp || laterFragment || content.Length < header + UdpHeaderSize + MessageSize.TransportHeader)
        {
            return false;
        }

        ReadOnlySpan<byte> datagram = content[header..];
        ReadOnlySpan<byte> message = datagram[UdpHeaderSize..];
        return BinaryPrimitives.ReadUInt16BigEndian(datagram[2..]) == endpoint.Remote.Port
            && BinaryPrimitives.ReadUInt32LittleEndian(message) == (uint)MessageType.TransportData
            && IsSentTo(peer.Keypairs, BinaryPrimitives.ReadUInt32LittleEndian(message[4..]));
    }

    private static bool IsSentTo(Keypairs keypairs, uint receiverIndex) =>
        keypairs.Current?.RemoteIndex == receiverIndex
        || keypairs.Previous?.RemoteIndex == receiverIndex
        || keypairs.Next?.RemoteIndex == receiverIndex;
}
