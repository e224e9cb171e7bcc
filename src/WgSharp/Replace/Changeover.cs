using System.Diagnostics;
using System.Text;
using WgSharp.Doctor;

namespace WgSharp.Replace;

/// <summary>Carries a plan out: the drop-in, then one unit after the other, each looked at afterwards; and all of it back when something is not as it should be.</summary>
internal sealed class Changeover(IMachine machine, DropIn dropIn, TextWriter to)
{
    /// <summary>A session lives so long (whitepaper 6.1, Reject-After-Time): before, a peer goes on sending with it.</summary>
    private const int SessionSeconds = 180;

    private readonly List<string> _touched = [];

    /// <param name="toWgsharp">Else away from it.</param>
    /// <param name="force">What was set by hand may be lost.</param>
    /// <returns>Why it was not to be, and everything is as before; null: done.</returns>
    public string? Run(Plan plan, bool toWgsharp, bool force)
    {
        DropInState before = dropIn.Current;
        string? why;
        try
        {
            why = Change(plan, toWgsharp, force);
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            why = refused.Message;
        }

        return why is null ? null : $"{why} {Undo(before)}";
    }

    private string? Change(Plan plan, bool toWgsharp, bool force)
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

        return plan.Restarts.Select(name => Restart(name, toWgsharp, force)).FirstOrDefault(why => why is not null);
    }

    private string? Restart(string name, bool toWgsharp, bool force)
    {
        if (!force && Survey.Differences(machine, name) is [var difference, ..])
        {
            return $"{name}: meanwhile it differs from its file in {difference}.";
        }

        LiveConfiguration? before = Survey.Dump(machine, name);
        _touched.Add(name);
        long started = Stopwatch.GetTimestamp();
        ProgramResult restart = machine.Run("systemctl", ["restart", Survey.UnitName(name)]);
        TimeSpan took = Stopwatch.GetElapsedTime(started);
        if (!restart.Succeeded)
        {
            return $"{name}: {WhyNot(name) ?? restart.Complaint}";
        }

        Serving now = Serving.Find(machine, name);
        if (now.By != (toWgsharp ? Server.Wgsharp : Server.Another))
        {
            return $"{name}: {(now.By == Server.Nobody ? "nobody" : now.Program)} serves it now.";
        }

        // Some programs do not tell their keys.
        LiveConfiguration? after = Survey.Dump(machine, name);
        if (after is null || (!force && before?.PublicKey is { } key && after.PublicKey is { } other && key != other))
        {
            return $"{name}: {(after is null ? "it does not answer" : "it has another key")}.";
        }

        if (toWgsharp && before is not null)
        {
            Wake(name, before, after);
        }

        to.WriteLine($"{name}: served by {now.Program}; the restart took {took.TotalMilliseconds:0} ms.");
        return null;
    }

    // What wgsharp said is worth more than that the unit failed.
    private string? WhyNot(string name) =>
        machine.Run("journalctl", ["-b", "-q", "-o", "cat", "-n", "30", "-u", Survey.UnitName(name)]).Lines.LastOrDefault(line => line.StartsWith("wgsharp: ", StringComparison.Ordinal))?["wgsharp: ".Length..];

    /// <summary>
    /// Peers that had a session go on using it, and find out after 15 s (whitepaper 6.5) that nobody knows it any more. So they are called: where they were last
    /// seen, if the file does not know; with a keepalive, which is sent at once when it is switched on. (boringtun tells how long ago a handshake was, not when.)
    /// </summary>
    private void Wake(string name, LiveConfiguration before, LiveConfiguration after)
    {
        long oldest = machine.Now.ToUnixTimeSeconds() - SessionSeconds;
        (ConfiguredPeer Was, ConfiguredPeer Is)[] peers =
        [
            .. before.Peers.Values.Where(peer => (peer.LatestHandshake >= oldest || peer.LatestHandshake is > 0 and < SessionSeconds) && peer.Endpoint is not null && after.Peers.ContainsKey(peer.PublicKey))
                .Select(peer => (peer, after.Peers[peer.PublicKey])),
        ];
        foreach (Func<ConfiguredPeer, int> keepalive in new Func<ConfiguredPeer, int>[] { _ => 0, peer => Math.Max(1, peer.Keepalive), peer => peer.Keepalive })
        {
            var lines = new StringBuilder();
            foreach ((ConfiguredPeer was, ConfiguredPeer now) in peers)
            {
                lines.Append($"[Peer]\nPublicKey = {now.PublicKey}\nPersistentKeepalive = {keepalive(now)}\n");
                lines.Append(now.Endpoint is null ? $"Endpoint = {was.Endpoint}\n" : string.Empty);
            }

            if (peers.Length > 0 && machine.Run("wg", ["addconf", name, "/dev/stdin"], lines.ToString()) is { Succeeded: false } refused)
            {
                to.WriteLine($"{name}: peers could not be called, and come by themselves: {refused.Complaint}");
                return;
            }
        }
    }

    private string Undo(DropInState before)
    {
        dropIn.Put(before);
        string? trouble = Reload();
        foreach (string name in _touched)
        {
            // It may have been started too often of late.
            machine.Run("systemctl", ["reset-failed", Survey.UnitName(name)]);
            ProgramResult restart = machine.Run("systemctl", ["restart", Survey.UnitName(name)]);
            trouble ??= restart.Succeeded ? null : $"{name}: {restart.Complaint}";
        }

        return trouble is null ? "Everything is as it was before." : $"The way back failed, too: {trouble}";
    }

    private string? Reload() => machine.Run("systemctl", ["daemon-reload"]) is { Succeeded: false } refused ? $"systemctl daemon-reload: {refused.Complaint}" : null;
}
