using System.Text;
using WgSharp.Doctor;

namespace WgSharp.Replace;

/// <summary>A file, and the program that it tells wg-quick to start where the kernel has no WireGuard.</summary>
internal readonly record struct Naming(string Path, string Program)
{
    /// <summary>What wg-quick starts that is told nothing.</summary>
    public const string WithoutAny = "wireguard-go";

    public bool IsWgsharp => Programs.BaseName(Program) == "wgsharp";

    public override string ToString() => $"{Program} ({Path})";
}

/// <summary>
/// Which program a unit's files name, read as systemd reads them (systemd.exec(5)): file by file, what comes later wins, an empty value forgets what was
/// said before, and a variable in an <c>EnvironmentFile=</c> wins over all <c>Environment=</c>. systemd itself shows variables without the file that they stand in.
/// </summary>
internal static class UnitNaming
{
    /// <param name="files">The unit's file and its drop-ins, in systemd's order.</param>
    /// <returns>What wins last; empty if nobody names a program.</returns>
    public static IReadOnlyList<Naming> Read(IMachine machine, string instance, IEnumerable<string> files)
    {
        var variables = new List<Naming>();
        var environmentFiles = new List<string>();
        foreach (string path in files)
        {
            foreach ((string key, string value) in ServiceLines(machine.Read(path) ?? string.Empty))
            {
                if (key == "Environment")
                {
                    Take(variables, SplitWords(value).Select(Assigned).OfType<string>().Select(program => new Naming(path, program)), forget: value.Length == 0);
                }
                else if (key == "EnvironmentFile")
                {
                    Take(environmentFiles, [Expand(value.TrimStart('-'), instance)], forget: value.Length == 0);
                }
            }
        }

        return [.. variables, .. environmentFiles.SelectMany(path => OfEnvironmentFile(machine, path))];
    }

    /// <summary>As systemd reads it: one assignment per line, spaces around the value and quotes are no part of it.</summary>
    public static IEnumerable<Naming> OfEnvironmentFile(IMachine machine, string path) =>
        Lines(machine.Read(path) ?? string.Empty)
            .Select(line => line.Split('=', 2))
            .Where(parts => parts.Length == 2 && parts[0].Trim() == WgQuickSetup.VariableName)
            .Select(parts => new Naming(path, string.Concat(SplitWords(parts[1].Trim()).Take(1))));

    // Quotes hold words together; a backslash is taken literally, no program's name has one.
    internal static IEnumerable<string> SplitWords(string text)
    {
        var word = new StringBuilder();
        char quote = '\0';
        foreach (char letter in text.Append(' '))
        {
            if (quote != '\0' ? letter == quote : letter is '"' or '\'')
            {
                quote = quote == '\0' ? letter : '\0';
            }
            else if (quote == '\0' && char.IsWhiteSpace(letter))
            {
                if (word.Length > 0)
                {
                    yield return word.ToString();
                    word.Clear();
                }
            }
            else
            {
                word.Append(letter);
            }
        }
    }

    private static void Take<T>(List<T> all, IEnumerable<T> more, bool forget)
    {
        if (forget)
        {
            all.Clear();
        }
        else
        {
            all.AddRange(more);
        }
    }

    private static string? Assigned(string word) =>
        word.StartsWith(WgQuickSetup.VariableName + "=", StringComparison.Ordinal) ? word[(WgQuickSetup.VariableName.Length + 1)..] : null;

    private static string Expand(string path, string instance) => path.Replace("%i", instance).Replace("%I", instance).Replace("%%", "%");

    private static IEnumerable<(string Key, string Value)> ServiceLines(string text)
    {
        string section = string.Empty;
        foreach (string line in Lines(text))
        {
            if (line.StartsWith('['))
            {
                section = line;
            }
            else if (section == "[Service]" && line.Split('=', 2, StringSplitOptions.TrimEntries) is [var key, var value])
            {
                yield return (key, value);
            }
        }
    }

    // A backslash at its end joins a line with the next; comments and empty lines are left out.
    private static IEnumerable<string> Lines(string text) =>
        text.Replace("\\\n", " ").Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] is not ('#' or ';'));
}
