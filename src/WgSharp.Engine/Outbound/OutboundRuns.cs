using WgSharp.Engine.Mtu;
using WgSharp.Protocol;

namespace WgSharp.Engine.Outbound;

/// <summary>
/// Makes runs of a frame's messages: what goes to one peer under one outer header, contiguous and at one stride, is sent at once.
/// </summary>
internal static class OutboundRuns
{
    /// <summary>UDP_MAX_SEGMENTS of kernels before 6.9.</summary>
    private const int MaxSegments = 64;

    /// <summary>
    /// Bytes of the longest run: with UDP, IPv6 and Ethernet header (two VLAN tags) less than the 65,536 from which on the kernel segments by itself before the
    /// link (gso_features_check in net/core/dev.c).
    /// </summary>
    private const int MaxLength = 65535 - 8 - 40 - 22;

    /// <summary>Adds the batch's packets from <paramref name="first"/> on to the last run, as far as they fit, and to new ones.</summary>
    /// <param name="first">All messages from this one on are of one frame.</param>
    public static void Append(PacketBatch batch, int first, in FrameRoute route, SegmentRefusals refusals, Instant now)
    {
        if (batch.RunCount > 0)
        {
            ref OutboundRun last = ref batch.OutboundRuns[batch.RunCount - 1];
            if (ReferenceEquals(last.Peer, route.Peer) && last.TrafficClass == route.TrafficClass && last.HopLimit == route.HopLimit)
            {
                first += Extend(ref last, batch, first);
            }
        }

        while (first < batch.PacketCount)
        {
            int stride = MessageLength(batch, first);
            ref OutboundRun run = ref batch.OutboundRuns[batch.RunCount++];
            run = new OutboundRun
            {
                FirstPacket = first,
                Offset = batch.Packets[first].Offset - MessageSize.TransportHeader,
                Stride = stride,
                Peer = route.Peer,
                Endpoint = route.Endpoint,
                TrafficClass = route.TrafficClass,
                HopLimit = route.HopLimit,
                Unsegmented = refusals.Refuses(route.Endpoint.Remote, stride, now),
                FragmentAt = FragmentAt(stride, in route),
            };
            first += Extend(ref run, batch, first);
        }
    }

    /// <summary>Routers fragment IPv4 where they must.</summary>
    private static int FragmentAt(int message, in FrameRoute route) =>
        route.Budget is { } budget
        && route.Endpoint.Remote.Address.IsIPv6
        && message + PathBudget.IPv6HeaderSize + PathBudget.UdpHeaderSize > budget.OuterMtu
            ? budget.OuterMtu
            : 0;

    /// <returns>How many of the packets from <paramref name="first"/> on became part of the run.</returns>
    private static int Extend(ref OutboundRun run, PacketBatch batch, int first)
    {
        int left = batch.PacketCount - first;
        if (left == 0 || run.Length != run.Count * run.Stride || run.Offset + run.Length != batch.Packets[first].Offset - MessageSize.TransportHeader)
        {
            return 0;
        }

        // Behind a shorter one nothing may follow. A frame's messages are mostly of one length, but inner fragments need not be: the first may carry more
        // options, the last may be a little longer. A message that is longer than any datagram may be is a run of its own: the socket will say so.
        int taken = 0;
        int length = run.Stride;
        while (taken < left && run.Count < MaxSegments && length == run.Stride)
        {
            length = MessageLength(batch, first + taken);
            if (length > run.Stride || (run.Length + length > MaxLength && run.Count > 0))
            {
                break;
            }

            taken++;
            run.Count++;
            run.Length += length;
        }

        return taken;
    }

    private static int MessageLength(PacketBatch batch, int packet) => batch.Packets[packet].Length + MessageSize.TransportOverhead;
}
