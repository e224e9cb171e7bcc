using System.Net;
using WgSharp.Linux;

namespace WgSharp.Doctor;

/// <summary>What a program has said.</summary>
/// <param name="Status">Its exit status; <see cref="NotThere"/> where there is no such program.</param>
/// <param name="Output">Standard output and standard error as they came.</param>
internal readonly record struct ProgramResult(int Status, string Output)
{
    /// <summary>As a shell has it.</summary>
    public const int NotThere = 127;

    public bool Succeeded => Status == 0;

    public IEnumerable<string> Lines => Output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    /// <summary>The first line that complains: for people.</summary>
    public string Complaint => Lines.FirstOrDefault(line => !line.StartsWith('#')) ?? $"it ended with status {Status}";
}

/// <summary>All that the checks ask of the machine they run on. Looking changes nothing: no file, no rule, no module that was not loaded.</summary>
internal interface IMachine
{
    DateTimeOffset Now { get; }

    /// <summary>The path of this program.</summary>
    string Self { get; }

    /// <returns>Null where it is not there, or cannot be read.</returns>
    string? Read(string path);

    bool Exists(string path);

    /// <summary>When it was written.</summary>
    DateTimeOffset? Written(string path);

    /// <returns>0, or why it could not be written to: an errno.</returns>
    int WriteErrno(string path);

    /// <summary>Full paths of what is in a directory, in order; empty where there is none.</summary>
    IReadOnlyList<string> Entries(string directory);

    /// <returns>Null where it is no link.</returns>
    string? LinkTarget(string path);

    string? Variable(string name);

    /// <summary>Runs a program that is found as root's shell would find it, without a terminal, in the C locale.</summary>
    ProgramResult Run(string program, IReadOnlyList<string> arguments, string input = "");

    /// <summary>The same in a network namespace that begins empty and ends with it.</summary>
    /// <returns>Null where none is to be had.</returns>
    ProgramResult? RunApart(string program, IReadOnlyList<string> arguments, string input = "");

    /// <summary>Opens a UDP port as the daemon does, and lets it go.</summary>
    /// <returns>0, or the errno.</returns>
    int TryPort(int port, bool ipv6);

    /// <summary>The MTU of the route there, of packets with this mark; null where there is no route.</summary>
    int? RouteMtu(IPAddress address, uint mark);

    /// <returns>Whether a unix socket refuses: its owner has gone.</returns>
    bool RefusesConnections(string socket);

    /// <summary>See <see cref="TunProbe"/>.</summary>
    TunTrial TryTun();

    /// <returns>Why there is no libsodium to be had, or null.</returns>
    string? WhyNoSodium();

    /// <returns>Why the keys of so many peers cannot be locked into memory, or null.</returns>
    string? WhyNotLocked(int peers);

    /// <returns>See <see cref="ProcessLimits.Prepare"/>.</returns>
    string? WhyLimitsTooLow();

    /// <returns>See <see cref="Tasks.WhyNoMore"/>.</returns>
    string? WhyNoTasks();

    /// <summary>Bytes that the control groups leave a daemon.</summary>
    long MemoryRoom();

    /// <exception cref="SettingsException">They are wrong.</exception>
    Settings SettingsOf(string interfaceName);
}
