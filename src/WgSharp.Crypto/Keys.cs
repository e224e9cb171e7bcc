using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace WgSharp.Crypto;

/// <summary>A Curve25519 public key: 32 bytes, compared in constant time, printed in base64 as <c>wg</c> does.</summary>
public readonly struct PublicKey : IEquatable<PublicKey>
{
    public const int Size = 32;

    private readonly Bytes _bytes;

    /// <param name="bytes">Exactly 32 bytes.</param>
    /// <exception cref="ArgumentException">Another length.</exception>
    public PublicKey(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length != Size)
        {
            throw new ArgumentException($"A public key has {Size} bytes, not {bytes.Length}.", nameof(bytes));
        }

        bytes.CopyTo(_bytes);
    }

    /// <summary>The 32 bytes; valid while this value lives.</summary>
    [UnscopedRef]
    public ReadOnlySpan<byte> Span => _bytes;

    public bool IsZero => !Span.ContainsAnyExcept((byte)0);

    public bool Equals(PublicKey other) => CryptographicOperations.FixedTimeEquals(Span, other.Span);

    public override bool Equals(object? obj) => obj is PublicKey other && Equals(other);

    public override int GetHashCode() => HashCode.Combine(
        MemoryMarshal.Read<ulong>(Span), MemoryMarshal.Read<ulong>(Span[8..]));

    /// <summary>Base64 with padding, 44 characters.</summary>
    public override string ToString() => Convert.ToBase64String(Span);

    public static bool operator ==(PublicKey left, PublicKey right) => left.Equals(right);

    public static bool operator !=(PublicKey left, PublicKey right) => !left.Equals(right);

    [InlineArray(Size)]
    private struct Bytes
    {
        private byte _first;
    }
}

/// <summary>Owner of secret bytes: out of the collector's reach, wiped when disposed, silent when printed.</summary>
public abstract class SecretBytes : IDisposable
{
    private readonly SecretMemory _bytes;

    private protected SecretBytes(ReadOnlySpan<byte> bytes, int size)
    {
        if (bytes.Length != size)
        {
            throw new ArgumentException($"A key has {size} bytes, not {bytes.Length}.", nameof(bytes));
        }

        _bytes = new SecretMemory(size);
        bytes.CopyTo(_bytes.Span);
    }

    /// <summary>The secret; zeros after <see cref="Dispose()"/>.</summary>
    public ReadOnlySpan<byte> Span => _bytes.Span;

    public bool IsZero => CryptographicOperations.FixedTimeEquals(_bytes.Span, stackalloc byte[_bytes.Length]);

    /// <summary>Constant-time comparison.</summary>
    public bool SameAs(SecretBytes? other) => other is not null && CryptographicOperations.FixedTimeEquals(_bytes.Span, other._bytes.Span);

    public override string ToString() => "(secret)";

    public void Dispose()
    {
        _bytes.Dispose();
        GC.SuppressFinalize(this);
    }

    private protected Span<byte> Writable => _bytes.Span;
}

/// <summary>A Curve25519 private key, clamped when it is made (RFC 7748, section 5).</summary>
public sealed class PrivateKey : SecretBytes
{
    public const int Size = 32;

    /// <param name="bytes">Exactly 32 bytes; clamped in the copy that is kept.</param>
    public PrivateKey(ReadOnlySpan<byte> bytes)
        : base(bytes, Size)
    {
        Writable[0] &= 248;
        Writable[31] = (byte)((Writable[31] & 127) | 64);
    }
}

/// <summary>A symmetric key mixed into the handshake (whitepaper, section 5.4.3); all zeros means none.</summary>
public sealed class PresharedKey(ReadOnlySpan<byte> bytes) : SecretBytes(bytes, Size)
{
    public const int Size = 32;
}
