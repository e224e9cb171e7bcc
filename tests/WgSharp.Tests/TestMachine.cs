using System.Diagnostics;

namespace WgSharp.Tests;

/// <summary>
/// Namespaces for network, mounts and processes, and a way to start programs there. Their first process reads a pipe from here: when this process
/// ends, however it ends, that one does, and with it everything that was started there, daemons included. Needs root.
/// </summary>
internal sealed class TestMachine : IDisposable
{
    // What a daemon leaves in /run/wireguard is gone with the mount, and /sys shows the interfaces of this network.
    private const string First = """
        mkdir -p /run/wireguard && mount -t tmpfs none /run/wireguard && mount -t sysfs none /sys && ip link set lo up && echo ready && exec cat
        """;

    private readonly Process _namespaces;
    private readonly int _first;
    private readonly List<Process> _started = [];

    public TestMachine()
    {
        _namespaces = Process.Start(Redirected("unshare", ["--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", First]))!;
        if (_namespaces.StandardOutput.ReadLine() != "ready")
        {
            throw new InvalidOperationException("These tests need root: " + _namespaces.StandardError.ReadToEnd());
        }

        _first = int.Parse(File.ReadAllText($"/proc/{_namespaces.Id}/task/{_namespaces.Id}/children").Trim());
    }

    /// <summary>Where a file of there is found from here.</summary>
    public string PathOf(string path) => $"/proc/{_first}/root{path}";

    /// <summary>Those that live there, by the numbers they have here.</summary>
    public IEnumerable<int> Processes()
    {
        string there = NamespaceOf(_first)!;
        return Directory.GetDirectories("/proc")
            .Select(directory => int.TryParse(Path.GetFileName(directory), out int process) ? process : 0)
            .Where(process => process != 0 && NamespaceOf(process) == there);
    }

    /// <summary>Runs a program to its end, and to the end of its output: that comes only when nobody holds it any more.</summary>
    public (int Status, string Output) Run(string program, params string[] arguments) => Finish(Start(program, arguments));

    /// <summary>The same, with something to read; it has to succeed.</summary>
    public void RunInput(string program, string input, params string[] arguments)
    {
        Process process = Start(program, arguments);
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        (int status, string output) = Finish(process);
        Assert.True(status == 0, output);
    }

    public Process Start(string program, params string[] arguments)
    {
        Process process = Process.Start(Redirected("nsenter", ["--net", "--mount", "--pid", $"--target={_first}", program, .. arguments]))!;
        _started.Add(process);
        return process;
    }

    public void Dispose()
    {
        _namespaces.StandardInput.Close();
        _namespaces.WaitForExit();
        _namespaces.Dispose();
        _started.ForEach(process => process.Dispose());
    }

    private static (int Status, string Output) Finish(Process process)
    {
        string output = process.StandardOutput.ReadToEnd() + process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }

    private static ProcessStartInfo Redirected(string program, IEnumerable<string> arguments) =>
        new(program, arguments) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };

    private static string? NamespaceOf(int process)
    {
        try
        {
            return new FileInfo($"/proc/{process}/ns/pid").LinkTarget;
        }
        catch (IOException)
        {
            return null; // It has ended.
        }
    }
}
