using WgSharp.Engine.Mtu;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>What the data path and the control loop share beside the device: the way to wake the loop, and what is known of the links below.</summary>
internal sealed class TunnelLink(Device device, IWaiter controlWaiter)
{
    private volatile int _mtu = DefaultMtu;
    private volatile IReadOnlyList<InetAddress> _ownAddresses = [];
    private volatile bool _reportsAnnounced;

    /// <summary>The MTU a WireGuard interface starts with: 1500 less the largest overhead (IPv6, UDP, message).</summary>
    public const int DefaultMtu = 1420;

    /// <summary>The TUN device's MTU in bytes: padding stays below it. Written by the control loop.</summary>
    public int Mtu
    {
        get => _mtu;
        set => _mtu = value;
    }

    /// <summary>Endpoints whose path refuses segmentation offload.</summary>
    public SegmentRefusals Refusals { get; } = new();

    /// <summary>What is done about path MTU; constant.</summary>
    public MtuPolicy MtuPolicy { get; init; }

    /// <summary>The interface's own addresses in the tunnel: whose probes are answered. Written by the link monitor.</summary>
    public IReadOnlyList<InetAddress> OwnAddresses
    {
        get => _ownAddresses;
        set => _ownAddresses = value;
    }

    /// <summary>Any thread: leaves work for the control loop, and wakes it if it does not know yet.</summary>
    public void QueueWork(Peer peer, PeerWork work)
    {
        if (work != PeerWork.None && device.QueueWork(peer, work))
        {
            controlWaiter.Wake();
        }
    }

    /// <summary>
    /// Any thread: the sockets have reports of routers. Wakes the control loop once for all that come until it takes them, which it does at its own pace: anybody can
    /// send us ten thousand a second.
    /// </summary>
    public void AnnouncePathReports()
    {
        if (!_reportsAnnounced)
        {
            _reportsAnnounced = true;
            controlWaiter.Wake();
        }
    }

    /// <summary>Control loop, before it takes the reports and where none wait: what comes from now on is announced again.</summary>
    public void ForgetAnnouncement()
    {
        if (_reportsAnnounced)
        {
            _reportsAnnounced = false;

            // Before anybody looks whether reports wait.
            Interlocked.MemoryBarrier();
        }
    }

    /// <summary>Any thread: the control loop has work in one of its queues.</summary>
    public void WakeControlLoop() => controlWaiter.Wake();
}
