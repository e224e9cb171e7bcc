namespace WgSharp.Protocol;

/// <summary>Where a handshake message came from and what address it was sent to.</summary>
/// <param name="Source">For an authentic message the peer's endpoint becomes this.</param>
/// <param name="LocalAddress">The address it was sent to (sticky source), or none.</param>
/// <param name="LocalInterface">The interface it arrived on, or 0.</param>
internal readonly record struct HandshakeOrigin(InetEndpoint Source, InetAddress LocalAddress, int LocalInterface)
{
    /// <summary>What it was sent to is not known.</summary>
    public HandshakeOrigin(InetEndpoint source)
        : this(source, InetAddress.None, 0)
    {
    }
}

/// <summary>What became of a handshake message.</summary>
internal enum HandshakeOutcome
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

/// <summary>What became of a handshake message, and what is to be sent for it.</summary>
/// <param name="Peer">Whose message it was, if that is proven.</param>
/// <param name="ReplyLength">In bytes; 0: there is no reply.</param>
internal readonly record struct HandshakeResult(HandshakeOutcome Outcome, Peer? Peer = null, int ReplyLength = 0);
