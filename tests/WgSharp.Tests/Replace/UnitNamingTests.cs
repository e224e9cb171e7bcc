using WgSharp.Replace;
using WgSharp.Tests.Doctor;

namespace WgSharp.Tests.Replace;

public class UnitNamingTests
{
    private const string Unit = "/lib/systemd/system/wg-quick@.service";
    private const string Override = "/etc/systemd/system/wg-quick@.service.d/override.conf";
    private const string Packages = "/usr/lib/systemd/system/wg-quick@.service.d/wgsharp.conf";
    private const string Variable = "WG_QUICK_USERSPACE_IMPLEMENTATION";

    private readonly GivenMachine _machine = new();

    public UnitNamingTests()
    {
        _machine.Files[Unit] = "[Service]\nEnvironment=WG_ENDPOINT_RESOLUTION_RETRIES=infinity\n";
        _machine.Files[Packages] = $"[Service]\nEnvironment={Variable}=/usr/bin/wgsharp\n";
    }

    [Theory]
    [InlineData("Environment=VAR=boringtun-cli\nEnvironment=WG_SUDO=1", "boringtun-cli")]
    [InlineData("Environment=WG_SUDO=1 VAR=boringtun", "boringtun")]
    [InlineData("Environment=\"VAR=/opt/a b/boringtun\" WG_SUDO=1", "/opt/a b/boringtun")]
    [InlineData("Environment='VAR=boringtun'", "boringtun")]
    [InlineData("Environment = WG_SUDO=1 \\\n  VAR=boringtun", "boringtun")]
    [InlineData("Environment=VAR=one\nEnvironment=VAR=two", "two")]
    [InlineData("Environment=VAR=one\nEnvironment=\n", null)]
    [InlineData("#Environment=VAR=one\n;Environment=VAR=one", null)]
    [InlineData("Environment=OTHER_VAR=one", null)]
    [InlineData("[X-Other]\nEnvironment=VAR=one", null)]
    public void A_program_is_named_as_systemd_reads_it(string lines, string? program)
    {
        _machine.Files[Override] = "[Service]\n" + lines.Replace("VAR", Variable);
        Assert.Equal(program, Last(Unit, Override)?.Program);
    }

    [Theory]
    [InlineData("VAR=boringtun-cli\nWG_SUDO=1\n", "boringtun-cli")]
    [InlineData("# VAR=one\n  VAR = \"boringtun-cli\"  \n", "boringtun-cli")]
    [InlineData("export VAR=one\n", null)]
    public void An_environment_file_is_read_as_systemd_reads_it(string text, string? program)
    {
        _machine.Files["/etc/default/wireguard"] = text.Replace("VAR", Variable);
        _machine.Files[Override] = "[Service]\nEnvironmentFile=-/etc/default/wireguard\n";
        Assert.Equal(program, Last(Unit, Override)?.Program);
    }

    [Fact]
    public void An_environment_file_wins_over_what_comes_later()
    {
        _machine.Files["/etc/default/wireguard"] = $"{Variable}=boringtun-cli\n";
        _machine.Files[Override] = "[Service]\nEnvironmentFile=/etc/default/wireguard\n";
        Assert.Equal(new Naming("/etc/default/wireguard", "boringtun-cli"), Last(Unit, Override, Packages));
    }

    [Fact]
    public void A_later_drop_in_wins_over_an_installers()
    {
        _machine.Files[Override] = $"[Service]\nEnvironment={Variable}=boringtun\n";
        Assert.Equal(new Naming(Packages, "/usr/bin/wgsharp"), Last(Unit, Override, Packages));
    }

    [Fact]
    public void The_drop_in_wins_over_an_environment_file()
    {
        using var directory = new TemporaryDirectory();
        var dropIn = new DropIn(directory.Path);
        dropIn.Put(new DropInState(dropIn.TextFor("/usr/bin/wgsharp"), PackageMasked: false));
        _machine.Files[dropIn.Path] = File.ReadAllText(dropIn.Path);
        _machine.Files["/etc/default/wireguard"] = $"{Variable}=boringtun-cli\n";
        _machine.Files[Override] = "[Service]\nEnvironmentFile=/etc/default/wireguard\n";
        Assert.Equal(new Naming(dropIn.Path, "/usr/bin/wgsharp"), Last(Unit, Override, dropIn.Path));
    }

    [Fact]
    public void The_instances_name_stands_in_paths()
    {
        _machine.Files["/etc/default/wireguard-wg0"] = $"{Variable}=boringtun-cli\n";
        _machine.Files[Override] = "[Service]\nEnvironmentFile=/etc/default/wireguard-%i\n";
        Assert.Equal("boringtun-cli", Last(Unit, Override)?.Program);
    }

    [Fact]
    public void What_shells_are_told_is_found_for_what_it_is()
    {
        _machine.Files["/etc/environment"] = $"{Variable}=boringtun-cli\n";
        _machine.Files["/etc/profile.d/boringtun.sh"] = $"export {Variable}='boringtun'; export WG_SUDO=1\n# {Variable}=x\n";
        _machine.Files["/etc/profile.d/ours.sh"] = $"export {Variable}=/usr/bin/wgsharp\n";
        Assert.Equal(["boringtun-cli", "boringtun"], Survey.OfShells(_machine).Select(naming => naming.Program));
    }

    private Naming? Last(params string[] files)
    {
        IReadOnlyList<Naming> all = UnitNaming.Read(_machine, "wg0", files);
        return all.Count == 0 ? null : all[^1];
    }
}
