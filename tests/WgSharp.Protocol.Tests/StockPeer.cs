using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>
/// The other end as the kernel module has it, and wireguard-go: one handshake state per peer, so that answering an initiation throws its own away;
/// a handshake that is asked for within REKEY_TIMEOUT of the last handshake message is forgotten. The cryptography is ours (it has tests of its
/// own), and so is <see cref="Keypairs"/>, which is add_new_keypair; what is done when, is written here anew. One peer, no load, no cookies.
/// Public, because what it is the other end of are whole tunnels: those stand in the engine's tests.
/// </summary>
internal sealed class StockPeer
{
    private static readonly TimeSpan NewHandshakeTimeout = Limits.KeepaliveTimeout + Limits.RekeyTimeout;

    private readonly PublicKey _other;
    private readonly Func<Moment> _clock;
    private readonly Action<byte[]> _send;
    private readonly Peer _peer;
    private readonly Handshake _handshake;
    private readonly SeededRandom _random;
    private readonly Dictionary<uint, Keypair?> _indices = [];
    private readonly Queue<byte[]> _staged = new();
    private Keypairs _keypairs = Keypairs.None;
    private uint? _handshakeIndex;
    private Instant _lastSentHandshake;
    private bool _sentLastMinuteHandshake;
    private bool _needsAnotherKeepalive;
    private int _attempts;
    private Instant _retransmitHandshake = Instant.Never;
    private Instant _sendKeepalive = Instant.Never;
    private Instant _newHandshake = Instant.Never;
    private Instant _zeroKeyMaterial = Instant.Never;

    /// <param name="clock">The time.</param>
    /// <param name="send">Takes each message that goes to the other.</param>
    public StockPeer(int seed, PublicKey other, byte[] psk, Func<Moment> clock, Action<byte[]> send)
    {
        _other = other;
        _clock = clock;
        _send = send;
        _random = new SeededRandom(seed);
        using PrivateKey key = NewKey();
        Identity = new StaticIdentity(key);
        _peer = new Peer(other, new StagingBudget());
        using var presharedKey = new PresharedKey(psk);
        _peer.SetPresharedKey(presharedKey);
        _handshake = _peer.Handshake;
    }

    public PublicKey PublicKey => Identity.PublicKey;

    /// <summary>Tells of every transport message that arrives whether it could be opened; what was opened before is not told of.</summary>
    public Action<bool> Heard { get; set; } = _ => { };

    /// <summary>Packets with contents that arrived.</summary>
    public int ReceivedCount { get; private set; }

    public Keypair? Sending => _keypairs.Current;

    /// <summary>When <see cref="Run"/> is to be called again.</summary>
    public Instant NextDeadline => new[] { _retransmitHandshake, _sendKeepalive, _newHandshake, _zeroKeyMaterial }.Min();

    private Instant Now => _clock().Now;

    public void Send(byte[] content)
    {
        _staged.Enqueue(content);
        SendStaged();
    }

    public void Receive(byte[] datagram)
    {
        switch (WireMessage.Classify(datagram))
        {
            case MessageType.HandshakeInitiation when HandshakeInitiation.TryParse(datagram, out HandshakeInitiation initiation):
                Answer(initiation);
                break;
            case MessageType.HandshakeResponse when HandshakeResponse.TryParse(datagram, out HandshakeResponse response):
                Establish(response);
                break;
            case MessageType.TransportData:
                ReceiveData(datagram);
                break;
        }
    }

    /// <summary>Does what is due.</summary>
    public void Run()
    {
        Fire(ref _zeroKeyMaterial, ZeroKeyMaterial);
        Fire(ref _retransmitHandshake, Retransmit);
        Fire(ref _newHandshake, () => Initiate(isRetry: false));
        Fire(ref _sendKeepalive, () =>
        {
            SendKeepalive();
            if (_needsAnotherKeepalive)
            {
                _needsAnotherKeepalive = false;
                _sendKeepalive = Now + Limits.KeepaliveTimeout;
            }
        });
    }

    private StaticIdentity Identity { get; }

    // ---- handshakes ----

    private void Initiate(bool isRetry)
    {
        if (!isRetry)
        {
            _attempts = 0;
        }

        if (_lastSentHandshake != default && !_lastSentHandshake.IsOlderThan(Limits.RekeyTimeout, Now))
        {
            return;
        }

        byte[] message = new byte[MessageSize.HandshakeInitiation];
        _handshake.LocalIndex = NewHandshakeIndex();
        Assert.True(_handshake.TryCreateInitiation(Identity, _handshakeIndex!.Value, NewKey(), _clock().Wall, message));
        SendHandshake(message);
        _retransmitHandshake = Now + Limits.RekeyTimeout + Jitter();
    }

    private void Answer(HandshakeInitiation initiation)
    {
        var state = new SymmetricState(new byte[SymmetricState.Size]);
        if (!Handshake.TryOpenStatic(Identity, initiation, state, out PublicKey initiator)
            || initiator != _other
            || !_handshake.TryConsumeInitiation(Identity, initiation, state, Now))
        {
            return;
        }

        // Whatever handshake of our own was under way is no more, and its index means nothing.
        _handshake.Clear();
        uint index = NewHandshakeIndex();
        byte[] message = new byte[MessageSize.HandshakeResponse];
        using PrivateKey ephemeral = NewKey();
        Assert.True(_handshake.TryCreateResponse(initiation, state, index, ephemeral, message, Now, out Keypair? created));
        BeginSession(created);
        SendHandshake(message);
        HearAnything();
    }

    private void Establish(HandshakeResponse response)
    {
        if (_handshakeIndex != response.ReceiverIndex || !_handshake.TryConsumeResponse(Identity, response, Now, out Keypair? created))
        {
            return;
        }

        BeginSession(created);
        CompleteHandshake();
        SendKeepalive();
        HearAnything();
    }

    private void BeginSession(Keypair created)
    {
        _handshakeIndex = null;
        _indices[created.LocalIndex] = created;
        _keypairs = _keypairs.Add(created, out Keypair? first, out Keypair? second);
        Drop(first);
        Drop(second);
        _zeroKeyMaterial = Now + (Limits.RejectAfterTime * 3);
    }

    private void CompleteHandshake()
    {
        _retransmitHandshake = Instant.Never;
        _attempts = 0;
        _sentLastMinuteHandshake = false;
    }

    private void Retransmit()
    {
        if (_attempts > Limits.MaxTimerHandshakes)
        {
            _sendKeepalive = Instant.Never;
            _staged.Clear();
            if (_zeroKeyMaterial == Instant.Never)
            {
                _zeroKeyMaterial = Now + (Limits.RejectAfterTime * 3);
            }

            return;
        }

        _attempts++;
        Initiate(isRetry: true);
    }

    private void ZeroKeyMaterial()
    {
        _handshake.Clear();
        _handshakeIndex = null;
        Drop(_keypairs.Next);
        Drop(_keypairs.Previous);
        Drop(_keypairs.Current);
        _keypairs = Keypairs.None;
    }

    private void SendHandshake(byte[] message)
    {
        _handshake.Cookies.AddMacs(message, Now);
        _lastSentHandshake = Now;
        _sendKeepalive = Instant.Never;
        _send(message);
    }

    // ---- data ----

    private void SendKeepalive()
    {
        if (_staged.Count == 0)
        {
            _staged.Enqueue([]);
        }

        SendStaged();
    }

    private void SendStaged()
    {
        while (_staged.Count > 0)
        {
            if (_keypairs.Current is not { } keypair || !keypair.TryReserve(1, Now, out ulong counter))
            {
                Initiate(isRetry: false);
                return;
            }

            byte[] content = _staged.Dequeue();
            byte[] message = new byte[content.Length + 32];
            TransportData.WriteHeader(message, keypair.RemoteIndex, counter);
            content.CopyTo(message.AsSpan(16));
            keypair.SendKey.Seal(message, [new AeadPacket { Offset = 16, Length = content.Length, Counter = counter }]);
            _send(message);
            _sendKeepalive = Instant.Never;
            if (content.Length > 0 && _newHandshake == Instant.Never)
            {
                _newHandshake = Now + NewHandshakeTimeout + Jitter();
            }

            if (keypair.WantsRekeyOnSend(Now))
            {
                Initiate(isRetry: false);
            }
        }
    }

    private void ReceiveData(byte[] datagram)
    {
        Assert.True(TransportData.TryParse(datagram, out TransportData message));
        if (!_indices.TryGetValue(message.ReceiverIndex, out Keypair? keypair) || !keypair!.MayReceive(Now))
        {
            Heard(false);
            return;
        }

        AeadPacket[] packet = [new AeadPacket { Offset = 16, Length = datagram.Length - 32, Counter = message.Counter }];
        keypair.ReceiveKey.Open(datagram, packet);
        lock (keypair.ReplayWindow.Lock)
        {
            if (!packet[0].Authentic || !keypair.ReplayWindow.TryAccept(message.Counter))
            {
                return;
            }
        }

        Heard(true);
        if (keypair == _keypairs.Next)
        {
            _keypairs = _keypairs.Promote(out Keypair? dropped);
            Drop(dropped);
            CompleteHandshake();
            SendStaged();
        }

        if (!_sentLastMinuteHandshake && _keypairs.Current is { } current && current.TakeRekeyOnReceive(Now))
        {
            _sentLastMinuteHandshake = true;
            Initiate(isRetry: false);
        }

        HearAnything();
        if (packet[0].Length > 0)
        {
            ReceivedCount++;
            NoteDataReceived();
        }
    }

    private void NoteDataReceived()
    {
        if (_sendKeepalive == Instant.Never)
        {
            _sendKeepalive = Now + Limits.KeepaliveTimeout;
        }
        else
        {
            _needsAnotherKeepalive = true;
        }
    }

    private void HearAnything() => _newHandshake = Instant.Never;

    // ---- small parts ----

    private uint NewHandshakeIndex()
    {
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        _random.Fill(bytes);
        _handshakeIndex = BitConverter.ToUInt32(bytes);
        return _handshakeIndex.Value;
    }

    private void Drop(Keypair? keypair)
    {
        if (keypair is not null)
        {
            _indices.Remove(keypair.LocalIndex);
            keypair.Retire();
        }
    }

    private PrivateKey NewKey()
    {
        byte[] bytes = new byte[PrivateKey.Size];
        _random.Fill(bytes);
        return new PrivateKey(bytes);
    }

    private TimeSpan Jitter()
    {
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        _random.Fill(bytes);
        return Limits.RekeyTimeoutJitterMax * (BitConverter.ToUInt32(bytes) / (double)uint.MaxValue);
    }

    private void Fire(ref Instant timer, Action action)
    {
        if (timer <= Now)
        {
            timer = Instant.Never;
            action();
        }
    }
}
