using System.Collections.Concurrent;

namespace WgSharp.Linux.Tests;

public sealed class LinkMonitorTests : IDisposable
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(20);

    private readonly TestNamespace _home = new();
    private readonly BlockingCollection<LinkState> _reports = [];
    private readonly BlockingCollection<string[]> _addresses = [];

    public void Dispose()
    {
        _home.Dispose();
        _reports.Dispose();
        _addresses.Dispose();
    }

    [Fact]
    public void The_state_at_the_start_is_the_first_report()
    {
        using TunDevice tun = Create();
        _home.Ip("link set wgt0 mtu 1380 up");
        using LinkMonitor monitor = Watch(tun);
        Assert.Equal(new LinkState(Up: true, 1380), Next());
    }

    [Fact]
    public void Up_down_and_mtu_are_told_each_once()
    {
        using TunDevice tun = Create();
        using LinkMonitor monitor = Watch(tun);
        Assert.Equal(new LinkState(Up: false, 1420), Next());
        _home.Ip("link set wgt0 up");
        Assert.Equal(new LinkState(Up: true, 1420), Next());

        // Not about the link: not told.
        _home.Ip("link set wgt0 txqueuelen 77");
        _home.Ip("link set wgt0 mtu 9000");
        Assert.Equal(new LinkState(Up: true, 9000), Next());
        _home.Ip("link set wgt0 down");
        Assert.Equal(new LinkState(Up: false, 9000), Next());
    }

    [Fact]
    public void Who_catches_up_finds_told_what_was_announced_before()
    {
        using TunDevice tun = Create();
        using LinkMonitor monitor = Watch(tun);
        for (int i = 0; i < 50; i++)
        {
            _home.Ip($"link set wgt0 mtu {1300 + i} {(i % 2 == 0 ? "up" : "down")}");
            monitor.CatchUp();
            LinkState last = default;
            while (_reports.TryTake(out LinkState report))
            {
                last = report;
            }

            Assert.Equal(new LinkState(Up: i % 2 == 0, 1300 + i), last);
        }
    }

    [Fact]
    public void Nobody_waits_for_a_monitor_that_has_ended()
    {
        TunDevice tun = Create();
        LinkMonitor monitor = Watch(tun);
        monitor.Dispose();
        monitor.CatchUp();
        tun.Dispose();
    }

    [Fact]
    public void Other_interfaces_are_none_of_its_business()
    {
        using TunDevice tun = Create();
        using LinkMonitor monitor = Watch(tun);
        Next();
        _home.Ip("link add other type veth peer name another");
        _home.Ip("link set other up mtu 1300");
        _home.Ip("link delete other");
        _home.Ip("link set wgt0 mtu 1400");
        Assert.Equal(new LinkState(Up: false, 1400), Next());
    }

    [Fact]
    public void A_renamed_interface_is_still_the_same()
    {
        using TunDevice tun = Create();
        using LinkMonitor monitor = Watch(tun);
        Next();
        _home.Ip("link set wgt0 name renamed");
        _home.Ip("link set renamed up");
        Assert.Equal(new LinkState(Up: true, 1420), Next());
        _home.Ip("link set renamed down");
        Assert.Equal(new LinkState(Up: false, 1420), Next());
    }

    [Fact]
    public void It_follows_the_interface_through_namespaces_and_back()
    {
        using var away = new TestNamespace();
        using var further = new TestNamespace();
        using TunDevice tun = Create();
        _home.Ip("link set wgt0 up");
        using LinkMonitor monitor = Watch(tun);
        Assert.Equal(new LinkState(Up: true, 1420), Next());

        // A move takes the link down; a name and an index may change with it.
        _home.Ip($"link set wgt0 netns {away.Path} name moved");
        Assert.Equal(new LinkState(Up: false, 1420), Next());
        away.Ip("link set moved up");
        Assert.Equal(new LinkState(Up: true, 1420), Next());
        away.Ip("link set moved mtu 1300");
        Assert.Equal(new LinkState(Up: true, 1300), Next());

        away.Ip($"link set moved netns {further.Path}");
        Assert.Equal(new LinkState(Up: false, 1300), Next());
        further.Ip("link set moved up");
        Assert.Equal(new LinkState(Up: true, 1300), Next());

        further.Ip($"link set moved netns {_home.Path} name wgt0");
        Assert.Equal(new LinkState(Up: false, 1300), Next());
        _home.Ip("link set wgt0 mtu 1500 up");
        Assert.Equal(1500, Last(state => state.Up).Mtu);
    }

    [Fact]
    public void A_name_that_was_taken_over_by_another_interface_after_a_move_does_not_confuse_it()
    {
        using var away = new TestNamespace();
        using TunDevice tun = Create();
        using LinkMonitor monitor = Watch(tun);
        Next();
        _home.Ip($"link set wgt0 netns {away.Path}");
        _home.Ip("link add wgt0 type veth peer name other");
        _home.Ip("link set wgt0 up");
        away.Ip("link set wgt0 mtu 1350");
        Assert.Equal(new LinkState(Up: false, 1350), Next());
    }

    [Fact]
    public void An_interface_that_lived_elsewhere_from_the_start_is_found()
    {
        using var away = new TestNamespace();
        using TunDevice tun = Create();
        _home.Ip($"link set wgt0 netns {away.Path}");
        away.Ip("link set wgt0 mtu 1234 up");
        using LinkMonitor monitor = Watch(tun);
        Assert.Equal(new LinkState(Up: true, 1234), Next());
    }

    [Fact]
    public void Deletion_is_the_last_report()
    {
        using TunDevice tun = Create();
        using LinkMonitor monitor = Watch(tun);
        Next();
        _home.Ip("link delete wgt0");
        Assert.True(Next().Gone);
    }

    [Fact]
    public void It_does_not_keep_a_namespace_alive_so_the_interface_dies_with_it()
    {
        var away = new TestNamespace();
        using TunDevice tun = Create();
        using LinkMonitor monitor = Watch(tun);
        Next();
        _home.Ip($"link set wgt0 netns {away.Path}");
        away.Ip("link set wgt0 up");
        Assert.True(Next().Up);
        away.Dispose();
        Assert.True(Last(state => state.Gone).Gone);
    }

    [Fact]
    public void Hundreds_of_changes_end_in_the_last_state()
    {
        using TunDevice tun = Create();
        using LinkMonitor monitor = Watch(tun);
        Change(2000, last: 1777);
        Assert.Equal(1777, Last(state => state.Mtu == 1777).Mtu);
    }

    [Fact]
    public void Of_more_changes_than_the_kernel_keeps_the_last_state_is_found_out()
    {
        using TunDevice tun = Create();
        using var goOn = new ManualResetEventSlim();
        using LinkMonitor monitor = _home.Run(() => new LinkMonitor(tun, state =>
        {
            _reports.Add(state);
            goOn.Wait();
        }));
        Next();

        // While it is at its first report, nobody reads: all but the first hundred or so are lost, the last one among them.
        Change(2000, last: 1777);
        goOn.Set();
        Assert.Equal(1777, Last(state => state.Mtu == 1777).Mtu);
        Assert.InRange(_reports.Count, 0, 1000);
    }

    [Fact]
    public void Without_the_namespace_ioctl_it_works_as_long_as_the_interface_stays()
    {
        using TunDevice tun = Create(KernelFeature.DevNetNs);
        using LinkMonitor monitor = Watch(tun);
        Assert.Equal(new LinkState(Up: false, 1420), Next());
        _home.Ip("link set wgt0 mtu 1400");
        Assert.Equal(new LinkState(Up: false, 1400), Next());
        _home.Ip("link set wgt0 up");
        Assert.Equal(new LinkState(Up: true, 1400), Next());
        _home.Ip("link delete wgt0");
        Assert.True(Last(state => state.Gone).Gone);
    }

    [Fact]
    public void Without_the_namespace_ioctl_the_link_state_is_still_told_after_a_move()
    {
        using var away = new TestNamespace();
        using TunDevice tun = Create(KernelFeature.DevNetNs);
        _home.Ip("link set wgt0 up");
        using LinkMonitor monitor = Watch(tun);
        Assert.Equal(new LinkState(Up: true, 1420), Next());
        _home.Ip($"link set wgt0 netns {away.Path}");
        Assert.Equal(new LinkState(Up: false, 1420), Next());
        away.Ip("link set wgt0 up");
        Assert.Equal(new LinkState(Up: true, 1420), Next());
        away.Ip("link set wgt0 down");
        Assert.Equal(new LinkState(Up: false, 1420), Next());
        away.Ip("link delete wgt0");
        Assert.True(Last(state => state.Gone).Gone);
    }

    [Fact]
    public void Disposal_ends_the_thread_and_leaves_no_descriptor()
    {
        using TunDevice tun = Create();
        Watch(tun).Dispose();
        int before = Descriptors();
        for (int i = 0; i < 20; i++)
        {
            Watch(tun).Dispose();
        }

        Assert.Equal(before, Descriptors());
    }

    [Fact]
    public void Its_own_addresses_are_told_when_they_come_and_go_and_those_of_others_are_not()
    {
        using TunDevice tun = Create();
        _home.Ip("address add 10.1.0.1/24 dev wgt0");
        _home.Ip("link set wgt0 up");
        using LinkMonitor monitor = WatchAddresses(tun);
        Assert.Equal(["10.1.0.1"], NextAddresses());
        _home.Ip("address add fd01::1/64 dev wgt0 nodad");
        Assert.Equal(["10.1.0.1", "fd01::1"], NextAddresses());

        // Another interface's, a link-local one, and one that is there already with another lifetime.
        _home.Ip("address add 10.2.0.1/24 dev lo");
        _home.Ip("address add fe80::7/64 dev wgt0 nodad");
        _home.Ip("address change 10.1.0.1/24 dev wgt0 valid_lft 1000 preferred_lft 1000");

        // The other end of a point-to-point link is not ours.
        _home.Ip("address add 10.3.0.1 peer 10.3.0.2 dev wgt0");
        Assert.Equal(["10.1.0.1", "10.3.0.1", "fd01::1"], NextAddresses());
        _home.Ip("address delete 10.1.0.1/24 dev wgt0");
        Assert.Equal(["10.3.0.1", "fd01::1"], NextAddresses());

        // A link that goes down takes its IPv6 addresses with it.
        _home.Ip("link set wgt0 down");
        Assert.Equal(["10.3.0.1"], NextAddresses());
        Assert.Equal(["10.3.0.1"], monitor.OwnAddresses.Select(address => address.ToString()));
    }

    [Fact]
    public void Who_catches_up_finds_the_addresses_told_too()
    {
        using TunDevice tun = Create();
        using LinkMonitor monitor = WatchAddresses(tun);
        for (int i = 1; i <= 30; i++)
        {
            _home.Ip($"address add 10.1.0.{i}/32 dev wgt0");
            monitor.CatchUp();
            Assert.Equal(i, monitor.OwnAddresses.Count);
        }
    }

    [Fact]
    public void Addresses_are_told_wherever_the_interface_is()
    {
        using var away = new TestNamespace();
        using TunDevice tun = Create();
        using LinkMonitor monitor = WatchAddresses(tun);
        _home.Ip("address add 10.1.0.1/24 dev wgt0");
        Assert.Equal(["10.1.0.1"], NextAddresses());

        // A move takes them away.
        _home.Ip($"link set wgt0 netns {away.Path}");
        Assert.Empty(NextAddresses());
        away.Ip("address add 10.4.0.1/24 dev wgt0");
        Assert.Equal(["10.4.0.1"], NextAddresses());
        away.Ip("link set wgt0 up");
        away.Ip("address add fd04::1/64 dev wgt0 nodad");
        Assert.Equal(["10.4.0.1", "fd04::1"], NextAddresses());

        // Somebody else's of the same number, in the namespace that was left.
        _home.Ip("address add 10.4.0.9/24 dev lo");
        away.Ip($"link set wgt0 netns {_home.Path}");
        Assert.Empty(NextAddresses());
        _home.Ip("address add 10.1.0.2/24 dev wgt0");
        Assert.Equal(["10.1.0.2"], NextAddresses());
    }

    [Fact]
    public void Of_an_interface_that_is_out_of_sight_no_address_is_known()
    {
        using var away = new TestNamespace();
        using TunDevice tun = Create(KernelFeature.DevNetNs);
        _home.Ip("address add 10.1.0.1/24 dev wgt0");
        using LinkMonitor monitor = WatchAddresses(tun);
        Assert.Equal(["10.1.0.1"], NextAddresses());
        _home.Ip($"link set wgt0 netns {away.Path}");
        Assert.Empty(NextAddresses());
    }

    [Fact]
    public void More_addresses_than_fit_one_answer_are_all_found()
    {
        using TunDevice tun = Create();
        for (int i = 0; i < 600; i += 100)
        {
            _home.Command("sh", $"-c \"for i in $(seq {i} {i + 99}); do echo address add 10.1.$((i / 200)).$((i % 200 + 1))/32 dev wgt0; done | ip -batch -\"");
        }

        using LinkMonitor monitor = WatchAddresses(tun);
        Assert.Equal(600, NextAddresses().Distinct().Count());
    }

    /// <summary>Those that a monitor opens: other parts of the test host come and go.</summary>
    private static int Descriptors() => Directory.EnumerateFiles("/proc/self/fd").Count(path =>
        new FileInfo(path).LinkTarget is { } target
        && (target.Contains("eventpoll", StringComparison.Ordinal) || target.Contains("eventfd", StringComparison.Ordinal)));

    /// <summary>Sets the MTU again and again, at last to the one given.</summary>
    private void Change(int times, int last)
    {
        string batch = string.Join('\n', Enumerable.Range(1, times).Select(i => $"link set wgt0 mtu {1000 + (i % 400)}"));
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, $"{batch}\nlink set wgt0 mtu {last}\n");
            _home.Ip($"-batch {file}");
        }
        finally
        {
            File.Delete(file);
        }
    }

    private TunDevice Create(KernelFeature disabled = KernelFeature.None) =>
        _home.Run(() => TunDevice.Create("wgt0", new KernelFeatures(disabled)));

    private LinkMonitor Watch(TunDevice tun) => _home.Run(() => new LinkMonitor(tun, _reports.Add));

    private LinkMonitor WatchAddresses(TunDevice tun) =>
        _home.Run(() => new LinkMonitor(tun, _ => { }, addresses => _addresses.Add([.. addresses.Select(address => address.ToString())])));

    private string[] NextAddresses()
    {
        Assert.True(_addresses.TryTake(out string[]? addresses, _patience), "No report came.");
        return addresses;
    }

    private LinkState Next()
    {
        Assert.True(_reports.TryTake(out LinkState state, _patience), "No report came.");
        return state;
    }

    /// <summary>The first report, perhaps after others, that is so.</summary>
    private LinkState Last(Func<LinkState, bool> isIt)
    {
        LinkState state = Next();
        while (!isIt(state))
        {
            state = Next();
        }

        return state;
    }
}
