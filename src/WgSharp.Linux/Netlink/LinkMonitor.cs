using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>What the administrator made of the interface.</summary>
/// <param name="Up">IFF_UP.</param>
/// <param name="Mtu">Bytes of the largest inner packet.</param>
/// <param name="Gone">The interface was deleted; nothing more will be reported.</param>
internal readonly record struct LinkState(bool Up, int Mtu, bool Gone = false);

/// <summary>
/// Watches the interface behind a TUN descriptor and tells every change of link state and MTU, wherever the interface is.
/// <para>
/// It listens to rtnetlink in the namespace of the process. When the interface leaves it (RTM_DELLINK, which is not the end: only the
/// descriptor tells that), TUNGETDEVNETNS says where it went, that namespace gets a number in ours, and from then on the same
/// socket hears of it too. Nothing of ours sits in the other namespace, so <c>ip netns delete</c> still deletes the interface, and
/// then the descriptor reports an error.
/// </para>
/// <para>
/// It tells every change of the interface's own addresses likewise. What is announced of an address is only the reason to ask for all of them, on
/// a socket of its own: so no announcement can be older than an answer. Where the interface is in another namespace that takes Linux 4.20.
/// </para>
/// <para>
/// Where the kernel (before 5.7) or a missing privilege hides the other namespace, its MTU stays as last seen, and the link state is
/// looked at once a second, and no address is known: a TUN takes data (POLLOUT) only while it is up. (A write of zero bytes does not tell on today's kernels:
/// EINVAL comes before the link is looked at.)
/// </para>
/// </summary>
internal sealed unsafe class LinkMonitor : IDisposable
{
    private const ulong CallKey = 1;
    private const ulong NetlinkKey = 2;
    private const ulong TunKey = 3;
    private const int BlindPeriodMilliseconds = 1000;

    /// <summary>How often a rename or a move may come between two questions.</summary>
    private const int Attempts = 16;

    private readonly TunDevice _tun;
    private readonly Action<LinkState> _changed;
    private readonly Action<IReadOnlyList<InetAddress>>? _addressesChanged;
    private readonly NetlinkSocket _rtnetlink;
    private readonly NetlinkSocket? _addressQuestions;
    private readonly Epoll _epoll;
    private readonly FileDescriptor _call;
    private readonly Thread _thread;
    private readonly string? _ownNamespace;
    private readonly bool _hearsOthers;
    private readonly bool _asksOthers;

    /// <summary>Guards what callers and the monitor's thread tell each other; pulsed when an answer is there.</summary>
    private readonly object _calls = new();
    private long _asked;
    private long _answered;
    private bool _stopping;
    private bool _ended;
    private LinkState? _reported;
    private int _nsid = NetlinkSocket.OwnNamespace;
    private int _index;
    private volatile IReadOnlyList<InetAddress> _ownAddresses = [];

    /// <summary>Something was announced of the addresses since they were asked for.</summary>
    private bool _addressesAreOld;

    /// <summary>Only where TUNGETDEVNETNS is missing: the interface was seen to leave.</summary>
    private bool _hasLeft;

    /// <summary>It is where we hear nothing of it.</summary>
    private bool _blind;

    /// <summary>Starts watching; the state of now is the first that is reported.</summary>
    /// <param name="changed">Called on the monitor's own thread.</param>
    /// <param name="addressesChanged">Called there too, when <see cref="OwnAddresses"/> has changed; it begins empty. Without it nobody listens to addresses.</param>
    /// <exception cref="IOException">The kernel has no rtnetlink.</exception>
    public LinkMonitor(TunDevice tun, Action<LinkState> changed, Action<IReadOnlyList<InetAddress>>? addressesChanged = null)
    {
        _tun = tun;
        _changed = changed;
        _addressesChanged = addressesChanged;
        _ownNamespace = tun.Features.Has(KernelFeature.DevNetNs) ? new FileInfo("/proc/thread-self/ns/net").LinkTarget : null;
        uint addresses = addressesChanged is null ? 0 : Libc.RTMGRP_IPV4_IFADDR | Libc.RTMGRP_IPV6_IFADDR;
        _rtnetlink = new NetlinkSocket(Libc.RTMGRP_LINK | Libc.RTMGRP_NSID | addresses);
        _addressQuestions = addressesChanged is null ? null : new NetlinkSocket(0);
        _asksOthers = _addressQuestions?.TryCheckStrictly() ?? false;
        _hearsOthers = _rtnetlink.TryListenToOtherNamespaces();
        _epoll = new Epoll();
        _call = FileDescriptor.Required(Libc.eventfd(0, Libc.O_CLOEXEC | Libc.O_NONBLOCK), "eventfd");
        _epoll.Add(_call, CallKey);
        _epoll.Add(_rtnetlink.Descriptor, NetlinkKey);

        // Errors only; they are reported without being asked for.
        _epoll.Add(tun.Descriptor, TunKey, events: 0);
        _thread = new Thread(Run) { IsBackground = true, Name = "link monitor" };
        _thread.Start();
    }

    /// <summary>The interface's addresses, without link-local ones, IPv4 first; a snapshot, on any thread. Empty where the interface cannot be asked.</summary>
    public IReadOnlyList<InetAddress> OwnAddresses => _ownAddresses;

    /// <summary>
    /// Returns when everything was reported that the kernel announced before: whoever took the link up and asks us then finds it up. Any thread;
    /// must not be called from within a report.
    /// </summary>
    public void CatchUp()
    {
        lock (_calls)
        {
            long ticket = ++_asked;
            Call();
            while (_answered < ticket && !_ended)
            {
                Monitor.Wait(_calls);
            }
        }
    }

    /// <summary>Ends the thread; after that nothing is reported. Must not be called from within a report.</summary>
    public void Dispose()
    {
        lock (_calls)
        {
            _stopping = true;
            Call();
        }

        _thread.Join();
        _epoll.Dispose();
        _call.Dispose();
        _rtnetlink.Dispose();
        _addressQuestions?.Dispose();
    }

    private void Call()
    {
        ulong one = 1;
        if (!_call.IsClosed)
        {
            Libc.write(_call, &one, sizeof(ulong));
        }
    }

    private void Run()
    {
        try
        {
            Locate();
            AskForAddresses();
            while (_reported is not { Gone: true } && WaitForNews())
            {
                if (_blind)
                {
                    Locate();
                }

                AskForAddresses();
            }
        }
        catch (ObjectDisposedException)
        {
            // The TUN was closed by its owner: the interface goes with it.
            Report(new LinkState(Up: false, _reported?.Mtu ?? 0, Gone: true));
        }
        finally
        {
            lock (_calls)
            {
                _ended = true;
                Monitor.PulseAll(_calls);
            }
        }
    }

    /// <returns>False when the monitor is to end.</returns>
    private bool WaitForNews()
    {
        Span<EpollEvent> events = stackalloc EpollEvent[4];
        int count = _epoll.Wait(events, _blind ? BlindPeriodMilliseconds : -1);
        for (int i = 0; i < count; i++)
        {
            switch (events[i].Key)
            {
                case CallKey:
                    if (!Answer())
                    {
                        return false;
                    }

                    break;
                case TunKey:
                    Locate();
                    break;
                case NetlinkKey:
                    ReadNews();
                    break;
            }
        }

        return true;
    }

    /// <returns>False when the monitor is to end.</returns>
    private bool Answer()
    {
        ulong calls;
        Libc.read(_call, &calls, sizeof(ulong));
        long asked;
        lock (_calls)
        {
            asked = _asked;
            if (_stopping)
            {
                return false;
            }
        }

        if (_blind)
        {
            Locate();
        }

        ReadNews();
        AskForAddresses();
        lock (_calls)
        {
            _answered = asked;
            Monitor.PulseAll(_calls);
        }

        return true;
    }

    private void ReadNews()
    {
        while (true)
        {
            ReadOnlySpan<byte> received = _rtnetlink.Receive(out int nsid, out int errno);
            if (errno == Errno.ENOBUFS)
            {
                // Some were lost: ask for the state itself.
                Locate();
                continue;
            }

            if (errno == Errno.EINTR)
            {
                continue;
            }

            if (errno != 0)
            {
                return;
            }

            while (NetlinkMessage.TryTake(ref received, out NetlinkMessage message))
            {
                if (!TryFollow(message, nsid))
                {
                    Locate();
                    break;
                }
            }
        }
    }

    /// <returns>False where the interface has to be looked for. Whatever else was announced so far is then older than the answer.</returns>
    private bool TryFollow(NetlinkMessage message, int nsid)
    {
        if (message.TryReadLink(out int index, out bool up, out int mtu))
        {
            if (index != _index || nsid != _nsid || _blind)
            {
                return true;
            }

            if (message.Type == Libc.RTM_DELLINK)
            {
                _hasLeft = true;
                return false;
            }

            Report(new LinkState(up, mtu));
            return true;
        }

        if (message.TryReadAddressIndex(out index))
        {
            _addressesAreOld |= index == _index && nsid == _nsid;
            return true;
        }

        // The number goes first when a namespace is taken down; from then on nothing is heard of it.
        return message.Type != Libc.RTM_DELNSID || !message.TryReadNamespaceId(out int deleted) || deleted != _nsid || _blind;
    }

    /// <summary>Finds the interface by its descriptor, wherever it is and whatever it is called by now, and reports its state.</summary>
    private void Locate()
    {
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            ifreq request = default;
            if (Libc.ioctl(_tun.Descriptor, Libc.TUNGETIFF, &request) < 0)
            {
                Report(new LinkState(Up: false, _reported?.Mtu ?? 0, Gone: true));
                return;
            }

            if (!TryFindNamespace(out int nsid))
            {
                break;
            }

            string name = InterfaceName.Read(ref request);
            int errno = _rtnetlink.AskLink(name, nsid, out int index, out bool up, out int mtu);
            if (errno == 0)
            {
                if (_index != 0 && nsid != _nsid && _tun.Features.Has(KernelFeature.Silence))
                {
                    TunSetup.SilenceThere(_tun.Descriptor, name);
                }

                _blind = false;
                _nsid = nsid;
                _index = index;
                _addressesAreOld = true;
                Report(new LinkState(up, mtu));
                return;
            }

            // Moved or renamed between the questions, or the answer did not fit into a full queue: again.
            if (errno is not (Errno.ENODEV or Errno.EAGAIN) || (errno == Errno.ENODEV && _ownNamespace is null))
            {
                break;
            }
        }

        _blind = true;
        _addressesAreOld = true;
        Report(new LinkState(_tun.Descriptor.IsWritable(), _reported?.Mtu ?? TunDevice.DefaultMtu));
    }

    /// <returns>False where the interface may be somewhere that we can't hear of.</returns>
    private bool TryFindNamespace(out int nsid)
    {
        nsid = NetlinkSocket.OwnNamespace;
        if (_ownNamespace is null)
        {
            return !_hasLeft;
        }

        using FileDescriptor? netns = FileDescriptor.From(Libc.ioctl_value(_tun.Descriptor, Libc.TUNGETDEVNETNS, 0));
        if (netns is null)
        {
            return false;
        }

        string? found = new FileInfo($"/proc/self/fd/{netns.DangerousGetHandle()}").LinkTarget;
        return found == _ownNamespace || (_hearsOthers && _rtnetlink.TryNumberNamespace(netns, out nsid));
    }

    private void Report(LinkState state)
    {
        if (state != _reported)
        {
            _reported = state;
            _changed(state);
        }
    }

    /// <summary>When news were read to the end: the answer then is younger than all of them.</summary>
    private void AskForAddresses()
    {
        if (!_addressesAreOld || _addressQuestions is null)
        {
            return;
        }

        _addressesAreOld = false;
        var addresses = new List<InetAddress>();
        if (!_blind && _reported is { Gone: false } && (_nsid == NetlinkSocket.OwnNamespace || _asksOthers))
        {
            foreach (byte family in (ReadOnlySpan<byte>)[Libc.AF_INET, Libc.AF_INET6])
            {
                // A family that the kernel lacks, or an interface that is just leaving, of which there will be news: no addresses.
                _ = _addressQuestions.AskAddresses(_index, _nsid, family, addresses);
            }
        }

        // A link-local address means nothing at the other end of a tunnel.
        addresses.RemoveAll(address => address.IsIPv6 && address.ToIPAddress().IsIPv6LinkLocal);
        if (!addresses.SequenceEqual(_ownAddresses))
        {
            _ownAddresses = addresses;
            _addressesChanged!(addresses);
        }
    }
}
