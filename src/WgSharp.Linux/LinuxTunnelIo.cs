using WgSharp.Engine;

namespace WgSharp.Linux;

/// <summary>Puts together what a <see cref="Tunnel"/> needs of this machine: the TUN, the sockets, the clocks, the waiters, randomness.</summary>
internal sealed class LinuxTunnelIo : IDisposable
{
    private LinuxTunnelIo(TunDevice tun, UdpSocket udp, KernelFeatures features)
    {
        Tun = tun;
        Udp = udp;
        Features = features;
        Io = new TunnelIo(tun, udp, SystemClock.Read, CreateWaiter, SystemRandom.Fill) { Suspended = SystemClock.Suspended };
    }

    public TunDevice Tun { get; }

    public UdpSocket Udp { get; }

    /// <summary>What was found; its text belongs into the start-up line, its <see cref="KernelFeatures.Refusals"/> into the log.</summary>
    public KernelFeatures Features { get; }

    public TunnelIo Io { get; }

    /// <summary>Creates the interface, or adopts one; probes the sockets; opens none yet.</summary>
    /// <param name="name">The exact name of the interface.</param>
    /// <param name="disabled">What not to use, see <see cref="KernelFeatures.ParseDisabled"/>.</param>
    /// <param name="tunDescriptor"><c>WG_TUN_FD</c>: a descriptor to adopt instead, whose interface keeps its own name.</param>
    /// <param name="isOurs">A process before this one has made its interface; closed if it cannot be had.</param>
    /// <exception cref="TunException">The interface cannot be had; the message says what to do.</exception>
    public static LinuxTunnelIo Create(string name, KernelFeature disabled = KernelFeature.None, int? tunDescriptor = null, bool isOurs = false)
    {
        var features = new KernelFeatures(disabled);
        EpollWaiter.Probe(features);
        TunDevice tun = tunDescriptor is { } fd ? TunDevice.Adopt(fd, features, isOurs) : TunDevice.Create(name, features);
        return new LinuxTunnelIo(tun, new UdpSocket(features), features);
    }

    /// <summary>Closes the sockets and the TUN, and with it removes the interface.</summary>
    public void Dispose()
    {
        Udp.Dispose();
        Tun.Dispose();
    }

    private EpollWaiter CreateWaiter(Readiness watched) => new(
        watched.HasFlag(Readiness.Tun) ? Tun : null,
        watched.HasFlag(Readiness.Udp) ? Udp : null,
        Features);
}
