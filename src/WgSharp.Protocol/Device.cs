namespace WgSharp.Protocol;

/// <summary>Fills a span with random bytes (getrandom in the daemon, a seeded generator in tests).</summary>
public delegate void FillRandom(Span<byte> destination);

/// <summary>What became of a handshake message.</summary>
public enum HandshakeOutcome
{
    /// <summary>Silence: malformed, forged, replayed, too early, rate-limited, or for nobody here.</summary>
    Dropped,

    /// <summary>An initiation was accepted: the reply is a handshake response, to be sent to the peer's endpoint.</summary>
    Respond,

    /// <summary>The reply is a cookie reply, to be sent to the source of the message; there is no peer.</summary>
    CookieReply,

    /// <summary>A response was accepted: the session is current. Flush what is staged; if nothing is, send a keepalive, which confirms the key.</summary>
    SessionEstablished,

    /// <summary>A cookie was stored for the next initiation to that peer.</summary>
    CookieStored,
}

/// <summary>What a due timer asks for.</summary>
public enum TimerAction
{
    /// <summary>Looked at, nothing to send (keys were wiped, packets given up, deadlines moved).</summary>
    None,

    /// <summary>Create an initiation with <see cref="Device.TryCreateInitiation"/> and send it.</summary>
    SendInitiation,

    /// <summary>Send a keepalive (or what is staged); with no session, that means staging it and asking for a handshake.</summary>
    SendKeepalive,
}

/// <summary>
/// One WireGuard interface: identity, peers, handshake dispatch, timers due. No I/O, no clock, no threads: the control loop is the one writer,
/// the data path reads <see cref="AllowedIps"/> and <see cref="TryFindKeypair"/> from any thread.
/// </summary>
public sealed class Device
{
    public Device(FillRandom random) => throw new NotSupportedException();

    // ---- any thread ----

    /// <summary>An immutable snapshot: one volatile read per batch.</summary>
    public AllowedIps AllowedIps => throw new NotSupportedException();

    /// <summary>The keypair that a transport message's receiver index names. Lock-free, never allocates.</summary>
    public bool TryFindKeypair(uint receiverIndex, out Keypair keypair) => throw new NotSupportedException();

    /// <summary>Asks the control loop to look at a peer. Never allocates; a peer is queued at most once.</summary>
    /// <returns>True if the control loop must be woken.</returns>
    public bool Raise(Peer peer, Attention attention) => throw new NotSupportedException();

    // ---- control loop only ----

    public ushort ListenPort => throw new NotSupportedException();

    public uint Fwmark => throw new NotSupportedException();

    /// <summary>In order of insertion.</summary>
    public IReadOnlyCollection<Peer> Peers => throw new NotSupportedException();

    /// <summary>Applies a parsed configuration: the whole of it, or nothing where it throws. Peers whose keepalive went 0→n or that got staged packets are raised.</summary>
    /// <exception cref="ConfigurationException">More peers than MaxPeers.</exception>
    public void Apply(DeviceConfiguration configuration, Moment moment) => throw new NotSupportedException();

    /// <summary>After the socket was bound to a random port: what <c>get</c> shows.</summary>
    public void SetListenPort(ushort port) => throw new NotSupportedException();

    public DeviceSnapshot Snapshot() => throw new NotSupportedException();

    /// <summary>Link up: peers with a persistent keepalive send one, and what is staged goes out (the kernel's wg_open).</summary>
    public void LinkUp(Moment moment) => throw new NotSupportedException();

    /// <summary>Link down: sessions and handshakes are wiped, staged packets dropped, timers stopped (the kernel's wg_stop).</summary>
    public void LinkDown() => throw new NotSupportedException();

    /// <summary>Forgets every peer's sticky source: listen port or fwmark changed.</summary>
    public void ForgetSources() => throw new NotSupportedException();

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
        out Peer? peer) => throw new NotSupportedException();

    /// <summary>Creates a handshake initiation if one is allowed now: REKEY_TIMEOUT since the last, a private key, an endpoint, no low-order key.</summary>
    /// <param name="retry">A retransmission by the timer: does not reset the attempt count.</param>
    /// <param name="message">At least 148 bytes.</param>
    public bool TryCreateInitiation(Peer peer, bool retry, Moment moment, Span<byte> message) => throw new NotSupportedException();

    /// <summary>Counts a handshake message that was sent or a reply (tx bytes) and stamps activity.</summary>
    public void NoteHandshakeSent(Peer peer, int bytes, Moment moment) => throw new NotSupportedException();

    /// <summary>The earliest moment at which a timer may be due; Never if none.</summary>
    public Instant NextDeadline => throw new NotSupportedException();

    /// <summary>Takes one due timer out.</summary>
    public bool TryTakeDueTimer(Moment moment, out Peer peer, out TimerAction action) => throw new NotSupportedException();

    /// <summary>Takes one raised peer out. Confirmed and Timers are handled inside; what remains is what the caller has to do (Handshake, Staged).</summary>
    public bool TryTakeAttention(Moment moment, out Peer peer, out Attention attention) => throw new NotSupportedException();
}

/// <summary>A configuration that cannot be applied; the message says why.</summary>
public sealed class ConfigurationException(string message) : Exception(message);
