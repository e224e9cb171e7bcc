using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using WgSharp.Crypto;

namespace WgSharp.Protocol;

// Noise_IKpsk2 as WireGuard uses it (whitepaper, section 5.4; the kernel's noise.c):
//
//   <- s                       the responder's static key is known beforehand
//   -> e, es, s, ss, {t}       handshake initiation
//   <- e, ee, se, psk, {}      handshake response
//
// A peer may have two handshakes at a time: the one we began, which waits here for its response, and the one that the peer began, which lasts only
// while its initiation is answered and lies in the caller's scratch. So neither takes the other's place when both ends begin at once; Keypair.cs
// says which session is used then.

/// <summary>Our own static key pair. Control loop only.</summary>
internal sealed class StaticIdentity : IDisposable
{
    /// <param name="privateKey">Copied.</param>
    public StaticIdentity(PrivateKey privateKey)
    {
        PrivateKey = new PrivateKey(privateKey.Span);
        PublicKey = X25519.PublicKeyOf(PrivateKey);
    }

    public PrivateKey PrivateKey { get; }

    public PublicKey PublicKey { get; }

    public void Dispose() => PrivateKey.Dispose();
}

/// <summary>Handshakes between us and one peer: ours under way, and what belongs to both directions. Control loop only.</summary>
internal sealed class Handshake : IDisposable
{
    private const int SecretSize = 32;

    /// <summary>Answers that turned out to be forged, after which one is not awaited any more: under load it needs a cookie like everybody.</summary>
    private const int MostForgedAnswers = 3;

    private readonly Peer _peer;

    /// <summary>Written by the control loop, read by any thread.</summary>
    private volatile int _forgedAnswers;

    /// <summary>The symmetric state, then the static-static secret.</summary>
    private readonly SecretMemory _secrets = new(SymmetricState.Size + SecretSize);

    /// <summary>Ours, while an initiation is out.</summary>
    private PrivateKey? _ephemeral;
    private StaticSecret _staticStatic;
    private Tai64n _latestReceived;
    private Tai64n _latestSent;
    private Instant _lastConsumed;

    public Handshake(Peer peer)
    {
        _peer = peer;
        Cookies = new CookieMaker(peer.PublicKey);
    }

    /// <summary>ss: computed when it is first needed (25,000 at once would take a second), then kept.</summary>
    private enum StaticSecret
    {
        NotComputed,
        Known,

        /// <summary>The peer's public key has low order: no handshake, ever.</summary>
        Impossible,
    }

    public static ReadOnlySpan<byte> ProtocolName => "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"u8;

    public static ReadOnlySpan<byte> Prologue => "WireGuard v1 zx2c4 Jason@zx2c4.com"u8;

    public Peer Peer => _peer;

    /// <summary>The peer's cookie, and the MACs of what we send to it.</summary>
    public CookieMaker Cookies { get; }

    /// <summary>Our index in the index table while an initiation is out; null: none.</summary>
    public uint? LocalIndex { get; set; }

    /// <summary>Any thread: whether an answer to our initiation is taken at its word, as we asked for it.</summary>
    public bool TrustsAnswers => _forgedAnswers < MostForgedAnswers;

    /// <summary>Why the last initiation was not consumed, as far as that is anybody's trouble.</summary>
    public HandshakeTrouble Refusal { get; private set; }

    /// <summary>We wait for the response to an initiation of ours.</summary>
    public bool IsInitiationOut => _ephemeral is not null;

    /// <summary>The newest timestamps of both directions; zero if there was none.</summary>
    public Tai64n LatestSent => _latestSent;

    public Tai64n LatestReceived => _latestReceived;

    /// <summary>An initiation of the peer's was answered while ours is out: both may end in a session.</summary>
    public bool IsCrossed { get; private set; }

    // ---- initiator ----

    /// <summary>Writes an initiation but for its MACs.</summary>
    /// <param name="localIndex">Goes into the message as sender.</param>
    /// <param name="ephemeral">Ours from now on: wiped with the handshake.</param>
    /// <returns>False if the peer's key has low order.</returns>
    public bool TryCreateInitiation(StaticIdentity identity, uint localIndex, PrivateKey ephemeral, UnixTime wall, Span<byte> destination)
    {
        Clear();
        _forgedAnswers = 0;
        _ephemeral = ephemeral;
        if (!TryComputeStaticStatic(identity))
        {
            Clear();
            return false;
        }

        var message = new HandshakeInitiation.Writer(destination, localIndex);
        SymmetricState state = OwnState;
        state.Initialize(ProtocolName, Prologue);
        state.MixHash(_peer.PublicKey.Span);

        // e
        MixEphemeral(state, X25519.PublicKeyOf(ephemeral), message.Ephemeral);

        // es
        if (!TryMixSharedSecret(state, ephemeral, _peer.PublicKey))
        {
            Clear();
            return false;
        }

        // s
        state.Seal(identity.PublicKey.Span, message.SealedStatic);

        // ss
        state.MixKey(StaticStatic);

        // {t}
        Span<byte> timestamp = stackalloc byte[Tai64n.Size];
        NextTimestamp(wall).WriteTo(timestamp);
        state.Seal(timestamp, message.SealedTimestamp);
        return true;
    }

    /// <summary>Takes the response to our initiation in; the handshake is complete and forgotten over it.</summary>
    /// <param name="keypair">The session, under the index that the initiation had.</param>
    /// <returns>False for a forgery, or if it answers no initiation of ours that is out: nothing is changed then.</returns>
    public bool TryConsumeResponse(StaticIdentity identity, HandshakeResponse message, Instant now, [NotNullWhen(true)] out Keypair? keypair)
    {
        keypair = null;
        if (!IsInitiationOut || LocalIndex != message.ReceiverIndex)
        {
            return false;
        }

        Span<byte> scratch = stackalloc byte[SymmetricState.Size];
        try
        {
            var state = new SymmetricState(scratch);
            state.CopyFrom(OwnState);
            var remoteEphemeral = new PublicKey(message.Ephemeral);

            // e
            state.MixHash(message.Ephemeral);
            state.MixKey(message.Ephemeral);

            // ee, se
            if (!TryMixSharedSecret(state, _ephemeral!, remoteEphemeral) || !TryMixSharedSecret(state, identity.PrivateKey, remoteEphemeral))
            {
                return false;
            }

            // psk
            MixPsk(state);

            // {}
            if (!state.TryOpen(message.SealedNothing, []))
            {
                return false;
            }

            keypair = DeriveKeypair(state, isInitiator: true, message.ReceiverIndex, message.SenderIndex, now);
            Clear();
            return true;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(scratch);
        }
    }

    /// <summary>What came as a response to our initiation was none.</summary>
    public void NoteForgedAnswer() => _forgedAnswers = Math.Min(_forgedAnswers + 1, MostForgedAnswers);

    // ---- responder ----

    /// <summary>The first half of an initiation: who is it? Needs no peer.</summary>
    /// <param name="state">Receives the state after <c>e, es, s</c>.</param>
    public static bool TryOpenStatic(StaticIdentity identity, HandshakeInitiation message, SymmetricState state, out PublicKey initiator)
    {
        initiator = default;
        state.Initialize(ProtocolName, Prologue);
        state.MixHash(identity.PublicKey.Span);

        // e
        state.MixHash(message.Ephemeral);
        state.MixKey(message.Ephemeral);

        // es
        if (!TryMixSharedSecret(state, identity.PrivateKey, new PublicKey(message.Ephemeral)))
        {
            return false;
        }

        // s
        Span<byte> key = stackalloc byte[PublicKey.Size];
        if (!state.TryOpen(message.SealedStatic, key))
        {
            return false;
        }

        initiator = new PublicKey(key);
        return true;
    }

    /// <summary>The second half: it really is the peer, and now. Afterwards a response can be created.</summary>
    /// <param name="state">As <see cref="TryOpenStatic"/> left it; goes on to <see cref="TryCreateResponse"/>.</param>
    /// <returns>False for a forgery, a timestamp that does not grow, or two within 20 ms: nothing is changed then.</returns>
    public bool TryConsumeInitiation(StaticIdentity identity, HandshakeInitiation message, SymmetricState state, Instant now)
    {
        // ss
        Refusal = HandshakeTrouble.WeakKey;
        if (!TryComputeStaticStatic(identity))
        {
            return false;
        }

        state.MixKey(StaticStatic);

        // {t}
        Refusal = HandshakeTrouble.InitiationForged;
        Span<byte> bytes = stackalloc byte[Tai64n.Size];
        if (!state.TryOpen(message.SealedTimestamp, bytes))
        {
            return false;
        }

        Tai64n timestamp = Tai64n.Read(bytes);
        bool isReplay = timestamp <= _latestReceived;
        Refusal = isReplay ? HandshakeTrouble.InitiationOld : HandshakeTrouble.None;
        bool isFlood = _lastConsumed != default && _lastConsumed + (TimeSpan.FromSeconds(1) / Limits.InitiationsPerSecond) > now;
        if (isReplay || isFlood)
        {
            return false;
        }

        _latestReceived = timestamp;
        _lastConsumed = now;
        return true;
    }

    /// <summary>Writes the response to the initiation just consumed, but for its MACs. Our own initiation stays out.</summary>
    /// <param name="state">As <see cref="TryConsumeInitiation"/> left it.</param>
    /// <param name="ephemeral">Stays the caller's.</param>
    public bool TryCreateResponse(
        HandshakeInitiation initiation,
        SymmetricState state,
        uint localIndex,
        PrivateKey ephemeral,
        Span<byte> destination,
        Instant now,
        [NotNullWhen(true)] out Keypair? keypair)
    {
        keypair = null;
        var message = new HandshakeResponse.Writer(destination, localIndex, initiation.SenderIndex);

        // e
        MixEphemeral(state, X25519.PublicKeyOf(ephemeral), message.Ephemeral);

        // ee, se
        if (!TryMixSharedSecret(state, ephemeral, new PublicKey(initiation.Ephemeral)) || !TryMixSharedSecret(state, ephemeral, _peer.PublicKey))
        {
            return false;
        }

        // psk
        MixPsk(state);

        // {}
        state.Seal([], message.SealedNothing);
        keypair = DeriveKeypair(state, isInitiator: false, localIndex, initiation.SenderIndex, now);
        IsCrossed = IsInitiationOut;
        return true;
    }

    // ---- both ----

    /// <summary>Wipes what an initiation of ours left. What protects against replay and what belongs to the static keys stays.</summary>
    public void Clear()
    {
        CryptographicOperations.ZeroMemory(_secrets.Span[..SymmetricState.Size]);
        _ephemeral?.Dispose();
        _ephemeral = null;
        IsCrossed = false;
    }

    /// <summary>Takes over from the process before this one: the peer accepts only timestamps that grow, and so do we.</summary>
    public void Remember(Tai64n latestSent, Tai64n latestReceived)
    {
        _latestSent = latestSent;
        _latestReceived = latestReceived;
    }

    /// <summary>Our private key changed: the static-static secret is another one.</summary>
    public void ForgetStaticStatic()
    {
        CryptographicOperations.ZeroMemory(StaticStatic);
        _staticStatic = StaticSecret.NotComputed;
    }

    public void Dispose()
    {
        Clear();
        ForgetStaticStatic();
        _secrets.Dispose();
        Cookies.Dispose();
    }

    private SymmetricState OwnState => new(_secrets.Span);

    private Span<byte> StaticStatic => _secrets.Span[SymmetricState.Size..];

    private bool TryComputeStaticStatic(StaticIdentity identity)
    {
        if (_staticStatic == StaticSecret.NotComputed)
        {
            bool computed = X25519.TrySharedSecret(identity.PrivateKey, _peer.PublicKey, StaticStatic);
            _staticStatic = computed ? StaticSecret.Known : StaticSecret.Impossible;
        }

        return _staticStatic == StaticSecret.Known;
    }

    /// <summary>Grows even when the wall clock is set back: a peer would stay deaf to us until the clock caught up.</summary>
    private Tai64n NextTimestamp(UnixTime wall)
    {
        Tai64n timestamp = Tai64n.From(wall);
        if (timestamp <= _latestSent)
        {
            timestamp = _latestSent.Next();
        }

        _latestSent = timestamp;
        return timestamp;
    }

    private void MixPsk(SymmetricState state)
    {
        Span<byte> none = stackalloc byte[PresharedKey.Size];
        none.Clear();
        state.MixPsk(_peer.PresharedKey is { } key ? key.Span : none);
    }

    private Keypair DeriveKeypair(SymmetricState state, bool isInitiator, uint localIndex, uint remoteIndex, Instant now)
    {
        Span<byte> keys = stackalloc byte[2 * SecretSize];
        Span<byte> fromInitiator = keys[..SecretSize];
        Span<byte> fromResponder = keys[SecretSize..];
        try
        {
            state.Split(fromInitiator, fromResponder);
            return isInitiator
                ? new Keypair(_peer, localIndex, remoteIndex, isInitiator, fromInitiator, fromResponder, now)
                : new Keypair(_peer, localIndex, remoteIndex, isInitiator, fromResponder, fromInitiator, now);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(keys);
        }
    }

    /// <summary>The pattern has a psk, so ephemeral public keys go into the chaining key too (Noise specification, section 9.2).</summary>
    private static void MixEphemeral(SymmetricState state, PublicKey ephemeral, Span<byte> destination)
    {
        ephemeral.Span.CopyTo(destination);
        state.MixHash(destination);
        state.MixKey(destination);
    }

    private static bool TryMixSharedSecret(SymmetricState state, PrivateKey privateKey, PublicKey publicKey)
    {
        Span<byte> shared = stackalloc byte[SecretSize];
        try
        {
            if (!X25519.TrySharedSecret(privateKey, publicKey, shared))
            {
                return false;
            }

            state.MixKey(shared);
            return true;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(shared);
        }
    }
}
