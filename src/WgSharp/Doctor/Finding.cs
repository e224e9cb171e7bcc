namespace WgSharp.Doctor;

/// <summary>How bad it is.</summary>
internal enum Level
{
    /// <summary>It works, but not as somebody may expect.</summary>
    Warning,

    /// <summary>It does not work.</summary>
    Fault,
}

/// <summary>What mends it: one command for a shell of root, or something to be done elsewhere (a control panel, the host of a container, a file).</summary>
internal readonly record struct Mend
{
    public string? Command { get; private init; }

    public string? Elsewhere { get; private init; }

    public static Mend By(string command) => new() { Command = command };

    public static Mend At(string elsewhere) => new() { Elsewhere = elsewhere };

    public override string ToString() => Command ?? Elsewhere ?? string.Empty;
}

/// <summary>Something that a check has found.</summary>
/// <param name="About">The interface or the file that it is about, or null: the machine.</param>
/// <param name="Wrong">One or two sentences.</param>
internal sealed record Complaint(Level Level, string? About, string Wrong, Mend Mend)
{
    public static Complaint Fault(string? about, string wrong, Mend mend) => new(Level.Fault, about, wrong, mend);

    public static Complaint Warning(string? about, string wrong, Mend mend) => new(Level.Warning, about, wrong, mend);
}

/// <summary>The same with the name of the check that found it: what scripts go by, and stays as it is.</summary>
internal sealed record Finding(string Id, Complaint Complaint);
