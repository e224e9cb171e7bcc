using System.Globalization;

namespace WgSharp.Linux;

/// <summary>
/// What the control groups of this process leave it, in both versions: of the group itself and of every group above it that can be seen
/// from here, the one that leaves least. Read anew each time: a container's limits change, and a process may be moved.
/// </summary>
public sealed class ControlGroups
{
    private readonly string _process;

    /// <param name="process">/proc/self, or a copy of it in tests.</param>
    public ControlGroups(string process = "/proc/self") => _process = process;

    /// <summary>Bytes of memory until a limit; what the kernel can take back without asking (the file cache) does not count as used.</summary>
    /// <returns><see cref="long.MaxValue"/> where there is no limit.</returns>
    public long MemoryRoom()
    {
        long room = long.MaxValue;
        foreach (Group group in Groups("memory"))
        {
            if (group.Limit("memory.max", "memory.limit_in_bytes") is { } limit
                && group.Number(group.Unified ? "memory.current" : "memory.usage_in_bytes") is { } used)
            {
                long cache = group.Entry("memory.stat", group.Unified ? "inactive_file" : "total_inactive_file") ?? 0;
                room = Math.Min(room, limit - used + cache);
            }
        }

        return room;
    }

    /// <summary>The limit on processes and threads that is nearest.</summary>
    /// <returns>Null where there is none.</returns>
    public TaskLimit? NearestTaskLimit()
    {
        TaskLimit? nearest = null;
        foreach (Group group in Groups("pids"))
        {
            if (group.Limit("pids.max", "pids.max") is { } limit
                && group.Number("pids.current") is { } used
                && (nearest is null || limit - used < nearest.Room))
            {
                nearest = new TaskLimit(group.Path("pids.max"), limit, limit - used);
            }
        }

        return nearest;
    }

    // From the process's own group upwards, of each hierarchy that has the controller.
    private IEnumerable<Group> Groups(string controller)
    {
        foreach (string line in Lines(Path.Combine(_process, "cgroup")))
        {
            // hierarchy:controllers:path, where the unified hierarchy has the number 0 and names no controller
            string[] parts = line.Split(':', 3);
            bool unified = parts is ["0", "", _];
            if (parts.Length < 3 || !(unified || parts[1].Split(',').Contains(controller)))
            {
                continue;
            }

            if (FindMount(unified ? null : controller) is not var (root, mount))
            {
                continue;
            }

            for (string? inside = Below(root, parts[2]); inside is not null; inside = Parent(inside))
            {
                yield return new Group(mount + inside, unified);
            }
        }
    }

    /// <summary>Where a hierarchy is mounted, and which of its groups is the top of the mount.</summary>
    private (string Root, string Mount)? FindMount(string? controller)
    {
        foreach (string line in Lines(Path.Combine(_process, "mountinfo")))
        {
            // id parent device root mount options... - type source super-options (proc(5))
            string[] halves = line.Split(" - ", 2);
            string[] fields = halves[0].Split(' ');
            string[] type = halves.Length == 2 ? halves[1].Split(' ') : [];
            if (fields.Length > 4 && type.Length > 2
                && (controller is null ? type[0] == "cgroup2" : type[0] == "cgroup" && type[2].Split(',').Contains(controller)))
            {
                return (fields[3], fields[4]);
            }
        }

        return null;
    }

    // In a container the mount's top is the container's group, while the path may be told from the machine's top: then only that one is seen.
    private static string Below(string root, string path)
    {
        string inside = root == "/" ? path
            : path.StartsWith(root + "/", StringComparison.Ordinal) ? path[root.Length..]
            : "/";
        return inside.Contains("..", StringComparison.Ordinal) ? string.Empty : inside.TrimEnd('/');
    }

    private static string? Parent(string inside) => inside.Length == 0 ? null : inside[..inside.LastIndexOf('/')];

    private static string[] Lines(string path)
    {
        try
        {
            // Mostly it is there or it is not; an exception for the latter would be slow.
            return File.Exists(path) ? File.ReadAllLines(path) : [];
        }
        catch (Exception missing) when (missing is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private readonly record struct Group(string Directory, bool Unified)
    {
        // Version 1 has no word for "none": it is the greatest number of whole pages.
        private const long None = long.MaxValue >> 12 << 12;

        public string Path(string file) => $"{Directory}/{file}";

        public long? Limit(string unified, string old) => Number(Unified ? unified : old) is { } limit and < None ? limit : null;

        public long? Number(string file) => Lines(Path(file)) is [var line, ..] ? Parse(line) : null;

        public long? Entry(string file, string name)
        {
            foreach (string line in Lines(Path(file)))
            {
                if (line.StartsWith(name, StringComparison.Ordinal) && line.Length > name.Length && line[name.Length] == ' ')
                {
                    return Parse(line.AsSpan(name.Length + 1));
                }
            }

            return null;
        }

        private static long? Parse(ReadOnlySpan<char> text) =>
            long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : null;
    }
}

/// <summary>A limit on processes and threads.</summary>
/// <param name="Path">The file that says so.</param>
/// <param name="Room">How many more may be made.</param>
public sealed record TaskLimit(string Path, long Limit, long Room);
