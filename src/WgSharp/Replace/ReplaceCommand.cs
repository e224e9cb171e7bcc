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
        var only = new Argument<string?>("IF") { Arity = ArgumentArity.ZeroOrOne, Description = "The one interface to restart; the others follow when they are started." };
        var back = new Option<bool>("--back") { Description = "Go back to the program that was named before." };
        var dryRun = new Option<bool>("--dry-run") { Description = "Only say what would be done." };
        var yes = new Option<bool>("--yes") { Description = "Do not ask." };
        var command = new Command(
            "replace",
            "Puts wgsharp in the place of the program that wg-quick's unit starts, and restarts the interfaces that it serves, which stay as they are. "
            + "Exit status: 0 done, or nothing to be done; 1 not done, and everything as before.")
        {
            only, back, dryRun, yes, new HelpOption(),
        };

        // For the first words of --help.
        _ = new Command("wgsharp") { command };
        command.SetAction(parsed => Run(parsed.GetValue(only), parsed.GetValue(back), parsed.GetValue(dryRun), parsed.GetValue(yes)));
        return command;
    }

    /// <returns>Why that interface is none to restart; null: it is one.</returns>
    internal static string? WhyNot(IMachine machine, IReadOnlyList<QuickUnit> units, string name)
    {
        QuickUnit? unit = units.FirstOrDefault(each => each.IsUp && each.Interface == name);
        Serving serving = unit?.Serving ?? Serving.Find(machine, name);
        return serving.By switch
        {
            Server.Kernel => $"{name} is the kernel's: there is nothing to be replaced.",
            Server.Nobody => machine.Exists($"/sys/class/net/{name}") ? $"{name} is no WireGuard interface that anybody serves." : $"there is no interface {name}.",
            _ => unit is null ? ByHand(name, serving) : null,
        };
    }

    private static int Run(string? only, bool back, bool dryRun, bool yes)
    {
        // There are keys in what is read.
        ProcessLimits.ForbidDumps();
        var machine = new Machine();
        if (only?.StartsWith('-') is true)
        {
            throw new SettingsException($"There is no option {only}, see wgsharp replace --help.");
        }

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
        if (only is not null && WhyNot(machine, units, only) is { } why)
        {
            throw new IOException(why);
        }

        DropInState now = dropIn.Current;
        Plan plan = back
            ? Plan.Back(units, now, dropIn.Path, program => Programs.Find(machine, program, Programs.ServicePath), only)
            : Plan.Forth(units, now, dropIn.Path, dropIn.TextFor(machine.Self), only);
        foreach (string line in plan.Says.Concat(back ? [] : LeftAlone(machine, units)))
        {
            Console.WriteLine(line);
        }

        if (plan.Wanted == now && plan.Restarts.Count == 0)
        {
            Console.WriteLine(back ? "There is nothing to go back to." : "There is nothing to be replaced.");
            return Done;
        }

        string[] refusals = [.. plan.Refusals, .. plan.Restarts.Select(name => Survey.WhyNotRestarted(machine, name)).OfType<string>()];
        if (refusals.Length > 0)
        {
            ProcessLimits.Say($"wgsharp: {string.Join('\n', refusals)}");
            return Refused;
        }

        return dryRun ? Done : yes || Agrees() ? Change(machine, dropIn, plan, back) : Refused;
    }

    private static IEnumerable<string> LeftAlone(Machine machine, IReadOnlyList<QuickUnit> units) =>
        Survey.Strays(machine, units).Where(stray => stray.Serving.By == Server.Another).Select(stray => ByHand(stray.Name, stray.Serving))
            .Concat(Survey.OfShells(machine).Select(naming => $"{naming.Path} names {naming.Program}, to shells: it is left as it is."));

    private static string ByHand(string name, Serving serving) =>
        $"{name} is served by {serving.Program}, and {Survey.UnitName(name)} did not start it: "
        + (serving.By == Server.Wgsharp ? "there is nothing to be replaced." : $"end it as it was started, then {WgQuickSetup.VariableName}=wgsharp wg-quick up {name}.");

    private static bool Agrees()
    {
        if (Console.IsInputRedirected)
        {
            throw new SettingsException("There is no terminal to ask on: add --yes (or --dry-run).");
        }

        Console.Write("Go on? [y/N] ");
        return Console.ReadLine()?.Trim() is ['y' or 'Y', ..];
    }

    private static int Change(Machine machine, DropIn dropIn, Plan plan, bool back)
    {
        // Who does this may have come by the very tunnel.
        using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, signal => signal.Cancel = true);
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, signal => signal.Cancel = true);
        if (new Changeover(machine, dropIn, Changeover.RuntimeUnits, Tell).Run(plan, toWgsharp: !back) is not { } why)
        {
            return Done;
        }

        ProcessLimits.Say($"wgsharp: {why}");
        return Refused;
    }

    private static void Tell(string line)
    {
        try
        {
            Console.WriteLine(line);
        }
        catch (IOException)
        {
            // A terminal that is gone is no reason to stop in the middle.
        }
    }
}
