using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>
/// A device with the smallest engine around it that does what the real one does: packets one by one, everything on one thread, no TUN.
/// Inner packets are any bytes; there is no cryptokey routing here.
/// </summary>
internal sealed class VirtualNode : IVirtualNode
{
    private readonly VirtualWire _wire;
    private readonly byte[] _buffer = new byte[70_000];

    public VirtualNode(VirtualWire wire, InetEndpoint address, int seed)
    {
        _wire = wire;
        Address = address;
        Device = new Device(new SeededRandom(seed).Fill);
        byte[] key = new byte[PrivateKey.Size];
        new SeededRandom(seed + 1000).Fill(key);
        PrivateKey = new PrivateKey(key);
        wire.Add(this);
    }

    public Device Device { get; }

    public PrivateKey PrivateKey { get; }

    public PublicKey PublicKey => X25519.PublicKeyOf(PrivateKey);

    /// <summary>Where the node is; a test moves it.</summary>
    public InetEndpoint Address { get; set; }

    public bool UnderLoad { get; set; }

    /// <summary>Contents of the data that arrived, keepalives left out.</summary>
    public List<byte[]> Received { get; } = [];

    public int ReceivedCount { get; private set; }

    public bool KeepsReceived { get; set; } = true;

    public int KeepalivesReceived { get; private set; }

    public List<HandshakeOutcome> Outcomes { get; } = [];

    public int Wakes { get; private set; }

    public Action<bool> Heard { get; set; } = _ => { };

    public Keypair? Sending => Peer.Keypairs.Sending;

    public Instant NextDeadline => Device.NextDeadline;

    /// <summary>The only peer.</summary>
    public Peer Peer => Device.Peers.Single();

    public void Apply(DeviceConfiguration configuration) => Device.Apply(configuration, _wire.Moment);

    public void Configure(PublicKey peer, Action<PeerConfiguration>? more = null)
    {
        var configuration = new DeviceConfiguration();
        var one = new PeerConfiguration { PublicKey = peer };
        more?.Invoke(one);
        configuration.Peers.Add(one);
        Apply(configuration);
    }

    // ---- the data path ----

    public void Send(params byte[] content) => Send(Peer, content);

    public void Send(Peer peer, byte[] content)
    {
        if (!peer.Staged.IsEmpty || !TrySend(peer, content))
        {
            peer.Staged.Add(content);
            if (peer.Keypairs.Sending is { } current && current.MaySend(_wire.Now))
            {
                Raise(peer, Attention.Staged);
            }
            else if (peer.WantsHandshake(_wire.Now))
            {
                Raise(peer, Attention.Handshake);
            }
        }

        Run();
    }

    public void Receive(byte[] datagram, InetEndpoint from)
    {
        if (WireMessage.Classify(datagram) == MessageType.TransportData)
        {
            ReceiveTransport(datagram, from);
        }
        else
        {
            Handle(datagram, from);
        }

        Run();
    }

    /// <summary>What the control loop does until nothing is left to do.</summary>
    public void Run()
    {
        bool worked;
        do
        {
            worked = false;
            while (Device.TryTakeAttention(_wire.Moment, out Peer peer, out Attention attention))
            {
                worked = true;
                Take(peer, attention);
            }

            while (Device.TryTakeDueTimer(_wire.Moment, out Peer peer, out TimerAction action))
            {
                worked = true;
                Take(peer, action);
            }
        }
        while (worked);
    }

    public HandshakeOutcome Handle(ReadOnlySpan<byte> datagram, InetEndpoint from)
    {
        Span<byte> reply = _buffer.AsSpan(0, 148);
        HandshakeOutcome outcome = Device.Handle(
            datagram, from, InetAddress.None, 0, UnderLoad, _wire.Moment, reply, out int length, out Peer? peer);
        Outcomes.Add(outcome);
        switch (outcome)
        {
            case HandshakeOutcome.Respond:
                SendHandshake(peer!, reply[..length]);
                break;
            case HandshakeOutcome.CookieReply:
                _wire.Send(Address, from, reply[..length]);
                break;
            case HandshakeOutcome.SessionEstablished:
                if (!SendStaged(peer!))
                {
                    TrySend(peer!, []);
                }

                break;
        }

        return outcome;
    }

    private void ReceiveTransport(byte[] datagram, InetEndpoint from)
    {
        Assert.True(TransportData.TryParse(datagram, out TransportData message));
        if (!Device.TryFindKeypair(message.ReceiverIndex, out Keypair keypair) || !keypair.TryLease())
        {
            Heard(false);
            return;
        }

        AeadPacket[] packet = [new AeadPacket { Offset = 16, Length = datagram.Length - 32, Counter = message.Counter }];
        byte[] buffer = [.. datagram];
        if (keypair.MayReceive(_wire.Now))
        {
            keypair.ReceiveKey.Open(buffer, packet);
            if (packet[0].Authentic && Accept(keypair, message.Counter))
            {
                Heard(true);
                keypair.Peer.Learn(from, InetAddress.None, 0);
                Raise(keypair.Peer, keypair.Peer.NoteReceived(keypair, 1, datagram.Length, packet[0].Length > 0, _wire.Now));
                Keep(buffer.AsSpan(16, packet[0].Length));
            }
        }
        else
        {
            Heard(false);
        }

        keypair.Release();
    }

    private static bool Accept(Keypair keypair, ulong counter)
    {
        lock (keypair.ReplayWindow.Lock)
        {
            return keypair.ReplayWindow.TryAccept(counter);
        }
    }

    private void Keep(ReadOnlySpan<byte> content)
    {
        if (content.IsEmpty)
        {
            KeepalivesReceived++;
            return;
        }

        ReceivedCount++;
        if (KeepsReceived)
        {
            Received.Add(content.ToArray());
        }
    }

    /// <returns>False if there is no session to send with.</returns>
    private bool TrySend(Peer peer, ReadOnlySpan<byte> content)
    {
        if (peer.Keypairs.Sending is not { } keypair || peer.Endpoint is not { } endpoint || !keypair.TryLease())
        {
            return false;
        }

        bool reserved = keypair.TryReserve(1, _wire.Now, out ulong counter);
        if (reserved)
        {
            byte[] message = new byte[content.Length + 32];
            TransportData.WriteHeader(message, keypair.RemoteIndex, counter);
            content.CopyTo(message.AsSpan(16));
            keypair.SendKey.Seal(message, [new AeadPacket { Offset = 16, Length = content.Length, Counter = counter }]);
            _wire.Send(Address, endpoint.Remote, message);
            Raise(peer, peer.NoteSent(keypair, 1, message.Length, content.Length > 0, _wire.Now));
        }

        keypair.Release();
        return reserved;
    }

    private bool SendStaged(Peer peer)
    {
        bool sent = false;
        while (peer.Keypairs.Sending is { } current && current.MaySend(_wire.Now) && peer.Staged.TryTake(_buffer, out int length))
        {
            sent |= TrySend(peer, _buffer.AsSpan(0, length).ToArray());
        }

        return sent;
    }

    private void Raise(Peer peer, Attention attention)
    {
        if (attention != Attention.None && Device.Raise(peer, attention))
        {
            Wakes++;
        }
    }

    private void Take(Peer peer, Attention attention)
    {
        if (attention.HasFlag(Attention.Staged))
        {
            SendStaged(peer);
            if (!peer.Staged.IsEmpty)
            {
                attention |= Attention.Handshake;
            }
        }

        if (attention.HasFlag(Attention.Handshake))
        {
            SendInitiation(peer, retry: false);
        }
    }

    private void Take(Peer peer, TimerAction action)
    {
        if (action == TimerAction.SendInitiation)
        {
            SendInitiation(peer, retry: true);
        }
        else if (action == TimerAction.SendKeepalive && !SendStaged(peer) && !TrySend(peer, []))
        {
            SendInitiation(peer, retry: false);
        }
    }

    private void SendInitiation(Peer peer, bool retry)
    {
        byte[] message = new byte[148];
        if (Device.TryCreateInitiation(peer, retry, _wire.Moment, message))
        {
            SendHandshake(peer, message);
        }
    }

    private void SendHandshake(Peer peer, ReadOnlySpan<byte> message)
    {
        _wire.Send(Address, peer.Endpoint!.Remote, message);
        Device.NoteHandshakeSent(peer, message.Length, _wire.Moment);
    }
}
