using System.Net;
using System.Net.Sockets;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

public sealed class EpollWaiterTests : IDisposable
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(20);

    private readonly TestNamespace _namespace = new();

    public static TheoryData<KernelFeature> Timers => [KernelFeature.None, KernelFeature.BootTimer, KernelFeature.TimerFd];

    public void Dispose() => _namespace.Dispose();

    [Theory]
    [MemberData(nameof(Timers))]
    public void A_deadline_is_met_and_not_before(KernelFeature disabled)
    {
        using var waiter = new EpollWaiter(null, null, new KernelFeatures(disabled));
        for (int i = 0; i < 5; i++)
        {
            Instant deadline = SystemClock.Now + TimeSpan.FromMilliseconds(15);
            Assert.Equal(Readiness.None, waiter.Wait(deadline));
            Assert.True(SystemClock.Now >= deadline);
        }
    }

    [Theory]
    [InlineData(KernelFeature.None, KernelFeature.TimerFd | KernelFeature.BootTimer)]
    [InlineData(KernelFeature.BootTimer, KernelFeature.TimerFd)]
    [InlineData(KernelFeature.TimerFd, KernelFeature.None)]
    public void Timers_are_found_but_for_those_that_are_switched_off_of_which_nothing_is_said(KernelFeature disabled, KernelFeature found)
    {
        var features = new KernelFeatures(disabled);
        EpollWaiter.Probe(features);
        Assert.Equal(found, features.Available);
        Assert.Empty(features.Refusals);
    }

    [Theory]
    [MemberData(nameof(Timers))]
    public void A_deadline_that_has_passed_returns_at_once(KernelFeature disabled)
    {
        using var waiter = new EpollWaiter(null, null, new KernelFeatures(disabled));
        Assert.Equal(Readiness.None, waiter.Wait(default));
        Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now));
        Assert.Equal(Readiness.None, waiter.Wait(default));
    }

    [Theory]
    [MemberData(nameof(Timers))]
    public void A_nearer_deadline_after_a_farther_one_is_met_and_a_farther_one_after_a_nearer_is_not_cut_short(KernelFeature disabled)
    {
        using var waiter = new EpollWaiter(null, null, new KernelFeatures(disabled));
        waiter.Wake();
        Assert.Equal(Readiness.Woken, waiter.Wait(SystemClock.Now + TimeSpan.FromHours(1)));
        Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now + TimeSpan.FromMilliseconds(5)));

        waiter.Wake();
        Assert.Equal(Readiness.Woken, waiter.Wait(SystemClock.Now + TimeSpan.FromMilliseconds(5)));
        Instant later = SystemClock.Now + TimeSpan.FromMilliseconds(40);
        Assert.Equal(Readiness.None, waiter.Wait(later));
        Assert.True(SystemClock.Now >= later);
    }

    [Fact]
    public void A_wake_before_the_wait_makes_it_return_at_once_and_only_that_one()
    {
        using var waiter = new EpollWaiter(null, null, new KernelFeatures());
        waiter.Wake();
        waiter.Wake();
        Assert.Equal(Readiness.Woken, waiter.Wait(Instant.Never));
        Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now + TimeSpan.FromMilliseconds(5)));
        waiter.Wake();
        Assert.Equal(Readiness.Woken, waiter.Wait(Instant.Never));
    }

    [Fact]
    public void A_sleeping_thread_is_woken_by_another_every_time()
    {
        using var waiter = new EpollWaiter(null, null, new KernelFeatures());
        using var turn = new SemaphoreSlim(0);
        var sleeper = new Thread(() =>
        {
            for (int i = 0; i < 2000; i++)
            {
                waiter.Wait(Instant.Never);
                turn.Release();
            }
        });
        sleeper.Start();
        for (int i = 0; i < 2000; i++)
        {
            waiter.Wake();
            Assert.True(turn.Wait(_patience), $"Wake {i} was lost.");
        }

        sleeper.Join();
    }

    [Fact]
    public void No_wake_is_lost_in_a_storm_of_them()
    {
        using var waiter = new EpollWaiter(null, null, new KernelFeatures());
        bool isOver = false;
        var waker = new Thread(() =>
        {
            // Always at it, so that one comes in wherever the sleeper is.
            while (!Volatile.Read(ref isOver))
            {
                waiter.Wake();
            }
        });
        waker.Start();
        try
        {
            for (int i = 0; i < 5000; i++)
            {
                Assert.True(waiter.Wait(SystemClock.Now + _patience) == Readiness.Woken, $"Nothing woke the sleeper any more after {i} times.");
            }
        }
        finally
        {
            Volatile.Write(ref isOver, true);
            waker.Join();
        }
    }

    [Fact]
    public void A_wake_after_disposal_does_nothing()
    {
        var waiter = new EpollWaiter(null, null, new KernelFeatures());
        waiter.Dispose();
        waiter.Wake();
    }

    [Fact]
    public void Readiness_stays_until_the_last_packet_was_read()
    {
        using TunDevice tun = Up();
        using var waiter = new EpollWaiter(tun, null, tun.Features);
        Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now));
        Send();
        Assert.Equal(Readiness.Tun, waiter.Wait(Soon()));
        Assert.Equal(Readiness.Tun, waiter.Wait(Soon()));
        Assert.Equal(IoStatus.Done, tun.Read(Packets.OutboundBatch()));
        Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now));
    }

    [Fact]
    public void Several_things_ready_at_once_are_told_at_once()
    {
        using TunDevice tun = Up();
        using UdpSocket udp = Sockets(out ushort port);
        using var waiter = new EpollWaiter(tun, udp, tun.Features);
        Send();
        SendTo(port);
        waiter.Wake();
        Assert.Equal(Readiness.Tun | Readiness.Udp | Readiness.Woken, waiter.Wait(Soon()));
    }

    [Fact]
    public async Task Deleting_the_interface_wakes_the_sleeper_with_TunGone()
    {
        using TunDevice tun = Up();
        using var waiter = new EpollWaiter(tun, null, tun.Features);
        Task<Readiness> sleeping = Background.Run(() => waiter.Wait(Soon()));
        _namespace.Ip("link delete wgt0");
        Assert.True((await sleeping).HasFlag(Readiness.TunGone));
        Assert.True(waiter.Wait(Soon()).HasFlag(Readiness.TunGone));
    }

    [Fact]
    public void A_link_that_is_down_or_in_another_namespace_neither_spins_nor_is_missed()
    {
        using var away = new TestNamespace();
        using TunDevice tun = Up();
        using var waiter = new EpollWaiter(tun, null, tun.Features);
        _namespace.Ip("link set wgt0 down");
        Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now + TimeSpan.FromMilliseconds(20)));

        // The other namespace has settings of its own: no chatter of IPv6 there either.
        away.Sysctl("net/ipv6/conf/default/disable_ipv6", "1");
        _namespace.Ip($"link set wgt0 netns {away.Path}");
        Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now + TimeSpan.FromMilliseconds(20)));

        away.Ip("address add 10.9.0.1/24 dev wgt0");
        away.Ip("link set wgt0 up");
        Send(away);
        Assert.Equal(Readiness.Tun, waiter.Wait(Soon()));
        Assert.Equal(IoStatus.Done, tun.Read(Packets.OutboundBatch()));

        away.Dispose();
        Assert.True(waiter.Wait(Soon()).HasFlag(Readiness.TunGone));
    }

    [Fact]
    public async Task Sockets_are_watched_from_the_moment_they_are_opened_and_no_longer_when_they_are_closed()
    {
        using UdpSocket udp = _namespace.Run(() => new UdpSocket(new KernelFeatures()));
        using var waiter = new EpollWaiter(null, udp, new KernelFeatures());
        Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now));

        for (int i = 0; i < 3; i++)
        {
            ushort port = _namespace.Run(() => udp.Open(0, 0));
            Task<Readiness> sleeping = Background.Run(() => waiter.Wait(Soon()));
            SendTo(port);
            Assert.Equal(Readiness.Udp, await sleeping);

            // Closed with a datagram still in its queue.
            udp.Close();
            Assert.Equal(Readiness.None, waiter.Wait(SystemClock.Now + TimeSpan.FromMilliseconds(5)));
        }
    }

    [Fact]
    public void Waiting_and_waking_allocate_nothing()
    {
        using var waiter = new EpollWaiter(null, null, new KernelFeatures());
        Allocations.AssertNone(200, () =>
        {
            waiter.Wake();
            waiter.Wait(Instant.Never);
            waiter.Wait(SystemClock.Now);
        });
    }

    private static Instant Soon() => SystemClock.Now + _patience;

    private TunDevice Up()
    {
        TunDevice tun = _namespace.Run(() => TunDevice.Create("wgt0", new KernelFeatures()));
        _namespace.Sysctl("net/ipv6/conf/wgt0/disable_ipv6", "1");
        _namespace.Ip("address add 10.9.0.1/24 dev wgt0");
        _namespace.Ip("link set wgt0 up");
        return tun;
    }

    private UdpSocket Sockets(out ushort port)
    {
        UdpSocket udp = _namespace.Run(() => new UdpSocket(new KernelFeatures()));
        port = _namespace.Run(() => udp.Open(0, 0));
        return udp;
    }

    private void Send(TestNamespace? where = null) => SendTo(4000, "10.9.0.2", where);

    private void SendTo(ushort port, string address = "127.0.0.1", TestNamespace? where = null) => (where ?? _namespace).Run(() =>
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.SendTo([1, 2, 3], new IPEndPoint(IPAddress.Parse(address), port));
    });
}
