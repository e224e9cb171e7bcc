using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;
using WgSharp.Linux;

namespace WgSharp;

/// <summary>How this process came to be.</summary>
internal enum Origin
{
    /// <summary>By whoever typed the command.</summary>
    Caller,

    /// <summary>By <see cref="Detach.Run"/>: the daemon.</summary>
    Detached,

    /// <summary>By <see cref="Detach.StartAgain"/>: the daemon, in the foreground.</summary>
    Foreground,
}

/// <summary>
/// Daemonising without fork: the program starts itself again in a session of its own and waits on a pipe, which is the new
/// process's standard error until it is ready.
/// <code>
///   wgsharp wg0 ──spawn──> wgsharp wg0 (marked by an environment variable; stdin /dev/null, stdout /dev/null or the log)
///     reads the pipe  &lt;──────  "/dev/net/tun is missing: ..."     and its end: the text goes to stderr, exit 1
///     reads the pipe  &lt;──────  NUL, once stderr became stdout     exit 0
///   wgsharp -f wg0 ──exec──> wgsharp -f wg0 (marked)
/// </code>
/// So whatever fails before the interface stands reaches who called, even a runtime that cannot start or a crash. In the foreground, too, the
/// program is started a second time, because two things must be so before the runtime makes its first thread: signals are blocked
/// (<see cref="EndSignals"/>), and the thread that compiles never ends, since in a full control group it could not be made again.
/// </summary>
internal static class Detach
{
    private const string Marker = "WGSHARP_DETACHED";
    private const string InBackground = "1";
    private const string InForeground = "0";
    private const byte Ready = 0;
    private const int StandardError = 2;

    // Program's, which come with a sentence; the runtime's and signals' are above.
    private const int LastOwnStatus = 2;

    // The runtime's own doors (a socket in /tmp, three threads) stay shut, unless somebody asks for them.
    private const string RuntimeDiagnostics = "DOTNET_EnableDiagnostics";

    // Hexadecimal milliseconds, read as "for ever"; 4 s without a word.
    private const string CompilerStays = "DOTNET_TC_BackgroundWorkerTimeoutMs=ffffffff";

    /// <summary>Who started this process. Forgets the mark.</summary>
    public static Origin TakeMarker()
    {
        string? mark = Environment.GetEnvironmentVariable(Marker);
        Environment.SetEnvironmentVariable(Marker, null);
        return mark switch
        {
            null => Origin.Caller,
            InForeground => Origin.Foreground,
            _ => Origin.Detached,
        };
    }

    /// <summary>In the calling process: starts the daemon and waits until it is ready or has failed.</summary>
    /// <param name="say">Takes what the daemon says meanwhile.</param>
    /// <returns>The exit code: 0 if the daemon is ready.</returns>
    /// <exception cref="IOException">It cannot be started at all.</exception>
    public static int Run(IReadOnlyList<string> arguments, Action<string> say)
    {
        string[] additions = Environment.GetEnvironmentVariable(RuntimeDiagnostics) is null
            ? [$"{Marker}={InBackground}", CompilerStays, RuntimeDiagnostics + "=0"]
            : [$"{Marker}={InBackground}", CompilerStays];
        SpawnedProcess process = ProcessSpawn.Detached(Executable, [Executable, .. arguments], additions, LendsStandardError(), InheritedDescriptors());
        (string said, bool ready) = Listen(process.StandardError);
        int status = ready ? 0 : Math.Max(1, ProcessSpawn.WaitForExit(process));
        if (status > LastOwnStatus && Tasks.WhyNoMore() is { } why)
        {
            // The runtime has died of it, and its last words are about itself.
            said = $"wgsharp: {why}\n";
        }

        say(said.Length == 0 && !ready ? $"wgsharp: the daemon ended with status {status} before it was ready, without saying why.\n" : said);
        return status;
    }

    /// <summary>In the calling process: becomes the daemon.</summary>
    /// <exception cref="IOException">It cannot be started.</exception>
    public static int StartAgain(IReadOnlyList<string> arguments)
    {
        ProcessSpawn.Replace(Executable, [Executable, .. arguments], [$"{Marker}={InForeground}", CompilerStays]);
        return 1;
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

    /// <summary>This program.</summary>
    public static string Executable => Environment.ProcessPath ?? "/proc/self/exe";

    // A pipe is mostly waited on by somebody: $(wg-quick up wg0 2>&1) ends when nobody holds it any more. Only that of the first process is
    // read as long as everything runs: it is a container's log. Files and terminals wait for nobody.
    private static bool LendsStandardError() =>
        IsJournal(StandardError)
        || (FileIdentity.OfDescriptor(StandardError) is { } own
            && (!own.IsPipe && !own.IsSocket || own == FileIdentity.OfTarget("/proc/1/fd/2")));

    private static int[] InheritedDescriptors() =>
        [.. new[] { InheritedDescriptor("WG_TUN_FD"), InheritedDescriptor("WG_UAPI_FD") }.OfType<int>()];

    /// <summary>Reads until the other end is closed, or says that it is ready.</summary>
    public static (string Text, bool Ready) Listen(SafeFileHandle pipe)
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
