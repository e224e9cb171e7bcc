using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace WgSharp.Crypto;

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
