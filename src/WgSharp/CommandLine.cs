using WgSharp.Commands;

namespace WgSharp;

/// <summary>What was asked for.</summary>
internal enum CommandAction
{
    Run,
    ShowVersion,
    ShowHelp,
}

/// <summary>
/// The arguments. Read by hand: a command-line library costs more time than all the rest of what the starting process does,
/// and <c>wg-quick</c> waits for it.
/// </summary>
/// <param name="InterfaceName">Empty unless <see cref="CommandAction.Run"/>.</param>
/// <param name="Settings">The <c>--name=value</c> options, under the settings' own names.</param>
internal sealed record CommandLine(CommandAction Action, string InterfaceName, bool Foreground, IReadOnlyList<SettingLine> Settings)
{
    public const string Usage =
        """
        Usage: wgsharp [-f | --foreground] [--SETTING=VALUE ...] INTERFACE
               wgsharp doctor [INTERFACE | FILE] [--help]
               wgsharp status | metrics [INTERFACE] [--help]
               wgsharp replace [--back] [INTERFACE] [--help]
               wgsharp --version | --help

        Creates a WireGuard interface that wg(8) and wg-quick(8) configure, and serves
        it in the background (-f: in the foreground) until the interface is deleted.

        See wgsharp(8). Settings, also in /etc/wgsharp/INTERFACE.conf and
        /etc/wgsharp/wgsharp.conf (name = value, see wgsharp.conf(5)), and in the
        environment (WGSHARP_NAME=value):
        """;

    /// <exception cref="SettingsException">Bad usage; the message says what is wrong.</exception>
    public static CommandLine Parse(IReadOnlyList<string> arguments)
    {
        string? interfaceName = null;
        bool foreground = false;
        bool optionsEnded = false;
        var settings = new List<SettingLine>();
        for (int i = 0; i < arguments.Count; i++)
        {
            string argument = arguments[i];
            switch (argument)
            {
                case "--" when !optionsEnded:
                    optionsEnded = true;
                    continue;
                case "-h" or "--help" when !optionsEnded:
                    return new CommandLine(CommandAction.ShowHelp, string.Empty, false, []);
                case "-V" or "--version" when !optionsEnded:
                    return new CommandLine(CommandAction.ShowVersion, string.Empty, false, []);
                case "-f" or "--foreground" when !optionsEnded:
                    foreground = true;
                    continue;
            }

            if (argument.StartsWith('-') && !optionsEnded)
            {
                settings.Add(ParseSetting(argument, arguments, ref i));
            }
            else if (!optionsEnded && CommandTable.Contains(argument))
            {
                throw new SettingsException($"'{argument}' is a command, and comes first: wgsharp {argument} ... For an interface of that name: wgsharp -- {argument}.");
            }
            else if (interfaceName is null)
            {
                interfaceName = argument;
            }
            else
            {
                throw new SettingsException($"One interface at a time: both '{interfaceName}' and '{argument}' were given.");
            }
        }

        return interfaceName is null
            ? throw new SettingsException("The name of the interface is missing, see wgsharp --help.")
            : new CommandLine(CommandAction.Run, interfaceName, foreground, settings);
    }

    // --name=value or --name value; --log-level and --log_level are the same.
    private static SettingLine ParseSetting(string argument, IReadOnlyList<string> arguments, ref int index)
    {
        int equals = argument.IndexOf('=', StringComparison.Ordinal);
        string option = equals < 0 ? argument : argument[..equals];
        string name = option.TrimStart('-').Replace('-', '_');
        if (!option.StartsWith("--", StringComparison.Ordinal) || !WgSharp.Settings.IsKnown(name))
        {
            throw new SettingsException($"There is no option {option}, see wgsharp --help.");
        }

        if (equals >= 0)
        {
            return new SettingLine(name, argument[(equals + 1)..], option);
        }

        return ++index < arguments.Count
            ? new SettingLine(name, arguments[index], option)
            : throw new SettingsException($"{option} needs a value.");
    }
}
