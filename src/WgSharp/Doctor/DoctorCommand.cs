using System.CommandLine;
using System.CommandLine.Help;
using WgSharp.Linux;

namespace WgSharp.Doctor;

/// <summary><c>wgsharp doctor [IF|FILE]</c>: what this machine lacks for a tunnel, and what mends it.</summary>
internal static class DoctorCommand
{
    private const int Healthy = 0;
    private const int Faults = 1;
    private const int OnlyWarnings = 3;

    private const string Configurations = "/etc/wireguard";
    private const string Extension = ".conf";

    public static Command Create()
    {
        var subject = new Argument<string?>("IF|FILE")
        {
            Arity = ArgumentArity.ZeroOrOne,
            Description = $"An interface, or a configuration of wg-quick; without, all in {Configurations}.",
        };
        var json = new Option<bool>("--json") { Description = "For programs." };
        var list = new Option<bool>("--list") { Description = "Only say what is looked at." };
        var command = new Command("doctor", "Says what this machine lacks for a WireGuard tunnel, and what mends it. Exit status: 0 healthy, 1 something does not work, 3 only warnings.")
        {
            subject, json, list, new HelpOption(),
        };

        // For the first words of --help.
        _ = new Command("wgsharp") { command };
        command.SetAction(parsed => parsed.GetValue(list) ? List() : Examine(parsed.GetValue(subject), parsed.GetValue(json)));
        return command;
    }

    /// <summary>The tunnels that were asked about.</summary>
    /// <exception cref="SettingsException">There is no such interface or file.</exception>
    internal static IReadOnlyList<Tunnel> Find(IMachine machine, string? subject)
    {
        if (subject is null)
        {
            return [.. machine.Entries(Configurations).Where(path => path.EndsWith(Extension, StringComparison.Ordinal)).Select(path => Open(machine, path))];
        }

        if (subject.StartsWith('-'))
        {
            throw new SettingsException($"There is no option {subject}, see wgsharp doctor --help.");
        }

        if (subject.Contains('/', StringComparison.Ordinal) || subject.EndsWith(Extension, StringComparison.Ordinal))
        {
            return machine.Exists(subject) ? [Open(machine, subject)] : throw new SettingsException($"There is no file {subject}.");
        }

        string its = $"{Configurations}/{subject}{Extension}";
        Tunnel tunnel = machine.Exists(its) ? Open(machine, its) : new Tunnel(subject, null, null, LiveTunnel.Find(machine, subject));
        return tunnel.Path is not null || tunnel.Live is not null
            ? [tunnel]
            : throw new SettingsException($"There is neither a file {its} nor a WireGuard interface {subject}.");
    }

    private static Tunnel Open(IMachine machine, string path)
    {
        string name = Path.GetFileNameWithoutExtension(path);
        return new Tunnel(name, path, machine.Read(path) is { } text ? WgQuickFile.Parse(text) : null, LiveTunnel.Find(machine, name));
    }

    private static int Examine(string? subject, bool json)
    {
        // There are keys in what is read.
        ProcessLimits.ForbidDumps();
        var machine = new Machine();
        IReadOnlyList<Finding> findings = Checks.Run(new Examination(machine, () => Find(machine, subject)));
        if (json)
        {
            Report.WriteJson(Console.OpenStandardOutput(), findings);
        }
        else
        {
            bool colours = !Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") is not (null or "dumb") && Environment.GetEnvironmentVariable("NO_COLOR") is null or "";
            Report.WriteText(Console.Out, findings, colours);
        }

        return findings.Count == 0 ? Healthy : findings.Any(finding => finding.Complaint.Level == Level.Fault) ? Faults : OnlyWarnings;
    }

    private static int List()
    {
        int width = Checks.All.Max(check => check.Id.Length);
        foreach (Check check in Checks.All)
        {
            Console.WriteLine($"{check.Id.PadRight(width)}  {check.LooksAt}");
        }

        return Healthy;
    }
}
