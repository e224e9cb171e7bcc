using System.Security.Cryptography;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Peers;

/// <summary>A WireGuard peer that has nothing to say by itself: it answers initiations and takes in what follows.</summary>
internal sealed class AnsweringPeer : IDisposable
{
    private readonly Device _device = new(RandomNumberGenerator.Fill);
    private readonly AeadPacket[] _packet = new AeadPacket[1];

    /// <param name="moment">When it begins.</param>
    public AnsweringPeer(PrivateKey key, PublicKey hub, Moment moment)
    {
        var configuration = new DeviceConfiguration { PrivateKey = key };
        configuration.Peers.Add(new PeerConfiguration { PublicKey = hub });
        _device.Apply(configuration, moment);
        _device.LinkUp(moment);
    }

    /// <summary>Initiations that were answered before there was a session.</summary>
    public int Answered { get; private set; }

    /// <summary>Instead of a session the hub sent a cookie for the next answer.</summary>
    public int CookieReplies { get; private set; }

    /// <summary>Something of the hub's could be opened with the session's keys.</summary>
    public bool HasSession { get; private set; }

    /// <summary>What was opened first was a keepalive.</summary>
    public bool BeganWithKeepalive { get; private set; }

    /// <param name="message">Opened in place.</param>
    /// <param name="reply">At least 148 bytes.</param>
    /// <returns>The length of what is to be sent to the hub, or 0.</returns>
    public int Take(Span<byte> message, in InetEndpoint hub, Moment moment, Span<byte> reply)
    {
        if (TransportData.TryParse(message, out TransportData data))
        {
            Open(message, data, moment);
            return 0;
        }

        HandshakeResult result = _device.Handle(message, new HandshakeOrigin(hub), underLoad: false, moment, reply);
        if (result.Outcome == HandshakeOutcome.Respond)
        {
            _device.NoteHandshakeSent(result.Peer!, result.ReplyLength, moment);
            Answered += HasSession ? 0 : 1;
        }
        else if (result.Outcome == HandshakeOutcome.CookieStored)
        {
            CookieReplies++;
        }

        return result.ReplyLength;
    }

    public void Dispose() => _device.Dispose();

    private void Open(Span<byte> message, TransportData data, Moment moment)
    {
        if (!_device.TryFindKeypair(data.ReceiverIndex, out Keypair keypair) || !keypair.TryLease())
        {
            return;
        }

        _packet[0] = new AeadPacket { Offset = MessageSize.TransportHeader, Length = message.Length - MessageSize.Keepalive, Counter = data.Counter };
        keypair.ReceiveKey.Open(message, _packet);
        if (_packet[0].Authentic)
        {
            bool isKeepalive = _packet[0].Length == 0;
            BeganWithKeepalive |= isKeepalive && !HasSession;
            HasSession = true;
            _device.QueueWork(keypair.Peer, keypair.Peer.NoteReceived(keypair, 1, message.Length, !isKeepalive, moment.Now));
        }

        keypair.Release();

        // The confirmed keypair becomes the current one. Nothing is ever staged here that would have to be sent then.
        while (_device.TryTakeWork(moment, out _, out _))
        {
        }
    }
}
