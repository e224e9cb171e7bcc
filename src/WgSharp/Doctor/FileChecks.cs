using WgSharp.Commands;

namespace WgSharp.Doctor;

/// <summary>The configuration itself.</summary>
internal static class FileChecks
{
    private const int LongestName = 15;

    public static IEnumerable<Complaint> Syntax(Examination examination)
    {
        foreach (Tunnel tunnel in examination.Tunnels.Where(tunnel => tunnel.Path is not null))
        {
            if (tunnel.File is null)
            {
                yield return Complaint.Fault(tunnel.Path, "The file cannot be read.", Mend.At("run as root"));
                continue;
            }

            // Of wg-quick's rules: letters, digits and _=+.-
            if (tunnel.Name.Length > LongestName || !tunnel.Name.All(letter => char.IsAsciiLetterOrDigit(letter) || "_=+.-".Contains(letter, StringComparison.Ordinal)))
            {
                yield return Complaint.Fault(tunnel.Path, $"'{tunnel.Name}' cannot be the name of an interface, and wg-quick makes it of the file's name.", Mend.At("rename the file"));
            }
            else if (CommandTable.Contains(tunnel.Name))
            {
                yield return Complaint.Fault(
                    tunnel.Path, $"'{tunnel.Name}' is a command of wgsharp: 'wgsharp {tunnel.Name}', which wg-quick runs, makes no interface.", Mend.At("rename the file"));
            }

            foreach (FileProblem problem in tunnel.File.Problems)
            {
                yield return Complaint.Fault($"{tunnel.Path}:{problem.Line}", problem.Wrong, Mend.At($"correct line {problem.Line}; see wg(8) and wg-quick(8)"));
            }
        }
    }
}
