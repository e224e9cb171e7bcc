using WgSharp.Engine;

namespace WgSharp.Linux.Tests;

/// <summary>Machines where something is missing or forbidden, made by mounts and by giving up root on one thread.</summary>
public sealed class PrivilegeTests : IDisposable
{
    private const ulong MS_RDONLY = 1;
    private const ulong MS_NODEV = 4;

    private readonly TestNamespace _namespace = new();

    public void Dispose() => _namespace.Dispose();

    [Fact]
    public void A_missing_node_is_made_by_root()
    {
        _namespace.Cover("/dev/net");
        using TunDevice tun = Create();
        Assert.Contains("wgt0", _namespace.Ip("link show"), StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_directory_is_made_too()
    {
        _namespace.Cover("/dev");
        using TunDevice tun = Create();
    }

    [Fact]
    public void A_missing_node_that_cannot_be_made_tells_to_enable_tun_in_the_panel()
    {
        _namespace.Cover("/dev/net", MS_RDONLY);
        TunException refused = Assert.Throws<TunException>(Create);
        Assert.Equal(Errno.ENOENT, refused.ErrorNumber);
        Assert.Contains("EROFS", refused.Message, StringComparison.Ordinal);
        Assert.Contains("control panel", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_node_tells_who_is_not_root_to_become_root()
    {
        _namespace.Cover("/dev/net");
        _namespace.DropPrivileges();
        TunException refused = Assert.Throws<TunException>(Create);
        Assert.Equal(Errno.ENOENT, refused.ErrorNumber);
        Assert.Contains("run as root", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_node_that_may_not_be_opened_tells_of_the_device_cgroup()
    {
        _namespace.Cover("/dev/net", MS_NODEV);
        TunException refused = Assert.Throws<TunException>(Create);
        Assert.Equal(Errno.EACCES, refused.ErrorNumber);
        Assert.Contains("allow the device c 10:200", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_node_without_a_driver_tells_to_load_the_module()
    {
        _namespace.Cover("/dev/net");
        _namespace.Command("mknod", "/dev/net/tun c 10 254");
        TunException refused = Assert.Throws<TunException>(Create);
        Assert.Contains("modprobe tun", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_interface_without_the_capability_tells_of_the_capability()
    {
        _namespace.Cover("/dev/net");
        _namespace.Command("mknod", "-m 666 /dev/net/tun c 10 200");
        _namespace.DropPrivileges();
        TunException refused = Assert.Throws<TunException>(Create);
        Assert.Equal(Errno.EPERM, refused.ErrorNumber);
        Assert.Contains("CAP_NET_ADMIN", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sockets_work_without_privileges_but_for_marks_and_low_ports()
    {
        _namespace.DropPrivileges();
        using UdpSocket udp = _namespace.Run(() => new UdpSocket(new KernelFeatures()));
        ushort port = _namespace.Run(() => udp.Open(0, 0));
        Assert.Equal(SendOutcome.Sent, udp.SendOne([1], Packets.Endpoint("127.0.0.1", port), 0));

        IOException unmarked = Assert.Throws<IOException>(() => _namespace.Run(() => udp.SetMark(1)));
        Assert.Equal(Errno.EPERM, unmarked.HResult);
        Assert.Contains("CAP_NET_ADMIN", unmarked.Message, StringComparison.Ordinal);
        Assert.Equal(Errno.EPERM, Assert.Throws<IOException>(() => _namespace.Run(() => udp.Open(0, 1))).HResult);

        IOException low = Assert.Throws<IOException>(() => _namespace.Run(() => udp.Open(53, 0)));
        Assert.Equal(Errno.EACCES, low.HResult);
        Assert.Contains("CAP_NET_BIND_SERVICE", low.Message, StringComparison.Ordinal);
        Assert.Equal(port, udp.Port);
    }

    [Fact]
    public void Where_another_namespace_may_not_be_looked_into_the_link_state_is_still_told()
    {
        using var away = new TestNamespace();
        using var reports = new System.Collections.Concurrent.BlockingCollection<LinkState>();
        using TunDevice tun = Create();
        _namespace.Ip($"link set wgt0 netns {away.Path}");
        _namespace.DropPrivileges();

        // The monitor's thread inherits the missing privileges from the one that starts it.
        using LinkMonitor monitor = _namespace.Run(() => new LinkMonitor(tun, reports.Add));
        Assert.True(reports.TryTake(out LinkState first, TimeSpan.FromSeconds(20)));
        Assert.False(first.Up);
        away.Ip("link set wgt0 up");
        Assert.True(reports.TryTake(out LinkState second, TimeSpan.FromSeconds(20)));
        Assert.True(second.Up);
    }

    private TunDevice Create() => _namespace.Run(() => TunDevice.Create("wgt0", new KernelFeatures()));
}
