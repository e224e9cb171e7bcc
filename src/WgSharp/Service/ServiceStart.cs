using System.Collections;
using System.Text;
using WgSharp.Linux;

namespace WgSharp;

/// <summary>
/// Where systemd runs and the unit <c>wgsharp@.service</c> is installed for this very program, <c>wgsharp IF</c>, called by wg-quick or by a person, has the unit
/// start the daemon instead of going to the background by itself: so it is started again when it dies, and <see cref="Survival"/> applies.
/// <code>
///   wgsharp wg0 ── /run/wgsharp/wg0/env: settings ──> systemctl start wgsharp@wg0.service ──> wgsharp -f wg0
///                  /run/wgsharp/wg0/said: empty   &lt;── why it cannot be, in a sentence ─────┘  (or READY=1)
/// </code>
/// The directory is the unit's RuntimeDirectory=: it stays when the unit is started again, and goes with it. Its file <c>env</c> also tells the
/// unit that whoever called configures the interface.
/// </summary>
internal static class ServiceStart
{
    private const string RunningSystemd = "/run/systemd/system";
    private const string SystemdSocket = "/run/systemd/private";
    private const string DirectoryVariable = "RUNTIME_DIRECTORY";
    private const string Said = "said";
    private const string Prefix = "WGSHARP_";

    private const UnixFileMode OwnersFile = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    // Where systemd looks for units, what wins first.
    private static readonly string[] _unitDirectories =
        ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

    private static readonly string[] _systemctls = ["/usr/bin/systemctl", "/bin/systemctl"];
    private static readonly string[] _borrowed = ["LOG_LEVEL", "WG_LOG_LEVEL", "WG_THREADS"];

    /// <returns>The exit code, when the unit is ready or has failed; null where there is no unit to be started.</returns>
    /// <exception cref="SettingsException">A setting is wrong.</exception>
    /// <exception cref="IOException">The interface is served already.</exception>
    public static int? TryRun(CommandLine commandLine, Action<string> say)
    {
        string name = commandLine.InterfaceName;
        if (!IsPossible(name) || Array.Find(_systemctls, File.Exists) is not { } systemctl)
        {
            return null;
        }

        IDictionary environment = Environment.GetEnvironmentVariables();
        if (!Settings.Read(Settings.DefaultDirectory, name, environment, commandLine.Settings).MayBeService
            || DescribeEnvironment(environment, commandLine.Settings) is not { } description)
        {
            return null;
        }

        // Nobody answers there any more: then systemd has been told that the one before is ending, and starts the next one after that.
        UapiSocket.AwaitFree(UapiSocket.DefaultDirectory, name, TunnelService.PatienceWithPredecessor);
        return Run(systemctl, name, description, say);
    }

    /// <summary>In the daemon, on its way out: what its caller would like to hear, if it was started by <see cref="TryRun"/> and is not ready.</summary>
    public static void TellCaller(string sentence)
    {
        if (Environment.GetEnvironmentVariable(DirectoryVariable) is { Length: > 0 } directory && File.Exists(Path.Combine(directory, Said)))
        {
            try
            {
                File.AppendAllText(Path.Combine(directory, Said), sentence);
            }
            catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
            {
                // It stands in the journal, too.
            }
        }
    }

    /// <summary>As EnvironmentFile= reads it: the settings of the caller's environment and of the command line, which wins.</summary>
    /// <returns>Null if one cannot be written in a line.</returns>
    internal static string? DescribeEnvironment(IDictionary environment, IEnumerable<SettingLine> commandLine)
    {
        var variables = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (DictionaryEntry entry in environment)
        {
            string variable = (string)entry.Key;
            if (variable.StartsWith(Prefix, StringComparison.Ordinal) || _borrowed.Contains(variable))
            {
                variables[variable] = (string?)entry.Value ?? string.Empty;
            }
        }

        foreach (SettingLine line in commandLine)
        {
            string variable = Prefix + line.Name.ToUpperInvariant();

            // Of all settings this one adds up.
            variables[variable] = line.Name == "disable" && variables.TryGetValue(variable, out string? others) ? $"{others},{line.Value}" : line.Value;
        }

        if (variables.Any(variable => variable.Value.Any(char.IsControl)))
        {
            return null;
        }

        return string.Concat(variables.Select(variable => $"{variable.Key}=\"{Escape(variable.Value)}\"\n"));
    }

    private static string Escape(string value)
    {
        var escaped = new StringBuilder();
        foreach (char letter in value)
        {
            escaped.Append(letter is '"' or '\\' or '$' or '`' ? "\\" : string.Empty).Append(letter);
        }

        return escaped.ToString();
    }

    private static bool IsPossible(string name) =>
        Directory.Exists(RunningSystemd)
        && Path.Exists(SystemdSocket)
        && Environment.IsPrivilegedProcess
        && Detach.InheritedDescriptor("WG_TUN_FD") is null
        && Detach.InheritedDescriptor("WG_UAPI_FD") is null
        && name.All(letter => char.IsAsciiLetterOrDigit(letter) || letter is '_' or '-' or '.')
        && new FileInfo("/proc/self/ns/net").LinkTarget == new FileInfo("/proc/1/ns/net").LinkTarget
        && Array.TrueForAll(["/run", "/run/wireguard"], place => FileIdentity.OfTarget(place) == FileIdentity.OfTarget("/proc/1/root" + place))
        && Array.Find(Array.ConvertAll(_unitDirectories, directory => $"{directory}/wgsharp@.service"), File.Exists) is { } unit
        && IsOurs(File.ReadAllLines(unit));

    /// <summary>Whether a unit keeps descriptors, and what it starts is this very file.</summary>
    private static bool IsOurs(string[] unit)
    {
        const string Start = "ExecStart=";
        string? program = Array.Find(unit, line => line.StartsWith(Start, StringComparison.Ordinal))?[Start.Length..].Split(' ')[0];
        return program is not null
            && Array.Exists(unit, line => line.StartsWith("FileDescriptorStoreMax=", StringComparison.Ordinal))
            && FileIdentity.OfTarget(program) is { } started
            && started == FileIdentity.OfTarget(Detach.Executable);
    }

    private static int Run(string systemctl, string name, string description, Action<string> say)
    {
        string directory = $"/run/wgsharp/{name}";
        string unit = $"wgsharp@{name}.service";
        int status = Start(systemctl, unit, directory, description, out string? why, out string answer);
        if (status != 0 && why is null)
        {
            // It may have been started too often of late: by us it is started because somebody asks for it now.
            _ = Ask(systemctl, out _, "reset-failed", unit);
            status = Start(systemctl, unit, directory, description, out why, out answer);
        }

        if (status == 0)
        {
            File.Delete(Path.Combine(directory, Said));
            return 0;
        }

        // No second attempt of which nobody would hear.
        _ = Ask(systemctl, out _, "stop", unit);
        _ = Ask(systemctl, out _, "reset-failed", unit);
        if (Directory.Exists(directory))
        {
            // systemd takes it away only if it came as far as to prepare it.
            Directory.Delete(directory, recursive: true);
        }

        say($"{why ?? $"wgsharp: {unit} could not be started, see journalctl -u {unit} ({OneLine(answer)})."}\n");
        return 1;
    }

    /// <param name="why">What the daemon said, if it came to say anything.</param>
    /// <param name="answer">What systemctl said.</param>
    private static int Start(string systemctl, string unit, string directory, string description, out string? why, out string answer)
    {
        // Each time anew: with a unit that fails, its directory goes.
        Directory.CreateDirectory(directory, OwnersFile | UnixFileMode.UserExecute);
        using FileStream said = Create(Path.Combine(directory, Said));
        using (FileStream environment = Create(Path.Combine(directory, "env")))
        {
            environment.Write(Encoding.UTF8.GetBytes(description));
        }

        int status = Ask(systemctl, out answer, "start", unit);

        // systemd may have tried again by itself, and failed again: once is enough.
        using var reader = new StreamReader(said, Encoding.UTF8);
        why = reader.ReadLine();
        return status;
    }

    private static FileStream Create(string path) => new(
        path, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.ReadWrite, Share = FileShare.ReadWrite | FileShare.Delete, UnixCreateMode = OwnersFile, BufferSize = 0 });

    // At once and alone: whoever calls may himself be something that the unit would have to wait for (an interface in /etc/network/interfaces).
    private static int Ask(string systemctl, out string answer, string verb, string unit)
    {
        string[] arguments = verb == "start"
            ? [systemctl, "--no-ask-password", "--job-mode=ignore-dependencies", verb, unit]
            : [systemctl, "--quiet", "--no-ask-password", verb, unit];
        SpawnedProcess process = ProcessSpawn.Detached(systemctl, arguments, ["LC_ALL=C"], keepStandardError: false, []);
        (answer, _) = Detach.Listen(process.StandardError);
        return ProcessSpawn.WaitForExit(process);
    }

    private static string OneLine(string text) => string.Join(' ', text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
}
