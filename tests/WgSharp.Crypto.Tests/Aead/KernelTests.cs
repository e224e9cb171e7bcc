using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace WgSharp.Crypto.Tests;

/// <summary>
/// The kernels beneath <see cref="AeadKey"/>, each by itself: with the published vectors, whose nonces and associated data
/// WireGuard's packets do not have, and Poly1305 against exact integers where its arithmetic is the most likely to overflow.
/// </summary>
public sealed unsafe partial class KernelTests : IDisposable
{
    private const int Room = 32 * 1024;

    private static readonly BigInteger P = BigInteger.Pow(2, 130) - 5;

    private const string SodiumForTests = "libsodium";

    private readonly byte* _memory = (byte*)NativeMemory.AlignedAlloc(Room, 64);

    private delegate void Mac(byte* key, byte* content, int length, Vector128<ulong> lengths, byte* tag);

    public static TheoryData<string> Implementations => [.. AeadKey.Supported.Select(implementation => implementation.ToString())];

    public static TheoryData<string> Macs
    {
        get
        {
            TheoryData<string> macs = [nameof(Sodium)];
            if (AeadKernels256.IsSupported)
            {
                macs.AddRange(nameof(Poly1305), nameof(Poly1305Wide), nameof(Poly1305Vector256));
            }

            if (AeadKernels512.IsSupported)
            {
                macs.Add(nameof(Poly1305Vector512));
            }

            return macs;
        }
    }

    static KernelTests() => NativeLibrary.SetDllImportResolver(
        typeof(KernelTests).Assembly, (name, _, _) => name == SodiumForTests ? Sodium.Load(AppContext.BaseDirectory) : 0);

    public void Dispose() => NativeMemory.AlignedFree(_memory);

    [Theory]
    [MemberData(nameof(Implementations))]
    public void Every_vector_s_ciphertext_alone_and_anywhere_in_a_run(string implementation)
    {
        int checkedVectors = 0;
        foreach (AeadVector vector in VectorFile.Aead("wycheproof-chacha20-poly1305.json").Where(vector => vector.Valid))
        {
            foreach (int others in new[] { 0, 1, 7, 30 })
            {
                int stride = vector.Plaintext.Length + 16;
                byte[] buffer = new byte[(others + 1) * stride];
                AeadPacket[] packets = new AeadPacket[others + 1];
                for (int i = 0; i <= others; i++)
                {
                    vector.Plaintext.CopyTo(buffer, i * stride);
                    packets[i] = new() { Offset = i * stride, Length = vector.Plaintext.Length, Counter = (ulong)i };
                }

                packets[others / 2].Counter = BinaryPrimitives.ReadUInt64LittleEndian(vector.Nonce.AsSpan(4));
                Seal(implementation, vector, buffer, packets);
                Assert.True(buffer.AsSpan(others / 2 * stride, vector.Ciphertext.Length).SequenceEqual(vector.Ciphertext), $"{vector.Id} among {others}");
            }

            checkedVectors++;
        }

        Assert.Equal(256, checkedVectors);
    }

    [Theory]
    [MemberData(nameof(Macs))]
    public void Every_vector_s_tag_its_associated_data_included(string kernel)
    {
        Mac mac = Kernel(kernel);
        byte[] oneTimeKey = new byte[32];
        byte[] tag = new byte[16];
        int valid = 0, invalid = 0;
        foreach (AeadVector vector in VectorFile.Aead("wycheproof-chacha20-poly1305.json").Where(vector => vector.Nonce.Length == 12))
        {
            byte[] message = [.. Padded(vector.AssociatedData), .. Padded(vector.Ciphertext), .. new byte[16]];
            int length = message.Length - 16;
            if (kernel == nameof(Poly1305Wide) && length < 64)
            {
                continue;
            }

            OneTimeKey(vector, oneTimeKey);
            fixed (byte* key = oneTimeKey, content = message, t = tag)
            {
                mac(key, content, length, Vector128.Create((ulong)vector.AssociatedData.Length, (ulong)vector.Ciphertext.Length), t);
            }

            Assert.True(tag.AsSpan().SequenceEqual(vector.Tag) == vector.Valid, $"{vector.Id}");
            valid += vector.Valid ? 1 : 0;
            invalid += vector.Valid ? 0 : 1;
        }

        Assert.InRange(valid, kernel == nameof(Poly1305Wide) ? 100 : 256, 256);
        Assert.InRange(invalid, kernel == nameof(Poly1305Wide) ? 1 : 60, 60);
    }

    [Theory]
    [MemberData(nameof(Macs))]
    public void Tags_are_exact_where_limbs_and_carries_are_at_their_limits(string kernel)
    {
        Mac mac = Kernel(kernel);
        Random random = new(8);
        byte[] tag = new byte[16];
        for (int i = 0; i < 4000; i++)
        {
            byte[] key = Extreme(random, 32);
            byte[] message = Extreme(random, random.Next(4, 40) * 16);
            int length = message.Length - 16 - random.Next(kernel is nameof(Poly1305Vector256) or nameof(Poly1305Vector512) || i % 2 == 0 ? 0 : 16);
            length = kernel is nameof(Poly1305Vector256) or nameof(Poly1305Vector512) ? length & ~15 : length;
            if (length < 64 && kernel == nameof(Poly1305Wide))
            {
                continue;
            }

            byte[] lengths = Extreme(random, 16);
            fixed (byte* k = key, content = message, l = lengths, t = tag)
            {
                mac(k, content, length, Vector128.Load((ulong*)l), t);
            }

            byte[] expected = Exact(key, [.. Padded(message[..length]), .. lengths]);
            Assert.True(expected.AsSpan().SequenceEqual(tag), $"message {i}: {Convert.ToHexString(key)} {length} {Convert.ToHexString(message)}");
        }
    }

    [Theory]
    [MemberData(nameof(Macs))]
    public void Accumulators_next_to_a_multiple_of_p_are_reduced(string kernel)
    {
        // With r = 1 the accumulator is the sum of the blocks, each with its 2^128: aim it at p - 6 ... p + 6 and at 2p - 6 ... 2p + 6.
        Mac mac = Kernel(kernel);
        byte[] key = new byte[32];
        key[0] = 1;
        byte[] tag = new byte[16];
        foreach ((int factor, int blocks) in new[] { (1, 3), (2, 6) }.Where(aim => aim.Item2 > 4 || kernel != nameof(Poly1305Wide)))
        {
            for (int around = -6; around <= 6; around++)
            {
                BigInteger left = (factor * P) + around - (blocks * (BigInteger.One << 128));
                List<byte> message = [];
                for (int i = 0; i < blocks; i++)
                {
                    BigInteger taken = BigInteger.Min(left, (BigInteger.One << 128) - 1);
                    message.AddRange(Bytes16(taken));
                    left -= taken;
                }

                Assert.Equal(BigInteger.Zero, left);
                byte[] whole = [.. message];
                fixed (byte* k = key, content = whole, t = tag)
                {
                    mac(k, content, whole.Length - 16, Vector128.Load((ulong*)(content + whole.Length - 16)), t);
                }

                Assert.Equal(Exact(key, whole), tag);
            }
        }
    }

    private static byte[] Padded(byte[] bytes) => [.. bytes, .. new byte[-bytes.Length & 15]];

    private static byte[] Bytes16(BigInteger value)
    {
        byte[] bytes = new byte[16];
        Assert.True(value.TryWriteBytes(bytes, out _, isUnsigned: true));
        return bytes;
    }

    /// <summary>Random bytes, or many ones, or many zeros: what overflows if anything does.</summary>
    private static byte[] Extreme(Random random, int length)
    {
        byte[] bytes = new byte[length];
        switch (random.Next(4))
        {
            case 0:
                random.NextBytes(bytes);
                break;
            case 1:
                bytes.AsSpan().Fill(0xFF);
                break;
            case 2:
                bytes.AsSpan().Fill(0xFF);
                bytes[random.Next(length)] = (byte)random.Next(256);
                break;
            default:
                bytes[random.Next(length)] = (byte)random.Next(256);
                break;
        }

        return bytes;
    }

    /// <summary>Poly1305 as RFC 8439, section 2.5.1, writes it down.</summary>
    private static byte[] Exact(byte[] key, byte[] blocks)
    {
        BigInteger r = new BigInteger(key.AsSpan(0, 16), isUnsigned: true) & BigInteger.Parse("00ffffffc0ffffffc0ffffffc0fffffff", System.Globalization.NumberStyles.HexNumber);
        BigInteger accumulator = 0;
        for (int i = 0; i < blocks.Length; i += 16)
        {
            accumulator = (accumulator + new BigInteger(blocks.AsSpan(i, 16), isUnsigned: true) + (BigInteger.One << 128)) * r % P;
        }

        return Bytes16((accumulator + new BigInteger(key.AsSpan(16), isUnsigned: true)) & ((BigInteger.One << 128) - 1));
    }

    private static uint[] State(AeadVector vector)
    {
        uint[] state = new uint[16];
        Span<byte> bytes = MemoryMarshal.AsBytes(state.AsSpan());
        "expand 32-byte k"u8.CopyTo(bytes);
        vector.Key.CopyTo(bytes[16..]);
        vector.Nonce.AsSpan(0, 4).CopyTo(bytes[52..]);
        return state;
    }

    private static void Seal(string implementation, AeadVector vector, byte[] buffer, AeadPacket[] packets)
    {
        fixed (uint* state = State(vector))
        fixed (byte* start = buffer)
        {
            switch (Enum.Parse<AeadImplementation>(implementation))
            {
                case AeadImplementation.Avx512:
                    AeadRun<AeadKernels512>.Seal(state, start, packets);
                    break;
                case AeadImplementation.Avx2:
                    AeadRun<AeadKernels256>.Seal(state, start, packets);
                    break;
                default:
                    SealBySodium(vector, buffer, packets);
                    break;
            }
        }
    }

    private static void SealBySodium(AeadVector vector, byte[] buffer, AeadPacket[] packets)
    {
        byte[] nonce = [.. vector.Nonce];
        foreach (AeadPacket packet in packets)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(nonce.AsSpan(4), packet.Counter);
            Span<byte> content = buffer.AsSpan(packet.Offset, packet.Length);
            ChaCha20Poly1305.Seal(vector.Key, nonce, content, [], buffer.AsSpan(packet.Offset, packet.Length + 16));
        }
    }

    private static void OneTimeKey(AeadVector vector, Span<byte> oneTimeKey)
    {
        oneTimeKey.Clear();
        fixed (byte* c = oneTimeKey, n = vector.Nonce, k = vector.Key)
        {
            Assert.Equal(0, crypto_stream_chacha20_ietf_xor_ic(c, c, (ulong)oneTimeKey.Length, n, 0, k));
        }
    }

    /// <summary>libsodium's, one-shot.</summary>
    private static void MacBySodium(byte* key, byte* content, int length, Vector128<ulong> lengths, byte* tag)
    {
        byte[] message = [.. Padded(new Span<byte>(content, length).ToArray()), .. MemoryMarshal.AsBytes(new Span<Vector128<ulong>>(ref lengths))];
        fixed (byte* m = message)
        {
            Assert.Equal(0, crypto_onetimeauth_poly1305(tag, m, (ulong)message.Length, key));
        }
    }

    // What only tests need of libsodium is not among the imports of the assembly under test.
    [LibraryImport(SodiumForTests)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int crypto_stream_chacha20_ietf_xor_ic(byte* c, byte* m, ulong mlen, byte* n, uint ic, byte* k);

    [LibraryImport(SodiumForTests)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int crypto_onetimeauth_poly1305(byte* o, byte* m, ulong mlen, byte* k);

    private Mac Kernel(string name) => name switch
    {
        nameof(Sodium) => MacBySodium,
        nameof(Poly1305) => Poly1305.Mac,
        nameof(Poly1305Wide) => Poly1305Wide.Mac,
        nameof(Poly1305Vector256) => Lanes<AeadKernels256>,
        _ => Lanes<AeadKernels512>,
    };

    /// <summary>The message, a multiple of 16 bytes, in all lanes; each must come to the same tag.</summary>
    private void Lanes<TKernels>(byte* key, byte* content, int length, Vector128<ulong> lengths, byte* tag)
        where TKernels : struct, IAeadKernels
    {
        Assert.Equal(0, length % 16);
        AeadScratch* scratch = AeadScratch.Place(_memory);
        for (int i = 0; i < TKernels.MacLanes; i++)
        {
            new Span<byte>(key, 32).CopyTo(new Span<byte>(scratch->Keys + (64 * i), 32));
        }

        TKernels.MacInitialize(scratch, scratch->Keys);
        Point<TKernels>(scratch, content);
        TKernels.MacBlocks(scratch, length / 16);
        Point<TKernels>(scratch, (byte*)&lengths);
        TKernels.MacBlocks(scratch, 1);
        TKernels.MacFinish(scratch, scratch->Keys, scratch->Tags);
        for (int i = 1; i < TKernels.MacLanes; i++)
        {
            Assert.True(new Span<byte>(scratch->Tags, 16).SequenceEqual(new Span<byte>(scratch->Tags + (16 * i), 16)), $"lane {i}");
        }

        new Span<byte>(scratch->Tags, 16).CopyTo(new Span<byte>(tag, 16));
    }

    private static void Point<TKernels>(AeadScratch* scratch, byte* block)
        where TKernels : struct, IAeadKernels
    {
        for (int i = 0; i < TKernels.MacLanes; i++)
        {
            scratch->Pointer[i] = (ulong)block;
        }
    }
}
