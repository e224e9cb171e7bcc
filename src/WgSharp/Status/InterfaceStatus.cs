using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Status;

/// <summary>
/// What an interface and the process that serves it can tell: a copy, no secret among it. The daemon fills it and writes it as lines
/// (<see cref="StatusLines"/>), the commands read those and show the same object.
/// </summary>
internal sealed class InterfaceStatus
{
    public string Name { get; set; } = string.Empty;

    public string Version { get; set; } = string.Empty;

    public int ProcessId { get; set; }

    public TimeSpan Uptime { get; set; }

    /// <summary>The start-up line's: <c>tun vnet_hdr+ ... | udp gso+ ...</c>.</summary>
    public string Features { get; set; } = string.Empty;

    /// <summary>The implementation of ChaCha20-Poly1305.</summary>
    public string Aead { get; set; } = string.Empty;

    /// <summary>A sentence for each feature that the kernel refused, and for keys that are not locked.</summary>
    public IList<string> Missing { get; } = [];

    /// <summary>Threads of the process.</summary>
    public long Tasks { get; set; }

    public long ResidentBytes { get; set; }

    public long HeapBytes { get; set; }

    public TimeSpan ProcessorTime { get; set; }

    public TunnelStatus Tunnel { get; set; } = new();

    /// <summary>The policy as the setting has it: clamp-only.</summary>
    public string MtuPolicyWord => Words<MtuPolicy>.Of(Tunnel.MtuPolicy).Replace('_', '-');

    /// <summary>As many as were asked for.</summary>
    public IList<PeerStatus> Peers { get; set; } = [];

    /// <summary>Of all peers, once they were counted.</summary>
    public int PeersWithSession { get; private set; }

    public int PeersInTrouble { get; private set; }

    /// <summary>For each peer once, those that are not kept included.</summary>
    public void Count(PeerStatus peer)
    {
        PeersWithSession += peer.HasSession ? 1 : 0;
        PeersInTrouble += peer.Trouble != HandshakeTrouble.None ? 1 : 0;
    }
}
