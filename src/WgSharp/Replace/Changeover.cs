using System.Diagnostics;
using WgSharp.Doctor;

namespace WgSharp.Replace;

/// <summary>Carries a plan out: the drop-in, then one unit after the other, each looked at afterwards; and all of it back when something is not as it should be.</summary>
/// <param name="runtimeUnits">Where what is said of units is gone with the next boot.</param>
/// <param name="say">Takes a line for whoever asked.</param>
internal sealed class Changeover(IMachine machine, DropIn dropIn, string runtimeUnits, Action<string> say)
{
    /// <summary>systemd's.</summary>
    public const string RuntimeUnits = "/run/systemd/system";

    private readonly List<(string Name, InterfaceState? Was)> _touched = [];
    private long _restarted;

    /// <param name="toWgsharp">Else away from it.</param>
    /// <returns>Why it was not to be, and everything is as before; null: done.</returns>
    public string? Run(Plan plan, bool toWgsharp)
    {
        DropInState before = dropIn.Current;
        string? why;
        try
        {
            why = Change(plan, toWgsharp);
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            why = refused.Message;
        }

        return why is null ? null : $"{why} {Undo(before)}";
    }

    private string? Change(Plan plan, bool toWgsharp)
    {
        dropIn.Put(plan.Wanted);
        if (Reload() is { } refused)
        {
            return refused;
        }

        // systemd has read the files anew: only what it says counts.
        foreach (string name in plan.Restarts)
        {
            Naming? last = Survey.Namings(machine, name, without: null).Select(naming => (Naming?)naming).LastOrDefault();
            if (toWgsharp != (last?.IsWgsharp ?? false))
            {
                return $"{name}: after all, {last?.ToString() ?? "nobody"} wins.";
            }
        }

        return plan.Restarts.Select(name => Restart(name, toWgsharp)).FirstOrDefault(why => why is not null);
    }

    private string? Restart(string name, bool toWgsharp)
    {
        InterfaceState? was = InterfaceState.Find(machine, name);
        _touched.Add((name, was));
        ProgramResult restart = RestartUnit(name);
        if (!restart.Succeeded)
        {
            return $"{name}: {WhyNot(name) ?? restart.Complaint}";
        }

        Serving now = Serving.Find(machine, name);
        if (now.By != (toWgsharp ? Server.Wgsharp : Server.Another))
        {
            return $"{name}: {(now.By == Server.Nobody ? "nobody" : now.Program)} serves it now.";
        }

        if (MakeAsBefore(name, was, now) is { } why)
        {
            return $"{name}: {why}.";
        }

        say($"{name}: served by {now.Program}, {Stopwatch.GetElapsedTime(_restarted).TotalMilliseconds:0} ms after the restart began.");
        return null;
    }

    /// <summary>
    /// A daemon that wgsharp@ runs ends a moment after its interface is gone, and wireguard-go gives up when it still finds that one's control socket: so somebody has to wait between
    /// the unit's end and its new start. Two commands would not do: what depends on the unit is restarted with it, and not started again.
    /// </summary>
    private ProgramResult RestartUnit(string name)
    {
        string unit = Survey.UnitName(name), daemon = $"wgsharp@{name}.service";
        var between = new DropIn($"{runtimeUnits}/{unit}.d");
        bool waits = false;
        if (!machine.Run("systemctl", ["is-active", "--quiet", unit]).Succeeded)
        {
            machine.Run("systemctl", ["stop", daemon]);
        }
        else if (Serving.Find(machine, name).By == Server.Wgsharp)
        {
            waits = true;
            between.Put(new DropInState($"[Service]\nExecStopPost=-/bin/systemctl stop --job-mode=ignore-dependencies {daemon}\n", PackageMasked: false));
            _ = Reload();
        }

        _restarted = Stopwatch.GetTimestamp();
        ProgramResult restart = machine.Run("systemctl", ["restart", unit]);
        if (waits)
        {
            between.Put(default);
            _ = Reload();
        }

        return restart;
    }

    private string? MakeAsBefore(string name, InterfaceState? was, Serving serving)
    {
        if (InterfaceState.Find(machine, name) is not { } now)
        {
            return "it does not answer";
        }

        if (was is null)
        {
            return null;
        }

        var carryOver = new CarryOver(machine, name, serving.CannotChangePeers);
        if (carryOver.Run(was, now) is { } why)
        {
            return why;
        }

        if (carryOver.Call(was) is { } silent)
        {
            say($"{name}: peers could not be called, and come by themselves: {silent}");
        }

        return null;
    }

    // What wgsharp said is worth more than that the unit failed.
    private string? WhyNot(string name) =>
        machine.Run("journalctl", ["-b", "-q", "-o", "cat", "-n", "30", "-u", Survey.UnitName(name)]).Lines.LastOrDefault(line => line.StartsWith("wgsharp: ", StringComparison.Ordinal))?["wgsharp: ".Length..];

    private string Undo(DropInState before)
    {
        dropIn.Put(before);
        string? trouble = Reload();
        foreach ((string name, InterfaceState? was) in _touched)
        {
            // It may have been started too often of late.
            machine.Run("systemctl", ["reset-failed", Survey.UnitName(name)]);
            ProgramResult restart = RestartUnit(name);
            string? why = restart.Succeeded ? MakeAsBefore(name, was, Serving.Find(machine, name)) : restart.Complaint;
            trouble ??= why is null ? null : $"{name}: {why}";
        }

        return trouble is null ? "Everything is as it was before." : $"The way back failed, too: {trouble}";
    }

    private string? Reload() => machine.Run("systemctl", ["daemon-reload"]) is { Succeeded: false } refused ? $"systemctl daemon-reload: {refused.Complaint}" : null;
}
