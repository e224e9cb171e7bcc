using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using WgSharp.Crypto;
using WgSharp.Engine;
using WgSharp.Engine.Offload;
using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp;

/// <summary>What this process is to serve.</summary>
/// <param name="TunDescriptor">WG_TUN_FD.</param>
/// <param name="UapiDescriptor">WG_UAPI_FD.</param>
internal sealed record TunnelOrder(string InterfaceName, Settings Settings, int? TunDescriptor, int? UapiDescriptor);

/// <summary>
/// The composition root: opens the TUN, the tunnel behind it, the link monitor and the UAPI, in that order, and closes them in
/// the other one. Whatever of them ends or fails ends the daemon.
/// </summary>
internal sealed class TunnelService(TunnelOrder order, ILoggerFactory logs, IHostApplicationLifetime lifetime) : IHostedService, IAsyncDisposable
{
    // `wg-quick down` and `up` in one breath: the daemon that is ending needs moments, not more.
    private static readonly TimeSpan PatienceWithPredecessor = TimeSpan.FromSeconds(2);

    private readonly ILogger _log = logs.CreateLogger<TunnelService>();
    private readonly TaskCompletionSource _socketGone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private LinuxTunnelIo? _io;
    private Tunnel? _tunnel;
    private LinkMonitor? _links;
    private UapiSocket? _socket;
    private UapiServer? _uapi;
    private FileWatch? _watch;
    private bool _stopped;

    /// <summary>Something broke: the process is to exit with a failure.</summary>
    public bool Failed { get; private set; }

    /// <exception cref="IOException">Something that the tunnel needs is not to be had; the message says what to do.</exception>
    /// <exception cref="SodiumMissingException">There is no libsodium.</exception>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        try
        {
            Start();
        }
        catch
        {
            await DisposeAsync();
            throw;
        }
    }

    public Task StopAsync(CancellationToken cancellationToken) => DisposeAsync().AsTask();

    /// <summary>Ends everything: the socket's name first, so that a successor finds it free, the interface last.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _stopped, true))
        {
            return;
        }

        _watch?.Dispose();
        _socket?.RemoveFile();
        if (_uapi is not null)
        {
            await _uapi.DisposeAsync();
        }

        _socket?.Dispose();
        _links?.Dispose();
        _tunnel?.Dispose();
        _io?.Dispose();
    }

    private void Start()
    {
        SodiumLibrary.Load();
        foreach (string aead in order.Settings.DisabledAeads)
        {
            AeadKey.TryDisable(aead);
        }

        _io = LinuxTunnelIo.Create(order.InterfaceName, order.Settings.DisabledFeatures, order.TunDescriptor);
        _tunnel = new Tunnel(_io.Io, Options(order.Settings, _io.Tun.Offload), logs.CreateLogger<Tunnel>());
        _tunnel.Start();
        _links = new LinkMonitor(_io.Tun, OnLinkChanged);
        _socket = order.UapiDescriptor is { } descriptor
            ? UapiSocket.Inherited(descriptor)
            : UapiSocket.Listen(UapiSocket.DefaultDirectory, _io.Tun.Name, PatienceWithPredecessor);
        _uapi = new UapiServer(
            _socket.Listener,
            new UapiOperations(Configure, Snapshot, UapiOperations.DefaultTimeout),
            logs.CreateLogger<UapiServer>());
        WatchSocket(_socket);
        _ = EndWithTheFirstAsync(_tunnel.Completion, _uapi.Completion, _socketGone.Task);

        // A process's first message costs 20 ms: who waits for the interface need not wait for that.
        lifetime.ApplicationStarted.Register(() => _ = Task.Run(TellWhatWasFound, CancellationToken.None));
    }

    // A heap that is full is the end of the process: a configuration that might fill it is refused instead.
    private void Configure(DeviceConfiguration configuration)
    {
        const int PeerCost = 2048;
        const int AllowedIpCost = 256;
        const int Worthwhile = 1 << 20;
        long cost = 0;
        foreach (PeerConfiguration peer in configuration.Peers)
        {
            cost += PeerCost + ((long)peer.AllowedIps.Count * AllowedIpCost);
        }

        long limit = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 8 * 7;
        if (cost > Worthwhile && GC.GetTotalMemory(false) + cost > limit && GC.GetTotalMemory(true) + cost > limit)
        {
            throw new ConfigurationException($"{configuration.Peers.Count} peers more may not fit into memory.");
        }

        _links!.CatchUp();
        _tunnel!.Configure(configuration);
    }

    // wg-quick takes the link up and asks for the allowed IPs then: when it returns, the sockets are open, as with the kernel module.
    private DeviceSnapshot Snapshot()
    {
        _links!.CatchUp();
        return _tunnel!.Snapshot();
    }

    // The processor count of .NET is the smallest of affinity, online processors and cgroup quota.
    private static TunnelOptions Options(Settings settings, TunOffload offload) => new()
    {
        Threads = settings.Threads,
        Processors = Environment.ProcessorCount,
        Coalesces = Joined(offload, TunOffload.Tcp4, GroFeatures.Tcp4)
            | Joined(offload, TunOffload.Tcp6, GroFeatures.Tcp6)
            | Joined(offload, TunOffload.Udp, GroFeatures.Udp),
    };

    private static GroFeatures Joined(TunOffload offload, TunOffload taken, GroFeatures joined) =>
        offload.HasFlag(taken) ? joined : GroFeatures.None;

    private void TellWhatWasFound()
    {
        if (_log.IsEnabled(LogLevel.Information))
        {
            _log.Started(Program.Version, $"{_io!.Features} | aead {AeadKey.Implementation} | threads {_tunnel!.Threads}");
        }

        if (SecretMemory.LockRefusal is { } reason)
        {
            _log.KeysNotLocked(reason);
        }

        foreach (string refusal in _io!.Features.Refusals)
        {
            _log.FeatureMissing(refusal);
        }
    }

    private void OnLinkChanged(LinkState state)
    {
        if (!state.Gone)
        {
            _tunnel!.LinkChanged(state.Up, state.Mtu);
        }
    }

    private void WatchSocket(UapiSocket socket)
    {
        try
        {
            _watch = socket.Watch(() => _socketGone.TrySetResult());
        }
        catch (IOException refused)
        {
            _log.CannotWatch(socket.Path!, refused.Message);
        }
    }

    private async Task EndWithTheFirstAsync(Task tunnel, Task uapi, Task socketGone)
    {
        Task first = await Task.WhenAny(tunnel, uapi, socketGone);
        if (_stopped)
        {
            return;
        }

        string part = first == tunnel ? "the tunnel" : first == uapi ? "the control socket" : "the control socket's file";
        if (first.Exception is { } failure)
        {
            Failed = true;
            _log.PartFailed(failure.InnerException ?? failure, part);
        }
        else
        {
            _log.Stopping(first == tunnel ? "the interface was deleted" : "the control socket was deleted");
        }

        lifetime.StopApplication();
    }
}
