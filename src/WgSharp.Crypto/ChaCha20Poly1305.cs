namespace WgSharp.Crypto;

/// <summary>One packet of a run, in place in the run's buffer: content at <c>[Offset, Offset + Length)</c>, its tag in the 16 bytes behind.</summary>
public struct AeadPacket
{
    /// <summary>Where the content begins in the buffer.</summary>
    public int Offset;

    /// <summary>Bytes of content, without the tag. May be 0 (a keepalive).</summary>
    public int Length;

    /// <summary>The nonce: 32 zero bits, then this counter in little-endian (whitepaper, section 5.4.6).</summary>
    public ulong Counter;

    /// <summary>Written by <see cref="AeadKey.Open"/>: the tag was right and the content is plaintext. Otherwise the content is unusable.</summary>
    public bool Authentic;
}

/// <summary>ChaCha20-Poly1305 (RFC 8439) for single messages with associated data: the handshake.</summary>
public static class ChaCha20Poly1305
{
    public const int KeySize = 32;
    public const int TagSize = 16;

    /// <param name="destination"><paramref name="plaintext"/>.Length + 16 bytes; may overlap the plaintext exactly.</param>
    public static void Seal(ReadOnlySpan<byte> key, ulong counter, ReadOnlySpan<byte> plaintext, ReadOnlySpan<byte> associatedData, Span<byte> destination) =>
        throw new NotSupportedException();

    /// <returns>False for a forgery; the destination is then all zeros.</returns>
    /// <param name="destination"><paramref name="sealedText"/>.Length - 16 bytes.</param>
    public static bool TryOpen(ReadOnlySpan<byte> key, ulong counter, ReadOnlySpan<byte> sealedText, ReadOnlySpan<byte> associatedData, Span<byte> destination) =>
        throw new NotSupportedException();
}

/// <summary>One transport key: seals or opens whole runs of packets (no associated data). Wiped when disposed.</summary>
public sealed class AeadKey : IDisposable
{
    /// <param name="key">32 bytes, copied.</param>
    public AeadKey(ReadOnlySpan<byte> key) => throw new NotSupportedException();

    /// <summary>Seals each packet in place and writes its tag behind it. Never allocates. Safe to call from several threads at once.</summary>
    public void Seal(Span<byte> buffer, ReadOnlySpan<AeadPacket> packets) => throw new NotSupportedException();

    /// <summary>Opens each packet in place and sets <see cref="AeadPacket.Authentic"/>. Never allocates. Safe to call from several threads at once.</summary>
    public void Open(Span<byte> buffer, Span<AeadPacket> packets) => throw new NotSupportedException();

    public void Dispose() => throw new NotSupportedException();
}
