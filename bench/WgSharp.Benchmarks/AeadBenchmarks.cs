using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using WgSharp.Crypto;

namespace WgSharp.Benchmarks;

/// <summary>Whole runs, as the data path has them.</summary>
public sealed class AeadRunBenchmarks : IDisposable
{
    private AeadKey _key = null!;
    private byte[] _buffer = [];
    private AeadPacket[] _packets = [];

    public static IEnumerable<string> Implementations => AeadKey.Supported.Select(implementation => implementation.ToString());

    [ParamsSource(nameof(Implementations))]
    public string Implementation { get; set; } = string.Empty;

    [Params(64, 512, 1420)]
    public int Size { get; set; }

    [Params(1, 45)]
    public int Packets { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _key = new AeadKey(new byte[32], Enum.Parse<AeadImplementation>(Implementation));
        int stride = Size + 32;
        _buffer = GC.AllocateArray<byte>(stride * Packets, pinned: true);
        _packets = [.. Enumerable.Range(0, Packets).Select(i => new AeadPacket { Offset = (i * stride) + 16, Length = Size, Counter = (ulong)i })];
    }

    [GlobalCleanup]
    public void Dispose() => _key.Dispose();

    [Benchmark]
    public void Seal() => _key.Seal(_buffer, _packets);

    /// <summary>What an attacker can make us do: the tags are wrong, so nothing is decrypted.</summary>
    [Benchmark]
    public void OpenForged() => _key.Open(_buffer, _packets);

    /// <summary>Opening undoes sealing in place; the difference to <see cref="Seal"/> is what opening takes.</summary>
    [Benchmark]
    public void SealAndOpen()
    {
        _key.Seal(_buffer, _packets);
        _key.Open(_buffer, _packets);
    }
}

/// <summary>The kernels alone, on memory in the first-level cache.</summary>
public unsafe class AeadKernelBenchmarks
{
    private const int Blocks = 88;
    private byte* _memory;
    private AeadScratch* _scratch;
    private byte* _packets;
    private uint* _state;

    [GlobalSetup]
    public void Setup()
    {
        _memory = (byte*)NativeMemory.AlignedAlloc(65536, 64);
        new Span<byte>(_memory, 65536).Clear();
        _scratch = AeadScratch.Place(_memory);
        _state = (uint*)(_memory + 16384);
        _packets = _memory + 20480;
        if (AeadKernels512.IsSupported)
        {
            ChaCha20Vector512.Fill(_scratch, 0, 1, 5, _packets);
        }
        else
        {
            ChaCha20Vector256.Fill(_scratch, 0, 1, 5, _packets);
        }

        for (int i = 0; i < 8; i++)
        {
            _scratch->Pointer[i] = (ulong)(_packets + (i * 1452));
        }
    }

    [GlobalCleanup]
    public void Cleanup() => NativeMemory.AlignedFree(_memory);

    /// <summary>1024 bytes.</summary>
    [Benchmark]
    public void ChaCha20Of16Blocks() => ChaCha20Vector512.Xor16(_state, _scratch);

    /// <summary>512 bytes.</summary>
    [Benchmark]
    public void ChaCha20Of8Blocks() => ChaCha20Vector256.Xor8(_state, _scratch);

    /// <summary>256 bytes.</summary>
    [Benchmark]
    public void ChaCha20KeystreamOf4Blocks() => ChaCha20Vector256.Keystream4(_state, 5, _scratch->Blocks);

    /// <summary>88 blocks of 16 bytes from each of 8 packets.</summary>
    [Benchmark]
    public void Poly1305Of8Packets() => Poly1305Vector512.Blocks(_scratch, Blocks);

    /// <summary>88 blocks of 16 bytes from each of 4 packets.</summary>
    [Benchmark]
    public void Poly1305Of4Packets() => Poly1305Vector256.Blocks(_scratch, Blocks);

    /// <summary>1408 bytes.</summary>
    [Benchmark]
    public void Poly1305OfALargePacket() => Poly1305Wide.Mac(_scratch->Keys, _packets, Blocks * 16, default, _scratch->Tags);

    /// <summary>64 bytes.</summary>
    [Benchmark]
    public void Poly1305OfASmallPacket() => Poly1305.Mac(_scratch->Keys, _packets, 64, default, _scratch->Tags);
}
