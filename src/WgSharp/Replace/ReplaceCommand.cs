using System.CommandLine;
using System.CommandLine.Help;
using System.Runtime.InteropServices;
using WgSharp.Doctor;
using WgSharp.Linux;

namespace WgSharp.Replace;

/// <summary><c>wgsharp replace</c>: takes the place of another userspace program under wg-quick's unit, with the same configuration, and gives it back.</summary>
internal static class ReplaceCommand
{
    private const int Done = 0;
    private const int Refused = 1;

    public static Command Create()
    {
        var back = new Option<bool>("--back") { Description = "Go back to the program that was named before." };
        var dryRun = new Option<bool>("--dry-run") { Description = "Only say what would be done." };
        var yes = new Option<bool>("--yes") { Description = "Do not ask." };
        var force = new Option<bool>("--force") { Description = "Lose what was set by hand and is not in the files." };
        var command = new Command(
            "replace",
            "Puts wgsharp in the place of the program that wg-quick's unit starts, and restarts the interfaces that it serves. Exit status: 0 done, or nothing to be done; 1 not done, and everything as before.")
        {
            back, dryRun, yes, force, new HelpOption(),
        };

        // For the first words of --help.
        _ = new Command("wgsharp") { command };
        command.SetAction(parsed => Run(parsed.GetValue(back), parsed.GetValue(dryRun), parsed.GetValue(yes), parsed.GetValue(force)));
        return command;
    }

    private static int Run(bool back, bool dryRun, bool yes, bool force)
    {
        // There are keys in what is read.
        ProcessLimits.ForbidDumps();
        var machine = new Machine();
        if (!machine.Exists("/run/systemd/system"))
        {
            throw new IOException($"systemd does not run here: write wgsharp where {WgQuickSetup.VariableName} is set.");
        }

        if (!Environment.IsPrivilegedProcess)
        {
            throw new IOException("only root may do that.");
        }

        var dropIn = new DropIn(DropIn.DefaultDirectory);
        IReadOnlyList<QuickUnit> units = Survey.Units(machine, dropIn.Path);
        DropInState now = dropIn.Current;
        Plan plan = back
            ? Plan.Back(units, now, dropIn.Path, program => Programs.Find(machine, program, Programs.ServicePath))
            : Plan.Forth(units, now, dropIn.Path, dropIn.TextFor(machine.Self));
        if (plan.Wanted == now && plan.Restarts.Count == 0)
        {
            Console.WriteLine(back ? "There is nothing to go back to." : "There is nothing to be replaced.");
            return Done;
        }

        foreach (string line in plan.Says.Concat(Survey.OfShells(machine).Select(naming => $"{naming.Path} names {naming.Program}, to shells: it is left as it is.")))
        {
            Console.WriteLine(line);
        }

        string[] refusals = [.. plan.Refusals, .. force ? [] : plan.Restarts.SelectMany(name => Losses(machine, name))];
        if (refusals.Length > 0)
        {
            ProcessLimits.Say($"wgsharp: {string.Join('\n', refusals)}");
            return Refused;
        }

        return dryRun ? Done : yes || Agrees() ? Change(machine, dropIn, plan, back, force) : Refused;
    }

    private static IEnumerable<string> Losses(Machine machine, string name)
    {
        IReadOnlyList<string> differences = Survey.Differences(machine, name);
        const int Most = 5;
        if (differences.Count > 0)
        {
            string more = differences.Count > Most ? $", and {differences.Count - Most} more" : string.Empty;
            yield return $"{name} is not what its file says, and a restart would change {string.Join("; ", differences.Take(Most))}{more}. "
                + "Write into the file what is to stay; --force does without.";
        }
    }

    private static bool Agrees()
    {
        if (Console.IsInputRedirected)
        {
            throw new SettingsException("There is no terminal to ask on: add --yes (or --dry-run).");
        }

        Console.Write("Go on? [y/N] ");
        return Console.ReadLine()?.Trim() is ['y' or 'Y', ..];
    }

    private static int Change(Machine machine, DropIn dropIn, Plan plan, bool back, bool force)
    {
        // Who does this may have come by the very tunnel.
        using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, signal => signal.Cancel = true);
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, signal => signal.Cancel = true);
        if (new Changeover(machine, dropIn, Console.Out).Run(plan, toWgsharp: !back, force) is not { } why)
        {
            return Done;
        }

        ProcessLimits.Say($"wgsharp: {why}");
        return Refused;
    }
}
