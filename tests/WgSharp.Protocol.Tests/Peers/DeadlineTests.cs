namespace WgSharp.Protocol.Tests;

/// <summary>Which peer is due next, among very many.</summary>
public sealed class DeadlineTests
{
    [Fact]
    public void The_heap_agrees_with_a_sorted_list_whatever_is_set_moved_and_removed()
    {
        var random = new Random(1);
        var heap = new DeadlineHeap();
        var model = new Dictionary<Peer, Instant>();
        var budget = new StagingBudget();
        Peer[] peers = [.. Enumerable.Range(0, 300).Select(_ => new Peer(default, budget))];
        for (int step = 0; step < 50_000; step++)
        {
            // Phases of growing and of shrinking, so that the array resizes both ways.
            Peer peer = peers[random.Next(peers.Length)];
            if (random.Next(100) < (step / 5000 % 2 == 0 ? 80 : 20))
            {
                var deadline = new Instant(random.Next(1, 1000));
                heap.Set(peer, deadline);
                model[peer] = deadline;
            }
            else if (random.Next(2) == 0)
            {
                heap.Remove(peer);
                model.Remove(peer);
            }
            else
            {
                heap.Set(peer, Instant.Never);
                model.Remove(peer);
            }

            Assert.Equal(model.Count, heap.Count);
            if (model.Count == 0)
            {
                Assert.Equal(Instant.Never, heap.Earliest);
                continue;
            }

            Assert.Equal(model.Values.Min(), heap.Earliest);
            Assert.Equal(model[heap.First], heap.Earliest);
        }

        while (heap.Count > 0)
        {
            Assert.Equal(model.Values.Min(), heap.Earliest);
            model.Remove(heap.First);
            heap.Remove(heap.First);
        }
    }

    [Fact]
    public void Twenty_five_thousand_keepalives_are_due_one_by_one_and_each_peer_waits_once()
    {
        const int count = 25_000;
        using var device = new Device(new SeededRandom(1).Fill);
        var moment = new Moment(new Instant(0) + TimeSpan.FromHours(1), new UnixTime(1));
        using var key = new Crypto.PrivateKey(new byte[32]);
        var configuration = new DeviceConfiguration { PrivateKey = key };
        byte[] bytes = new byte[32];
        for (int i = 0; i < count; i++)
        {
            BitConverter.TryWriteBytes(bytes, i + 1);
            configuration.Peers.Add(new PeerConfiguration { PublicKey = new(bytes), PersistentKeepaliveInterval = 25 });
        }

        device.Apply(configuration, moment);
        Assert.Equal(Instant.Never, device.NextDeadline);
        device.LinkUp(moment);
        for (int round = 0; round < 4; round++)
        {
            Assert.Equal(count, device.DeadlineCount);
            Assert.Equal(moment.Now, device.NextDeadline);
            var due = new HashSet<Peer>();
            TakeKeepalives(device, moment, due);
            if (round == 0)
            {
                Assert.Equal(64, due.Count);
            }

            // The first ones are spread: 0.9 ms each.
            Moment last = moment with { Now = moment.Now + (TimeSpan.FromMicroseconds(900) * (count - 64)) };
            TakeKeepalives(device, last, due);
            Assert.Equal(count, due.Count);
            moment = moment with { Now = moment.Now + TimeSpan.FromSeconds(25) };
        }

        device.LinkDown();
        Assert.Equal(0, device.DeadlineCount);
        Assert.Equal(Instant.Never, device.NextDeadline);
    }

    private static void TakeKeepalives(Device device, Moment moment, HashSet<Peer> due)
    {
        while (device.TryTakeDueTimer(moment, out Peer peer, out TimerAction action))
        {
            Assert.Equal(TimerAction.SendKeepalive, action);
            Assert.True(due.Add(peer));
        }
    }

    [Fact]
    public void An_event_asks_for_a_look_only_if_its_deadline_comes_before_the_planned_one()
    {
        DevicePair pair = DevicePair.WithSession();
        Peer peer = pair.A.Peer;
        Keypair keypair = peer.Keypairs.Current!;
        Instant now = pair.Now;
        Assert.Equal(PeerWork.Timers, peer.NoteReceived(keypair, 1, 100, carriesData: true, now));
        pair.A.Device.QueueWork(peer, PeerWork.Timers);
        Assert.False(pair.A.Device.TryTakeWork(pair.Moment, out _, out _));
        Assert.Equal(now + Limits.KeepaliveTimeout, pair.A.Device.NextDeadline);

        // Sending moves the keepalive away and arms the new handshake, five seconds later: the look that is planned is early enough for both.
        Assert.Equal(PeerWork.None, peer.NoteSent(keypair, 1, 100, carriesData: true, now));
        Assert.Equal(PeerWork.None, peer.NoteReceived(keypair, 1, 100, carriesData: true, now + TimeSpan.FromSeconds(1)));
        Assert.Equal(PeerWork.None, peer.NoteSent(keypair, 1, 100, carriesData: false, now + TimeSpan.FromSeconds(1)));
        Moment look = pair.Moment with { Now = now + Limits.KeepaliveTimeout };
        Assert.False(pair.A.Device.TryTakeDueTimer(look, out _, out _));
        Assert.True(pair.A.Device.NextDeadline > look.Now + Limits.KeepaliveTimeout);
    }

    [Fact]
    [Trait("Long", "true")]
    public async Task An_event_that_comes_while_the_loop_is_looking_is_not_overlooked()
    {
        DevicePair pair = DevicePair.WithSession();
        Device device = pair.A.Device;
        Peer peer = pair.A.Peer;
        Keypair keypair = peer.Keypairs.Current!;
        const int rounds = 20_000;
        using var barrier = new Barrier(2);
        Moment At(int round) => pair.Moment with { Now = pair.Now + TimeSpan.FromMilliseconds(round) };
        Task receiving = Task.Factory.StartNew(
            () =>
            {
                for (int round = 0; round < rounds; round++)
                {
                    barrier.SignalAndWait();
                    device.QueueWork(peer, peer.NoteReceived(keypair, 1, 100, carriesData: true, At(round + 1).Now));
                    barrier.SignalAndWait();
                }
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
        for (int round = 0; round < rounds; round++)
        {
            // A look is planned for a keepalive that has become needless: early enough for the event that comes, until this very plan is made anew.
            peer.NoteSent(keypair, 1, 100, carriesData: false, At(round).Now);
            peer.NoteReceived(keypair, 1, 100, carriesData: true, At(round).Now);
            Look(At(round));
            Assert.Equal(At(round).Now + Limits.KeepaliveTimeout, device.NextDeadline);
            peer.NoteSent(keypair, 1, 100, carriesData: false, At(round).Now);
            barrier.SignalAndWait();
            Look(At(round + 1));
            barrier.SignalAndWait();
            Assert.False(device.TryTakeWork(At(round + 1), out _, out _));
            Assert.Equal(At(round + 1).Now + Limits.KeepaliveTimeout, device.NextDeadline);
        }

        await receiving;

        void Look(Moment moment)
        {
            device.QueueWork(peer, PeerWork.Timers);
            Assert.False(device.TryTakeWork(moment, out _, out _));
        }
    }
}
