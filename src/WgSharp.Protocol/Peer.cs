using WgSharp.Crypto;

namespace WgSharp.Protocol;

/// <summary>What the data path asks the control loop to do for a peer. Raised by any thread, taken by the control loop.</summary>
[Flags]
public enum Attention
{
    None = 0,

    /// <summary>An event may have armed a timer earlier than the control loop has planned to look.</summary>
    Timers = 1,

    /// <summary>A session is wanted: no keypair, one that expired, or one that is due for a rekey.</summary>
    Handshake = 2,

    /// <summary>A packet was opened with the next keypair: the initiator confirmed it.</summary>
    Confirmed = 4,

    /// <summary>Packets were staged although there is a session now, or the peer was told to send: flush.</summary>
    Staged = 8,
}

/// <summary>One peer. The control loop writes; what the data path may call says so.</summary>
public sealed class Peer
{
    public PublicKey PublicKey => throw new NotSupportedException();

    /// <summary>Any thread: one volatile read.</summary>
    public Keypairs Keypairs => throw new NotSupportedException();

    /// <summary>Any thread: one volatile read. Null if not known.</summary>
    public Endpoint? Endpoint => throw new NotSupportedException();

    public StagedPackets Staged => throw new NotSupportedException();

    /// <summary>True once removed from the device: nothing is sent to it, nothing staged for it.</summary>
    public bool IsRemoved => throw new NotSupportedException();

    /// <summary>Inbound, after authentication: the peer is where this message came from. Replaces <see cref="Endpoint"/> only if it differs.</summary>
    public void Learn(in InetEndpoint remote, in InetAddress source, int sourceInterface) => throw new NotSupportedException();

    /// <summary>Outbound, after the kernel refused the sticky source: forgets it, unless the endpoint was replaced since <paramref name="seen"/> was read.</summary>
    /// <returns>The endpoint to send to now.</returns>
    public Endpoint? ForgetSource(Endpoint seen) => throw new NotSupportedException();

    /// <summary>
    /// Outbound, once per run after it was sent: counts bytes, stamps activity, and looks whether the keypair is due for a rekey
    /// (whitepaper, section 6.2; the kernel's keep_key_fresh).
    /// </summary>
    /// <param name="bytes">Whole messages: header, padding and tag included.</param>
    /// <param name="carriesData">False for keepalives only.</param>
    /// <returns>What the control loop must look at; None almost always.</returns>
    public Attention NoteSent(Keypair keypair, int messages, long bytes, bool carriesData, Instant now) => throw new NotSupportedException();

    /// <summary>
    /// Inbound, once per run after it was opened and passed the replay window: counts, stamps, key confirmation,
    /// and the initiator's rekey on receive at 165 s (once per keypair).
    /// </summary>
    /// <param name="bytes">Whole messages, as <see cref="NoteSent"/>.</param>
    /// <returns>What the control loop must look at; None almost always.</returns>
    public Attention NoteReceived(Keypair keypair, int messages, long bytes, bool carriesData, Instant now) => throw new NotSupportedException();

    /// <summary>Outbound, after staging: is a handshake to be asked for now? False while one is under way (REKEY_TIMEOUT), so that a burst asks once.</summary>
    public bool WantsHandshake(Instant now) => throw new NotSupportedException();
}
