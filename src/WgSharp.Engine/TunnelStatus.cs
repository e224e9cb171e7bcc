using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>What can be told of a tunnel as a whole, no secret among it: a copy. Its peers come in portions, by <see cref="Tunnel.DescribePeers"/>.</summary>
internal sealed class TunnelStatus
{
    /// <summary>Null: there is no private key.</summary>
    public PublicKey? PublicKey { get; set; }

    public int ListenPort { get; set; }

    public long Fwmark { get; set; }

    public bool LinkIsUp { get; set; }

    /// <summary>The interface's, in bytes.</summary>
    public int Mtu { get; set; }

    public MtuPolicy MtuPolicy { get; set; }

    /// <summary>How many packet threads run: <c>1</c>, <c>2</c>, <c>2+2</c>.</summary>
    public string Threads { get; set; } = string.Empty;

    public int PeerCount { get; set; }

    /// <summary>Packets of all peers that wait for a session.</summary>
    public int StagedPackets { get; set; }

    /// <summary>The memory that they take.</summary>
    public int StagedBytes { get; set; }

    /// <summary>Handshake messages that wait for the control loop.</summary>
    public int HandshakesWaiting { get; set; }

    /// <summary>Peers that have a socket of their own, because they are behind full links.</summary>
    public int Lanes { get; set; }

    /// <summary>What was dropped since the start, and why.</summary>
    public DropCounters Drops { get; set; } = new();

    /// <summary>Initiations of strangers since the start.</summary>
    public long StrangerCount { get; set; }

    /// <summary>Whose the last one was; null: there was none.</summary>
    public PublicKey? StrangerKey { get; set; }

    public InetEndpoint? StrangerSource { get; set; }

    public TimeSpan? StrangerAge { get; set; }
}
