using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>What a batch-wise read or write came to.</summary>
public enum IoStatus
{
    /// <summary>Something was transferred.</summary>
    Done,

    /// <summary>Nothing to read now: wait.</summary>
    WouldBlock,

    /// <summary>The link is down (EIO on a TUN) or the sockets are closed: what was to be written is lost, wait for the link.</summary>
    LinkDown,

    /// <summary>The device is gone for good (EBADFD, ENODEV): the tunnel ends.</summary>
    Gone,
}

/// <summary>What became of one run that was handed to <see cref="IUdpSocket.Send"/>.</summary>
public enum SendOutcome
{
    Sent,

    /// <summary>The sticky source is no longer ours (EINVAL with a source, EADDRNOTAVAIL, ENETUNREACH): forget it and send again.</summary>
    SourceRefused,

    /// <summary>Segmentation was refused (EIO; EINVAL or EMSGSIZE with UDP_SEGMENT): send the same run unsegmented.</summary>
    SegmentationRefused,

    /// <summary>Only of <see cref="IUdpSocket.SendWhole"/>: larger than the MTU of the local link (EMSGSIZE); nothing left.</summary>
    TooLarge,

    /// <summary>Everything else (EMSGSIZE, EPERM, ENOBUFS, no socket of that family): the messages are lost, as on any network.</summary>
    Lost,
}

/// <summary>What is there to wait for.</summary>
[Flags]
public enum Readiness
{
    None = 0,
    Tun = 1,
    Udp = 2,

    /// <summary><see cref="IWaiter.Wake"/> was called.</summary>
    Woken = 4,

    /// <summary>The TUN descriptor reported an error or hang-up: the device is gone.</summary>
    TunGone = 8,
}

/// <summary>What a TUN device takes in a <see cref="TunFrame.Header"/> that is written to it.</summary>
[Flags]
public enum TunOffload
{
    /// <summary>Plain packets only: every header must be all zeros.</summary>
    None = 0,

    /// <summary>NeedsCsum: the kernel completes the checksum.</summary>
    Checksum = 1,

    /// <summary>GsoTcp4 super-packets.</summary>
    Tcp4 = 2,

    /// <summary>GsoTcp6 super-packets.</summary>
    Tcp6 = 4,

    /// <summary>GsoUdpL4 super-packets, of both families (Linux 6.2: TUN_F_USO4, TUN_F_USO6).</summary>
    Udp = 8,

    All = Checksum | Tcp4 | Tcp6 | Udp,
}

/// <summary>The interface to the operating system's network stack. Batch in, batch out.</summary>
internal interface ITunDevice : IDisposable
{
    string Name { get; }

    /// <summary>What may be written; constant.</summary>
    TunOffload Offload => TunOffload.None;

    /// <summary>
    /// Reads until nothing is left, <see cref="PacketBatch.Frames"/> is full, or less than 64 KiB + header remains of
    /// <see cref="PacketBatch.ReadCapacity"/>. Says which by <see cref="PacketBatch.Drained"/>. Never blocks. Never truncates.
    /// </summary>
    IoStatus Read(PacketBatch batch);

    /// <summary>Writes every frame (its header, then its slices) and marks the refused ones. Never blocks.</summary>
    IoStatus Write(PacketBatch batch);
}

/// <summary>The outer sockets: IPv4 and IPv6 on one port; either may be missing. Batch in, batch out.</summary>
internal interface IUdpSocket : IDisposable
{
    /// <summary>Opens both families on <paramref name="port"/> (0: a random one, the same for both) with SO_MARK set, in the namespace the daemon was started in.</summary>
    /// <returns>The port.</returns>
    /// <exception cref="IOException">Neither family could be opened, or the port is taken; the message says which and why, HResult is the errno.</exception>
    ushort Open(ushort port, uint fwmark);

    /// <summary>Whether <see cref="Open"/> would succeed now: binds the port and lets it go. Only while closed.</summary>
    /// <exception cref="IOException">As there.</exception>
    void Try(ushort port, uint fwmark);

    /// <summary>Closes both; a receive or send under way on another thread finishes first.</summary>
    void Close();

    /// <summary>Sets SO_MARK on the open sockets.</summary>
    void SetMark(uint fwmark);

    /// <summary>Fills <see cref="PacketBatch.Trains"/>: whatever is there now, in slots of 64 KiB. Where that was all, <see cref="PacketBatch.Drained"/> says so:
    /// nothing more comes before a waiter reported it. Never blocks.</summary>
    IoStatus Receive(PacketBatch batch);

    /// <summary>Sends the runs [first, first + count) with as few system calls as possible and writes each one's <see cref="OutboundRun.Outcome"/>.
    /// Never waits: what a full socket does not take is lost, and a peer behind a full link takes nothing from the others.</summary>
    void Send(PacketBatch batch, int first, int count);

    /// <summary>The MTU of the route to an endpoint in bytes, IP header included; at most a second old where changes are announced. Any thread; cheap, once per batch and endpoint.</summary>
    /// <returns><see cref="PacketBatch.MaxPacket"/> where it is not known.</returns>
    int PathMtu(Endpoint endpoint, Instant now);

    /// <summary>Sends one datagram (handshake messages, cookie replies) with a DS field.</summary>
    SendOutcome SendOne(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass);

    /// <summary>The same, and why it did not leave.</summary>
    /// <param name="errno">0 if it left, or nobody knows.</param>
    SendOutcome SendOne(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass, out int errno)
    {
        errno = 0;
        return SendOne(datagram, endpoint, trafficClass);
    }

    /// <summary>Any thread, for people: how many peers have a socket of their own now.</summary>
    int LaneCount => 0;

    /// <summary>Whether <see cref="SendWhole"/> can do what it says: where not, nothing is to be learned from its outcome.</summary>
    bool CanSendWhole => false;

    /// <summary>Sends one datagram from the listen port that nobody may fragment: with DF set over IPv4, unfragmented over IPv6, whatever MTU the kernel has learned or
    /// was told for the route. Any thread; costs a socket, so it is for probes.</summary>
    /// <returns><see cref="SendOutcome.TooLarge"/> where it is larger than the local link's MTU.</returns>
    SendOutcome SendWhole(ReadOnlySpan<byte> datagram, Endpoint endpoint, byte trafficClass) => SendOutcome.Lost;

    /// <summary>Whether routers told of datagrams that were too large since the reports were taken last. Any thread, a plain read; grows true in <see cref="Receive"/>
    /// (also in one that received nothing), seldom in a send.</summary>
    bool HasPathReports => false;

    /// <summary>Moves reports out of the table, the oldest first. What does not fit into that table is lost: a report is a hint. Any thread.</summary>
    /// <returns>How many were written.</returns>
    int TakePathReports(Span<PathReport> reports) => 0;

    /// <summary>Whether ICMP is listened to (IP_RECVERR), which it is from the start where the kernel can. Where not, datagrams leave exactly as the kernel module's
    /// do, and IPv4 believes the kernel's path MTU. Any thread.</summary>
    void ListenForPathReports(bool on)
    {
    }
}

/// <summary>One thread's way to sleep: until something it watches is ready, someone calls <see cref="Wake"/>, or a deadline passes.</summary>
public interface IWaiter : IDisposable
{
    /// <returns>What is ready; None when the deadline passed.</returns>
    Readiness Wait(Instant deadline);

    /// <summary>Looks without sleeping. Who always has something to go on with calls this between its turns: what is ready, and what waiters take
    /// in themselves (news about routes), would else be seen by nobody.</summary>
    /// <returns>What is ready now; None if nothing is.</returns>
    Readiness Poll();

    /// <summary>Any thread. A wake before the wait makes that wait return at once.</summary>
    void Wake();
}

/// <summary>Everything a tunnel needs of the machine it runs on.</summary>
/// <param name="Clock">One reading of CLOCK_BOOTTIME and CLOCK_REALTIME.</param>
/// <param name="CreateWaiter">A waiter for the given readiness (Tun, Udp, both, or None for wake-ups and deadlines only).</param>
internal sealed record TunnelIo(ITunDevice Tun, IUdpSocket Udp, Func<Moment> Clock, Func<Readiness, IWaiter> CreateWaiter, FillRandom Random)
{
    /// <summary>How long the machine has been suspended since it started: whoever sees that grow was asleep with it. A waiter for wake-ups returns when it has grown.</summary>
    public Func<TimeSpan> Suspended { get; init; } = static () => TimeSpan.Zero;
}
