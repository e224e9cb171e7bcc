using System.CommandLine;
using WgSharp.Doctor;
using WgSharp.Replace;
using WgSharp.Status;

namespace WgSharp.Commands;

/// <summary>
/// What wgsharp does beside serving an interface: <c>wgsharp NAME …</c>. An interface of such a name is still to be had by <c>wgsharp -- NAME</c>.
/// The library that reads the arguments costs more time than the start of an interface may take, so it is touched only once a name is known to be
/// a command's.
/// </summary>
internal static class CommandTable
{
    private static readonly (string Name, Func<Command> Create)[] _known =
    [
        ("doctor", DoctorCommand.Create),
        ("status", StatusCommand.Create),
        ("metrics", MetricsCommand.Create),
        ("replace", ReplaceCommand.Create),
    ];

    /// <summary>The commands' names, in the order in which they are explained.</summary>
    public static IEnumerable<string> Names => _known.Select(known => known.Name);

    /// <summary>Whether the first argument names a command, and so is not an interface.</summary>
    public static bool Contains(string argument) => Array.Exists(_known, known => known.Name == argument);

    /// <summary>Runs the command that the first argument names.</summary>
    /// <returns>The exit status: what the command says, or 2 for arguments that it does not have (then said on standard error).</returns>
    public static int Run(IReadOnlyList<string> arguments)
    {
        Command command = Array.Find(_known, known => known.Name == arguments[0]).Create();
        ParseResult parsed = command.Parse([.. arguments.Skip(1)]);
        if (parsed.Errors.Count > 0)
        {
            throw new SettingsException($"{parsed.Errors[0].Message} See wgsharp {command.Name} --help.");
        }

        // What goes wrong in a command ends as everywhere else: in one sentence.
        return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
    }
}
