using WgSharp.Replace;

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
            ["31"],
            Serving.ParseSockets(
                """
                Num       RefCount Protocol Flags    Type St Inode Path
                0000000000000000: 00000002 00000000 00010000 0001 01    31 /var/run/wireguard/wg0.sock
                0000000000000000: 00000003 00000000 00000000 0001 03    32 /var/run/wireguard/wg0.sock
                0000000000000000: 00000002 00000000 00010000 0001 01    33 /run/wireguard/wg1.sock
                """,
                "wg0"));

    private static Plan Forth(DropInState now, params QuickUnit[] units) => Plan.Forth(units, now, Path, Text);

    private static Plan Back(DropInState now, params QuickUnit[] units) => Plan.Back(units, now, Path, program => program == "gone" ? null : $"/usr/bin/{program}");

    private static QuickUnit Up(string name, Server server, params Naming[] namings) => new(name, new Serving(server, server.ToString()), namings) { IsUp = true };

    private static QuickUnit Others(params Naming[] namings) => new(null, default, namings);
}
