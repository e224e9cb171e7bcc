using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;

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
public static unsafe class ChaCha20Poly1305
{
    public const int KeySize = 32;
    public const int TagSize = 16;
    internal const int NonceSize = 12;

    /// <param name="key">32 bytes.</param>
    /// <param name="counter">The nonce: 32 zero bits, then this in little-endian.</param>
    /// <param name="destination"><paramref name="plaintext"/>.Length + 16 bytes; may overlap the plaintext exactly.</param>
    public static void Seal(ReadOnlySpan<byte> key, ulong counter, ReadOnlySpan<byte> plaintext, ReadOnlySpan<byte> associatedData, Span<byte> destination)
    {
        Span<byte> nonce = stackalloc byte[NonceSize];
        WriteNonce(nonce, counter);
        Seal(key, nonce, plaintext, associatedData, destination);
    }

    /// <returns>False for a forgery or for less than a tag; the destination is then all zeros.</returns>
    /// <param name="key">32 bytes.</param>
    /// <param name="counter">The nonce: 32 zero bits, then this in little-endian.</param>
    /// <param name="destination"><paramref name="sealedText"/>.Length - 16 bytes.</param>
    public static bool TryOpen(ReadOnlySpan<byte> key, ulong counter, ReadOnlySpan<byte> sealedText, ReadOnlySpan<byte> associatedData, Span<byte> destination)
    {
        Span<byte> nonce = stackalloc byte[NonceSize];
        WriteNonce(nonce, counter);
        return TryOpen(key, nonce, sealedText, associatedData, destination);
    }

    /// <summary>With RFC 8439's whole 12-byte nonce, which published vectors need.</summary>
    internal static void Seal(ReadOnlySpan<byte> key, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> plaintext, ReadOnlySpan<byte> associatedData, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(key.Length, KeySize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(nonce.Length, NonceSize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(destination.Length, plaintext.Length + TagSize);

        fixed (byte* k = key, npub = nonce, m = plaintext, ad = associatedData, c = destination)
        {
            _ = Sodium.crypto_aead_chacha20poly1305_ietf_encrypt_detached(
                c, c + plaintext.Length, null, m, (ulong)plaintext.Length, ad, (ulong)associatedData.Length, null, npub, k);
        }
    }

    internal static bool TryOpen(ReadOnlySpan<byte> key, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> sealedText, ReadOnlySpan<byte> associatedData, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(key.Length, KeySize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(nonce.Length, NonceSize);
        if (sealedText.Length < TagSize)
        {
            destination.Clear();
            return false;
        }

        ArgumentOutOfRangeException.ThrowIfNotEqual(destination.Length, sealedText.Length - TagSize);
        bool authentic;
        fixed (byte* k = key, npub = nonce, c = sealedText, ad = associatedData, m = destination)
        {
            authentic = Sodium.crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                m, null, c, (ulong)destination.Length, c + destination.Length, ad, (ulong)associatedData.Length, npub, k) == 0;
        }

        if (!authentic)
        {
            destination.Clear();
        }

        return authentic;
    }

    private static void WriteNonce(Span<byte> nonce, ulong counter)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(nonce, 0);
        BinaryPrimitives.WriteUInt64LittleEndian(nonce[4..], counter);
    }
}

/// <summary>One transport key: seals or opens whole runs of packets (no associated data). Wiped when disposed.</summary>
/// <remarks>
/// <see cref="Seal"/> and <see cref="Open"/> may run on several threads at once. Disposing while one of them runs is the caller's
/// mistake (a keypair is leased for each run); using it after that throws instead of encrypting under zeros.
/// </remarks>
public sealed unsafe class AeadKey : IDisposable
{
    private readonly byte[] _key;
    private volatile bool _disposed;

    /// <param name="key">32 bytes, copied.</param>
    public AeadKey(ReadOnlySpan<byte> key)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(key.Length, ChaCha20Poly1305.KeySize);
        _key = GC.AllocateUninitializedArray<byte>(ChaCha20Poly1305.KeySize, pinned: true);
        key.CopyTo(_key);
    }

    /// <summary>Seals each packet in place and writes its tag behind it. Never allocates. Safe to call from several threads at once.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A packet or its tag lies outside of the buffer; nothing was sealed.</exception>
    public void Seal(Span<byte> buffer, ReadOnlySpan<AeadPacket> packets)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        CheckBounds(buffer.Length, packets);
        fixed (byte* start = buffer, key = _key)
        {
            SodiumRun.Seal(key, start, packets);
        }
    }

    /// <summary>Opens each packet in place and sets <see cref="AeadPacket.Authentic"/>. Never allocates. Safe to call from several threads at once.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A packet or its tag lies outside of the buffer; nothing was opened.</exception>
    public void Open(Span<byte> buffer, Span<AeadPacket> packets)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        CheckBounds(buffer.Length, packets);
        fixed (byte* start = buffer, key = _key)
        {
            SodiumRun.Open(key, start, packets);
        }
    }

    public void Dispose()
    {
        _disposed = true;
        CryptographicOperations.ZeroMemory(_key);
    }

    private static void CheckBounds(int bufferLength, ReadOnlySpan<AeadPacket> packets)
    {
        foreach (ref readonly AeadPacket packet in packets)
        {
            // In unsigned 64 bits a negative value is a huge one, and no sum wraps.
            if ((ulong)(uint)packet.Offset + (uint)packet.Length + ChaCha20Poly1305.TagSize > (ulong)bufferLength)
            {
                ThrowOutside(in packet);
            }
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void ThrowOutside(in AeadPacket packet) =>
        throw new ArgumentOutOfRangeException(nameof(packet), $"The packet at {packet.Offset} with {packet.Length} bytes and its tag lie outside of the buffer.");
}

/// <summary>A run by libsodium, packet by packet: where no vector kernel fits the processor.</summary>
internal static unsafe class SodiumRun
{
    public static void Seal(byte* key, byte* buffer, ReadOnlySpan<AeadPacket> packets)
    {
        byte* nonce = stackalloc byte[ChaCha20Poly1305.NonceSize];
        Unsafe.WriteUnaligned(nonce, 0u);
        foreach (ref readonly AeadPacket packet in packets)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(new Span<byte>(nonce + 4, 8), packet.Counter);
            byte* content = buffer + packet.Offset;
            _ = Sodium.crypto_aead_chacha20poly1305_ietf_encrypt_detached(
                content, content + packet.Length, null, content, (ulong)packet.Length, null, 0, null, nonce, key);
        }
    }

    public static void Open(byte* key, byte* buffer, Span<AeadPacket> packets)
    {
        byte* nonce = stackalloc byte[ChaCha20Poly1305.NonceSize];
        Unsafe.WriteUnaligned(nonce, 0u);
        foreach (ref AeadPacket packet in packets)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(new Span<byte>(nonce + 4, 8), packet.Counter);
            byte* content = buffer + packet.Offset;
            packet.Authentic = Sodium.crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                content, null, content, (ulong)packet.Length, content + packet.Length, null, 0, nonce, key) == 0;
        }
    }
}
