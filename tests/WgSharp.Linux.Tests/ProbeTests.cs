namespace WgSharp.Linux.Tests;

/// <summary>What looks at a machine without changing it.</summary>
public sealed class ProbeTests : IDisposable
{
    private const ulong MS_RDONLY = 1;
    private const ulong MS_NODEV = 4;

    private readonly TestNamespace _namespace = new();

    public void Dispose() => _namespace.Dispose();

    [Fact]
    public void An_interface_that_was_tried_is_gone()
    {
        Assert.Equal(new TunTrial(TunStep.Done, null, NodeWasMissing: false), _namespace.Run(TunProbe.Try));
        Assert.Equal(["lo"], Interfaces());
    }

    [Fact]
    public void A_node_that_had_to_be_made_is_gone_and_its_directory_too()
    {
        _namespace.Cover("/dev");

        Assert.Equal(new TunTrial(TunStep.Done, null, NodeWasMissing: true), _namespace.Run(TunProbe.Try));

        Assert.Empty(_namespace.Command("ls", "-A /dev"));
    }

    [Theory]
    [InlineData(TunStep.Node, MS_RDONLY, null)]
    [InlineData(TunStep.Open, MS_NODEV, "/dev/net/tun c 10 200")]
    [InlineData(TunStep.Open, 0ul, "/dev/net/tun c 10 254")]
    public void The_step_that_fails_is_told(TunStep step, ulong flags, string? node)
    {
        _namespace.Cover("/dev/net", flags);
        if (node is not null)
        {
            _namespace.Command("mknod", node);
        }

        TunTrial tun = _namespace.Run(TunProbe.Try);

        Assert.Equal((step, node is null), (tun.Reached, tun.NodeWasMissing));
        Assert.Equal($"{tun.Why!.Wrong[..^1]}: {tun.Why.Mend}.", tun.Why.Message);
        Assert.Equal(node is null ? string.Empty : "tun\n", _namespace.Command("ls", "-A /dev/net"));
    }

    [Fact]
    public void Without_the_capability_the_last_step_fails()
    {
        _namespace.Cover("/dev/net");
        _namespace.Command("mknod", "-m 666 /dev/net/tun c 10 200");
        _namespace.DropPrivileges();

        TunTrial tun = _namespace.Run(TunProbe.Try);

        Assert.Equal((TunStep.Create, Errno.EPERM), (tun.Reached, tun.Why!.ErrorNumber));
    }

    [Fact]
    public void A_scratch_network_is_empty_and_nobodys()
    {
        string[] seen = [];
        int errno = _namespace.Run(() => ScratchNetwork.Run(() => seen = File.ReadAllLines("/proc/thread-self/net/dev")));

        Assert.Equal(0, errno);
        Assert.Equal("lo", Assert.Single(seen, line => line.Contains(':', StringComparison.Ordinal)).Split(':')[0].Trim());
    }

    [Fact]
    public void Without_the_privilege_for_a_scratch_network_nothing_is_run()
    {
        _namespace.DropPrivileges();
        bool ran = false;

        int errno = _namespace.Run(() => ScratchNetwork.Run(() => ran = true));

        Assert.Equal((Errno.EPERM, false), (errno, ran));
    }

    private string[] Interfaces() =>
        [.. _namespace.Ip("-o link show").Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split(": ")[1])];
}
