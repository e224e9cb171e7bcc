using System.Security.Cryptography;
using WgSharp.Crypto;

namespace WgSharp.Protocol;

// What becomes of handshake messages, theirs and ours. The order of the checks is the kernel's (receive.c): cheap ones first, and nothing that
// costs a Diffie-Hellman before mac1, and under load mac2 and the rate limit, are passed.

public sealed partial class Device
{
    /// <summary>Consumes a handshake initiation, handshake response or cookie reply.</summary>
    /// <param name="message">The whole datagram.</param>
    /// <param name="source">Where it came from; for an authenticated message the peer's endpoint becomes this.</param>
    /// <param name="localAddress">The address it was sent to (sticky source), or none.</param>
    /// <param name="localInterface">The interface it arrived on, or 0.</param>
    /// <param name="underLoad">The handshake queue is, or within the last second was, at 1/8 of its capacity.</param>
    /// <param name="reply">At least 148 bytes.</param>
    public HandshakeOutcome Handle(
        ReadOnlySpan<byte> message,
        in InetEndpoint source,
        in InetAddress localAddress,
        int localInterface,
        bool underLoad,
        Moment moment,
        Span<byte> reply,
        out int replyLength,
        out Peer? peer)
    {
        replyLength = 0;
        peer = null;
        if (!_linkIsUp || _identity is null)
        {
            return HandshakeOutcome.Dropped;
        }

        HandshakeOutcome outcome;
        switch (WireMessage.Classify(message))
        {
            case MessageType.HandshakeInitiation when HandshakeInitiation.TryParse(message, out HandshakeInitiation initiation):
                outcome = CheckMacs(message, initiation.SenderIndex, source, underLoad, moment.Now, reply, out replyLength)
                    ?? Respond(initiation, moment, reply, out replyLength, out peer);
                break;
            case MessageType.HandshakeResponse when HandshakeResponse.TryParse(message, out HandshakeResponse response):
                outcome = CheckMacs(message, response.SenderIndex, source, underLoad, moment.Now, reply, out replyLength)
                    ?? Establish(response, moment, out peer);
                break;
            case MessageType.CookieReply when CookieReply.TryParse(message, out CookieReply cookie):
                return StoreCookie(cookie, moment.Now, out peer);
            default:
                return HandshakeOutcome.Dropped;
        }

        if (peer is not null)
        {
            if (peer.Learn(source, localAddress, localInterface))
            {
                Note(peer);
            }

            peer.NoteHandshakeReceived(message.Length, moment.Now);
            Plan(peer);
        }

        return outcome;
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
            timers.NoteInitiationImpossible(moment.Now);
            return false;
        }

        handshake.Cookies.AddMacs(initiation, moment.Now);
        timers.NoteInitiationMade(moment.Now, Jitter());
        Plan(peer);
        return true;
    }

    /// <summary>Counts a handshake message that was sent or a reply (tx bytes) and stamps activity.</summary>
    public void NoteHandshakeSent(Peer peer, int bytes, Moment moment)
    {
        peer.NoteHandshakeSent(bytes, moment.Now);
        Plan(peer);
    }

    /// <returns>What came of the message already (silence or a cookie reply), or null: read on.</returns>
    private HandshakeOutcome? CheckMacs(
        ReadOnlySpan<byte> message,
        uint senderIndex,
        in InetEndpoint source,
        bool underLoad,
        Instant now,
        Span<byte> reply,
        out int replyLength)
    {
        replyLength = 0;
        switch (_cookies.Check(message, source, underLoad, now))
        {
            case MacVerdict.Valid:
            case MacVerdict.ValidWithoutCookie when !underLoad:
                return null;
            case MacVerdict.ValidWithoutCookie:
                replyLength = MessageSize.CookieReply;
                _cookies.CreateReply(message, senderIndex, source, now, reply[..replyLength]);
                return HandshakeOutcome.CookieReply;
            default:
                return HandshakeOutcome.Dropped;
        }
    }

    private HandshakeOutcome Respond(HandshakeInitiation message, Moment moment, Span<byte> reply, out int replyLength, out Peer? peer)
    {
        replyLength = 0;
        peer = null;
        Span<byte> scratch = stackalloc byte[SymmetricState.Size];
        try
        {
            var state = new SymmetricState(scratch);
            Span<byte> response = reply[..MessageSize.HandshakeResponse];
            if (ConsumeInitiation(message, state, moment.Now) is not { } handshake || CreateResponse(handshake, message, state, moment.Now, response) is not { } created)
            {
                return HandshakeOutcome.Dropped;
            }

            peer = handshake.Peer;
            handshake.Cookies.AddMacs(response, moment.Now);
            peer.Timers.NoteResponseMade(moment.Now);
            BeginSession(peer, created, isCrossed: false, moment);
            replyLength = response.Length;
            return HandshakeOutcome.Respond;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(scratch);
        }
    }

    private Handshake? ConsumeInitiation(HandshakeInitiation message, SymmetricState state, Instant now) =>
        Handshake.TryOpenStatic(_identity!, message, state, out PublicKey initiator)
        && _peersByKey.TryGetValue(initiator, out LinkedListNode<Peer>? node)
        && node.Value.Handshake.TryConsumeInitiation(_identity!, message, state, now)
            ? node.Value.Handshake
            : null;

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

    private HandshakeOutcome Establish(HandshakeResponse message, Moment moment, out Peer? peer)
    {
        peer = null;
        if (!_indices.TryFind(message.ReceiverIndex, out object? entry) || entry is not Handshake handshake)
        {
            return HandshakeOutcome.Dropped;
        }

        bool isCrossed = handshake.IsCrossed;
        if (!handshake.TryConsumeResponse(_identity!, message, moment.Now, out Keypair? created))
        {
            handshake.NoteForgedAnswer();
            return HandshakeOutcome.Dropped;
        }

        _indices.Replace(created.LocalIndex, handshake, created);
        handshake.LocalIndex = null;
        peer = handshake.Peer;
        BeginSession(peer, created, isCrossed, moment);
        CompleteHandshake(peer, moment);
        return HandshakeOutcome.SessionEstablished;
    }

    private HandshakeOutcome StoreCookie(CookieReply message, Instant now, out Peer? peer)
    {
        peer = null;
        if (!_indices.TryFind(message.ReceiverIndex, out object? entry))
        {
            return HandshakeOutcome.Dropped;
        }

        Peer candidate = entry is Keypair keypair ? keypair.Peer : ((Handshake)entry).Peer;
        if (!candidate.Handshake.Cookies.TryConsume(message, now))
        {
            return HandshakeOutcome.Dropped;
        }

        peer = candidate;
        return HandshakeOutcome.CookieStored;
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
        // The next keypair may be another one by now than the one that was raised for: ask the keypair itself.
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
        peer.Keypairs.Next?.ExpireSending();
        peer.Keypairs.Current?.ExpireSending();
        peer.Keypairs.Previous?.ExpireSending();
        RaiseIfStaged(peer);
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
