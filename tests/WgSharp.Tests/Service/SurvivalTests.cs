using System.Collections;
using System.Runtime.InteropServices;
using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp.Tests;

/// <summary>What is decided about starts, names and settings on the way from one process to the next.</summary>
public sealed class SurvivalTests
{
    private static readonly Instant Now = new(1_000_000_000_000);

    [Fact]
    public void Only_starts_within_the_window_count_and_this_one_does()
    {
        Assert.Equal([Now], Survival.CountStarts([], Now));
        Instant[] former = [Ago(20), Ago(10), Ago(9.9), Ago(1), Now + TimeSpan.FromSeconds(1)];

        IReadOnlyList<Instant> counted = Survival.CountStarts(MemoryMarshal.AsBytes<long>([.. former.Select(start => start.Nanoseconds)]), Now);

        Assert.Equal([Ago(9.9), Ago(1), Now], counted);
    }

    [Fact]
    public void Zeros_behind_the_starts_and_half_a_number_are_no_starts() =>
        Assert.Equal([Now], Survival.CountStarts(new byte[100], Now));

    [Fact]
    public void The_name_of_a_control_socket_says_which_file_it_was()
    {
        var identity = new FileIdentity(26, 18446744073709551615, IsSocket: true);

        Assert.Equal(identity, Survival.ParseControl(Survival.NameControl(identity)));
    }

    [Theory]
    [InlineData("tun")]
    [InlineData("control-")]
    [InlineData("control-1")]
    [InlineData("control-1-2-3")]
    [InlineData("control-1-x")]
    [InlineData("control--1-2")]
    public void Other_names_are_of_no_control_socket(string name) => Assert.Null(Survival.ParseControl(name));

    [Fact]
    public void The_unit_gets_the_settings_of_the_environment_and_of_the_command_line()
    {
        var environment = new Hashtable
        {
            ["WGSHARP_THREADS"] = "2",
            ["WGSHARP_DISABLE"] = "gso",
            ["WGSHARP_MTU_POLICY"] = "kernel",
            ["LOG_LEVEL"] = "debug",
            ["PATH"] = "/bin",
            ["WG_TUN_FD"] = "",
        };

        string? described = ServiceStart.DescribeEnvironment(
            environment,
            [new("disable", "gro", "--disable"), new("mtu_policy", "auto", "--mtu-policy"), new("log_level", "warning", "--log-level")]);

        Assert.Equal(
            """
            LOG_LEVEL="debug"
            WGSHARP_DISABLE="gso,gro"
            WGSHARP_LOG_LEVEL="warning"
            WGSHARP_MTU_POLICY="auto"
            WGSHARP_THREADS="2"

            """,
            described);
    }

    [Fact]
    public void What_means_something_to_who_reads_the_file_is_escaped() =>
        Assert.Equal(
            "LOG_LEVEL=\"a \\\"b\\\" \\\\ \\$c \\`d\\`\"\n",
            ServiceStart.DescribeEnvironment(new Hashtable { ["LOG_LEVEL"] = "a \"b\" \\ $c `d`" }, []));

    [Fact]
    public void What_is_no_line_cannot_be_described() =>
        Assert.Null(ServiceStart.DescribeEnvironment(new Hashtable { ["LOG_LEVEL"] = "a\nb" }, []));

    private static Instant Ago(double seconds) => Now + TimeSpan.FromSeconds(-seconds);
}
