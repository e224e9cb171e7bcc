using Microsoft.Extensions.Logging;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>What may be set from outside; null or 0 means "decide from the machine".</summary>
internal sealed record TunnelOptions
{
    /// <summary>Packet threads (WG_THREADS); 0: one per processor.</summary>
    public int Threads { get; init; }

    /// <summary>The processors this process may use.</summary>
    public int Processors { get; init; } = 1;

    /// <summary>What is done about path MTU.</summary>
    public MtuPolicy MtuPolicy { get; init; }

    /// <summary>Where a successor of this process finds what it has to know; null if there will be none.</summary>
    internal IConfigurationStore? Store { get; init; }
}

/// <summary>
/// Starts and stops the threads that make a tunnel of a device, a TUN and two sockets.
/// <code>
///                 one packet thread        two                      more (n)
///   TUN -> UDP    wg-packets               wg-packets 1 or 2        wg-outbound 1..n/2   one reads, all seal, completion in order
///   UDP -> TUN    wg-packets               wg-packets 1             wg-inbound  1..n/2   one receives, all open, completion in order
///   protocol      wg-control               wg-control               wg-control           the one writer of protocol state
/// </code>
/// Of two, the second sleeps until both directions carry bulk. Each packet thread runs the stages of <see cref="OutboundPath"/> or <see cref="InboundPath"/> to completion, then sleeps in its waiter.
/// Inbound hands handshake messages to the control loop through <see cref="HandshakeQueue"/>; both directions tell it what a peer needs
/// through <see cref="Device.QueueWork"/>. Nothing else crosses.
/// </summary>
internal sealed class Tunnel : IDisposable
{
    private readonly TunnelIo _io;
    private readonly ILogger _log;
    private readonly IWaiter _controlWaiter;
    private readonly TunnelLink _link;
    private readonly StagedSender _staged;
    private readonly HandshakeQueue _handshakes;
    private readonly List<Thread> _threads = [];
    private readonly TaskCompletionSource _completion = new();

    public Tunnel(TunnelIo io, TunnelOptions options, ILogger<Tunnel> log)
    {
        _io = io;
        _log = log;
        Device = new Device(io.Random) { TakesNotes = options.Store is not null };
        _controlWaiter = io.CreateWaiter(Readiness.None);
        _link = new TunnelLink(Device, _controlWaiter) { MtuPolicy = options.MtuPolicy };
        TunnelLink link = _link;
        io.Udp.ListenForPathReports(options.MtuPolicy != MtuPolicy.Kernel);
        _handshakes = new HandshakeQueue(io.Random);
        var sender = new RunSender(io.Udp, link, log);
        _staged = new StagedSender(io, link, sender);
        ConfigurationKeeper? keeper = options.Store is { } store ? new ConfigurationKeeper(Device, store, log) : null;
        Control = new ControlLoop(io, Device, link, _controlWaiter, _handshakes, _staged, log, keeper);
        Packets = PacketWorkers.Create(
            io,
            new OutboundPath(io, Device, link, sender, log),
            new InboundPath(io, Device, link, new HandshakeScreen(Device, _handshakes, link), InboundPath.CreateCoalescer(io.Tun.Offload), log),
            options);
    }

    /// <summary>Completes when the TUN device is gone, faults if a thread failed; on that thread, which must not be kept.</summary>
    public Task Completion => _completion.Task;

    /// <summary>How many packet threads run, for the start-up line: <c>1</c>, <c>2</c>, <c>2+2</c>.</summary>
    public string Threads => string.Join('+', Packets.Select(p => p.Threads));

    // ---- what the threads run; a tunnel that was not started may be run turn by turn by its caller ----

    internal Device Device { get; }

    internal ControlLoop Control { get; }

    internal IReadOnlyList<PacketWorkers> Packets { get; }

    public void Start()
    {
        StartThread("wg-control", Control.Run);
        foreach (PacketWorkers workers in Packets)
        {
            for (int i = 0; i < workers.Threads; i++)
            {
                StartThread(workers.Name, () =>
                {
                    if (workers.Run() == IoStatus.Gone)
                    {
                        Log.DeviceGone(_log);
                        _completion.TrySetResult();
                    }
                });
            }
        }
    }

    /// <summary>
    /// Once, beside what was started: the AEAD computes as libsodium does, or the tunnel fails. Compiles the kernels (tens of milliseconds), which the
    /// first packet would wait for, and which who starts the tunnel need not wait for.
    /// </summary>
    public void ProveAead() => Guard("self-test", AeadSelfTest.Run);

    /// <summary>Any thread. Applies a configuration on the control loop and returns when it stands.</summary>
    /// <exception cref="ConfigurationException">It cannot be applied.</exception>
    /// <exception cref="IOException">The listen port cannot be opened; HResult is the errno.</exception>
    public void Configure(DeviceConfiguration configuration) => Control.Mailbox.Invoke(moment => Control.Configure(configuration, moment));

    /// <summary>
    /// Any thread, once, before the link is told of: takes over what a predecessor has left. The sessions are not among it: their keys died with it, and peers
    /// go on using them, so that each is asked for a new one when the link comes up.
    /// </summary>
    /// <param name="saved">Null: there was none, or nothing is to be believed of it. Stays the caller's.</param>
    /// <returns>How many peers there are, and with how many there was a session.</returns>
    internal (int Peers, int Sessions) Restore(SavedConfiguration? saved) => Control.Mailbox.Invoke(moment => Control.Restore(saved, moment));

    /// <summary>Any thread. What <c>get</c> shows, taken on the control loop.</summary>
    public DeviceSnapshot Snapshot() => Control.Mailbox.Invoke(_ => Control.Snapshot());

    /// <summary>Any thread. How many peers a snapshot would show.</summary>
    public int CountPeers() => Control.Mailbox.Invoke(_ => Device.Peers.Count);

    /// <summary>Any thread: from the link monitor. Opens or closes the sockets, starts or wipes the sessions; the MTU bounds padding.</summary>
    public void LinkChanged(bool up, int mtu)
    {
        if (!Control.Mailbox.Invoke(moment => Control.LinkChanged(up, mtu, moment)))
        {
            LogDrops();
        }
    }

    /// <summary>Any thread: the interface's own addresses have changed. Answers to probes of the paths come to them.</summary>
    public void OwnAddressesChanged(IReadOnlyList<InetAddress> addresses) => Control.Mailbox.Invoke(_ => Control.OwnAddressesChanged(addresses));

    /// <summary>Any thread: what is known of the paths that are in use.</summary>
    public IReadOnlyList<(PublicKey Peer, PathBudget Budget)> Paths() => Control.Mailbox.Invoke<IReadOnlyList<(PublicKey, PathBudget)>>(
        _ => [.. Device.Peers.Where(peer => peer.Path is not null).Select(peer => (peer.PublicKey, peer.Path!.Budget))]);

    /// <summary>Any thread: what was dropped since the start, and why.</summary>
    public DropCounters Drops()
    {
        DropCounters sum = DropCounters.Sum([_staged.Drops, .. Packets.SelectMany(workers => workers.Batches).Select(batch => batch.Drops)]);
        sum.Add(DropReason.StagingFull, Device.PushedOut);
        return sum;
    }

    /// <summary>Any thread: what it is doing, taken on the control loop.</summary>
    internal TunnelStatus Status()
    {
        TunnelStatus status = Control.Mailbox.Invoke(moment => Control.Describe(moment.Now));
        status.Threads = Threads;
        status.HandshakesWaiting = _handshakes.Count;
        status.Lanes = _io.Udp.LaneCount;
        status.Drops = Drops();
        return status;
    }

    /// <summary>Any thread: the next peers of a walk through all of them, a portion that takes the control loop a fraction of its share.</summary>
    /// <param name="cursor">Where the walk is.</param>
    /// <param name="mostAllowedIps">Of each peer.</param>
    /// <param name="described">Takes them; empty before.</param>
    /// <returns>False if these were the last.</returns>
    public bool DescribePeers(PeerCursor cursor, int mostAllowedIps, ICollection<PeerStatus> described)
    {
        const int Portion = 128;
        return Control.Mailbox.Invoke(moment => Control.DescribePeers(cursor, Portion, mostAllowedIps, moment.Now, described));
    }

    /// <summary>Stops the threads, wipes the keys. The TUN and the sockets are closed with it.</summary>
    public void Dispose()
    {
        foreach (PacketWorkers workers in Packets)
        {
            workers.Stop();
        }

        Control.Stop();
        foreach (Thread thread in _threads)
        {
            thread.Join();
        }

        _completion.TrySetResult();
        LogDrops();
        foreach (PacketWorkers workers in Packets)
        {
            workers.Dispose();
        }

        Device.Dispose();
        _controlWaiter.Dispose();
        _io.Udp.Dispose();
        _io.Tun.Dispose();
    }

    private void LogDrops()
    {
        if (_log.IsEnabled(LogLevel.Debug))
        {
            Log.Dropped(_log, Drops());
        }
    }

    private void StartThread(string name, Action body)
    {
        var thread = new Thread(() => Guard(name, body)) { Name = name, IsBackground = true };
        thread.Start();
        _threads.Add(thread);
    }

    private void Guard(string name, Action body)
    {
        try
        {
            body();
        }
#pragma warning disable CA1031 // A thread that dies of whatever cause takes the tunnel with it, loudly.
        catch (Exception e)
#pragma warning restore CA1031
        {
            Log.ThreadFailed(_log, e, name);
            _completion.TrySetException(e);
        }
    }
}
