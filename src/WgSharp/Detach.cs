using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;
using WgSharp.Linux;

namespace WgSharp;

/// <summary>
/// Daemonising without fork: the program starts itself again in a session of its own and waits on a pipe, which is the new
/// process's standard error until it is ready.
/// <code>
///   wgsharp wg0 ──spawn──> wgsharp wg0 (marked by an environment variable; stdin /dev/null, stdout /dev/null or the journal)
///     reads the pipe  &lt;──────  "/dev/net/tun is missing: ..."     and its end: the text goes to stderr, exit 1
///     reads the pipe  &lt;──────  NUL, once stderr became stdout     exit 0
/// </code>
/// So whatever fails before the interface stands reaches who called, even a runtime that cannot start or a crash.
/// </summary>
internal static class Detach
{
    private const string Marker = "WGSHARP_DETACHED";
    private const byte Ready = 0;

    // The runtime's own doors (a socket in /tmp, three threads) stay shut, unless somebody asks for them.
    private const string RuntimeDiagnostics = "DOTNET_EnableDiagnostics";

    /// <summary>True in the process that was started by <see cref="Run"/>. Forgets the marker.</summary>
    public static bool TakeMarker()
    {
        bool detached = Environment.GetEnvironmentVariable(Marker) is not null;
        Environment.SetEnvironmentVariable(Marker, null);
        return detached;
    }

    /// <summary>In the calling process: starts the daemon and waits until it is ready or has failed.</summary>
    /// <param name="standardError">Takes what the daemon says meanwhile.</param>
    /// <returns>The exit code: 0 if the daemon is ready.</returns>
    public static int Run(IReadOnlyList<string> arguments, TextWriter standardError)
    {
        string program = Environment.ProcessPath ?? "/proc/self/exe";
        SpawnedProcess process = ProcessSpawn.Detached(
            program, [program, .. arguments], EnvironmentAdditions(), IsJournal(2), InheritedDescriptors());
        (string said, bool ready) = Listen(process.StandardError);
        standardError.Write(said);
        if (ready)
        {
            return 0;
        }

        int status = ProcessSpawn.WaitForExit(process);
        if (said.Length == 0)
        {
            standardError.WriteLine($"wgsharp: the daemon ended with status {status} before it was ready, without saying why.");
        }

        return status == 0 ? 1 : status;
    }

    /// <summary>In the daemon: lets go of the caller, and tells it that everything stands.</summary>
    public static void SignalReady() => ProcessSpawn.LeaveCaller(Ready);

    /// <summary>Whether a descriptor is the stream to the journal, which systemd names in $JOURNAL_STREAM by device and inode.</summary>
    public static bool IsJournal(int descriptor)
    {
        string[]? parts = Environment.GetEnvironmentVariable("JOURNAL_STREAM")?.Split(':');
        return parts is [var device, var inode]
            && FileIdentity.OfDescriptor(descriptor) is { } file
            && device == file.Device.ToString(CultureInfo.InvariantCulture)
            && inode == file.Inode.ToString(CultureInfo.InvariantCulture);
    }

    /// <summary>A descriptor that the caller hands over by its number (WG_TUN_FD, WG_UAPI_FD).</summary>
    /// <exception cref="SettingsException">Not a number.</exception>
    public static int? InheritedDescriptor(string variable)
    {
        string? value = Environment.GetEnvironmentVariable(variable);
        return string.IsNullOrEmpty(value) ? null
            : int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int descriptor) ? descriptor
            : throw new SettingsException($"{variable}: '{value}' is not the number of a file descriptor.");
    }

    private static string[] EnvironmentAdditions() => Environment.GetEnvironmentVariable(RuntimeDiagnostics) is null
        ? [Marker + "=1", RuntimeDiagnostics + "=0"]
        : [Marker + "=1"];

    private static int[] InheritedDescriptors() =>
        [.. new[] { InheritedDescriptor("WG_TUN_FD"), InheritedDescriptor("WG_UAPI_FD") }.OfType<int>()];

    private static (string Text, bool Ready) Listen(SafeFileHandle pipe)
    {
        using var stream = new FileStream(pipe, FileAccess.Read, bufferSize: 0);
        using var text = new MemoryStream();
        byte[] buffer = new byte[4096];
        bool ready = false;
        int length;
        while (!ready && (length = stream.Read(buffer)) > 0)
        {
            int end = Array.IndexOf(buffer, Ready, 0, length);
            ready = end >= 0;
            text.Write(buffer, 0, ready ? end : length);
        }

        return (Encoding.UTF8.GetString(text.GetBuffer(), 0, (int)text.Length), ready);
    }
}
