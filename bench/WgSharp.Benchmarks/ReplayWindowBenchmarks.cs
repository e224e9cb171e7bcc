using BenchmarkDotNet.Attributes;
using WgSharp.Protocol;

namespace WgSharp.Benchmarks;

/// <summary>The replay window per packet, and per packet of a run of 64 under the run's one lock.</summary>
[MemoryDiagnoser]
public class ReplayWindowBenchmarks
{
    private const int Packets = 1024;
    private const int Run = 64;

    private readonly ReplayWindow _window = new();
    private readonly ulong[] _shuffled = new ulong[Packets];
    private ulong _counter;

    [GlobalSetup]
    public void Shuffle()
    {
        var random = new Random(1);
        for (int i = 0; i < Packets; i++)
        {
            _shuffled[i] = (ulong)i;
        }

        random.Shuffle(_shuffled);
    }

    [Benchmark(OperationsPerInvoke = Packets)]
    public int InOrder()
    {
        int accepted = 0;
        for (int i = 0; i < Packets; i++)
        {
            accepted += _window.TryAccept(_counter++) ? 1 : 0;
        }

        return accepted;
    }

    [Benchmark(OperationsPerInvoke = Packets)]
    public int InOrderInRunsUnderTheLock()
    {
        int accepted = 0;
        for (int run = 0; run < Packets / Run; run++)
        {
            lock (_window.Lock)
            {
                for (int i = 0; i < Run; i++)
                {
                    accepted += _window.TryAccept(_counter++) ? 1 : 0;
                }
            }
        }

        return accepted;
    }

    [Benchmark(OperationsPerInvoke = Packets)]
    public int Shuffled()
    {
        int accepted = 0;
        foreach (ulong counter in _shuffled)
        {
            accepted += _window.TryAccept(_counter + counter) ? 1 : 0;
        }

        _counter += Packets;
        return accepted;
    }
}
