namespace WgSharp.Doctor;

/// <summary>What a daemon's process needs: libraries, limits, settings, the time.</summary>
internal static class ProcessChecks
{
    private const long MiB = 1 << 20;

    /// <summary>Below, it is killed while it starts, or with its first request (measured: 12 MiB are not enough).</summary>
    private const long LeastMemory = 16 * MiB;

    /// <summary>What it takes under full load.</summary>
    private const long EnoughMemory = 48 * MiB;

    /// <summary>What is written now may be ahead of a clock that is being corrected.</summary>
    private static readonly TimeSpan ClockSlack = TimeSpan.FromMinutes(1);

    public static IEnumerable<Complaint> Libsodium(Examination examination)
    {
        if (examination.Machine.WhyNoSodium() is { } why)
        {
            yield return Complaint.Fault(null, why, Mend.By("apt-get install libsodium23"));
        }
    }

    public static IEnumerable<Complaint> Limits(Examination examination)
    {
        if (examination.Machine.WhyLimitsTooLow() is { } why)
        {
            yield return FromSentence(Level.Fault, why);
        }
    }

    public static IEnumerable<Complaint> TaskLimits(Examination examination)
    {
        if (examination.Machine.WhyNoTasks() is { } why)
        {
            yield return Complaint.Fault(null, char.ToUpperInvariant(why[0]) + why[1..], Mend.At("raise the limit on processes and threads (pids.max, TasksMax=)"));
        }
    }

    // Of a tunnel that is up, the memory is taken already.
    public static IEnumerable<Complaint> Memory(Examination examination)
    {
        long room = examination.Machine.MemoryRoom();
        if (room >= EnoughMemory || examination.Tunnels.Any(tunnel => tunnel.Live is not null))
        {
            yield break;
        }

        Mend more = Mend.At($"raise the memory limit of this container to what it uses now and {EnoughMemory / MiB} MiB more");
        yield return room < LeastMemory
            ? Complaint.Fault(null, $"The memory limit of this container leaves {room / MiB} MiB; wgsharp needs {LeastMemory / MiB} to start.", more)
            : Complaint.Warning(null, $"The memory limit of this container leaves {room / MiB} MiB; under full load wgsharp may need {EnoughMemory / MiB}.", more);
    }

    public static IEnumerable<Complaint> LockedMemory(Examination examination)
    {
        int peers = examination.Tunnels.Select(tunnel => tunnel.File?.Peers.Count ?? 0).Append(0).Max();
        if (examination.Machine.WhyNotLocked(peers) is { } why)
        {
            yield return Complaint.Warning(
                null, $"Keys cannot be locked into memory, and may be written to swap: {why}", Mend.At("raise the limit (ulimit -l unlimited, or LimitMEMLOCK=64M in the unit)"));
        }
    }

    public static IEnumerable<Complaint> OwnSettings(Examination examination)
    {
        foreach (string name in examination.Tunnels.Select(tunnel => tunnel.Name).DefaultIfEmpty(string.Empty))
        {
            if (WhyRefused(examination.Machine, name) is { } why)
            {
                yield return Complaint.Fault(name.Length == 0 ? null : name, why, Mend.At("correct it where it stands; see wgsharp.conf(5)"));
            }
        }
    }

    /// <summary>
    /// A handshake carries the time (TAI64N), and a peer refuses one that is older than the last. So a clock that has gone back means no handshake until it
    /// has caught up. What was written when it was right tells: this program, a configuration, what the time service keeps, a handshake.
    /// </summary>
    public static IEnumerable<Complaint> Clock(Examination examination)
    {
        IMachine machine = examination.Machine;
        IEnumerable<(string What, DateTimeOffset? At)> witnesses =
        [
            .. new[] { machine.Self, "/var/lib/systemd/timesync/clock", "/etc/fake-hwclock.data", "/var/lib/dpkg/status" }
                .Concat(examination.Tunnels.Select(tunnel => tunnel.Path).OfType<string>())
                .Select(path => ($"{path} was written", machine.Written(path))),
            .. examination.Tunnels.Select(tunnel => ($"the latest handshake of {tunnel.Name} was made", tunnel.Live?.NewestHandshake)),
        ];
        (string what, DateTimeOffset? at) = witnesses.MaxBy(witness => witness.At ?? DateTimeOffset.MinValue);
        if (at > machine.Now + ClockSlack)
        {
            yield return Complaint.Fault(
                null,
                $"The clock says {machine.Now:yyyy-MM-dd HH:mm} UTC, but {what} on {at:yyyy-MM-dd HH:mm}. Until it has caught up, peers refuse every handshake from here.",
                !examination.Has(Capability.SysTime) ? Mend.At("the clock is the host's: it has to be set there")
                : examination.HasSystemd ? Mend.By("timedatectl set-ntp true")
                : Mend.At("set the clock (date -s), and start a time service"));
        }
    }

    // "What is wrong: what to do (how)."
    private static Complaint FromSentence(Level level, string sentence)
    {
        string[] halves = sentence.TrimEnd('.').Split(": ", 2);
        return new Complaint(level, null, halves[0] + ".", Mend.At(halves.Length > 1 ? halves[1] : "raise the limit"));
    }

    private static string? WhyRefused(IMachine machine, string name)
    {
        try
        {
            _ = machine.SettingsOf(name);
            return null;
        }
        catch (SettingsException wrong)
        {
            return wrong.Message;
        }
    }
}
