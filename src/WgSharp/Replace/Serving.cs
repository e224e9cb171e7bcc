using WgSharp.Doctor;

namespace WgSharp.Replace;

internal enum Server
{
    Nobody,
    Kernel,
    Wgsharp,
    Another,
}

/// <summary>Who serves an interface now, whatever the files say.</summary>
/// <param name="Program">Its name, without directories; empty for nobody.</param>
internal readonly record struct Serving(Server By, string Program)
{
    private const string Listening = "00010000";

    /// <summary>See <see cref="CarryOver"/>.</summary>
    public bool CannotChangePeers => Program.StartsWith("boringtun", StringComparison.Ordinal);

    /// <summary>Whoever listens on the interface's control socket. Not who answers there: a program may have listened first and left the rest to another process.</summary>
    public static Serving Find(IMachine machine, string name)
    {
        HashSet<string> sockets = [.. ParseSockets(machine.Read("/proc/net/unix") ?? string.Empty, name).Select(inode => $"socket:[{inode}]")];

        // The first process only keeps it for the next one.
        foreach (string process in sockets.Count == 0 ? [] : machine.Entries("/proc").Where(path => char.IsAsciiDigit(path[^1]) && path != "/proc/1"))
        {
            if (machine.Entries($"{process}/fd").Any(descriptor => machine.LinkTarget(descriptor) is { } target && sockets.Contains(target)))
            {
                string program = Programs.BaseName((machine.LinkTarget($"{process}/exe") ?? machine.Read($"{process}/comm") ?? "?").Replace(" (deleted)", string.Empty).Trim());
                return new Serving(program == "wgsharp" ? Server.Wgsharp : Server.Another, program);
            }
        }

        return machine.Run("ip", ["-o", "link", "show", "type", "wireguard"]).Lines.Any(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [_, var link, ..] && link == $"{name}:")
            ? new Serving(Server.Kernel, "the kernel")
            : default(Serving) with { Program = string.Empty };
    }

    // Num RefCount Protocol Flags Type St Inode Path
    internal static IEnumerable<string> ParseSockets(string text, string name) =>
        text.Split('\n')
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Where(fields => fields.Length == 8 && fields[3] == Listening && UapiSocket.IsListenerOf(name, fields[7]))
            .Select(fields => fields[6]);
}
