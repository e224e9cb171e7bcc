using System.Collections.Concurrent;

namespace WgSharp.Protocol.Tests;

/// <summary>What the data path calls from any thread: nothing allocated, nothing lost, nothing given out twice.</summary>
public sealed class DataPathTests
{
    [Fact]
    public void No_call_of_the_data_path_allocates()
    {
        DevicePair pair = DevicePair.WithSession();
        Device device = pair.A.Device;
        Peer peer = pair.A.Peer;
        Keypair keypair = peer.Keypairs.Current!;
        Endpoint endpoint = peer.Endpoint!;
        Instant now = pair.Now;
        int done = 0;
        for (int round = 0; round < 2; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 10_000; i++)
            {
                now += TimeSpan.FromMilliseconds(1);
                done += device.TryFindKeypair(keypair.LocalIndex, out Keypair found) && found.TryLease() ? 1 : 0;
                done += found.TryReserve(45, now, out _) ? 1 : 0;
                done += found.MayReceive(now) && found.MaySend(now) ? 1 : 0;
                device.QueueWork(peer, peer.NoteSent(found, 45, 65_340, carriesData: true, now));
                device.QueueWork(peer, peer.NoteReceived(found, 45, 65_340, carriesData: true, now));
                device.QueueWork(peer, PeerWork.Handshake);
                peer.Learn(endpoint.Remote, endpoint.Source, endpoint.SourceInterface);
                peer.ForgetSource(endpoint);
                peer.WantsHandshake(now);
                found.Release();
            }

            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            if (round > 0)
            {
                Assert.Equal(0, allocated);
            }
        }

        Assert.Equal(60_000, done);
        Assert.True(device.TryTakeWork(pair.Moment, out Peer taken, out PeerWork work));
        Assert.Equal((peer, PeerWork.Handshake), (taken, work));
        Assert.False(device.TryTakeWork(pair.Moment, out _, out _));
    }

    [Fact]
    public void A_burst_asks_for_a_handshake_once()
    {
        var pair = new DevicePair();
        Instant now = pair.Now;
        Assert.True(pair.A.Peer.WantsHandshake(now));
        for (int i = 0; i < 100; i++)
        {
            Assert.False(pair.A.Peer.WantsHandshake(now + TimeSpan.FromMilliseconds(49 * i)));
        }

        Assert.True(pair.A.Peer.WantsHandshake(now + Limits.RekeyTimeout));
        Span<byte> message = stackalloc byte[148];
        Assert.True(pair.A.Device.TryCreateInitiation(pair.A.Peer, retry: false, pair.Moment, message));
        Assert.False(pair.A.Peer.WantsHandshake(now + TimeSpan.FromHours(1)));
    }

    [Fact]
    public void Counters_are_given_out_once_to_many_threads()
    {
        DevicePair pair = DevicePair.WithSession();
        Keypair keypair = pair.A.Peer.Keypairs.Current!;
        Instant now = pair.Now;
        const int threads = 4;
        const int calls = 20_000;
        var firsts = new ulong[threads][];
        keypair.TryReserve(1, now, out ulong start);
        Run(threads, thread =>
        {
            firsts[thread] = new ulong[calls];
            for (int i = 0; i < calls; i++)
            {
                Assert.True(keypair.TryReserve(1 + thread, now, out firsts[thread][i]));
            }
        });

        (ulong First, int Count)[] all = [.. firsts.SelectMany((own, thread) => own.Select(first => (first, 1 + thread))).Order()];
        ulong expected = start + 1;
        foreach ((ulong first, int count) in all)
        {
            Assert.Equal(expected, first);
            expected += (ulong)count;
        }
    }

    [Fact]
    public async Task A_keypair_is_never_wiped_under_a_lease_however_many_threads_hold_one()
    {
        for (int round = 0; round < 50; round++)
        {
            DevicePair pair = DevicePair.WithSession(seed: 1 + round);
            Keypair keypair = pair.A.Peer.Keypairs.Current!;
            using var retired = new ManualResetEventSlim();
            using var running = new CountdownEvent(3);
            Task[] holders =
            [
                .. Enumerable.Range(0, 3).Select(_ => Task.Run(() =>
                {
                    bool first = true;
                    while (keypair.TryLease())
                    {
                        Assert.False(keypair.IsWiped);
                        keypair.Release();
                        if (first)
                        {
                            running.Signal();
                            first = false;
                        }
                    }
                })),
            ];
            running.Wait();
            pair.A.Device.LinkDown();
            await Task.WhenAll(holders);
            Assert.True(keypair.IsWiped);
        }
    }

    [Fact]
    public async Task Every_flag_that_is_added_is_taken_and_the_loop_is_woken_for_it()
    {
        using var device = new Device(new SeededRandom(1).Fill);
        var moment = new Moment(new Instant(1_000_000_000), new UnixTime(1));
        var configuration = new DeviceConfiguration();
        for (byte i = 1; i <= 20; i++)
        {
            configuration.Peers.Add(new PeerConfiguration { PublicKey = new([.. Enumerable.Repeat(i, 32)]) });
        }

        device.Apply(configuration, moment);
        device.LinkUp(moment);
        Peer[] peers = [.. device.Peers];

        // Each request is announced before, so that a taken flag is known to cover all requests up to then; the wake-up is a semaphore, as the waiter is.
        const int threads = 3;
        const int requests = 20_000;
        var announced = new int[peers.Length];
        var covered = new int[peers.Length];
        using var wake = new SemaphoreSlim(0);
        Task requesting = Task.Run(() => Run(threads, thread =>
        {
            var random = new Random(thread);
            for (int i = 0; i < requests; i++)
            {
                int peer = random.Next(peers.Length);
                Interlocked.Increment(ref announced[peer]);
                if (device.QueueWork(peers[peer], PeerWork.Handshake))
                {
                    wake.Release();
                }
            }
        }));

        var index = new ConcurrentDictionary<Peer, int>(peers.Select((peer, i) => KeyValuePair.Create(peer, i)));
        while (covered.Sum() < threads * requests)
        {
            Assert.True(wake.Wait(TimeSpan.FromSeconds(60)), "Nobody woke the loop although there was work.");
            while (device.TryTakeWork(moment, out Peer peer, out PeerWork work))
            {
                Assert.Equal(PeerWork.Handshake, work);
                covered[index[peer]] = Volatile.Read(ref announced[index[peer]]);
            }
        }

        await requesting;
        Assert.Equal(announced, covered);
    }

    [Fact]
    public void Peers_are_taken_in_the_order_in_which_work_was_queued_for_them_and_each_once()
    {
        using var device = new Device(new SeededRandom(1).Fill);
        var moment = new Moment(new Instant(1_000_000_000), new UnixTime(1));
        var configuration = new DeviceConfiguration();
        for (byte i = 1; i <= 5; i++)
        {
            configuration.Peers.Add(new PeerConfiguration { PublicKey = new([.. Enumerable.Repeat(i, 32)]) });
        }

        device.Apply(configuration, moment);
        device.LinkUp(moment);
        Peer[] peers = [.. device.Peers];
        Assert.True(device.QueueWork(peers[3], PeerWork.Handshake));
        Assert.False(device.QueueWork(peers[1], PeerWork.Staged));
        Assert.False(device.QueueWork(peers[3], PeerWork.Staged));
        Assert.False(device.QueueWork(peers[2], PeerWork.None));
        Assert.False(device.QueueWork(peers[4], PeerWork.Timers));
        Assert.Equal((peers[3], PeerWork.Handshake | PeerWork.Staged), Take());
        Assert.False(device.QueueWork(peers[3], PeerWork.None));
        Assert.True(device.QueueWork(peers[0], PeerWork.Staged));
        Assert.Equal((peers[1], PeerWork.Staged), Take());
        Assert.Equal((peers[0], PeerWork.Staged), Take());
        Assert.False(device.TryTakeWork(moment, out _, out _));

        (Peer Peer, PeerWork Work) Take()
        {
            Assert.True(device.TryTakeWork(moment, out Peer peer, out PeerWork work));
            return (peer, work);
        }
    }

    /// <summary>Runs the same on several threads at once and rethrows what one of them threw.</summary>
    private static void Run(int threads, Action<int> body)
    {
        using var start = new Barrier(threads);
        Task[] tasks =
        [
            .. Enumerable.Range(0, threads).Select(thread => Task.Factory.StartNew(
                () =>
                {
                    start.SignalAndWait();
                    body(thread);
                },
                CancellationToken.None,
                TaskCreationOptions.LongRunning,
                TaskScheduler.Default)),
        ];
        Task.WaitAll(tasks);
    }
}
