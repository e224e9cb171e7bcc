using System.Security.Cryptography;
using WgSharp.Crypto;

namespace WgSharp.Protocol;

// Noise_IKpsk2 as WireGuard uses it (whitepaper, section 5.4; the kernel's noise.c):
//
//   <- s                       the responder's static key is known beforehand
//   -> e, es, s, ss, {t}       handshake initiation
//   <- e, ee, se, psk, {}      handshake response
//
// A peer has one handshake, in one state: an initiation that arrives while ours is out takes its place.

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

/// <summary>The handshake between us and one peer. Control loop only.</summary>
internal sealed class Handshake : IDisposable
{
    private const int SecretSize = 32;

    private readonly Peer _peer;

    /// <summary>The symmetric state, then the static-static secret.</summary>
    private readonly SecretMemory _secrets = new(SymmetricState.Size + SecretSize);

    private State _state;
    private PrivateKey? _ephemeral;
    private PublicKey _remoteEphemeral;
    private uint _remoteIndex;
    private StaticSecret _staticStatic;
    private Tai64n _latestReceived;
    private Tai64n _latestSent;
    private Instant _lastConsumed;

    public Handshake(Peer peer)
    {
        _peer = peer;
        Cookies = new CookieMaker(peer.PublicKey);
    }

    /// <summary>The kernel's noise_handshake_state, but for those that last only within one call.</summary>
    private enum State
    {
        Zeroed,
        CreatedInitiation,
        ConsumedInitiation,
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

    // ---- initiator ----

    /// <summary>Writes an initiation but for its MACs.</summary>
    /// <param name="localIndex">Goes into the message as sender.</param>
    /// <param name="ephemeral">Ours from now on: wiped with the handshake.</param>
    /// <returns>False if the peer's key has low order.</returns>
    public bool TryCreateInitiation(StaticIdentity identity, uint localIndex, PrivateKey ephemeral, UnixTime wall, Span<byte> destination)
    {
        ReplaceEphemeral(ephemeral);
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

        _state = State.CreatedInitiation;
        return true;
    }

    /// <summary>Takes the response to our initiation in. Afterwards the session can be derived.</summary>
    /// <returns>False for a forgery, or if no initiation of ours is out: nothing is changed then.</returns>
    public bool TryConsumeResponse(StaticIdentity identity, HandshakeResponse message)
    {
        if (_state != State.CreatedInitiation)
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

            OwnState.CopyFrom(state);
            _remoteIndex = message.SenderIndex;
            return true;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(scratch);
        }
    }

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
    /// <param name="state">As <see cref="TryOpenStatic"/> left it.</param>
    /// <returns>False for a forgery, a timestamp that does not grow, or two within 20 ms: nothing is changed then.</returns>
    public bool TryConsumeInitiation(StaticIdentity identity, HandshakeInitiation message, SymmetricState state, Instant now)
    {
        // ss
        if (!TryComputeStaticStatic(identity))
        {
            return false;
        }

        state.MixKey(StaticStatic);

        // {t}
        Span<byte> bytes = stackalloc byte[Tai64n.Size];
        if (!state.TryOpen(message.SealedTimestamp, bytes))
        {
            return false;
        }

        Tai64n timestamp = Tai64n.Read(bytes);
        bool isReplay = timestamp <= _latestReceived;
        bool isFlood = _lastConsumed != default && _lastConsumed + (TimeSpan.FromSeconds(1) / Limits.InitiationsPerSecond) > now;
        if (isReplay || isFlood)
        {
            return false;
        }

        OwnState.CopyFrom(state);
        ReplaceEphemeral(null);
        _latestReceived = timestamp;
        _lastConsumed = now;
        _remoteEphemeral = new PublicKey(message.Ephemeral);
        _remoteIndex = message.SenderIndex;
        _state = State.ConsumedInitiation;
        return true;
    }

    /// <summary>Writes the response to the initiation just consumed, but for its MACs. Afterwards the session can be derived.</summary>
    public bool TryCreateResponse(uint localIndex, PrivateKey ephemeral, Span<byte> destination)
    {
        if (_state != State.ConsumedInitiation)
        {
            return false;
        }

        var message = new HandshakeResponse.Writer(destination, localIndex, _remoteIndex);
        SymmetricState state = OwnState;

        // e
        MixEphemeral(state, X25519.PublicKeyOf(ephemeral), message.Ephemeral);

        // ee, se
        if (!TryMixSharedSecret(state, ephemeral, _remoteEphemeral) || !TryMixSharedSecret(state, ephemeral, _peer.PublicKey))
        {
            return false;
        }

        // psk
        MixPsk(state);

        // {}
        state.Seal([], message.SealedNothing);
        return true;
    }

    // ---- both ----

    /// <summary>The keypair of a handshake whose response was created or consumed. The handshake is forgotten over it.</summary>
    public Keypair DeriveKeypair(uint localIndex, Instant now)
    {
        bool isInitiator = _state == State.CreatedInitiation;
        Span<byte> keys = stackalloc byte[2 * SecretSize];
        Span<byte> fromInitiator = keys[..SecretSize];
        Span<byte> fromResponder = keys[SecretSize..];
        try
        {
            OwnState.Split(fromInitiator, fromResponder);
            return isInitiator
                ? new Keypair(_peer, localIndex, _remoteIndex, isInitiator, fromInitiator, fromResponder, now)
                : new Keypair(_peer, localIndex, _remoteIndex, isInitiator, fromResponder, fromInitiator, now);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(keys);
            Clear();
        }
    }

    /// <summary>Wipes what a handshake under way left. What protects against replay and what belongs to the static keys stays.</summary>
    public void Clear()
    {
        CryptographicOperations.ZeroMemory(_secrets.Span[..SymmetricState.Size]);
        ReplaceEphemeral(null);
        _remoteEphemeral = default;
        _remoteIndex = 0;
        _state = State.Zeroed;
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

    private void ReplaceEphemeral(PrivateKey? ephemeral)
    {
        _ephemeral?.Dispose();
        _ephemeral = ephemeral;
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
