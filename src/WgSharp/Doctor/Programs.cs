namespace WgSharp.Doctor;

/// <summary>Where programs are found.</summary>
internal static class Programs
{
    /// <summary>What systemd gives a service that says nothing of it.</summary>
    public const string ServicePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// <summary>Without directories.</summary>
    public static string BaseName(string program) => program[(program.LastIndexOf('/') + 1)..];

    /// <summary>By the caller's PATH, then where root's programs are: sudo and su may leave these out.</summary>
    public static string? Find(IMachine machine, string program) => Find(machine, program, $"{machine.Variable("PATH")}:{ServicePath}");

    /// <returns>The full path, or null.</returns>
    public static string? Find(IMachine machine, string program, string path)
    {
        if (program.Contains('/', StringComparison.Ordinal))
        {
            return machine.Exists(program) ? program : null;
        }

        return path.Split(':', StringSplitOptions.RemoveEmptyEntries).Select(directory => $"{directory}/{program}").FirstOrDefault(machine.Exists);
    }
}
