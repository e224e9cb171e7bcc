namespace WgSharp.Protocol;

// What outlives the process (ConfigurationLog.cs): a description of everything, of what has become of single peers since, and the way back.

internal sealed partial class Device
{
    private readonly List<Peer> _noted = [];

    /// <summary>Whether anybody wants to know of peers that moved, or have a new session. Constant.</summary>
    public bool TakesNotes { get; init; }

    /// <summary>Peers of which something has changed that no configuration says, and that was not taken by <see cref="WriteNotes"/> yet.</summary>
    public bool HasNotes => _noted.Count > 0;

    /// <summary>Writes everything down that a successor needs: the beginning of a log.</summary>
    public void Describe(ConfigurationWriter writer)
    {
        ForgetNotes();
        writer.WriteDevice(_identity?.PrivateKey, removeKey: false, ListenPort, Fwmark, replacePeers: true);
        foreach (Peer peer in _peers)
        {
            IpPrefix[] prefixes = _allowedIpsTable.PrefixesOf(peer);
            writer.WritePeer(
                peer.PublicKey,
                PeerFields.None,
                peer.PresharedKey,
                peer.Endpoint?.Remote,
                peer.Timers.PersistentKeepaliveInterval,
                Array.ConvertAll(prefixes, static prefix => new AllowedIpChange(prefix, Remove: false)));
            if (peer.HandshakeIfAny is not null)
            {
                writer.WriteMemory(MemoryOf(peer));
            }
        }
    }

    /// <summary>Writes down what has become of the peers that were noted since.</summary>
    public void WriteNotes(ConfigurationWriter writer)
    {
        foreach (Peer peer in _noted)
        {
            // First the mark, then the look: who moves after the look leaves a mark again.
            peer.IsNoted = false;
            if (peer.IsRemoved)
            {
                continue;
            }

            writer.WritePeer(peer.PublicKey, PeerFields.UpdateOnly, presharedKey: null, peer.Endpoint?.Remote, keepalive: null, []);
            if (peer.HandshakeIfAny is not null)
            {
                writer.WriteMemory(MemoryOf(peer));
            }
        }

        _noted.Clear();
    }

    /// <summary>
    /// Takes over what a predecessor has written, before the link is up. The port is wanted as it was, whether it is free or not. Peers with which there
    /// was a session are asked for a new one as soon as the link is up: they go on sending under keys that are lost.
    /// </summary>
    /// <returns>How many of those there are.</returns>
    public int Restore(SavedConfiguration saved, Moment moment)
    {
        foreach (DeviceConfiguration step in saved.Steps)
        {
            Apply(step, moment);
        }

        int sessions = 0;
        foreach (PeerMemory memory in saved.Memories)
        {
            if (_peersByKey.TryGetValue(memory.PublicKey, out LinkedListNode<Peer>? node))
            {
                Peer peer = node.Value;
                peer.LastHandshake = memory.LastHandshake;
                peer.Handshake.Remember(memory.LatestSent, memory.LatestReceived);
                peer.HadSession = HadSession(memory, moment.Wall) && peer.Endpoint is not null;
                sessions += peer.HadSession ? 1 : 0;
            }
        }

        return sessions;
    }

    /// <summary>Of a peer whose endpoint, or whose last handshake, is another one.</summary>
    private void Note(Peer peer)
    {
        if (TakesNotes && !peer.IsNoted)
        {
            peer.IsNoted = true;
            _noted.Add(peer);
        }
    }

    private void ForgetNotes()
    {
        foreach (Peer peer in _noted)
        {
            peer.IsNoted = false;
        }

        _noted.Clear();
    }

    private static PeerMemory MemoryOf(Peer peer) =>
        new(peer.PublicKey, peer.LastHandshake, peer.Handshake.LatestSent, peer.Handshake.LatestReceived);

    private static bool HadSession(in PeerMemory memory, UnixTime now)
    {
        long age = now.Nanoseconds - memory.LastHandshake.Nanoseconds;
        return age >= 0 && age < Limits.RejectAfterTime.Ticks * TimeSpan.NanosecondsPerTick;
    }
}
