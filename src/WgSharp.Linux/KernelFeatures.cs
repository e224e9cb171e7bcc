using System.Text;

namespace WgSharp.Linux;

/// <summary>What a kernel may or may not have; each can be switched off by its name in <c>WGSHARP_DISABLE</c>.</summary>
[Flags]
public enum KernelFeature
{
    None = 0,

    /// <summary>IFF_VNET_HDR: a header before every TUN packet, the door to all TUN offloads.</summary>
    VnetHdr = 1 << 0,

    /// <summary>TUN_F_TSO4: TCP/IPv4 super-packets are read from the TUN.</summary>
    Tso4 = 1 << 1,

    /// <summary>TUN_F_TSO6: the same for IPv6.</summary>
    Tso6 = 1 << 2,

    /// <summary>TUN_F_USO4 and USO6 (Linux 6.2): UDP super-packets, read and written.</summary>
    Uso = 1 << 3,

    /// <summary>UDP_SEGMENT (4.18): one system call sends a run of messages.</summary>
    Gso = 1 << 4,

    /// <summary>UDP_GRO (5.0): one system call receives a train of messages.</summary>
    Gro = 1 << 5,

    /// <summary>sendmmsg and recvmmsg.</summary>
    Mmsg = 1 << 6,

    /// <summary>IP_PKTINFO and IPV6_PKTINFO: the address a message was sent to, and answering from it.</summary>
    PktInfo = 1 << 7,

    /// <summary>IP_TOS and IPV6_TCLASS as control messages (IPv4: 3.13): DSCP and ECN of each message; the hop limit came with it.</summary>
    Tos = 1 << 8,

    /// <summary>IP_RECVFRAGSIZE and IPV6_RECVFRAGSIZE (4.12): the fragment size a message arrived in.</summary>
    RecvFragSize = 1 << 9,

    Ipv4 = 1 << 10,
    Ipv6 = 1 << 11,

    /// <summary>timerfd; without it a deadline is the timeout of epoll_wait.</summary>
    TimerFd = 1 << 12,

    /// <summary>TUNGETDEVNETNS (5.7): which network namespace the interface lives in.</summary>
    DevNetNs = 1 << 13,

    /// <summary>timerfd on CLOCK_BOOTTIME (3.15); without it on CLOCK_MONOTONIC.</summary>
    BootTimer = 1 << 14,

    /// <summary>RTM_GETROUTE: whether the route to a peer still leaves through the interface that it is heard on.</summary>
    Routes = 1 << 15,

    /// <summary>No multicast and no link-local address (IFLA_INET6_ADDR_GEN_MODE, 3.17): the interface sends nothing of its own.</summary>
    Silence = 1 << 16,

    /// <summary>SO_ATTACH_REUSEPORT_CBPF (4.5): sockets that only send, so that a peer behind a full link has its own.</summary>
    Lanes = 1 << 17,

    /// <summary>IP_RECVERR and IPV6_RECVERR: what routers say of datagrams that were too large. Over IPv4 it needs IP_PMTUDISC_OMIT (3.15) too.</summary>
    RecvErr = 1 << 18,

    /// <summary>Raw sockets of IPv6 (CAP_NET_RAW): "packet too big" is heard without the kernel believing it, and fragments have the size that the path takes.</summary>
    Raw6 = 1 << 19,
}

/// <summary>
/// What was found when each feature was tried, what was switched off, and why the rest is missing. Written while the TUN and the
/// sockets are opened, before any thread runs; only read afterwards.
/// </summary>
public sealed class KernelFeatures
{
    private static readonly (string Name, KernelFeature Feature)[] _names =
    [
        ("vnet_hdr", KernelFeature.VnetHdr),
        ("tso4", KernelFeature.Tso4),
        ("tso6", KernelFeature.Tso6),
        ("tso", KernelFeature.Tso4 | KernelFeature.Tso6),
        ("uso", KernelFeature.Uso),
        ("gso", KernelFeature.Gso),
        ("gro", KernelFeature.Gro),
        ("mmsg", KernelFeature.Mmsg),
        ("pktinfo", KernelFeature.PktInfo),
        ("tos", KernelFeature.Tos),
        ("recvfragsize", KernelFeature.RecvFragSize),
        ("ipv4", KernelFeature.Ipv4),
        ("ipv6", KernelFeature.Ipv6),
        ("timerfd", KernelFeature.TimerFd),
        ("boottimer", KernelFeature.BootTimer),
        ("devnetns", KernelFeature.DevNetNs),
        ("routes", KernelFeature.Routes),
        ("silence", KernelFeature.Silence),
        ("lanes", KernelFeature.Lanes),
        ("recverr", KernelFeature.RecvErr),
        ("raw6", KernelFeature.Raw6),
    ];

    private readonly List<string> _refusals = [];

    public KernelFeatures(KernelFeature disabled = KernelFeature.None) => Disabled = disabled;

    /// <summary>Switched off by the user: not even tried.</summary>
    public KernelFeature Disabled { get; }

    /// <summary>Tried and found.</summary>
    public KernelFeature Available { get; private set; }

    /// <summary>One sentence per feature that the kernel refused, for the log.</summary>
    public IReadOnlyList<string> Refusals => _refusals;

    public bool Has(KernelFeature feature) => (Available & feature) == feature;

    /// <summary>Reads a <c>WGSHARP_DISABLE</c> list: names separated by commas or blanks, in any case.</summary>
    /// <param name="unknown">Takes the names that mean nothing here: they may belong to another layer.</param>
    public static KernelFeature ParseDisabled(string? list, ICollection<string>? unknown = null)
    {
        KernelFeature disabled = KernelFeature.None;
        foreach (string word in (list ?? "").Split([',', ' ', '\t'], StringSplitOptions.RemoveEmptyEntries))
        {
            KernelFeature feature = FeatureOf(word);
            disabled |= feature;
            if (feature == KernelFeature.None)
            {
                unknown?.Add(word);
            }
        }

        return disabled;
    }

    /// <summary>For the start-up line: <c>tun vnet_hdr+ tso4+ tso6+ uso+ | udp gso+ gro+ mmsg+ pktinfo+ | ipv6+</c>; a minus means missing or switched off.</summary>
    public override string ToString()
    {
        var text = new StringBuilder("tun");
        Append(text, KernelFeature.VnetHdr, KernelFeature.Tso4, KernelFeature.Tso6, KernelFeature.Uso);
        text.Append(" | udp");
        Append(text, KernelFeature.Gso, KernelFeature.Gro, KernelFeature.Mmsg, KernelFeature.PktInfo);
        text.Append(" |");
        if (!Has(KernelFeature.Ipv4))
        {
            Append(text, KernelFeature.Ipv4);
        }

        Append(text, KernelFeature.Ipv6);
        return text.ToString();
    }

    internal bool Wants(KernelFeature feature) => (Disabled & feature) == KernelFeature.None;

    internal void Found(KernelFeature feature) => Available |= feature;

    internal void Refused(KernelFeature feature, string call, int errno)
    {
        Available &= ~feature;
        _refusals.Add($"{NameOf(feature)} is not available: {call}: {Errno.Describe(errno)}");
    }

    private static string NameOf(KernelFeature feature)
    {
        foreach ((string name, KernelFeature candidate) in _names)
        {
            if (candidate == feature)
            {
                return name;
            }
        }

        return feature.ToString();
    }

    private static KernelFeature FeatureOf(string name)
    {
        foreach ((string candidate, KernelFeature feature) in _names)
        {
            if (candidate.Equals(name, StringComparison.OrdinalIgnoreCase))
            {
                return feature;
            }
        }

        return KernelFeature.None;
    }

    private void Append(StringBuilder text, params ReadOnlySpan<KernelFeature> features)
    {
        foreach (KernelFeature feature in features)
        {
            text.Append(' ').Append(NameOf(feature)).Append(Has(feature) ? '+' : '-');
        }
    }
}
