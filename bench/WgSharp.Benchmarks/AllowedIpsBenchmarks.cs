using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using BenchmarkDotNet.Attributes;
using WgSharp.Protocol;

namespace WgSharp.Benchmarks;

/// <summary>
/// Cryptokey routing: lookups of 1,024 random addresses that all have an owner, among few and many prefixes, and what one changed
/// prefix costs in a full table.
/// </summary>
[MemoryDiagnoser]
public class AllowedIpsBenchmarks
{
    private const int Lookups = 1024;

    private readonly AllowedIpsTable _table = new();
    private readonly byte[] _addresses4 = new byte[Lookups * 4];
    private readonly byte[] _addresses6 = new byte[Lookups * 16];
    private AllowedIps _ips = AllowedIps.Empty;
    private IpPrefix _changing;
    private Peer[] _peers = [];
    private int _turn;

    /// <summary>Prefixes of each family.</summary>
    [Params(10, 1_000, 100_000)]
    public int Prefixes { get; set; }

    [GlobalSetup]
    public void Fill()
    {
        var random = new Random(1);
        _peers = [.. Enumerable.Range(0, 100).Select(_ => (Peer)RuntimeHelpers.GetUninitializedObject(typeof(Peer)))];
        var four = new byte[Prefixes][];
        var six = new byte[Prefixes][];
        for (int i = 0; i < Prefixes; i++)
        {
            four[i] = new byte[4];
            BinaryPrimitives.WriteUInt32BigEndian(four[i], (uint)random.NextInt64(1L << 32));
            six[i] = new byte[16];
            random.NextBytes(six[i]);
            six[i][0] = 0xfd;
            _table.Set(IpPrefix.Of(new InetAddress(four[i]), random.Next(4) == 0 ? 32 : random.Next(16, 32)), _peers[i % 100]);
            _table.Set(IpPrefix.Of(new InetAddress(six[i]), random.Next(4) == 0 ? 128 : random.Next(32, 65)), _peers[i % 100]);
        }

        for (int i = 0; i < Lookups; i++)
        {
            four[random.Next(Prefixes)].CopyTo(_addresses4, i * 4);
            six[random.Next(Prefixes)].CopyTo(_addresses6, i * 16);
        }

        _changing = IpPrefix.Of(new InetAddress(four[0]), 32);
        _ips = _table.Publish();
    }

    [Benchmark(OperationsPerInvoke = Lookups)]
    public int LookupIPv4()
    {
        int found = 0;
        for (int i = 0; i < Lookups; i++)
        {
            found += _ips.Lookup(_addresses4.AsSpan(i * 4, 4)) is null ? 0 : 1;
        }

        return found;
    }

    [Benchmark(OperationsPerInvoke = Lookups)]
    public int LookupIPv6()
    {
        int found = 0;
        for (int i = 0; i < Lookups; i++)
        {
            found += _ips.Lookup(_addresses6.AsSpan(i * 16, 16)) is null ? 0 : 1;
        }

        return found;
    }

    [Benchmark]
    public object MoveOnePrefixAndPublish()
    {
        _turn ^= 1;
        _table.Set(_changing, _peers[_turn]);
        return _table.Publish();
    }
}
