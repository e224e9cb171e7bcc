namespace WgSharp.Protocol;

/// <summary>Cryptokey routing: an immutable longest-prefix trie over both families. Reads need no lock and never allocate.</summary>
public sealed class AllowedIps
{
    public static AllowedIps Empty => throw new NotSupportedException();

    /// <param name="address">4 or 16 bytes, network order.</param>
    public Peer? Lookup(ReadOnlySpan<byte> address) => throw new NotSupportedException();
}
