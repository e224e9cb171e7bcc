using WgSharp.Crypto;

namespace WgSharp.Protocol;

/// <summary>What became of a packet that was to be sealed.</summary>
public enum SealResult
{
    /// <summary>The datagram is to be sent.</summary>
    Sealed,

    /// <summary>There is no session yet: a copy waits for it, and <see cref="MessageTunnel.TryTake"/> has the handshake.</summary>
    Staged,

    /// <summary>Neither IPv4 nor IPv6.</summary>
    Malformed,

    /// <summary>The destination is nobody's allowed IP.</summary>
    NoPeer,
}

/// <summary>What a datagram was.</summary>
public enum OpenResult
{
    /// <summary>Silence: forged, replayed, for nobody here, or a keepalive. There may be something to take all the same.</summary>
    Nothing,

    /// <summary>An IP packet for this side.</summary>
    Packet,

    /// <summary>A handshake message that is answered: the reply is to be sent to where it came from.</summary>
    Reply,
}

/// <summary>
/// WireGuard for somebody who has a way to carry datagrams and packets of his own: one call seals a packet to the peer that owns its destination, another takes a
/// datagram in, a third gives what the protocol itself has to say. No I/O, no clock, no threads: one caller at a time.
/// </summary>
/// <remarks>The daemon's data path does the same in batches and on several threads; this is the short way.</remarks>
public sealed class MessageTunnel : IDisposable
{
    /// <summary>Bytes that a datagram is longer than its packet, padding included.</summary>
    public const int MaxOverhead = MessageSize.TransportOverhead + Multiple - 1;

    /// <summary>Bytes of the longest handshake message.</summary>
    public const int MaxHandshake = MessageSize.HandshakeInitiation;

    private const int Multiple = 16;

    private readonly Device _device;
    private readonly Queue<Peer> _sessions = new();
    private readonly AeadPacket[] _packet = new AeadPacket[1];

    /// <param name="configuration">Keys, peers, their allowed IPs and endpoints. Keys are copied.</param>
    /// <param name="random">Has to be the cryptographic one (<see cref="System.Security.Cryptography.RandomNumberGenerator.Fill"/>).</param>
    /// <param name="now">Both clocks, here as everywhere: calls come in the order of their times.</param>
    /// <exception cref="ConfigurationException">It cannot be applied.</exception>
    public MessageTunnel(DeviceConfiguration configuration, FillRandom random, Moment now)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        ArgumentNullException.ThrowIfNull(random);
        _device = new Device(random);
        _device.LinkUp(now);
        _device.Apply(configuration, now);
    }

    /// <summary>When <see cref="TryTake"/> is to be called, whatever else happens.</summary>
    public Instant NextDeadline => _device.NextDeadline;

    /// <summary>Changes keys, peers, allowed IPs, endpoints.</summary>
    /// <exception cref="ConfigurationException">It cannot be applied; nothing has changed.</exception>
    public void Apply(DeviceConfiguration configuration, Moment now)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        _device.Apply(configuration, now);
    }

    /// <summary>Keys, peers and what passed: a copy, whose keys the caller disposes.</summary>
    public DeviceSnapshot Snapshot() => _device.Snapshot();

    /// <summary>Seals an IP packet to the peer that owns its destination. Afterwards: <see cref="TryTake"/>.</summary>
    /// <param name="datagram">At least <see cref="MaxOverhead"/> bytes longer than the packet.</param>
    /// <param name="length">Bytes of the datagram.</param>
    /// <param name="endpoint">Where it is to be sent.</param>
    public SealResult Seal(ReadOnlySpan<byte> packet, Moment now, Span<byte> datagram, out int length, out InetEndpoint endpoint)
    {
        length = 0;
        endpoint = default;
        if (!IpPacket.TryParse(packet, out IpPacket parsed))
        {
            return SealResult.Malformed;
        }

        if (_device.AllowedIps.Lookup(parsed.Destination) is not { } peer)
        {
            return SealResult.NoPeer;
        }

        packet = packet[..parsed.TotalLength];
        if (!peer.Staged.ComeFirst && TrySeal(peer, packet, now, datagram, out length, out endpoint))
        {
            return SealResult.Sealed;
        }

        peer.Staged.Add(packet);
        _device.QueueWork(peer, peer.Keypairs.Sending is { } current && current.MaySend(now.Now) ? PeerWork.Staged
            : peer.WantsHandshake(now.Now) ? PeerWork.Handshake : PeerWork.None);
        return SealResult.Staged;
    }

    /// <summary>Takes a datagram in; it is opened in place. Afterwards: <see cref="TryTake"/>.</summary>
    /// <param name="source">Where it came from: an authentic one moves the peer's endpoint there.</param>
    /// <param name="reply">At least <see cref="MaxHandshake"/> bytes.</param>
    /// <param name="start">Of the packet, in the datagram; of the reply, in <paramref name="reply"/>.</param>
    /// <param name="length">Bytes of the packet or reply.</param>
    public OpenResult Open(Span<byte> datagram, in InetEndpoint source, Moment now, Span<byte> reply, out int start, out int length)
    {
        start = 0;
        length = 0;
        return TransportData.TryParse(datagram, out TransportData data)
            ? OpenData(datagram, in data, source, now, out start, out length)
            : Shake(datagram, source, now, reply, out length);
    }

    /// <summary>
    /// What the protocol itself has to say: initiations, keepalives, packets that waited for a session. To be called after every other call, and at
    /// <see cref="NextDeadline"/>, until it says no.
    /// </summary>
    /// <param name="datagram">At least as long as for the longest packet that was to be sealed, and at least <see cref="MaxHandshake"/> bytes.</param>
    public bool TryTake(Moment now, Span<byte> datagram, out int length, out InetEndpoint endpoint)
    {
        while (_sessions.TryPeek(out Peer? peer))
        {
            if (TryTakeStaged(peer, now, datagram, out length, out endpoint))
            {
                return true;
            }

            _sessions.Dequeue();
        }

        while (_device.TryTakeWork(now, out Peer peer, out PeerWork work))
        {
            if ((work.HasFlag(PeerWork.Staged) && TryBeginDraining(peer, now, datagram, out length, out endpoint))
                || (work.HasFlag(PeerWork.Handshake) && TryInitiate(peer, retry: false, now, datagram, out length, out endpoint)))
            {
                return true;
            }
        }

        while (_device.TryTakeDueTimer(now, out Peer peer, out TimerAction action))
        {
            bool taken = action switch
            {
                TimerAction.SendInitiation => TryInitiate(peer, retry: true, now, datagram, out length, out endpoint),
                TimerAction.SendKeepalive => TryKeepAlive(peer, now, datagram, out length, out endpoint),
                _ => Nothing(out length, out endpoint),
            };
            if (taken)
            {
                return true;
            }
        }

        return Nothing(out length, out endpoint);
    }

    /// <summary>Wipes every key.</summary>
    public void Dispose() => _device.Dispose();

    private OpenResult OpenData(Span<byte> datagram, in TransportData data, in InetEndpoint source, Moment now, out int start, out int length)
    {
        start = MessageSize.TransportHeader;
        length = 0;
        if (!_device.TryFindKeypair(data.ReceiverIndex, out Keypair keypair) || !keypair.MayReceive(now.Now) || !keypair.TryLease())
        {
            return OpenResult.Nothing;
        }

        _packet[0] = new AeadPacket { Offset = start, Length = datagram.Length - MessageSize.TransportOverhead, Counter = data.Counter };
        keypair.ReceiveKey.Open(datagram, _packet);
        keypair.Release();
        if (!_packet[0].Authentic || !Accept(keypair.ReplayWindow, _packet[0].Counter))
        {
            return OpenResult.Nothing;
        }

        Peer peer = keypair.Peer;
        peer.Learn(source, InetAddress.None, 0);
        Span<byte> content = datagram.Slice(start, _packet[0].Length);
        bool isPacket = IpPacket.TryParse(content, out IpPacket packet) && ReferenceEquals(_device.AllowedIps.Lookup(packet.Source), peer);
        long bytes = isPacket || content.IsEmpty ? datagram.Length : 0;
        _device.QueueWork(peer, peer.NoteReceived(keypair, 1, bytes, !content.IsEmpty, now.Now));
        length = isPacket ? packet.TotalLength : 0;
        return isPacket ? OpenResult.Packet : OpenResult.Nothing;
    }

    private static bool Accept(ReplayWindow window, ulong counter)
    {
        lock (window.Lock)
        {
            return window.TryAccept(counter);
        }
    }

    private OpenResult Shake(ReadOnlySpan<byte> datagram, in InetEndpoint source, Moment now, Span<byte> reply, out int length)
    {
        HandshakeResult result = _device.Handle(datagram, new HandshakeOrigin(source), underLoad: false, now, reply);
        if (result.Outcome == HandshakeOutcome.SessionEstablished)
        {
            // What waits confirms the key to the responder; without, a keepalive does.
            if (result.Peer!.Staged.IsEmpty)
            {
                result.Peer.Staged.Add([]);
            }

            _sessions.Enqueue(result.Peer);
        }

        length = result.ReplyLength;
        if (length == 0)
        {
            return OpenResult.Nothing;
        }

        if (result.Peer is { } peer)
        {
            _device.NoteHandshakeSent(peer, length, now);
        }

        return OpenResult.Reply;
    }

    private bool TryInitiate(Peer peer, bool retry, Moment now, Span<byte> datagram, out int length, out InetEndpoint endpoint)
    {
        if (!_device.TryCreateInitiation(peer, retry, now, datagram))
        {
            return Nothing(out length, out endpoint);
        }

        length = MessageSize.HandshakeInitiation;
        endpoint = peer.Endpoint!.Remote;
        _device.NoteHandshakeSent(peer, length, now);
        return true;
    }

    private bool TryKeepAlive(Peer peer, Moment now, Span<byte> datagram, out int length, out InetEndpoint endpoint) =>
        TryBeginDraining(peer, now, datagram, out length, out endpoint)
        || TrySeal(peer, [], now, datagram, out length, out endpoint)
        || TryInitiate(peer, retry: false, now, datagram, out length, out endpoint);

    private bool TryBeginDraining(Peer peer, Moment now, Span<byte> datagram, out int length, out InetEndpoint endpoint)
    {
        _sessions.Enqueue(peer);
        return TryTakeStaged(peer, now, datagram, out length, out endpoint);
    }

    /// <summary>The oldest packet that waits, if there is a session.</summary>
    private bool TryTakeStaged(Peer peer, Moment now, Span<byte> datagram, out int length, out InetEndpoint endpoint)
    {
        if (peer.Endpoint is null || peer.Keypairs.Sending is not { } keypair || !keypair.MaySend(now.Now) || peer.Staged.IsEmpty)
        {
            return Nothing(out length, out endpoint);
        }

        peer.Staged.TryTake(datagram[MessageSize.TransportHeader..], out int packet);
        return TrySeal(peer, datagram.Slice(MessageSize.TransportHeader, packet), now, datagram, out length, out endpoint);
    }

    private bool TrySeal(Peer peer, ReadOnlySpan<byte> packet, Moment now, Span<byte> datagram, out int length, out InetEndpoint endpoint)
    {
        if (peer.Endpoint is not { } known || peer.Keypairs.Sending is not { } keypair || !keypair.TryLease())
        {
            return Nothing(out length, out endpoint);
        }

        if (!keypair.TryReserve(1, now.Now, out ulong counter))
        {
            keypair.Release();
            return Nothing(out length, out endpoint);
        }

        int padded = (packet.Length + Multiple - 1) & -Multiple;
        length = padded + MessageSize.TransportOverhead;
        endpoint = known.Remote;
        Span<byte> content = datagram.Slice(MessageSize.TransportHeader, padded);
        packet.CopyTo(content);
        content[packet.Length..].Clear();
        TransportData.WriteHeader(datagram, keypair.RemoteIndex, counter);
        _packet[0] = new AeadPacket { Offset = MessageSize.TransportHeader, Length = padded, Counter = counter };
        keypair.SendKey.Seal(datagram[..length], _packet);
        keypair.Release();
        _device.QueueWork(peer, peer.NoteSent(keypair, 1, length, carriesData: !packet.IsEmpty, now.Now));
        return true;
    }

    private static bool Nothing(out int length, out InetEndpoint endpoint)
    {
        length = 0;
        endpoint = default;
        return false;
    }
}
