using WgSharp.Commands;

namespace WgSharp.Tests;

public class CommandLineTests
{
    [Fact]
    public void An_interface_alone_is_served_in_the_background()
    {
        CommandLine commandLine = CommandLine.Parse(["wg0"]);

        Assert.Equal(CommandAction.Run, commandLine.Action);
        Assert.Equal("wg0", commandLine.InterfaceName);
        Assert.False(commandLine.Foreground);
        Assert.Empty(commandLine.Settings);
    }

    [Theory]
    [InlineData("-f", "wg0")]
    [InlineData("--foreground", "wg0")]
    [InlineData("wg0", "-f")]
    public void The_foreground_is_asked_for_before_or_after_the_interface(string first, string second)
    {
        CommandLine commandLine = CommandLine.Parse([first, second]);

        Assert.True(commandLine.Foreground);
        Assert.Equal("wg0", commandLine.InterfaceName);
    }

    [Theory]
    [InlineData("-V", CommandAction.ShowVersion)]
    [InlineData("--version", CommandAction.ShowVersion)]
    [InlineData("-h", CommandAction.ShowHelp)]
    [InlineData("--help", CommandAction.ShowHelp)]
    public void Version_and_help_need_no_interface(string option, object action) =>
        Assert.Equal(action, CommandLine.Parse([option]).Action);

    [Fact]
    public void Settings_are_options_under_their_own_names()
    {
        CommandLine commandLine = CommandLine.Parse(["--disable=gso,tso", "--log-level", "debug", "wg0", "--log_level=info", "--threads", "2"]);

        Assert.Equal("wg0", commandLine.InterfaceName);
        Assert.Equal(
            [
                new SettingLine("disable", "gso,tso", "--disable"),
                new SettingLine("log_level", "debug", "--log-level"),
                new SettingLine("log_level", "info", "--log_level"),
                new SettingLine("threads", "2", "--threads"),
            ],
            commandLine.Settings);
    }

    [Fact]
    public void After_two_dashes_everything_is_a_name() =>
        Assert.Equal("-f", CommandLine.Parse(["--", "-f"]).InterfaceName);

    [Theory]
    [InlineData("is missing")]
    [InlineData("is missing", "-f")]
    [InlineData("One interface", "wg0", "wg1")]
    [InlineData("-x", "-x", "wg0")]
    [InlineData("--no-such", "--no-such=1", "wg0")]
    [InlineData("-threads", "-threads", "1", "wg0")]
    [InlineData("needs a value", "wg0", "--threads")]
    public void Bad_usage_is_explained(string explanation, params string[] arguments) =>
        Assert.Contains(explanation, Assert.Throws<SettingsException>(() => CommandLine.Parse(arguments)).Message, StringComparison.Ordinal);

    [Fact]
    public void Help_names_every_command_and_fits_one_screen()
    {
        string help = $"{CommandLine.Usage}\n{Settings.Explain()}";

        Assert.All(CommandTable.Names, name => Assert.Contains(name, help, StringComparison.Ordinal));
        Assert.InRange(help.Split('\n').Sum(line => Math.Max(1, (line.Length + 79) / 80)), 10, 24);
    }

    [Fact]
    public void Help_names_every_setting()
    {
        Assert.All(["disable", "threads", "log_level"], name => Assert.Contains(name, Settings.Explain(), StringComparison.Ordinal));
    }

    [Fact]
    public void A_command_comes_first_or_is_no_command()
    {
        Assert.True(CommandTable.Contains("doctor"));
        Assert.Contains("comes first", Assert.Throws<SettingsException>(() => CommandLine.Parse(["-f", "doctor"])).Message, StringComparison.Ordinal);
        Assert.Equal("doctor", CommandLine.Parse(["-f", "--", "doctor"]).InterfaceName);
    }
}
