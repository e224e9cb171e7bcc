using System.Runtime.CompilerServices;

namespace WgSharp.Crypto;

/// <summary>One packet of a run, in place in the run's buffer: content at <c>[Offset, Offset + Length)</c>, its tag in the 16 bytes behind.</summary>
internal struct AeadPacket
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

/// <summary>One transport key: seals or opens whole runs of packets (no associated data). Wiped when disposed.</summary>
/// <remarks>
/// <see cref="Seal"/> and <see cref="Open"/> may run on several threads at once. Disposing while one of them runs is the caller's
/// mistake (a keypair is leased for each run); using it after that throws instead of encrypting under zeros.
/// </remarks>
internal sealed unsafe class AeadKey : IDisposable
{
    private static AeadImplementation s_disabled;
    private static AeadImplementation s_chosen;

    private const int StateSize = 64;

    /// <summary>The initial state of ChaCha20 (RFC 8439, section 2.3): constants, key, block counter 0, nonce 0. Only ever read.</summary>
    private readonly SecretMemory _state;
    private readonly AeadImplementation _implementation;
    private volatile bool _disposed;

    /// <param name="key">32 bytes, copied.</param>
    public AeadKey(ReadOnlySpan<byte> key)
        : this(key, Chosen)
    {
    }

    internal AeadKey(ReadOnlySpan<byte> key, AeadImplementation implementation)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(key.Length, ChaCha20Poly1305.KeySize);
        _implementation = implementation;
        _state = new SecretMemory(StateSize);
        Span<byte> state = _state.Span;
        "expand 32-byte k"u8.CopyTo(state);
        key.CopyTo(state[16..]);
    }

    /// <summary>What seals and opens in this process: "avx512", "avx2" or "sodium", the best that the processor has and nobody disabled.</summary>
    public static string Implementation => Name(Chosen);

    private static AeadImplementation Chosen
    {
        get
        {
            if (s_chosen == AeadImplementation.None)
            {
                // Threads that meet here come to the same result.
                s_chosen = Best(s_disabled);
            }

            return s_chosen;
        }
    }

    /// <summary>All that this processor can run, the fastest first; libsodium is always the last.</summary>
    internal static IEnumerable<AeadImplementation> Supported
    {
        get
        {
            if (AeadKernels512.IsSupported)
            {
                yield return AeadImplementation.Avx512;
            }

            if (AeadKernels256.IsSupported)
            {
                yield return AeadImplementation.Avx2;
            }

            yield return AeadImplementation.Sodium;
        }
    }

    internal static AeadImplementation Best(AeadImplementation disabled) => Supported.First(implementation => !disabled.HasFlag(implementation));

    /// <summary>Does without an implementation in this process: "avx512" or "avx2" (libsodium is what remains without both).</summary>
    /// <returns>False if there is none of that name that could be disabled.</returns>
    /// <exception cref="InvalidOperationException">The choice was made already: a key exists or <see cref="Implementation"/> was read.</exception>
    public static bool TryDisable(string implementation)
    {
        AeadImplementation disabled = implementation switch
        {
            "avx512" => AeadImplementation.Avx512,
            "avx2" => AeadImplementation.Avx2,
            _ => AeadImplementation.None,
        };

        if (disabled == AeadImplementation.None)
        {
            return false;
        }

        if (s_chosen != AeadImplementation.None)
        {
            throw new InvalidOperationException($"The AEAD is {Name(s_chosen)} already: {implementation} cannot be disabled any more.");
        }

        s_disabled |= disabled;
        return true;
    }

    /// <summary>Seals each packet in place and writes its tag behind it. Never allocates. Safe to call from several threads at once.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A packet or its tag lies outside of the buffer; nothing was sealed.</exception>
    public void Seal(Span<byte> buffer, ReadOnlySpan<AeadPacket> packets)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        CheckBounds(buffer.Length, packets);
        if (packets.IsEmpty)
        {
            return;
        }

        fixed (byte* start = buffer)
        {
            switch (_implementation)
            {
                case AeadImplementation.Avx512:
                    AeadRun<AeadKernels512>.Seal(State, start, packets);
                    break;
                case AeadImplementation.Avx2:
                    AeadRun<AeadKernels256>.Seal(State, start, packets);
                    break;
                default:
                    SodiumRun.Seal(SodiumKey, start, packets);
                    break;
            }
        }
    }

    /// <summary>
    /// Opens each packet in place and sets <see cref="AeadPacket.Authentic"/>. A forged packet's content is left as ciphertext or becomes zeros.
    /// Never allocates. Safe to call from several threads at once.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">A packet or its tag lies outside of the buffer; nothing was opened.</exception>
    public void Open(Span<byte> buffer, Span<AeadPacket> packets)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        CheckBounds(buffer.Length, packets);
        if (packets.IsEmpty)
        {
            return;
        }

        fixed (byte* start = buffer)
        {
            switch (_implementation)
            {
                case AeadImplementation.Avx512:
                    AeadRun<AeadKernels512>.Open(State, start, packets);
                    break;
                case AeadImplementation.Avx2:
                    AeadRun<AeadKernels256>.Open(State, start, packets);
                    break;
                default:
                    SodiumRun.Open(SodiumKey, start, packets);
                    break;
            }
        }
    }

    public void Dispose()
    {
        _disposed = true;
        _state.Dispose();
    }

    private uint* State => (uint*)_state.Start;

    private byte* SodiumKey => (byte*)(State + 4);

    private static string Name(AeadImplementation implementation) => implementation switch
    {
        AeadImplementation.Avx512 => "avx512",
        AeadImplementation.Avx2 => "avx2",
        _ => "sodium",
    };

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
        throw new ArgumentOutOfRangeException("packets", $"The packet at {packet.Offset} with {packet.Length} bytes and its tag lie outside of the buffer.");
}

/// <summary>What can seal and open a run.</summary>
[Flags]
internal enum AeadImplementation
{
    None = 0,
    Sodium = 1,
    Avx2 = 2,
    Avx512 = 4,
}
