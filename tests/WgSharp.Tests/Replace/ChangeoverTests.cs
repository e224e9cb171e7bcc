using WgSharp.Doctor;
using WgSharp.Replace;
using WgSharp.Tests.Doctor;

namespace WgSharp.Tests.Replace;

public sealed class ChangeoverTests : IDisposable
{
    private const string Before = "PRIVATE=\tPUBLIC=\t51820\toff\nONE=\t(none)\t198.51.100.2:4000\t10.7.0.2/32\t0\t0\t0\toff\n";

    private readonly GivenMachine _machine = new();
    private readonly TemporaryDirectory _directory = new();
    private readonly List<string> _said = [];

    public ChangeoverTests()
    {
        _machine.Files["/bin/systemctl"] = string.Empty;
        _machine.Variables["PATH"] += ":/bin";
        _machine.Files["/proc/net/unix"] = "0000000000000000: 00000002 00000000 00010000 0001 01    31 /run/wireguard/wg0.sock\n";
        _machine.Links["/proc/17/fd/3"] = "socket:[31]";
        _machine.Programs["systemctl show"] = new ProgramResult(0, "FragmentPath=/lib/systemd/system/wg-quick@.service\nDropInPaths=/etc/drop-in.conf\n");
        _machine.Programs["wg show wg0 "] = new ProgramResult(0, Before);
    }

    private string DropInPath => $"{_directory.Path}/etc/zz-wgsharp.conf";

    private IEnumerable<string> Systemctl => _machine.Ran.Where(line => line.StartsWith("systemctl ", StringComparison.Ordinal) && !line.Contains("show", StringComparison.Ordinal)).Select(line => line["systemctl ".Length..].Trim());

    [Fact]
    public void A_file_less_a_restart_and_nothing_more_when_all_is_as_before()
    {
        Directory.CreateDirectory(Path.GetDirectoryName(DropInPath)!);
        File.WriteAllText(DropInPath, "text");
        Assert.Null(Run(served: "wireguard-go", names: "wireguard-go", wanted: null, toWgsharp: false, active: true));
        Assert.Equal(["daemon-reload", "is-active --quiet wg-quick@wg0.service", "restart wg-quick@wg0.service"], Systemctl);
        Assert.False(File.Exists(DropInPath));
        Assert.DoesNotContain(_machine.Ran, line => line.StartsWith("wg set", StringComparison.Ordinal) || line.StartsWith("wg addconf", StringComparison.Ordinal));
        Assert.StartsWith("wg0: served by wireguard-go, ", Assert.Single(_said), StringComparison.Ordinal);
    }

    [Fact]
    public void What_does_not_start_is_undone_and_told_in_the_daemons_words()
    {
        _machine.Programs["systemctl restart"] = new ProgramResult(1, "Job for wg-quick@wg0.service failed.\n");
        _machine.Files["/bin/journalctl"] = string.Empty;
        _machine.Programs["journalctl"] = new ProgramResult(0, "[#] /usr/bin/wgsharp wg0\nwgsharp: it is not to be.\n[#] ip link delete dev wg0\n");
        string why = Run(served: "boringtun", names: "/usr/bin/wgsharp", wanted: "text", toWgsharp: true, active: false)!;
        Assert.StartsWith("wg0: it is not to be. The way back failed, too: wg0: Job for", why, StringComparison.Ordinal);
        Assert.False(File.Exists(DropInPath));
        Assert.Equal(2, Systemctl.Count(line => line == "restart wg-quick@wg0.service"));
        Assert.Equal(2, Systemctl.Count(line => line == "stop wgsharp@wg0.service"));
    }

    [Fact]
    public void Served_by_the_wrong_program_it_is_undone()
    {
        string why = Run(served: "boringtun", names: "/usr/bin/wgsharp", wanted: "text", toWgsharp: true, active: true)!;
        Assert.Equal("wg0: boringtun serves it now. Everything is as it was before.", why);
        Assert.False(File.Exists(DropInPath));
    }

    [Fact]
    public void Where_another_file_wins_nothing_is_restarted()
    {
        string why = Run(served: "boringtun", names: "boringtun", wanted: "text", toWgsharp: true, active: true)!;
        Assert.Equal("wg0: after all, boringtun (/etc/drop-in.conf) wins. Everything is as it was before.", why);
        Assert.DoesNotContain("restart wg-quick@wg0.service", Systemctl);
    }

    [Fact]
    public void Between_the_end_of_wgsharp_and_the_start_of_another_the_unit_waits()
    {
        // Given things do not change: so it is still wgsharp that serves, and all of it is undone.
        Assert.Contains("wgsharp serves it now", Run(served: "wgsharp", names: "boringtun", wanted: null, toWgsharp: false, active: true)!, StringComparison.Ordinal);
        Assert.Equal(
            ["daemon-reload", "is-active --quiet wg-quick@wg0.service", "daemon-reload", "restart wg-quick@wg0.service", "daemon-reload"],
            Systemctl.Take(5));
        Assert.Empty(Directory.EnumerateFileSystemEntries(_directory.Path));
    }

    public void Dispose() => _directory.Dispose();

    private string? Run(string served, string names, string? wanted, bool toWgsharp, bool active)
    {
        _machine.Links["/proc/17/exe"] = $"/usr/bin/{served}";
        _machine.Files["/etc/drop-in.conf"] = $"[Service]\nEnvironment=WG_QUICK_USERSPACE_IMPLEMENTATION={names}\n";
        _machine.Programs["systemctl is-active"] = new ProgramResult(active ? 0 : 3, string.Empty);
        var plan = new Plan(new DropInState(wanted, PackageMasked: false), ["wg0"], [], []);
        return new Changeover(_machine, new DropIn($"{_directory.Path}/etc"), _directory.Path, _said.Add).Run(plan, toWgsharp);
    }
}
