namespace WgSharp.Linux;

/// <summary>What is open at one time: at least one of the two, and the lanes beside them.</summary>
internal sealed record SocketPair(FileDescriptor? V4, FileDescriptor? V6, ushort Port, uint Mark, SendLanes Lanes) : IDisposable
{
    /// <summary>How often a random port that is taken in the other family is thrown again.</summary>
    private const int PortAttempts = 100;

    private volatile RawSockets? _raw;
    private volatile bool _isDeaf;
    private Listening _listens;

    internal FileDescriptor? Of(bool ipv6) => ipv6 ? V6 : V4;

    /// <summary>What IPv6 has beside, or null: while nobody listens, and where it is not to be had.</summary>
    internal RawSockets? Raw => _raw;

    /// <summary>See <see cref="SetDeaf"/>. Any thread.</summary>
    internal bool IsDeaf => _isDeaf;

    private uint Mark { get; set; } = Mark;

    /// <summary>Both on one port. A family that this machine does not have is left out.</summary>
    /// <param name="port">0: one that the kernel chooses.</param>
    /// <param name="hears">Whether ICMP is listened to: <see cref="Listen"/>.</param>
    /// <exception cref="IOException">They cannot be had; the message says why, and what to do.</exception>
    internal static SocketPair Open(ushort port, uint fwmark, bool hears, KernelFeatures features)
    {
        Listening listens = hears ? Listening.ErrorQueues : Listening.Off;
        for (int attempt = 1; ; attempt++)
        {
            FileDescriptor? v4 = UdpSetup.Open(ipv6: false, port, fwmark, listens, features, out int errno4);
            ThrowUnlessMissing(v4, errno4, port, "IPv4");
            ushort chosen = v4 is null ? port : UdpSetup.PortOf(v4, ipv6: false);

            FileDescriptor? v6 = UdpSetup.Open(ipv6: true, chosen, fwmark, listens, features, out int errno6);
            if (v6 is null && !UdpSetup.IsMissing(errno6))
            {
                v4?.Dispose();
                if (port == 0 && errno6 == Errno.EADDRINUSE && attempt < PortAttempts)
                {
                    continue;
                }

                ThrowUnlessMissing(v6, errno6, chosen, "IPv6");
            }

            if (v4 is null && v6 is null)
            {
                throw new IOException($"Neither an IPv4 nor an IPv6 socket can be had: {Errno.Describe(errno4)}; {Errno.Describe(errno6)}.", errno4);
            }

            chosen = v6 is null ? chosen : UdpSetup.PortOf(v6, ipv6: true);
            var pair = new SocketPair(v4, v6, chosen, fwmark, new SendLanes(v4, v6, chosen, fwmark, listens, features));
            pair.Listen(hears, features);
            return pair;
        }
    }

    /// <exception cref="IOException">CAP_NET_ADMIN is missing.</exception>
    internal void SetMark(uint fwmark)
    {
        Mark = fwmark;
        UdpSetup.SetMark(V4, V6, fwmark);
        Lanes.SetMark(fwmark);
        _raw?.Fragments.SetMark(fwmark);
    }

    /// <summary>The raw sockets open first and close last: at no time does nobody hear what the kernel does not believe.</summary>
    internal void Listen(bool on, KernelFeatures features)
    {
        RawSockets? raw = on && V6 is not null && features.Has(KernelFeature.Raw6) ? _raw ?? RawSockets.Open(Port, Mark, out _) : null;
        Listening listens = !on ? Listening.Off : raw is null ? Listening.ErrorQueues : Listening.Raw6;
        if (V4 is not null)
        {
            UdpSetup.Listen(V4, ipv6: false, listens, features);
        }

        if (V6 is not null)
        {
            UdpSetup.Listen(V6, ipv6: true, listens, features);
        }

        Lanes.Listen(listens);
        _listens = listens;
        _isDeaf = false;
        if (!ReferenceEquals(raw, _raw))
        {
            _raw?.Dispose();
            _raw = raw;
        }
    }

    /// <summary>
    /// No error queue takes ICMP, until it is called again: each error costs a wake-up and makes a call fail, and whoever floods us with them shall not take that from the packets.
    /// What is believed stays as it is. One thread at a time, as with all that opens and closes.
    /// </summary>
    internal void SetDeaf(bool deaf, KernelFeatures features)
    {
        if (_listens == Listening.Off || !features.Has(KernelFeature.RecvErr))
        {
            return;
        }

        _isDeaf = deaf;
        if (V4 is not null)
        {
            UdpSetup.SetHearing(V4, ipv6: false, !deaf);
        }

        if (V6 is not null && _listens != Listening.Raw6)
        {
            UdpSetup.SetHearing(V6, ipv6: true, !deaf);
        }

        Lanes.SetHearing(!deaf);
    }

    public void Dispose()
    {
        Lanes.Dispose();
        _raw?.Dispose();
        foreach (FileDescriptor? socket in (ReadOnlySpan<FileDescriptor?>)[V4, V6])
        {
            if (socket is not null)
            {
                // The port is free when this returns, to be opened again at once.
                socket.DisposeAndWait();
            }
        }
    }

    private static void ThrowUnlessMissing(FileDescriptor? socket, int errno, ushort port, string family)
    {
        if (socket is not null || UdpSetup.IsMissing(errno))
        {
            return;
        }

        string message = errno switch
        {
            Errno.EADDRINUSE => $"UDP port {port} is in use on {family} (EADDRINUSE): choose another ListenPort, or stop the program that has it.",
            Errno.EACCES => $"UDP port {port} may not be opened on {family} (EACCES): ports below 1024 need CAP_NET_BIND_SERVICE.",
            Errno.EPERM => $"The fwmark could not be set on {family} (EPERM): it needs CAP_NET_ADMIN.",
            _ => $"UDP port {port} could not be opened on {family}: {Errno.Describe(errno)}.",
        };
        throw new IOException(message, errno);
    }
}
