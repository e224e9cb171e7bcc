using System.Collections;
using Serilog.Events;
using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp.Tests;

public sealed class SettingsTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly Hashtable _environment = [];

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Without_any_source_the_machine_decides()
    {
        Settings settings = Read();

        Assert.Equal(0, settings.Threads);
        Assert.Equal(LogEventLevel.Information, settings.LogLevel);
        Assert.Equal(KernelFeature.None, settings.DisabledFeatures);
        Assert.Empty(settings.DisabledAeads);
    }

    [Fact]
    public void The_more_particular_source_wins()
    {
        _environment["WG_THREADS"] = "1";
        Assert.Equal(1, Read().Threads);
        Write("wgsharp.conf", "threads = 2");
        Assert.Equal(2, Read().Threads);
        Write("wg0.conf", "threads=3");
        Assert.Equal(3, Read().Threads);
        _environment["WGSHARP_THREADS"] = "4";
        Assert.Equal(4, Read().Threads);
        Assert.Equal(5, Read(new SettingLine("threads", "5", "--threads")).Threads);
    }

    [Fact]
    public void Metrics_are_served_only_where_somebody_asks_for_them_and_only_to_this_machine()
    {
        Assert.Null(Read().Metrics);
        Assert.Equal(1000, Read().MetricsPeers);
        Write("wgsharp.conf", "metrics = 127.0.0.1:9586\nmetrics_peers = 0");
        Assert.Equal("127.0.0.1:9586", Read().Metrics!.ToString());
        Assert.Equal(0, Read().MetricsPeers);
        _environment["WGSHARP_METRICS"] = "none";
        Assert.Null(Read().Metrics);
        SettingsException refused = Assert.Throws<SettingsException>(() => Read(new SettingLine("metrics", "0.0.0.0:9586", "--metrics")));
        Assert.StartsWith("--metrics: ", refused.Message, StringComparison.Ordinal);
        Assert.Contains("0.0.0.0 is not a loopback address", refused.Message, StringComparison.Ordinal);
        Assert.Throws<SettingsException>(() => Read(new SettingLine("metrics_peers", "-1", "--metrics-peers")));
    }

    [Fact]
    public void Core_dumps_are_made_only_for_who_wants_them()
    {
        Assert.False(Read().CoreDumps);
        Assert.True(Read(new SettingLine("core_dumps", "yes", "--core-dumps")).CoreDumps);
        Write("wg0.conf", "core_dumps = yes");
        Assert.True(Read().CoreDumps);
        _environment["WGSHARP_CORE_DUMPS"] = "no";
        Assert.False(Read().CoreDumps);
        SettingsException refused = Assert.Throws<SettingsException>(() => Read(new SettingLine("core_dumps", "perhaps", "--core-dumps")));
        Assert.Contains("'perhaps' is neither yes nor no", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_unit_serves_an_interface_unless_somebody_says_otherwise()
    {
        Assert.True(Read().MayBeService);
        Assert.False(Read(new SettingLine("service", "never", "--service")).MayBeService);
        Write("wg0.conf", "service = never");
        Assert.False(Read().MayBeService);
        _environment["WGSHARP_SERVICE"] = "auto";
        Assert.True(Read().MayBeService);
        SettingsException refused = Assert.Throws<SettingsException>(() => Read(new SettingLine("service", "yes", "--service")));
        Assert.Contains("'yes' is neither auto nor never", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_path_is_looked_at_unless_somebody_says_otherwise()
    {
        Assert.Equal(MtuPolicy.Auto, Read().MtuPolicy);
        Write("wgsharp.conf", "mtu_policy = clamp-only");
        Assert.Equal(MtuPolicy.ClampOnly, Read().MtuPolicy);
        _environment["WGSHARP_MTU_POLICY"] = "kernel";
        Assert.Equal(MtuPolicy.Kernel, Read().MtuPolicy);
        Assert.Equal(MtuPolicy.Auto, Read(new SettingLine("mtu_policy", "auto", "--mtu-policy")).MtuPolicy);
        SettingsException refused = Assert.Throws<SettingsException>(() => Read(new SettingLine("mtu_policy", "1400", "--mtu-policy")));
        Assert.Contains("'1400' is not a policy for path MTU", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Another_interfaces_file_is_not_read()
    {
        Write("wg1.conf", "threads = nonsense");

        Assert.Equal(0, Read().Threads);
    }

    [Fact]
    public void Comments_blanks_and_empty_lines_are_nothing()
    {
        Write("wg0.conf", "# a comment\n\n   threads   =  7   # seven\n\t\n");

        Assert.Equal(7, Read().Threads);
    }

    [Fact]
    public void What_is_disabled_adds_up()
    {
        Write("wgsharp.conf", "disable = gso, avx512");
        _environment["WGSHARP_DISABLE"] = "TSO,ipv6,AVX2";

        Settings settings = Read();

        Assert.Equal(KernelFeature.Gso | KernelFeature.Tso4 | KernelFeature.Tso6 | KernelFeature.Ipv6, settings.DisabledFeatures);
        Assert.Equal(["avx512", "avx2"], settings.DisabledAeads);
    }

    [Theory]
    [InlineData("silent", null)]
    [InlineData("off", null)]
    [InlineData("error", LogEventLevel.Error)]
    [InlineData("warn", LogEventLevel.Warning)]
    [InlineData("info", LogEventLevel.Information)]
    [InlineData("debug", LogEventLevel.Debug)]
    [InlineData("verbose", LogEventLevel.Debug)]
    [InlineData("trace", LogEventLevel.Verbose)]
    public void The_levels_of_other_daemons_are_understood_under_their_names(string word, LogEventLevel? level)
    {
        foreach (string variable in new[] { "LOG_LEVEL", "WG_LOG_LEVEL", "WGSHARP_LOG_LEVEL" })
        {
            _environment.Clear();
            _environment[variable] = word;
            Assert.Equal(level, Read().LogLevel);
        }
    }

    [Fact]
    public void A_general_variable_with_a_foreign_value_is_none_of_our_business()
    {
        _environment["LOG_LEVEL"] = "notice";

        Assert.Equal(LogEventLevel.Information, Read().LogLevel);
    }

    [Theory]
    [InlineData("thread = 1", "wg0.conf:2", "'thread'")]
    [InlineData("threads", "wg0.conf:2", "name = value")]
    [InlineData("threads = many", "wg0.conf:2", "'many'")]
    [InlineData("threads = -1", "wg0.conf:2", "'-1'")]
    [InlineData("threads = 257", "wg0.conf:2", "'257'")]
    [InlineData("log_level = loud", "wg0.conf:2", "'loud'")]
    [InlineData("disable = gso,warp", "wg0.conf:2", "'warp'")]
    public void What_is_wrong_is_refused_with_its_place(string line, string place, string what)
    {
        Write("wg0.conf", "# first line\n" + line);

        string message = Assert.Throws<SettingsException>(() => Read()).Message;

        Assert.Contains(place, message, StringComparison.Ordinal);
        Assert.Contains(what, message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_wrong_is_refused_also_where_it_would_not_count()
    {
        Write("wgsharp.conf", "threads = many");

        Assert.Throws<SettingsException>(() => Read(new SettingLine("threads", "1", "--threads")));
    }

    [Theory]
    [InlineData("WGSHARP_THREAD", "1")]
    [InlineData("WGSHARP_THREADS", "")]
    [InlineData("WGSHARP_LOG_LEVEL", "notice")]
    [InlineData("WG_THREADS", "x")]
    public void A_wrong_variable_is_named(string variable, string value)
    {
        _environment[variable] = value;

        Assert.Contains(variable, Assert.Throws<SettingsException>(() => Read()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_that_cannot_be_read_is_named()
    {
        Directory.CreateDirectory(Path.Combine(_directory.Path, "wg0.conf"));

        Assert.Contains("wg0.conf", Assert.Throws<SettingsException>(() => Read()).Message, StringComparison.Ordinal);
    }

    private Settings Read(params SettingLine[] commandLine) => Settings.Read(_directory.Path, "wg0", _environment, commandLine);

    private void Write(string file, string text) => File.WriteAllText(Path.Combine(_directory.Path, file), text);
}
