using System.Security.Cryptography;

namespace WgSharp.Crypto;

/// <summary>
/// Seals and opens a few packets with the chosen implementation and compares with libsodium: a processor, a compiler or an emulator that
/// computes wrong is found before the first packet, not by a peer that drops everything. As the kernels are compiled at their first use,
/// this also moves that cost out of the first packet's way.
/// </summary>
internal static class AeadSelfTest
{
    /// <summary>Single packets small and large, and a run that fills the lanes of every width.</summary>
    private static readonly int[][] _runs = [[0], [64], [192], [512], [1424], [.. Enumerable.Repeat(1424, 20), .. Enumerable.Repeat(96, 20), 0, 16, 1000]];

    /// <exception cref="CryptographicException">The results differ.</exception>
    public static void Run()
    {
        Span<byte> secret = stackalloc byte[ChaCha20Poly1305.KeySize];
        for (int i = 0; i < secret.Length; i++)
        {
            secret[i] = (byte)(0x80 + i);
        }

        using var key = new AeadKey(secret);
        Run(key, secret);
    }

    /// <param name="key">What is to be proven.</param>
    /// <param name="secret">The key's 32 bytes, for libsodium.</param>
    /// <exception cref="CryptographicException">The results differ.</exception>
    internal static void Run(AeadKey key, ReadOnlySpan<byte> secret)
    {
        ulong counter = 0x0102030405060708;
        foreach (int[] lengths in _runs)
        {
            Check(key, secret, lengths, ref counter);
        }
    }

    private static void Check(AeadKey key, ReadOnlySpan<byte> secret, int[] lengths, ref ulong counter)
    {
        byte[] plain = new byte[lengths.Sum() + (lengths.Length * ChaCha20Poly1305.TagSize)];
        byte[] expected = new byte[plain.Length];
        var packets = new AeadPacket[lengths.Length];
        int offset = 0;
        for (int i = 0; i < lengths.Length; i++)
        {
            Span<byte> content = plain.AsSpan(offset, lengths[i]);
            for (int b = 0; b < content.Length; b++)
            {
                content[b] = (byte)((b * 7) + i);
            }

            packets[i] = new AeadPacket { Offset = offset, Length = lengths[i], Counter = counter };
            Span<byte> sealedContent = expected.AsSpan(offset, lengths[i] + ChaCha20Poly1305.TagSize);
            ChaCha20Poly1305.Seal(secret, counter, content, [], sealedContent);
            offset += sealedContent.Length;
            counter++;
        }

        byte[] work = [.. plain];
        key.Seal(work, packets);
        bool right = work.AsSpan().SequenceEqual(expected);
        key.Open(work, packets);
        for (int i = 0; i < packets.Length && right; i++)
        {
            AeadPacket packet = packets[i];
            right = packet.Authentic && work.AsSpan(packet.Offset, packet.Length).SequenceEqual(plain.AsSpan(packet.Offset, packet.Length));
        }

        if (!right)
        {
            throw new CryptographicException(
                $"The {AeadKey.Implementation} implementation of ChaCha20-Poly1305 computes something else than libsodium on this machine; disable it (WGSHARP_DISABLE={AeadKey.Implementation}).");
        }
    }
}
