using WgSharp.Doctor;
using WgSharp.Replace;
using WgSharp.Tests.Doctor;

namespace WgSharp.Tests.Replace;

public class PlanTests
{
    private const string Path = "/etc/systemd/system/wg-quick@.service.d/zz-wgsharp.conf";
    private const string Text = "the drop-in";

    private static readonly Naming _packages = new("/usr/lib/systemd/system/wg-quick@.service.d/wgsharp.conf", "/usr/bin/wgsharp");
    private static readonly Naming _installers = new("/etc/systemd/system/wg-quick@wg0.service.d/boringtun.conf", "boringtun");
    private static readonly Naming _file = new("/etc/default/wireguard", "boringtun-cli");
    private static readonly DropInState _untouched = new(null, false);

    [Fact]
    public void Where_wgsharp_is_named_and_serves_there_is_nothing_to_be_done()
    {
        Plan plan = Forth(_untouched, Up("wg0", Server.Wgsharp, _packages), Others(_packages));
        Assert.Equal(_untouched, plan.Wanted);
        Assert.Empty(plan.Restarts);
    }

    [Fact]
    public void Only_what_another_program_serves_is_restarted()
    {
        Plan plan = Forth(_untouched, Up("wg0", Server.Another, _file), Up("wg1", Server.Kernel, _file), Up("wg2", Server.Wgsharp, _file), Up("wg3", Server.Nobody, _file), Others(_file));
        Assert.Equal(new DropInState(Text, false), plan.Wanted);
        Assert.Equal(["wg0"], plan.Restarts);
        Assert.Contains("boringtun-cli (/etc/default/wireguard)", plan.Says[0], StringComparison.Ordinal);
    }

    [Fact]
    public void Where_the_packages_drop_in_wins_a_restart_is_enough()
    {
        Plan plan = Forth(_untouched, Up("wg0", Server.Another, _installers, _packages), Others(_packages));
        Assert.Equal(_untouched, plan.Wanted);
        Assert.Equal(["wg0"], plan.Restarts);
    }

    [Fact]
    public void A_unit_that_starts_with_the_machine_counts_though_it_is_down() =>
        Assert.Equal(new DropInState(Text, false), Forth(_untouched, new QuickUnit("wg1", default, [_packages, _file]), Others(_packages)).Wanted);

    [Fact]
    public void Where_one_interface_is_asked_for_the_others_follow_when_they_are_started()
    {
        QuickUnit[] units = [Up("wg0", Server.Another, _file), Up("wg1", Server.Another, _file), Others(_file)];
        Plan forth = Plan.Forth(units, _untouched, Path, Text, only: "wg1");
        Assert.Equal(["wg1"], forth.Restarts);
        Assert.Contains("wg0: Another serves it, until wg-quick@wg0.service is started the next time.", forth.Says);
        units = [Up("wg0", Server.Wgsharp, _file), Up("wg1", Server.Wgsharp, _file), Others(_file)];
        Assert.Equal(["wg1"], Plan.Back(units, forth.Wanted, Path, program => program, only: "wg1").Restarts);
    }

    [Theory]
    [InlineData("wg0", null)]
    [InlineData("wg1", "wg1 is the kernel's: there is nothing to be replaced.")]
    [InlineData("eth0", "eth0 is no WireGuard interface that anybody serves.")]
    [InlineData("wg9", "there is no interface wg9.")]
    public void An_interface_that_cannot_be_replaced_is_told_in_a_sentence(string name, string? why)
    {
        var machine = new GivenMachine();
        machine.Files["/sys/class/net/eth0/mtu"] = "1500\n";
        machine.Programs["ip -o link show type wireguard"] = new ProgramResult(0, "3: wg1: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1420 qdisc noqueue state UNKNOWN\n");
        Assert.Equal(why, ReplaceCommand.WhyNot(machine, [Up("wg0", Server.Another, _file), Others(_file)], name));
    }

    [Fact]
    public void An_interface_that_was_started_by_hand_is_told_what_to_do()
    {
        var machine = new GivenMachine();
        machine.Files["/proc/net/unix"] = "0000000000000000: 00000002 00000000 00010000 0001 01    31 /run/wireguard/wg5.sock\n";
        machine.Links["/proc/17/fd/3"] = "socket:[31]";
        machine.Links["/proc/17/exe"] = "/usr/local/bin/boringtun-cli";
        Assert.Contains("wg5 is served by boringtun-cli, and wg-quick@wg5.service did not start it", ReplaceCommand.WhyNot(machine, [Others(_file)], "wg5"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("[Interface]\nSaveConfig = true\n", "(none)", "wg0 would lose its private key")]
    [InlineData("[Interface]\nSaveConfig = true\n", "PRIVATE=", null)]
    [InlineData("[Interface]\n", "(none)", null)]
    [InlineData(null, "PRIVATE=", "there is no /etc/wireguard/wg0.conf")]
    public void An_interface_that_would_not_come_up_again_is_not_taken_down(string? file, string key, string? why)
    {
        var machine = new GivenMachine();
        machine.Programs["wg show wg0 "] = new ProgramResult(0, $"{key}\tPUBLIC=\t51820\toff\n");
        if (file is not null)
        {
            machine.Files["/etc/wireguard/wg0.conf"] = file;
        }

        string? refusal = Survey.WhyNotRestarted(machine, "wg0");
        Assert.Equal(why is null, refusal is null);
        Assert.Contains(why ?? string.Empty, refusal ?? string.Empty, StringComparison.Ordinal);
    }

    [Fact]
    public void The_way_back_is_a_file_less()
    {
        Plan plan = Back(new DropInState(Text, false), Up("wg0", Server.Wgsharp, _file), Up("wg1", Server.Kernel, _file), Others(_file));
        Assert.Equal(_untouched, plan.Wanted);
        Assert.Equal(["wg0"], plan.Restarts);
        Assert.Empty(plan.Refusals);
    }

    [Fact]
    public void On_the_way_back_the_packages_drop_in_is_passed_over_where_it_wins()
    {
        Plan plan = Back(_untouched, Up("wg0", Server.Wgsharp, _installers, _packages), Others(_packages));
        Assert.Equal(new DropInState(null, true), plan.Wanted);
        Assert.Equal(["wg0"], plan.Restarts);
    }

    [Fact]
    public void There_and_back_is_where_it_began()
    {
        var masked = new DropInState(null, true);
        Plan plan = Forth(masked, Up("wg0", Server.Another, _installers), Others());
        Assert.Equal(new DropInState(Text, false), plan.Wanted);
        Assert.Equal(masked, Back(plan.Wanted, Up("wg0", Server.Wgsharp, _installers, _packages), Others(_packages)).Wanted);
    }

    [Fact]
    public void A_program_that_is_gone_cannot_come_back() =>
        Assert.Contains("not there any more", Assert.Single(Back(new DropInState(Text, false), Up("wg0", Server.Wgsharp, new Naming("/etc/default/wireguard", "gone")), Others()).Refusals), StringComparison.Ordinal);

    [Fact]
    public void What_an_administrator_has_written_is_not_undone() =>
        Assert.Single(Back(new DropInState(Text, false), Up("wg0", Server.Wgsharp, _installers, new Naming("/etc/systemd/system/wg-quick@.service.d/wgsharp.conf", "wgsharp")), Others()).Refusals);

    [Fact]
    public void Without_another_program_there_is_nothing_to_go_back_to()
    {
        Plan plan = Plan.Back([Up("wg0", Server.Wgsharp, _packages), Others(_packages)], _untouched, Path, _ => null);
        Assert.Equal(_untouched, plan.Wanted);
        Assert.Empty(plan.Restarts);
    }

    [Fact]
    public void A_drop_in_is_put_and_taken_away_with_its_directory()
    {
        using var directory = new TemporaryDirectory();
        var dropIn = new DropIn($"{directory.Path}/wg-quick@.service.d");
        foreach (DropInState state in new DropInState[] { new(Text, false), new(null, true), new(Text, true), _untouched })
        {
            dropIn.Put(state);
            Assert.Equal(state, dropIn.Current);
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(directory.Path));
    }

    [Fact]
    public void A_listening_socket_is_found_by_its_interface() =>
        Assert.Equal(
            ["31", "34"],
            Serving.ParseSockets(
                """
                Num       RefCount Protocol Flags    Type St Inode Path
                0000000000000000: 00000002 00000000 00010000 0001 01    31 /var/run/wireguard/wg0.sock
                0000000000000000: 00000003 00000000 00000000 0001 03    32 /var/run/wireguard/wg0.sock
                0000000000000000: 00000002 00000000 00010000 0001 01    33 /run/wireguard/wg1.sock
                0000000000000000: 00000002 00000000 00010000 0001 01    34 /var/run/wireguard/.wg0.4711.new
                0000000000000000: 00000002 00000000 00010000 0001 01    35 /var/run/wireguard/.wg0.1.4711.new
                0000000000000000: 00000002 00000000 00010000 0001 01    36 /var/run/other/wg0.sock
                """,
                "wg0"));

    private static Plan Forth(DropInState now, params QuickUnit[] units) => Plan.Forth(units, now, Path, Text);

    private static Plan Back(DropInState now, params QuickUnit[] units) => Plan.Back(units, now, Path, program => program == "gone" ? null : $"/usr/bin/{program}");

    private static QuickUnit Up(string name, Server server, params Naming[] namings) => new(name, new Serving(server, server.ToString()), namings) { IsUp = true };

    private static QuickUnit Others(params Naming[] namings) => new(null, default, namings);
}
