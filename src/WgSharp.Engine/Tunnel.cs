using Microsoft.Extensions.Logging;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>What may be set from outside; null or 0 means "decide from the machine".</summary>
public sealed record TunnelOptions
{
    /// <summary>Worker threads (WG_THREADS); 0: one per direction on up to two processors, the ordered queue beyond.</summary>
    public int Threads { get; init; }

    /// <summary>The processors this process may use.</summary>
    public int Processors { get; init; } = 1;
}

/// <summary>Starts and stops the threads that make a tunnel of a device, a TUN and two sockets.</summary>
public sealed class Tunnel : IDisposable
{
    public Tunnel(TunnelIo io, TunnelOptions options, ILogger<Tunnel> log) => throw new NotSupportedException();

    /// <summary>Completes when the TUN device is gone, faults if a thread failed.</summary>
    public Task Completion => throw new NotSupportedException();

    public void Start() => throw new NotSupportedException();

    /// <summary>Any thread. Applies a configuration on the control loop and returns when it stands.</summary>
    /// <exception cref="ConfigurationException">It cannot be applied.</exception>
    /// <exception cref="IOException">The listen port cannot be opened; HResult is the errno.</exception>
    public void Configure(DeviceConfiguration configuration) => throw new NotSupportedException();

    /// <summary>Any thread. What <c>get</c> shows, taken on the control loop.</summary>
    public DeviceSnapshot Snapshot() => throw new NotSupportedException();

    /// <summary>Any thread: from the link monitor. Opens or closes the sockets, starts or wipes the sessions; the MTU bounds padding.</summary>
    public void LinkChanged(bool up, int mtu) => throw new NotSupportedException();

    /// <summary>Stops the threads, wipes the keys. The TUN and the sockets are closed with it.</summary>
    public void Dispose() => throw new NotSupportedException();
}
