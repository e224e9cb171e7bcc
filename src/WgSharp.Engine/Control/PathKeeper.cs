using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using WgSharp.Engine.Mtu;
using WgSharp.Protocol;

namespace WgSharp.Engine.Control;

/// <summary>
/// Follows the paths to the peers: hands on what the data path, the routes and the routers say of them, and sends the probes. What follows from it
/// is <see cref="PathMtu"/>'s business. Control loop only.
/// </summary>
internal sealed class PathKeeper(TunnelIo io, Device device, TunnelLink link, StagedSender sender, ILogger log)
{
    /// <summary>Probes that a router's report may be about.</summary>
    private const int Remembered = 64;

    /// <summary>Of one peer in one turn: a search sends one after the other.</summary>
    private const int MostProbes = 8;

    /// <summary>Reports taken at once: as many as the sockets keep.</summary>
    private const int MostReports = 64;

    /// <summary>Searches among all peers for whoever sent what is quoted: in a second, since anybody can make us search.</summary>
    private const int MostSearches = 100;

    /// <summary>How long ago a quoted message may have been sent, in messages: what is under way on any path, and somewhat more.</summary>
    private const ulong QuotedWithin = 1 << 16;

    private static readonly TimeSpan ReportAge = TimeSpan.FromSeconds(10);

    /// <summary>Between one taking of reports and the next: each costs the machine some changes of threads.</summary>
    private static readonly TimeSpan ReportPause = TimeSpan.FromMilliseconds(10);

    private readonly PathBudgets _budgets = new(io.Udp, link);
    private readonly SentMessage[] _sent = new SentMessage[Remembered];
    private readonly byte[] _probe = new byte[MtuProbes.MaxLength];
    private int _next;
    private Instant _reportsFrom;
    private Instant _searchesSince;
    private int _searches;

    /// <summary>The data path asked for it, or the path's own deadline is reached.</summary>
    public void Look(Peer peer, Instant now)
    {
        if (link.MtuPolicy == MtuPolicy.Kernel || peer.IsRemoved || peer.Endpoint is not { } endpoint)
        {
            return;
        }

        PeerPath path = peer.FollowPath(endpoint.Remote, _budgets.OfWhole(endpoint, now), link.MtuPolicy, now);
        if (path.TakeFragment() is > 0 and int fragment)
        {
            path.Mtu.NoteFragments(fragment, now);
        }

        while (path.Probes.TryTakeAnswer(out uint id, out InetAddress speaker))
        {
            path.Speaker = speaker.IsNone ? path.Speaker : speaker;
            path.Mtu.NoteAnswered(id, now);
        }

        if (path.Budget.Told is > 0 and int told)
        {
            path.Mtu.NoteTraffic(told, now);
        }

        SendProbes(peer, endpoint, path, now);
        Tell(peer, path);
        device.PlanPath(peer);
    }

    /// <summary>When reports that wait may be taken; <see cref="Instant.Never"/> if none do.</summary>
    public Instant ReportsAt => io.Udp.HasPathReports ? _reportsFrom : Instant.Never;

    /// <summary>
    /// What routers said since the last call. Believed only of a message that was sent lately, which they have to quote: anybody can send us ICMP. For the same reason it
    /// is taken at intervals, all at once; what does not fit into the sockets' table meanwhile is lost.
    /// </summary>
    public void TakeReports(Instant now)
    {
        Instant due = ReportsAt;
        if (due == Instant.Never || now >= due)
        {
            // Also where none wait: whoever announced may have done so after they had been taken. What comes between this and the sleep is seen by its deadline.
            link.ForgetAnnouncement();
        }

        if (now < due)
        {
            return;
        }

        Span<PathReport> reports = stackalloc PathReport[MostReports];
        int count = io.Udp.TakePathReports(reports);
        _reportsFrom = now + ReportPause;
        foreach (ref readonly PathReport report in reports[..count])
        {
            if (report.QuotedLength >= MessageSize.TransportHeader && (TryFind(in report, now, out Peer? peer) || TrySearch(in report, now, out peer)) && peer.Path is { } path && path.Remote == report.Remote)
            {
                path.Mtu.NoteTooBig(report.Mtu, now);
                Look(peer, now);
            }
        }
    }

    private bool TryFind(in PathReport report, Instant now, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out Peer? peer)
    {
        ReadOnlySpan<byte> quote = report.Quote;
        foreach (ref readonly SentMessage sent in _sent.AsSpan())
        {
            if (sent.Peer is not null
                && sent.Header.AsSpan().SequenceEqual(quote)
                && sent.Remote == report.Remote
                && !sent.At.IsOlderThan(ReportAge, now))
            {
                peer = sent.Peer;
                return true;
            }
        }

        peer = null;
        return false;
    }

    /// <summary>Who sent the message that is quoted, if it is no probe: its receiver index and counter are known to those alone whom it passed.</summary>
    private bool TrySearch(in PathReport report, Instant now, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out Peer? peer)
    {
        peer = null;
        ReadOnlySpan<byte> quote = report.Quote;
        if (BinaryPrimitives.ReadUInt32LittleEndian(quote) != (uint)MessageType.TransportData || !TryBeginSearch(now))
        {
            return false;
        }

        uint receiver = BinaryPrimitives.ReadUInt32LittleEndian(quote[4..]);
        ulong counter = BinaryPrimitives.ReadUInt64LittleEndian(quote[8..]);
        return device.TryFindSender(report.Remote, receiver, counter, QuotedWithin, out peer);
    }

    private bool TryBeginSearch(Instant now)
    {
        if (_searchesSince.IsOlderThan(TimeSpan.FromSeconds(1), now))
        {
            _searchesSince = now;
            _searches = 0;
        }

        return _searches++ < MostSearches;
    }

    private void SendProbes(Peer peer, Endpoint endpoint, PeerPath path, Instant now)
    {
        InetAddress own = InetAddress.None, host = InetAddress.None;
        bool isAskable = link.MtuPolicy == MtuPolicy.Auto && io.Udp.CanSendWhole && TryFindTarget(peer, path, out own, out host);
        path.Mtu.SetAskable(isAskable, now);
        for (int i = 0; i < MostProbes && path.Mtu.TryTakeProbe(now, out PathProbe probe); i++)
        {
            var token = ProbeToken.Draw(io.Random);
            path.Probes.Add(token, probe.Id);
            SendOutcome outcome = host.IsNone
                ? SendThrough(peer, endpoint, probe, token, own, now)
                : Send(ProbeKind.Peer, peer, endpoint, probe, token, own, host, now);
            if (outcome == SendOutcome.TooLarge)
            {
                path.Mtu.NoteRefused(probe.Id, now);
            }
        }
    }

    /// <summary>A peer whose own address is not known, and who forwards: either of two packets to our own address is answered.</summary>
    private SendOutcome SendThrough(Peer peer, Endpoint endpoint, in PathProbe probe, in ProbeToken token, in InetAddress own, Instant now)
    {
        SendOutcome outcome = Send(ProbeKind.Expire, peer, endpoint, probe, token, own, InetAddress.None, now);
        return outcome == SendOutcome.TooLarge ? outcome : Send(ProbeKind.Return, peer, endpoint, probe, token, own, InetAddress.None, now);
    }

    private SendOutcome Send(
        ProbeKind kind, Peer peer, Endpoint endpoint, in PathProbe probe, in ProbeToken token, in InetAddress own, in InetAddress host, Instant now)
    {
        int length = MtuProbes.Write(kind, token, own, host, _probe);
        ref SentMessage sent = ref _sent[_next++ % Remembered];
        sent = new SentMessage { Peer = peer, Remote = endpoint.Remote, At = now, Header = new byte[MessageSize.TransportHeader] };
        return sender.SendProbe(peer, endpoint, _probe.AsSpan(0, length), probe.OuterSize, probe.DontFragment, now, sent.Header);
    }

    /// <param name="own">Our address in the tunnel: where answers go.</param>
    /// <param name="host">The peer's, or none: what goes to our own address through a peer that forwards is answered, too.</param>
    private bool TryFindTarget(Peer peer, PeerPath path, out InetAddress own, out InetAddress host)
    {
        foreach (InetAddress address in link.OwnAddresses)
        {
            own = address;
            if (device.TryFindHost(peer, address.IsIPv4, out host))
            {
                return true;
            }

            host = path.Speaker.Length == address.Length ? path.Speaker : InetAddress.None;
            if (!host.IsNone || device.IsBehind(peer, address))
            {
                return true;
            }
        }

        own = host = InetAddress.None;
        return false;
    }

    private void Tell(Peer peer, PeerPath path)
    {
        PathBudget budget = path.Budget;
        PathBudget? told = path.Told;
        bool isNews = told is null
            ? budget.Origin != MtuOrigin.Route
            : told.OuterMtu != budget.OuterMtu || told.Origin != budget.Origin || told.IsHard != budget.IsHard;
        if (isNews)
        {
            path.Told = budget;
            Log.PathMtu(log, peer.PublicKey, budget.OuterMtu, Name(budget.Origin), budget.IsHard ? "; fragments do not arrive" : "");
        }
    }

    private static string Name(MtuOrigin origin) => origin switch
    {
        MtuOrigin.Icmp => "ICMP",
        MtuOrigin.Fragments => "fragments received",
        MtuOrigin.Probe => "probe",
        _ => "route",
    };

    /// <summary>A probe as it left: what a router would quote.</summary>
    private struct SentMessage
    {
        public Peer? Peer;
        public InetEndpoint Remote;
        public Instant At;
        public byte[] Header;
    }
}
