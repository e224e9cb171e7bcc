using WgSharp.Protocol;

namespace WgSharp.Engine.Outbound;

/// <summary>Where a frame goes and how: found once, handed on to everything that is made of the frame.</summary>
internal readonly record struct FrameRoute(Peer Peer, Endpoint Endpoint)
{
    /// <summary>The outer DS field.</summary>
    public byte TrafficClass { get; init; }

    /// <summary>The outer hop limit; 0 is the sockets' own.</summary>
    public byte HopLimit { get; init; }

    /// <summary>Of what is made of it.</summary>
    public Padding Padding { get; init; }

    /// <summary>What the path takes; null where that does not matter (keepalives, probes).</summary>
    public PathBudget? Budget { get; init; }
}
