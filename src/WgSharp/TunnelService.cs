using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using WgSharp.Crypto;
using WgSharp.Engine;
using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp;

/// <summary>What this process is to serve.</summary>
/// <param name="TunDescriptor">WG_TUN_FD.</param>
/// <param name="UapiDescriptor">WG_UAPI_FD.</param>
/// <param name="IsService">The service manager has started this process, if there is one: not somebody who is a service himself.</param>
internal sealed record TunnelOrder(string InterfaceName, Settings Settings, int? TunDescriptor, int? UapiDescriptor, bool IsService);

/// <summary>
/// The composition root: opens the TUN, the tunnel behind it, the link monitor and the UAPI, in that order, and closes them in
/// the other one. Whatever of them ends or fails ends the daemon; what outlives it, where it is to be started again, is <see cref="Survival"/>'s. Every thread that will ever be needed is made by <see cref="StartAsync"/>.
/// </summary>
/// <param name="signals">Woken once when the daemon is to end, by any thread.</param>
internal sealed class TunnelService(TunnelOrder order, ILoggerFactory logs, EndSignals signals) : IHostedService, IDisposable
{
    // `wg-quick down` and `up` in one breath: the daemon that is ending needs moments, not more.
    internal static readonly TimeSpan PatienceWithPredecessor = TimeSpan.FromSeconds(2);

    private readonly ILogger _log = logs.CreateLogger<TunnelService>();
    private readonly MemoryRoom _memory = new(new ControlGroups());
    private Survival? _survival;
    private LinuxTunnelIo? _io;
    private Tunnel? _tunnel;
    private LinkMonitor? _links;
    private UapiSocket? _socket;
    private UapiServer? _uapi;
    private FileWatch? _watch;
    private bool _stopped;
    private bool _ended;
    private bool _toldOfKeys;
    private string? _notKept;

    /// <summary>Something broke: the process is to exit with a failure.</summary>
    public bool Failed { get; private set; }

    /// <summary>Returns when everything stands.</summary>
    /// <exception cref="IOException">Something that the tunnel needs is not to be had; the message says what to do.</exception>
    /// <exception cref="SodiumMissingException">There is no libsodium.</exception>
    /// <exception cref="OutOfMemoryException">A thread could not be made.</exception>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        try
        {
            Start();
            return Task.CompletedTask;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Returns when everything has ended.</summary>
    public Task StopAsync(CancellationToken cancellationToken)
    {
        Dispose();
        return Task.CompletedTask;
    }

    /// <summary>Ends everything: the socket's name first, so that a successor finds it free, the interface last.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _stopped, true))
        {
            return;
        }

        if (_ended && !Failed)
        {
            _survival?.ForgetAll();
        }
        else
        {
            // Who asks for the interface is not to wait for somebody who may never come: the name is free, a successor takes it anew.
            _survival?.ForgetControl();
        }

        _watch?.Dispose();
        _socket?.RemoveFile();
        _uapi?.Dispose();
        _socket?.Dispose();
        _links?.Dispose();
        _tunnel?.Dispose();
        _io?.Dispose();
        _survival?.Dispose();
    }

    private void Start()
    {
        SodiumLibrary.Load();
        foreach (string aead in order.Settings.DisabledAeads)
        {
            AeadKey.TryDisable(aead);
        }

        _survival = order is { IsService: true, TunDescriptor: null, UapiDescriptor: null } ? Survival.Open(out _notKept) : null;
        _io = OpenInterface();
        _tunnel = new Tunnel(_io.Io, Options(order.Settings, _survival?.Store), logs.CreateLogger<Tunnel>());
        _tunnel.Start();
        TakeOver(_tunnel);
        _links = new LinkMonitor(_io.Tun, OnLinkChanged, _tunnel.OwnAddressesChanged);
        _socket = order.UapiDescriptor is { } descriptor
            ? UapiSocket.Inherited(descriptor)
            : _survival?.TakeControl(UapiSocket.DefaultDirectory, order.InterfaceName)
                ?? UapiSocket.Listen(UapiSocket.DefaultDirectory, order.TunDescriptor is null ? order.InterfaceName : _io.Tun.Name, PatienceWithPredecessor);
        _uapi = new UapiServer(
            _socket.Listener,
            new UapiOperations(Configure, Snapshot, _memory.Has, UapiOperations.DefaultTimeout, TimeProvider.System),
            logs.CreateLogger<UapiServer>());
        WatchSocket(_socket);
        EndWith(_tunnel.Completion, "the tunnel", "the interface was deleted");
        EndWith(_uapi.Completion, "the control socket", "the control socket was closed");
        _notKept ??= _survival?.Keep(_io.Tun, _socket);
    }

    private LinuxTunnelIo OpenInterface()
    {
        if (_survival?.Tun is { } tun)
        {
            try
            {
                return LinuxTunnelIo.Create(order.InterfaceName, order.Settings.DisabledFeatures, tun, isOurs: true);
            }
            catch (TunException gone)
            {
                _log.InterfaceWasDeleted(gone.Message);
                _survival.Discard();
            }
        }

        return LinuxTunnelIo.Create(order.InterfaceName, order.Settings.DisabledFeatures, order.TunDescriptor);
    }

    // The link is not known to be up yet: what is taken over says on which port the sockets are opened then.
    private void TakeOver(Tunnel tunnel)
    {
        if (_survival is null)
        {
            return;
        }

        if (_survival.IsLooping)
        {
            _log.NotTakenOver(Survival.MostStarts, (int)Survival.Window.TotalSeconds, $"wgsharp@{order.InterfaceName}");
        }

        using SavedConfiguration? saved = _survival.TakeSaved();
        (int peers, int sessions) = tunnel.Restore(saved);
        if (saved is not null)
        {
            _log.TakenOver(peers, sessions);
        }
    }

    /// <summary>For the log. A process's first message costs 20 ms: who waits for the interface need not wait for that.</summary>
    public void TellWhatWasFound()
    {
        if (_log.IsEnabled(LogLevel.Information))
        {
            _log.Started(Program.Version, $"{_io!.Features} | aead {AeadKey.Implementation} | threads {_tunnel!.Threads}");
        }

        TellOfKeys();
        if (_notKept is { } why)
        {
            _log.NotKept(why);
        }

        foreach (string refusal in _io!.Features.Refusals)
        {
            _log.FeatureMissing(refusal);
        }
    }

    // Out of memory the process would end: what might not fit, or could not be shown afterwards, is refused instead. A few peers more or less
    // are let in as long as they themselves fit, so that those that exist can be changed to the last.
    private void Configure(DeviceConfiguration configuration)
    {
        const int Few = 64 * 1024;
        long price = MemoryPrice.Of(configuration);
        price += _survival is null || price == 0 ? 0 : MemoryPrice.Kept(configuration);
        long shown = price > Few ? ((long)_tunnel!.CountPeers() + configuration.Peers.Count) * MemoryPrice.ShownPeer : 0;
        if (price > 0 && !_memory.Has(price + shown))
        {
            throw new ConfigurationException($"{configuration.Peers.Count} peers more may not fit into memory.");
        }

        _links!.CatchUp();
        _tunnel!.Configure(configuration);
        TellOfKeys();
    }

    // Once: there may have been no keys to lock at the start.
    private void TellOfKeys()
    {
        if (SecretMemory.LockRefusal is { } reason && !Interlocked.Exchange(ref _toldOfKeys, true))
        {
            _log.KeysNotLocked(reason);
        }
    }

    // wg-quick takes the link up and asks for the allowed IPs then: when it returns, the sockets are open, as with the kernel module.
    private DeviceSnapshot Snapshot()
    {
        _links!.CatchUp();
        long price = (long)_tunnel!.CountPeers() * MemoryPrice.ShownPeer;
        return price == 0 || _memory.Has(price)
            ? _tunnel.Snapshot()
            : throw new ConfigurationException("All peers at once do not fit into memory to be shown.");
    }

    // The processor count of .NET is the smallest of affinity, online processors and cgroup quota.
    private static TunnelOptions Options(Settings settings, IConfigurationStore? store) => new()
    {
        Threads = settings.Threads,
        Processors = Environment.ProcessorCount,
        MtuPolicy = settings.MtuPolicy,
        Store = store,
    };

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
            _watch = socket.Watch(() => End("the control socket was deleted"));
        }
        catch (IOException refused)
        {
            _log.CannotWatch(socket.Path!, refused.Message);
        }
    }

    // Inline, on the thread that completes it: a thread pool might have no thread to be had.
    private void EndWith(Task completion, string part, string reason) => _ = completion.ContinueWith(
        completed =>
        {
            if (completed.Exception is { } failure)
            {
                Failed |= !_stopped;
                _log.PartFailed(failure.InnerException ?? failure, part);
            }

            End(reason);
        },
        CancellationToken.None,
        TaskContinuationOptions.ExecuteSynchronously,
        TaskScheduler.Default);

    private void End(string reason)
    {
        if (_stopped || Interlocked.Exchange(ref _ended, true))
        {
            return;
        }

        if (!Failed)
        {
            _log.Stopping(reason);
        }

        signals.Wake();
    }
}
