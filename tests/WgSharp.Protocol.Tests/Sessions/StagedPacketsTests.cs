using System.Buffers;
using System.Buffers.Binary;
using System.Collections;
using System.Reflection;

namespace WgSharp.Protocol.Tests;

public sealed class StagedPacketsTests
{
    private readonly StagingBudget _budget = new();
    private readonly byte[] _destination = new byte[65535];

    [Fact]
    public void Packets_come_out_in_the_order_they_went_in()
    {
        var staged = new StagedPackets(_budget);
        Assert.True(staged.IsEmpty);
        for (int i = 0; i < 100; i++)
        {
            staged.Add(Packet(i, 20 + (i * 10)));
        }

        Assert.False(staged.IsEmpty);
        Assert.Equal(100, staged.Count);
        for (int i = 0; i < 100; i++)
        {
            Assert.Equal(Packet(i, 20 + (i * 10)), Take(staged));
        }

        Assert.True(staged.IsEmpty);
        Assert.False(staged.TryTake(_destination, out int length));
        Assert.Equal(0, length);
    }

    [Fact]
    public void A_peer_keeps_the_newest_128()
    {
        var staged = new StagedPackets(_budget);
        for (int i = 0; i < 300; i++)
        {
            staged.Add(Packet(i, 100));
            Assert.True(staged.Count <= 128);
        }

        Assert.Equal(128, staged.Count);
        for (int i = 300 - 128; i < 300; i++)
        {
            Assert.Equal(Packet(i, 100), Take(staged));
        }
    }

    [Fact]
    public void Over_all_peers_the_oldest_go_when_the_budget_is_spent()
    {
        var budget = new StagingBudget(64 * 1024);
        StagedPackets[] peers = [.. Enumerable.Range(0, 50).Select(_ => new StagedPackets(budget))];
        for (int i = 0; i < 200; i++)
        {
            peers[i % 50].Add(Packet(i, 1400));
            Assert.InRange(budget.Used, 0, budget.Limit);
        }

        // 2 KiB each in a pool of powers of two: 32 fit, the last 32 that came.
        Assert.Equal(32, peers.Sum(p => p.Count));
        for (int i = 200 - 32; i < 200; i++)
        {
            Assert.Equal(Packet(i, 1400), Take(peers[i % 50]));
        }

        Assert.Equal(0, budget.Used);
    }

    [Fact]
    public void A_peer_that_never_answers_cannot_keep_another_from_staging()
    {
        var budget = new StagingBudget(64 * 1024);
        var dead = new StagedPackets(budget);
        var alive = new StagedPackets(budget);
        for (int i = 0; i < 100; i++)
        {
            dead.Add(Packet(i, 1400));
        }

        alive.Add(Packet(1000, 1400));
        Assert.Equal(1, alive.Count);
        Assert.Equal(Packet(1000, 1400), Take(alive));
    }

    [Fact]
    public void Twenty_five_thousand_silent_peers_stay_within_the_default_budget()
    {
        StagedPackets[] peers = [.. Enumerable.Range(0, 25_000).Select(_ => new StagedPackets(_budget))];
        byte[] packet = Packet(1, 1500);
        foreach (StagedPackets peer in peers)
        {
            peer.Add(packet);
            peer.Add(packet);
        }

        Assert.InRange(_budget.Used, StagingBudget.DefaultLimit - 2048, StagingBudget.DefaultLimit);
        Assert.False(peers[^1].IsEmpty);
        Assert.True(peers[0].IsEmpty);
        foreach (StagedPackets peer in peers)
        {
            peer.Clear();
        }

        Assert.Equal(0, _budget.Used);
    }

    [Fact]
    public void The_largest_and_the_emptiest_packet_fit()
    {
        var budget = new StagingBudget(64 * 1024);
        var staged = new StagedPackets(budget);
        staged.Add(Packet(1, 65535));
        Assert.Equal(1, staged.Count);
        staged.Add([]);
        Assert.Equal(2, staged.Count);
        Assert.Equal(Packet(1, 65535), Take(staged));
        Assert.True(staged.TryTake(_destination, out int length));
        Assert.Equal(0, length);
        Assert.True(staged.IsEmpty);
    }

    [Fact]
    public void A_packet_beyond_the_whole_budget_is_dropped_and_drops_nothing()
    {
        var staged = new StagedPackets(new StagingBudget(64 * 1024));
        staged.Add(Packet(1, 100));
        staged.Add(new byte[70_000]);
        Assert.Equal(Packet(1, 100), Take(staged));
        Assert.True(staged.IsEmpty);
    }

    [Fact]
    public void A_destination_that_is_too_short_loses_nothing()
    {
        var staged = new StagedPackets(_budget);
        staged.Add(Packet(1, 100));
        Assert.Throws<ArgumentException>(() => staged.TryTake(new byte[99], out _));
        Assert.Equal(Packet(1, 100), Take(staged));
    }

    [Fact]
    public void A_closed_queue_is_empty_and_takes_nothing_more()
    {
        var staged = new StagedPackets(_budget);
        staged.Add(Packet(1, 100));
        staged.Close();
        staged.Add(Packet(2, 100));
        Assert.True(staged.IsEmpty);
        Assert.Equal(0, _budget.Used);
    }

    [Fact]
    public void Clearing_one_peer_leaves_the_others_in_order()
    {
        var first = new StagedPackets(_budget);
        var second = new StagedPackets(_budget);
        for (int i = 0; i < 20; i++)
        {
            (i % 3 == 0 ? first : second).Add(Packet(i, 200));
        }

        first.Clear();
        Assert.True(first.IsEmpty);
        foreach (int i in Enumerable.Range(0, 20).Where(i => i % 3 != 0))
        {
            Assert.Equal(Packet(i, 200), Take(second));
        }

        first.Add(Packet(99, 200));
        Assert.Equal(Packet(99, 200), Take(first));
    }

    [Fact]
    public void Memory_is_wiped_before_it_goes_back_to_the_pool()
    {
        // A size nobody else here rents: the thread's own cache hands the same array out again.
        const int size = 300_000;
        var staged = new StagedPackets(_budget);
        var content = new byte[size];
        Array.Fill(content, (byte)0x5a);
        byte[] probe = ArrayPool<byte>.Shared.Rent(size);
        ArrayPool<byte>.Shared.Return(probe, clearArray: true);
        staged.Add(content);
        Assert.Equal(0x5a, probe[0]);
        staged.Clear();
        Assert.False(probe.AsSpan().Contains((byte)0x5a));
    }

    [Fact]
    public void Whatever_goes_because_a_bound_was_reached_is_counted_and_nothing_else_is()
    {
        var budget = new StagingBudget(64 * 1024);
        var many = new StagedPackets(budget);
        for (int i = 0; i < 130; i++)
        {
            many.Add(Packet(i, 100));
        }

        Assert.Equal(2, budget.PushedOut);
        var large = new StagedPackets(budget);
        large.Add(Packet(0, 65535));
        Assert.Equal(2 + 128, budget.PushedOut);
        Assert.Equal((0, 1), (many.Count, large.Count));
        large.Add(new byte[70_000]);
        Take(large);
        large.Add(Packet(1, 100));
        large.Clear();
        large.Close();
        large.Add(Packet(2, 100));
        Assert.Equal(2 + 128, budget.PushedOut);
    }

    [Fact]
    public void Places_that_are_given_back_are_taken_again_and_go_when_nothing_waits()
    {
        var busy = new StagedPackets(_budget);
        var idle = new StagedPackets(_budget);
        byte[] packet = Packet(1, 100);
        idle.Add(packet);
        Allocations.AssertNone(1000, () =>
        {
            busy.Add(packet);
            busy.TryTake(_destination, out _);
        });
        Assert.NotEmpty(Table(_budget));
        Take(idle);
        Assert.Empty(Table(_budget));
    }

    [Fact]
    public void A_packet_waits_behind_those_that_are_staged_or_were_just_taken_out()
    {
        var staged = new StagedPackets(_budget);
        Assert.False(staged.ComeFirst);
        staged.Add(Packet(1, 100));
        Assert.True(staged.ComeFirst);
        staged.BeginDrain();
        Take(staged);
        Assert.True(staged.ComeFirst);
        staged.EndDrain();
        Assert.False(staged.ComeFirst);
    }

    [Fact]
    public void Once_it_is_closed_nothing_waits_and_nothing_is_added()
    {
        var staged = new StagedPackets(_budget);
        staged.Add(Packet(1, 100));
        staged.Close();
        Assert.True(staged.IsEmpty);
        staged.Add(Packet(2, 100));
        Assert.True(staged.IsEmpty);
        Assert.Equal(0, _budget.Used);
    }

    [Fact]
    public void A_budget_that_cannot_hold_one_packet_is_refused() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new StagingBudget(65535));

    [Fact]
    public void Random_use_agrees_with_plain_queues()
    {
        var random = new Random(1);
        var budget = new StagingBudget(256 * 1024);
        StagedPackets[] peers = [.. Enumerable.Range(0, 5).Select(_ => new StagedPackets(budget))];
        var model = new List<(int Peer, byte[] Packet)>();
        for (int step = 0; step < 20_000; step++)
        {
            int peer = random.Next(5);
            switch (random.Next(300))
            {
                case < 180:
                    byte[] packet = Packet(step, random.Next(20) == 0 ? random.Next(4, 65536) : random.Next(4, 1500));
                    peers[peer].Add(packet);
                    AddToModel(model, peer, packet, budget.Limit);
                    break;
                case < 298:
                    int oldest = model.FindIndex(p => p.Peer == peer);
                    Assert.Equal(oldest >= 0, peers[peer].TryTake(_destination, out int length));
                    if (oldest >= 0)
                    {
                        Assert.Equal(model[oldest].Packet, _destination.AsSpan(0, length));
                        model.RemoveAt(oldest);
                    }

                    break;
                default:
                    peers[peer].Clear();
                    model.RemoveAll(p => p.Peer == peer);
                    break;
            }

            Assert.Equal(model.Count(p => p.Peer == peer), peers[peer].Count);
            Assert.Equal(model.Sum(p => Memory(p.Packet)), budget.Used);
        }
    }

    [Fact]
    public async Task Several_threads_lose_and_invent_nothing()
    {
        StagedPackets[] peers = [.. Enumerable.Range(0, 3).Select(_ => new StagedPackets(_budget))];
        int taken = 0;
        Task[] writers = [.. peers.Select(staged => Task.Run(() =>
        {
            for (int i = 0; i < 5_000; i++)
            {
                SpinWait.SpinUntil(() => staged.Count < 100);
                staged.Add(Packet(i, 64));
            }
        }))];
        Task[] readers = [.. peers.Select(staged => Task.Run(() =>
        {
            var destination = new byte[64];
            for (int expected = 0; expected < 5_000;)
            {
                Assert.True(SpinWait.SpinUntil(() => !staged.IsEmpty, TimeSpan.FromSeconds(60)), "a packet was lost");
                if (staged.TryTake(destination, out int length))
                {
                    Assert.Equal(Packet(expected++, 64), destination.AsSpan(0, length));
                    Interlocked.Increment(ref taken);
                }
            }
        }))];
        await Task.WhenAll([.. writers, .. readers]);
        Assert.Equal(15_000, taken);
        Assert.Equal(0, _budget.Used);
    }

    private static void AddToModel(List<(int Peer, byte[] Packet)> model, int peer, byte[] packet, int limit)
    {
        if (model.Count(p => p.Peer == peer) == 128)
        {
            model.RemoveAt(model.FindIndex(p => p.Peer == peer));
        }

        while (model.Sum(p => Memory(p.Packet)) + Memory(packet) > limit)
        {
            model.RemoveAt(0);
        }

        model.Add((peer, packet));
    }

    /// <summary>The pool's arrays have sizes of 16 and up, doubling.</summary>
    private static int Memory(byte[] packet) => (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, packet.Length));

    /// <summary>The places of all packets that wait.</summary>
    private static IEnumerable Table(StagingBudget budget) =>
        (Array)typeof(StagingBudget).GetField("_slots", BindingFlags.Instance | BindingFlags.NonPublic)!.GetValue(budget)!;

    private byte[] Take(StagedPackets staged)
    {
        Assert.True(staged.TryTake(_destination, out int length));
        return _destination[..length];
    }

    private static byte[] Packet(int number, int length)
    {
        var packet = new byte[length];
        BinaryPrimitives.WriteInt32LittleEndian(packet, number);
        packet[^1] = 0xff;
        return packet;
    }
}
