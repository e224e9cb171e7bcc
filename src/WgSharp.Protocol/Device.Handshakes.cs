using System.Security.Cryptography;
using WgSharp.Crypto;

namespace WgSharp.Protocol;

// What becomes of handshake messages, theirs and ours. The order of the checks is the kernel's (receive.c): cheap ones first, and nothing that
// costs a Diffie-Hellman before mac1, and under load mac2 and the rate limit, are passed.

internal sealed partial class Device
{
    /// <summary>Consumes a handshake initiation, handshake response or cookie reply.</summary>
    /// <param name="message">The whole datagram.</param>
    /// <param name="underLoad">Without a valid mac2 it is answered with a cookie (whitepaper, section 5.3).</param>
    /// <param name="reply">At least 148 bytes.</param>
    public HandshakeResult Handle(ReadOnlySpan<byte> message, in HandshakeOrigin origin, bool underLoad, Moment moment, Span<byte> reply)
    {
        if (!_linkIsUp || _identity is null)
        {
            return default;
        }

        HandshakeResult result;
        switch (WireMessage.Classify(message))
        {
            case MessageType.HandshakeInitiation when HandshakeInitiation.TryParse(message, out HandshakeInitiation initiation):
                result = CheckMacs(message, initiation.SenderIndex, origin.Source, underLoad, moment.Now, reply) ?? Respond(initiation, origin.Source, moment, reply);
                break;
            case MessageType.HandshakeResponse when HandshakeResponse.TryParse(message, out HandshakeResponse response):
                result = CheckMacs(message, response.SenderIndex, origin.Source, underLoad, moment.Now, reply) ?? Establish(response, moment);
                break;
            case MessageType.CookieReply when CookieReply.TryParse(message, out CookieReply cookie):
                return StoreCookie(cookie, moment.Now);
            default:
                return default;
        }

        if (result.Peer is { } peer)
        {
            if (peer.Learn(origin.Source, origin.LocalAddress, origin.LocalInterface))
            {
                Note(peer);
            }

            peer.NoteHandshakeReceived(message.Length, moment.Now);
            Plan(peer);
        }

        return result;
    }

    /// <summary>Creates a handshake initiation if one is allowed now: REKEY_TIMEOUT since the last, a private key, an endpoint, no low-order key.</summary>
    /// <param name="retry">A retransmission by the timer: does not reset the attempt count.</param>
    /// <param name="message">At least 148 bytes.</param>
    public bool TryCreateInitiation(Peer peer, bool retry, Moment moment, Span<byte> message)
    {
        if (!_linkIsUp || peer.IsRemoved)
        {
            return false;
        }

        PeerTimers timers = peer.Timers;
        if (!retry)
        {
            timers.NoteHandshakeAsked();
        }

        if (_identity is null || peer.Endpoint is null)
        {
            peer.HandshakeLog.NoteTrouble(_identity is null ? HandshakeTrouble.NoPrivateKey : HandshakeTrouble.NoEndpoint, moment.Now);
            timers.NoteInitiationImpossible(moment.Now);
            return false;
        }

        if (!timers.MayInitiate(moment.Now))
        {
            if (NeedsSession(peer, moment.Now))
            {
                timers.NoteInitiationPostponed(retry, Jitter());
                Plan(peer);
            }

            return false;
        }

        Handshake handshake = peer.Handshake;
        Span<byte> initiation = message[..MessageSize.HandshakeInitiation];
        if (!handshake.TryCreateInitiation(_identity, NewIndex(handshake), NewEphemeral(), moment.Wall, initiation))
        {
            FreeIndex(handshake);
            peer.HandshakeLog.NoteTrouble(HandshakeTrouble.WeakKey, moment.Now);
            timers.NoteInitiationImpossible(moment.Now);
            return false;
        }

        handshake.Cookies.AddMacs(initiation, moment.Now);
        timers.NoteInitiationMade(moment.Now, Jitter());
        peer.HandshakeLog.NoteInitiation(moment.Now);
        Plan(peer);
        return true;
    }

    /// <summary>Counts a handshake message that was sent or a reply (tx bytes) and stamps activity.</summary>
    /// <param name="errno">Why it has not left; 0 if it has.</param>
    public void NoteHandshakeSent(Peer peer, int bytes, Moment moment, int errno = 0)
    {
        peer.HandshakeLog.NoteSent(errno, moment.Now);
        peer.NoteHandshakeSent(bytes, moment.Now);
        Plan(peer);
    }

    /// <returns>What came of the message already (silence or a cookie reply), or null: read on.</returns>
    private HandshakeResult? CheckMacs(ReadOnlySpan<byte> message, uint senderIndex, in InetEndpoint source, bool underLoad, Instant now, Span<byte> reply)
    {
        switch (_cookies.Check(message, source, underLoad, now))
        {
            case MacVerdict.Valid:
            case MacVerdict.ValidWithoutCookie when !underLoad:
                return null;
            case MacVerdict.ValidWithoutCookie:
                _cookies.CreateReply(message, senderIndex, source, now, reply[..MessageSize.CookieReply]);
                return new HandshakeResult(HandshakeOutcome.CookieReply, ReplyLength: MessageSize.CookieReply);
            default:
                return default(HandshakeResult);
        }
    }

    private HandshakeResult Respond(HandshakeInitiation message, in InetEndpoint source, Moment moment, Span<byte> reply)
    {
        Span<byte> scratch = stackalloc byte[SymmetricState.Size];
        try
        {
            var state = new SymmetricState(scratch);
            Span<byte> response = reply[..MessageSize.HandshakeResponse];
            if (ConsumeInitiation(message, source, state, moment.Now) is not { } handshake || CreateResponse(handshake, message, state, moment.Now, response) is not { } created)
            {
                return default;
            }

            Peer peer = handshake.Peer;
            handshake.Cookies.AddMacs(response, moment.Now);
            peer.Timers.NoteResponseMade(moment.Now);
            peer.HandshakeLog.NoteAnswered(moment.Now);
            BeginSession(peer, created, isCrossed: false, moment);
            return new HandshakeResult(HandshakeOutcome.Respond, peer, response.Length);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(scratch);
        }
    }

    private Handshake? ConsumeInitiation(HandshakeInitiation message, in InetEndpoint source, SymmetricState state, Instant now)
    {
        if (!Handshake.TryOpenStatic(_identity!, message, state, out PublicKey initiator))
        {
            return null;
        }

        if (!_peersByKey.TryGetValue(initiator, out LinkedListNode<Peer>? node))
        {
            Strangers = new Strangers(Strangers.Count + 1, initiator, source, now);
            return null;
        }

        Handshake handshake = node.Value.Handshake;
        if (handshake.TryConsumeInitiation(_identity!, message, state, now))
        {
            return handshake;
        }

        if (handshake.Refusal != HandshakeTrouble.None)
        {
            node.Value.HandshakeLog.NoteTrouble(handshake.Refusal, now);
        }

        return null;
    }

    /// <summary>The response has an index of its own, which the keypair takes over at once: an initiation of ours that is out keeps the other.</summary>
    private Keypair? CreateResponse(Handshake handshake, HandshakeInitiation initiation, SymmetricState state, Instant now, Span<byte> response)
    {
        using PrivateKey ephemeral = NewEphemeral();
        uint index = _indices.Insert(handshake);
        if (!handshake.TryCreateResponse(initiation, state, index, ephemeral, response, now, out Keypair? created))
        {
            _indices.Remove(index, handshake);
            return null;
        }

        _indices.Replace(index, handshake, created);
        return created;
    }

    private HandshakeResult Establish(HandshakeResponse message, Moment moment)
    {
        if (!_indices.TryFind(message.ReceiverIndex, out object? entry) || entry is not Handshake handshake)
        {
            return default;
        }

        bool isCrossed = handshake.IsCrossed;
        if (!handshake.TryConsumeResponse(_identity!, message, moment.Now, out Keypair? created))
        {
            handshake.NoteForgedAnswer();
            handshake.Peer.HandshakeLog.NoteTrouble(HandshakeTrouble.AnswerNotAuthentic, moment.Now);
            return default;
        }

        _indices.Replace(created.LocalIndex, handshake, created);
        handshake.LocalIndex = null;
        Peer peer = handshake.Peer;
        BeginSession(peer, created, isCrossed, moment);
        CompleteHandshake(peer, moment);
        return new HandshakeResult(HandshakeOutcome.SessionEstablished, peer);
    }

    private HandshakeResult StoreCookie(CookieReply message, Instant now)
    {
        if (!_indices.TryFind(message.ReceiverIndex, out object? entry))
        {
            return default;
        }

        Peer peer = entry is Keypair keypair ? keypair.Peer : ((Handshake)entry).Peer;
        return peer.Handshake.Cookies.TryConsume(message, now) ? new HandshakeResult(HandshakeOutcome.CookieStored, peer) : default;
    }

    // ---- sessions ----

    /// <summary>Slides the keypair of a handshake in.</summary>
    /// <param name="isCrossed">The peer's initiation was answered while ours was out: it may use the one session or the other.</param>
    private void BeginSession(Peer peer, Keypair created, bool isCrossed, Moment moment)
    {
        // A keypair that is in use already is not to be dropped as one that was never confirmed.
        PromoteIfConfirmed(peer, moment);
        Keypairs keypairs = peer.Keypairs.Add(created, out Keypair? first, out Keypair? second);
        peer.Publish(isCrossed && HasPrecedence(peer) ? keypairs with { FollowsPeer = true } : keypairs);
        if (created.IsInitiator)
        {
            // The second was current, with a handshake of the peer's pending: the peer goes on sending with it until it hears us under the new one.
            Retire(first);
            Park(peer, second);
        }
        else
        {
            // The first was previous: of two sessions that were begun at once, the peer may be sending with this one.
            Retire(second);
            if (first is not null)
            {
                Park(peer, first);
            }
        }

        peer.Timers.NoteSessionDerived(moment.Now);
    }

    /// <summary>Key confirmation: from now on the responder sends with the keypair too.</summary>
    private void PromoteIfConfirmed(Peer peer, Moment moment)
    {
        // The next keypair may be another one by now than the one that the work was queued for: ask the keypair itself.
        Keypairs keypairs = peer.Keypairs;
        if (keypairs.Next is { IsConfirmed: true })
        {
            peer.Publish(keypairs.Promote(out Keypair? dropped));
            Retire(dropped);
            Park(peer, null);
            CompleteHandshake(peer, moment);
        }
    }

    /// <summary>Of two sessions that were begun at once, both ends agree on the one that stays: it is the peer's if its public key is the smaller one.</summary>
    private bool HasPrecedence(Peer peer) => peer.PublicKey.Span.SequenceCompareTo(_identity!.PublicKey.Span) < 0;

    private void CompleteHandshake(Peer peer, Moment moment)
    {
        peer.Timers.NoteHandshakeComplete(peer.Handshake.IsInitiationOut);
        peer.LastHandshake = moment.Wall;
        peer.HandshakeLog.Clear();
        Note(peer);
    }

    /// <summary>Keeps a keypair that fell out of the triple while the peer may be sending with it; the one kept before goes.</summary>
    private void Park(Peer peer, Keypair? keypair)
    {
        Retire(peer.Parting);
        peer.Parting = keypair;
    }

    private void Retire(Keypair? keypair)
    {
        if (keypair is not null)
        {
            _indices.Remove(keypair.LocalIndex, keypair);
            keypair.Retire();
        }
    }

    /// <summary>Wipes a peer's keypairs and the handshake under way.</summary>
    private void WipeSessions(Peer peer)
    {
        if (peer.HandshakeIfAny is { } handshake)
        {
            Forget(handshake);
        }

        Keypairs keypairs = peer.Keypairs;
        peer.Publish(Keypairs.None);
        Retire(keypairs.Next);
        Retire(keypairs.Previous);
        Retire(keypairs.Current);
        Park(peer, null);
    }

    /// <summary>Our private key changed: nothing may be sent under the old identity any more (the kernel's wg_noise_expire_current_peer_keypairs).</summary>
    private void ExpireSessions(Peer peer)
    {
        if (peer.HandshakeIfAny is { } handshake)
        {
            Forget(handshake);
            handshake.ForgetStaticStatic();
        }

        peer.Timers.NoteHandshakeCleared();
        peer.HandshakeLog.Clear();
        peer.Keypairs.Next?.ExpireSending();
        peer.Keypairs.Current?.ExpireSending();
        peer.Keypairs.Previous?.ExpireSending();
        QueueIfStaged(peer);
        Plan(peer);
    }

    private static bool NeedsSession(Peer peer, Instant now) =>
        peer.Keypairs.Sending is not { } sending || !sending.MaySend(now) || sending.WantsRekeyOnSend(now);

    // ---- small parts ----

    /// <summary>Every initiation of ours has an index of its own; the one before it is answered in vain from now on.</summary>
    private uint NewIndex(Handshake handshake)
    {
        FreeIndex(handshake);
        uint index = _indices.Insert(handshake);
        handshake.LocalIndex = index;
        return index;
    }

    private void FreeIndex(Handshake handshake)
    {
        if (handshake.LocalIndex is { } index)
        {
            _indices.Remove(index, handshake);
            handshake.LocalIndex = null;
        }
    }

    private void Forget(Handshake handshake)
    {
        FreeIndex(handshake);
        handshake.Clear();
    }

    private PrivateKey NewEphemeral()
    {
        Span<byte> bytes = stackalloc byte[PrivateKey.Size];
        try
        {
            _random(bytes);
            return new PrivateKey(bytes);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(bytes);
        }
    }
}
