using System.Runtime.CompilerServices;

namespace WgSharp.Protocol.Tests;

/// <summary>Peers for tests that only need something to tell apart: no keys, no state.</summary>
internal static class TestPeers
{
    public static Peer Create() => (Peer)RuntimeHelpers.GetUninitializedObject(typeof(Peer));

    public static Peer[] Create(int count)
    {
        var peers = new Peer[count];
        for (int i = 0; i < count; i++)
        {
            peers[i] = Create();
        }

        return peers;
    }
}

/// <summary>A repeatable random source for what asks for one.</summary>
internal sealed class SeededRandom(int seed)
{
    private readonly Random _random = new(seed);

    public void Fill(Span<byte> destination) => _random.NextBytes(destination);
}
