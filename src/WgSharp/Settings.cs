using System.Collections;
using System.Globalization;
using Serilog.Events;
using WgSharp.Linux;
using WgSharp.Metrics;
using WgSharp.Protocol;

namespace WgSharp;

/// <summary>A setting as it was found.</summary>
/// <param name="Origin">Where, for the message if it is wrong: <c>/etc/wgsharp/wg0.conf:3</c>, <c>WGSHARP_THREADS</c>, <c>--threads</c>.</param>
internal readonly record struct SettingLine(string Name, string Value, string Origin);

/// <summary>Something was asked for that cannot be; the message is one sentence for who asked.</summary>
internal sealed class SettingsException(string message) : Exception(message);

/// <summary>
/// The daemon's own settings, under the same names everywhere. Later ones win: the names of other daemons (WG_THREADS,
/// WG_LOG_LEVEL, LOG_LEVEL), <c>wgsharp.conf</c>, <c>IF.conf</c>, <c>WGSHARP_*</c>, the command line. What is wrong is refused
/// wherever it stands, also where a later one would win.
/// </summary>
internal sealed record Settings
{
    public const string DefaultDirectory = "/etc/wgsharp";
    public const int DefaultMetricsPeers = 1000;

    private const string Prefix = "WGSHARP_";
    private const int MaxThreads = 256;

    private static readonly string[] _aeads = ["avx512", "avx2"];

    private static readonly (string Variable, string Name)[] _borrowed =
    [
        ("LOG_LEVEL", "log_level"),
        ("WG_LOG_LEVEL", "log_level"),
        ("WG_THREADS", "threads"),
    ];

    private static readonly (string Name, string Explanation, Func<Settings, SettingLine, Settings> Apply)[] _known =
    [
        ("disable", "what not to use of what the start-up line shows: gso,gro,tso,...", ApplyDisable),
        ("threads", "packet threads; 0 (the default): by the number of processors", ApplyThreads),
        ("log_level", "silent, error, warning, info (the default), debug or trace", ApplyLogLevel),
        ("mtu_policy", "auto (the default): find out what a path takes, and make packets fit; clamp-only; kernel", ApplyMtuPolicy),
        ("service", "auto (the default): start wgsharp@INTERFACE.service, if it is there; never", ApplyService),
        ("core_dumps", "yes: a crash may leave one, keys and all; no (the default): never", ApplyCoreDumps),
        ("metrics", "for Prometheus, on a loopback address or unix:/PATH; none (the default)", ApplyMetrics),
        ("metrics_peers", "how many peers have metrics of their own; 1000 is the default", ApplyMetricsPeers),
    ];

    /// <summary>Kernel features to do without.</summary>
    public KernelFeature DisabledFeatures { get; private init; }

    /// <summary>Implementations of the AEAD to do without.</summary>
    public IReadOnlyList<string> DisabledAeads { get; private init; } = [];

    /// <summary>0: decided from the machine.</summary>
    public int Threads { get; private init; }

    /// <summary>Null: nothing at all.</summary>
    public LogEventLevel? LogLevel { get; private init; } = LogEventLevel.Information;

    /// <summary>What is done about path MTU.</summary>
    public MtuPolicy MtuPolicy { get; private init; }

    /// <summary>The interface is served by the unit, where there is one, so that it outlives its process; see <see cref="ServiceStart"/>.</summary>
    public bool MayBeService { get; private init; } = true;

    /// <summary>For debugging; there are keys in them.</summary>
    public bool CoreDumps { get; private init; }

    /// <summary>Where metrics are served; null: nowhere.</summary>
    public MetricsAddress? Metrics { get; private init; }

    /// <summary>How many peers have metrics of their own.</summary>
    public int MetricsPeers { get; private init; } = DefaultMetricsPeers;

    public static bool IsKnown(string name) => Array.Exists(_known, known => known.Name == name);

    /// <summary>One line per setting, for --help.</summary>
    public static string Explain() => string.Join('\n', _known.Select(known => $"  {known.Name,-13} {known.Explanation}"));

    /// <summary>Reads all sources.</summary>
    /// <param name="directory"><see cref="DefaultDirectory"/>, or another one in tests.</param>
    /// <exception cref="SettingsException">A setting or its value is unknown, or a file cannot be read.</exception>
    public static Settings Read(string directory, string interfaceName, IDictionary environment, IEnumerable<SettingLine> commandLine)
    {
        IEnumerable<SettingLine> lines =
        [
            .. Borrowed(environment),
            .. FromFile(Path.Combine(directory, "wgsharp.conf")),
            .. FromFile(Path.Combine(directory, interfaceName + ".conf")),
            .. FromEnvironment(environment),
            .. commandLine,
        ];
        var settings = new Settings();
        foreach (SettingLine line in lines)
        {
            int index = Array.FindIndex(_known, known => known.Name == line.Name);
            settings = index >= 0
                ? _known[index].Apply(settings, line)
                : throw new SettingsException($"{line.Origin}: there is no setting '{line.Name}'; there are {string.Join(", ", _known.Select(known => known.Name))}.");
        }

        return settings;
    }

    /// <summary>The level that a word means, in the vocabularies of wireguard-go, boringtun and Serilog.</summary>
    public static bool TryParseLevel(string word, out LogEventLevel? level)
    {
        (bool known, level) = word.ToUpperInvariant() switch
        {
            "SILENT" or "OFF" or "NONE" => (true, (LogEventLevel?)null),
            "ERROR" => (true, LogEventLevel.Error),
            "WARN" or "WARNING" => (true, LogEventLevel.Warning),
            "INFO" or "INFORMATION" => (true, LogEventLevel.Information),
            "DEBUG" or "VERBOSE" => (true, LogEventLevel.Debug),
            "TRACE" => (true, LogEventLevel.Verbose),
            _ => (false, null),
        };
        return known;
    }

    // LOG_LEVEL may be meant for anybody: a value that says nothing to us is none of our business.
    private static IEnumerable<SettingLine> Borrowed(IDictionary environment)
    {
        foreach ((string variable, string name) in _borrowed)
        {
            if (environment[variable] is string value && (name != "log_level" || TryParseLevel(value, out _)))
            {
                yield return new SettingLine(name, value, variable);
            }
        }
    }

    private static IEnumerable<SettingLine> FromEnvironment(IDictionary environment)
    {
        foreach (DictionaryEntry entry in environment)
        {
            string variable = (string)entry.Key;
            if (variable.StartsWith(Prefix, StringComparison.Ordinal))
            {
                yield return new SettingLine(variable[Prefix.Length..].ToLowerInvariant(), (string?)entry.Value ?? string.Empty, variable);
            }
        }
    }

    private static IEnumerable<SettingLine> FromFile(string path)
    {
        // Mostly there is none, and the first exception of a process is slow.
        if (!Path.Exists(path))
        {
            yield break;
        }

        string[] lines;
        try
        {
            lines = File.ReadAllLines(path);
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            throw new SettingsException($"{path} cannot be read: {refused.Message}");
        }

        for (int i = 0; i < lines.Length; i++)
        {
            string line = lines[i].Split('#', 2)[0].Trim();
            if (line.Length == 0)
            {
                continue;
            }

            string[] parts = line.Split('=', 2, StringSplitOptions.TrimEntries);
            string origin = $"{path}:{i + 1}";
            yield return parts.Length == 2
                ? new SettingLine(parts[0], parts[1], origin)
                : throw new SettingsException($"{origin}: '{line}' is not of the form name = value.");
        }
    }

    // Adds up over the sources: a host without a feature and a test without another are both right.
    private static Settings ApplyDisable(Settings settings, SettingLine line)
    {
        var others = new List<string>();
        KernelFeature features = KernelFeatures.ParseDisabled(line.Value, others);
        List<string> aeads = others.ConvertAll(word => word.ToLowerInvariant());
        string? unknown = aeads.Find(word => !_aeads.Contains(word));
        return unknown is null
            ? settings with { DisabledFeatures = settings.DisabledFeatures | features, DisabledAeads = [.. settings.DisabledAeads, .. aeads] }
            : throw new SettingsException($"{line.Origin}: there is no feature '{unknown}' to disable; {string.Join(", ", _aeads)} and what the start-up line shows are features.");
    }

    private static Settings ApplyThreads(Settings settings, SettingLine line) =>
        int.TryParse(line.Value, NumberStyles.None, CultureInfo.InvariantCulture, out int threads) && threads <= MaxThreads
            ? settings with { Threads = threads }
            : throw new SettingsException($"{line.Origin}: '{line.Value}' is not a number of threads from 0 to {MaxThreads}.");

    private static Settings ApplyMtuPolicy(Settings settings, SettingLine line) => line.Value switch
    {
        "auto" => settings with { MtuPolicy = MtuPolicy.Auto },
        "clamp-only" => settings with { MtuPolicy = MtuPolicy.ClampOnly },
        "kernel" => settings with { MtuPolicy = MtuPolicy.Kernel },
        _ => throw new SettingsException($"{line.Origin}: '{line.Value}' is not a policy for path MTU; there are auto, clamp-only and kernel."),
    };

    private static Settings ApplyService(Settings settings, SettingLine line) => line.Value switch
    {
        "auto" => settings with { MayBeService = true },
        "never" => settings with { MayBeService = false },
        _ => throw new SettingsException($"{line.Origin}: '{line.Value}' is neither auto nor never."),
    };

    private static Settings ApplyCoreDumps(Settings settings, SettingLine line) => line.Value switch
    {
        "yes" => settings with { CoreDumps = true },
        "no" => settings with { CoreDumps = false },
        _ => throw new SettingsException($"{line.Origin}: '{line.Value}' is neither yes nor no."),
    };

    private static Settings ApplyMetrics(Settings settings, SettingLine line) =>
        line.Value == "none" ? settings with { Metrics = null }
        : MetricsAddress.TryParse(line.Value, out MetricsAddress? address, out string reason) ? settings with { Metrics = address }
        : throw new SettingsException($"{line.Origin}: {reason}");

    private static Settings ApplyMetricsPeers(Settings settings, SettingLine line) =>
        int.TryParse(line.Value, NumberStyles.None, CultureInfo.InvariantCulture, out int peers) && peers <= Limits.MaxPeers
            ? settings with { MetricsPeers = peers }
            : throw new SettingsException($"{line.Origin}: '{line.Value}' is not a number of peers from 0 to {Limits.MaxPeers}.");

    private static Settings ApplyLogLevel(Settings settings, SettingLine line) =>
        TryParseLevel(line.Value, out LogEventLevel? level)
            ? settings with { LogLevel = level }
            : throw new SettingsException($"{line.Origin}: '{line.Value}' is not a log level; there are silent, error, warning, info, debug and trace.");
}
