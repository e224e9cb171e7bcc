using Microsoft.Extensions.Logging;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>Every log message of the engine. None of them stands on a per-packet path, none of them shows a key that is secret.</summary>
internal static partial class Log
{
    [LoggerMessage(1, LogLevel.Information, "The link is up (MTU {Mtu}); listening on UDP port {Port}")]
    public static partial void LinkUp(ILogger log, int mtu, ushort port);

    [LoggerMessage(2, LogLevel.Information, "The link is down; sessions are wiped and the sockets closed")]
    public static partial void LinkDown(ILogger log);

    [LoggerMessage(3, LogLevel.Error, "UDP port {Port} cannot be opened, the tunnel is deaf until it can: {Reason}")]
    public static partial void PortRefused(ILogger log, ushort port, string reason);

    [LoggerMessage(4, LogLevel.Debug, "Sending a handshake initiation to {Peer} at {Endpoint}")]
    public static partial void InitiationSent(ILogger log, PublicKey peer, object endpoint);

    [LoggerMessage(5, LogLevel.Debug, "Handshake with {Peer} at {Endpoint}: {Outcome}")]
    public static partial void HandshakeHandled(ILogger log, PublicKey? peer, object endpoint, object outcome);

    [LoggerMessage(6, LogLevel.Information, "The TUN device is gone; the tunnel ends")]
    public static partial void DeviceGone(ILogger log);

    [LoggerMessage(7, LogLevel.Critical, "The {Thread} thread failed; the tunnel ends")]
    public static partial void ThreadFailed(ILogger log, Exception exception, string thread);

    [LoggerMessage(8, LogLevel.Warning, "The kernel refused a coalesced packet; packets are written one by one where that happens")]
    public static partial void CoalescedFrameRefused(ILogger log);

    [LoggerMessage(9, LogLevel.Warning, "The network refused segmentation offload for {Endpoint} at {Stride} bytes per message; larger messages go out one by one for a while")]
    public static partial void SegmentationRefused(ILogger log, object endpoint, int stride);

    [LoggerMessage(10, LogLevel.Warning, "A WireGuard message to {Peer} at {Endpoint} is dropped: it goes in circles, or through more than seven tunnels; give the endpoint a route outside the tunnel")]
    public static partial void RoutingLoop(ILogger log, PublicKey peer, object endpoint);

    [LoggerMessage(11, LogLevel.Information, "The machine was suspended for {Seconds} s; sessions are wiped")]
    public static partial void Resumed(ILogger log, double seconds);

    [LoggerMessage(12, LogLevel.Debug, "Dropped so far: {Drops}")]
    public static partial void Dropped(ILogger log, DropCounters drops);

    [LoggerMessage(14, LogLevel.Warning, "What a restart would need can no longer be kept, it will begin without peers and keys: {Reason}")]
    public static partial void NotKept(ILogger log, string reason);

    [LoggerMessage(13, LogLevel.Information, "Peer {Peer}: path MTU {Mtu} ({Origin}{Remark})")]
    public static partial void PathMtu(ILogger log, PublicKey peer, int mtu, string origin, string remark);
}
