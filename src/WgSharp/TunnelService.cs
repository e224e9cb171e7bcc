using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using WgSharp.Crypto;
using WgSharp.Engine;
using WgSharp.Linux;
using WgSharp.Metrics;
using WgSharp.Protocol;
using WgSharp.Status;

namespace WgSharp;

/// <summary>What this process is to serve.</summary>
/// <param name="TunDescriptor">WG_TUN_FD.</param>
/// <param name="UapiDescriptor">WG_UAPI_FD.</param>
/// <param name="IsService">The service manager has started this process, if there is one: not somebody who is a service himself.</param>
internal sealed record TunnelOrder(string InterfaceName, Settings Settings, int? TunDescriptor, int? UapiDescriptor, bool IsService);

/// <summary>
/// The composition root: opens the TUN, the tunnel behind it, the link monitor and the UAPI, in that order, and closes them in
/// the other one. Whatever of them ends or fails ends the daemon; what outlives it, where it is to be started again, is <see cref="Survival"/>'s. Every thread that will ever be needed is made by <see cref="Open"/>.
/// </summary>
/// <param name="signals">Woken once when the daemon is to end, by any thread.</param>
internal sealed class TunnelService(TunnelOrder order, ILoggerFactory logs, EndSignals signals) : IHostedService, IDisposable
{
    // `wg-quick down` and `up` in one breath: the daemon that is ending needs moments, not more.
    internal static readonly TimeSpan PatienceWithPredecessor = TimeSpan.FromSeconds(2);

    private readonly ILogger _log = logs.CreateLogger<TunnelService>();
    private readonly MemoryRoom _memory = new(new ControlGroups());
    private readonly long _started = TimeProvider.System.GetTimestamp();
    private Survival? _survival;
    private LinuxTunnelIo? _io;
    private Tunnel? _tunnel;
    private LinkMonitor? _links;
    private UapiSocket? _socket;
    private UapiServer? _uapi;
    private MetricsServer? _metrics;
    private FileWatch? _watch;
    private bool _stopped;
    private bool _ended;
    private bool _toldOfKeys;
    private string? _notKept;

    /// <summary>Something broke: the process is to exit with a failure.</summary>
    public bool Failed { get; private set; }

    /// <summary>Before <see cref="StartAsync"/>: returns when everything stands, the interface, the tunnel behind it, and <c>wg</c> is answered.</summary>
    /// <exception cref="IOException">Something that the tunnel needs is not to be had, or the control socket; the message says what to do.</exception>
    /// <exception cref="SodiumMissingException">There is no libsodium.</exception>
    /// <exception cref="OutOfMemoryException">A thread could not be made.</exception>
    public void Open()
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
        Serve(_io, _tunnel);
    }

    /// <summary>Tells the log what was found. A process's first message costs 20 ms, and a host twice that: who waits for the interface need not wait for them.</summary>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        TellWhatWasFound();
        return Task.CompletedTask;
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
        _metrics?.Dispose();
        _uapi?.Dispose();
        _socket?.Dispose();
        _links?.Dispose();
        _tunnel?.Dispose();
        _io?.Dispose();
        _survival?.Dispose();
    }

    private void Serve(LinuxTunnelIo io, Tunnel tunnel)
    {
        _socket = order.UapiDescriptor is { } descriptor
            ? UapiSocket.Inherited(descriptor)
            : _survival?.TakeControl(UapiSocket.DefaultDirectory, order.InterfaceName)
                ?? UapiSocket.Listen(UapiSocket.DefaultDirectory, order.TunDescriptor is null ? order.InterfaceName : io.Tun.Name, PatienceWithPredecessor);
        _uapi = new UapiServer(
            _socket.Listener,
            new UapiOperations(Configure, Snapshot, _memory.Has, UapiOperations.DefaultTimeout, TimeProvider.System)
            {
                Status = new StatusSource(Describe, tunnel.DescribePeers),
            },
            logs.CreateLogger<UapiServer>());
        ServeMetrics();
        WatchSocket(_socket);
        EndWith(tunnel.Completion, "the tunnel", "the interface was deleted");
        EndWith(_uapi.Completion, "the control socket", "the control socket was closed");
        _notKept ??= _survival?.Keep(io.Tun, _socket);
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

    /// <summary>A kernel that computes wrong ends the daemon.</summary>
    public void ProveAead() => _tunnel!.ProveAead();

    private void TellWhatWasFound()
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

    private InterfaceStatus Describe()
    {
        _links!.CatchUp();
        ProcessFigures figures = ProcessFigures.Read();
        var status = new InterfaceStatus
        {
            Name = _io!.Tun.Name,
            Version = Program.Version,
            ProcessId = Environment.ProcessId,
            Uptime = TimeProvider.System.GetElapsedTime(_started),
            Features = _io.Features.ToString(),
            Aead = AeadKey.Implementation,
            Tasks = figures.Tasks,
            ResidentBytes = figures.ResidentBytes,
            HeapBytes = GC.GetTotalMemory(forceFullCollection: false),
            ProcessorTime = figures.ProcessorTime,
            Tunnel = _tunnel!.Status(),
        };
        foreach (string sentence in (IEnumerable<string>)[.. _io.Features.Refusals, .. SecretMemory.LockRefusal is { } reason ? [$"Keys are not locked in memory: {reason}"] : Array.Empty<string>()])
        {
            status.Missing.Add(sentence);
        }

        return status;
    }

    // A tunnel is worth more than what is told of it: where the address is taken, it goes on without.
    private void ServeMetrics()
    {
        if (order.Settings.Metrics is { } address)
        {
            try
            {
                var source = new StatusSource(Describe, _tunnel!.DescribePeers);
                _metrics = new MetricsServer(address, new MetricsOperations(source, order.Settings.MetricsPeers, _memory.Has, TimeProvider.System), logs.CreateLogger<MetricsServer>());
            }
            catch (IOException refused)
            {
                _log.MetricsRefused(address.ToString(), refused.Message);
            }
        }
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
