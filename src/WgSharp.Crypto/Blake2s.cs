namespace WgSharp.Crypto;

/// <summary>BLAKE2s (RFC 7693) as the whitepaper's Hash, Mac, Hmac and Kdf (section 5.4). No allocation; scratch is cleared.</summary>
public static class Blake2s
{
    public const int HashSize = 32;
    public const int MacSize = 16;

    /// <summary>Hash(first || second), 32 bytes.</summary>
    public static void Hash(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, Span<byte> digest) => throw new NotSupportedException();

    /// <summary>Mac(key, input): keyed BLAKE2s with as many output bytes as <paramref name="digest"/> has (1-32); key 0-32 bytes.</summary>
    public static void Mac(ReadOnlySpan<byte> key, ReadOnlySpan<byte> input, Span<byte> digest) => throw new NotSupportedException();

    /// <summary>Hmac(key, input) with BLAKE2s, 32 bytes.</summary>
    public static void Hmac(ReadOnlySpan<byte> key, ReadOnlySpan<byte> input, Span<byte> digest) => throw new NotSupportedException();

    /// <summary>Kdf1, Kdf2, Kdf3: the outputs are 32 bytes each, or empty where not wanted.</summary>
    public static void Kdf(ReadOnlySpan<byte> key, ReadOnlySpan<byte> input, Span<byte> first, Span<byte> second, Span<byte> third) => throw new NotSupportedException();
}
