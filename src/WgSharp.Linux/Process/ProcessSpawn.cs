using System.ComponentModel;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace WgSharp.Linux;

/// <summary>A program that was started in a session of its own, and the pipe that its standard error goes into.</summary>
/// <param name="ProcessId">To be waited for.</param>
/// <param name="StandardError">The read end; it ends when the program closes or replaces its descriptor 2.</param>
public sealed record SpawnedProcess(int ProcessId, SafeFileHandle StandardError);

/// <summary>
/// Starts this program again, detached: .NET cannot fork. Or another one, to be asked something. Standard input and output lead nowhere (or output is the caller's
/// standard error where the caller lends that for the log), standard error is a pipe to the caller, every other descriptor stays behind.
/// Either way of starting again leaves the <see cref="EndSignals"/> blocked in every thread of the new program, the runtime's included.
/// </summary>
public static unsafe class ProcessSpawn
{
    /// <param name="program">The path to execute; its last part is the name that ps and pidof know the process by.</param>
    /// <param name="arguments">argv, with the program's name first.</param>
    /// <param name="additions">NAME=VALUE each, added to the environment.</param>
    /// <param name="keepStandardError">Descriptor 1 of the new process is this one's standard error instead of leading nowhere.</param>
    /// <param name="keepDescriptors">Handed on besides the first three.</param>
    /// <exception cref="IOException">The machine refused; HResult is the errno.</exception>
    public static SpawnedProcess Detached(
        string program, IReadOnlyList<string> arguments, IReadOnlyList<string> additions, bool keepStandardError, ReadOnlySpan<int> keepDescriptors)
    {
        int* ends = stackalloc int[2];
        if (LibcProcess.pipe2(ends, LibcProcess.O_CLOEXEC) != 0)
        {
            throw Failed("pipe", Marshal.GetLastPInvokeError());
        }

        int readEnd = AboveStandard(ends[0]);
        int writeEnd = AboveStandard(ends[1]);
        (int input, int output) = OpenNowhere();
        CloseOnExec(keepDescriptors);
        try
        {
            int process = Spawn(program, arguments, additions, input, keepStandardError ? 2 : output, writeEnd);
            return new SpawnedProcess(process, new SafeFileHandle(readEnd, ownsHandle: true));
        }
        catch
        {
            _ = LibcProcess.close(readEnd);
            throw;
        }
        finally
        {
            _ = LibcProcess.close(writeEnd);
            _ = LibcProcess.close(input);
            _ = LibcProcess.close(output);
        }
    }

    /// <summary>This process becomes the program: the same number, the same descriptors.</summary>
    /// <exception cref="IOException">The machine refused; otherwise this does not return.</exception>
    public static void Replace(string program, IReadOnlyList<string> arguments, IReadOnlyList<string> additions)
    {
        byte* path = (byte*)Marshal.StringToCoTaskMemUTF8(program);
        byte** argv = Strings(arguments);
        byte** added = Strings(additions);
        byte** environment = EnvironmentWith(added, additions.Count);
        EndSignals.Block();
        _ = LibcProcess.execve(path, argv, environment);
        throw Failed($"{program} cannot be started again", Marshal.GetLastPInvokeError());
    }

    /// <summary>Waits until the process has ended.</summary>
    /// <returns>Its exit status, or 128 + the signal that ended it, as a shell tells it.</returns>
    public static int WaitForExit(SpawnedProcess process)
    {
        int status;
        while (LibcProcess.waitpid(process.ProcessId, &status, 0) < 0)
        {
            if (Marshal.GetLastPInvokeError() != LibcProcess.EINTR)
            {
                return 0;
            }
        }

        int signal = status & 0x7f;
        return signal != 0 ? 128 + signal : (status >> 8) & 0xff;
    }

    /// <summary>In the spawned process: the caller gets a last byte; then standard error becomes what standard output is, and the pipe is closed.</summary>
    public static void LeaveCaller(byte last)
    {
        // First, for it waits. One that did not wait is not to be told.
        _ = LibcProcess.write(2, &last, 1);
        Redirect(2, to: 1);
    }

    /// <summary>In the spawned process: standard output is /dev/null from now on.</summary>
    public static void ForgetOutput() => Redirect(1, to: 0);

    /// <summary>Files that this process makes from now on are its owner's alone.</summary>
    public static void KeepFilesPrivate() => _ = LibcProcess.umask(0x3f);

    // The runtime has made copies of it (PAL): each of them is replaced as well.
    private static void Redirect(int descriptor, int to)
    {
        FileIdentity? file = FileIdentity.OfDescriptor(descriptor);
        foreach (int copy in OpenDescriptors())
        {
            if (FileIdentity.OfDescriptor(copy) == file)
            {
                _ = LibcProcess.dup2(to, copy);
            }
        }
    }

    private static int Spawn(string program, IReadOnlyList<string> arguments, IReadOnlyList<string> additions, int input, int output, int standardError)
    {
        byte* fileActions = stackalloc byte[LibcProcess.OpaqueSize];
        byte* attributes = stackalloc byte[LibcProcess.OpaqueSize];
        byte* path = (byte*)Marshal.StringToCoTaskMemUTF8(program);
        byte** argv = Strings(arguments);
        byte** added = Strings(additions);
        byte** environment = EnvironmentWith(added, additions.Count);
        Check(LibcProcess.posix_spawn_file_actions_init(fileActions));
        Check(LibcProcess.posix_spawnattr_init(attributes));
        try
        {
            Check(LibcProcess.posix_spawn_file_actions_adddup2(fileActions, input, 0));
            Check(LibcProcess.posix_spawn_file_actions_adddup2(fileActions, output, 1));
            Check(LibcProcess.posix_spawn_file_actions_adddup2(fileActions, standardError, 2));
            SetSignals(attributes);
            int process;
            Check(LibcProcess.posix_spawn(&process, path, fileActions, attributes, argv, environment));
            return process;
        }
        finally
        {
            _ = LibcProcess.posix_spawn_file_actions_destroy(fileActions);
            _ = LibcProcess.posix_spawnattr_destroy(attributes);
            Marshal.FreeCoTaskMem((nint)path);
            Free(argv);
            Free(added);
            NativeMemory.Free(environment);
        }
    }

    // A shell ignores SIGINT for its background jobs, and an ignored signal outlives exec: the daemon starts with none ignored.
    private static void SetSignals(byte* attributes)
    {
        const int SigKill = 9;
        const int SigStop = 19;
        byte* signals = stackalloc byte[LibcProcess.OpaqueSize];
        Check(LibcProcess.posix_spawnattr_setflags(
            attributes, LibcProcess.POSIX_SPAWN_SETSID | LibcProcess.POSIX_SPAWN_SETSIGDEF | LibcProcess.POSIX_SPAWN_SETSIGMASK));
        EndSignals.Fill(signals);
        Check(LibcProcess.posix_spawnattr_setsigmask(attributes, signals));
        _ = LibcProcess.sigfillset(signals);
        _ = LibcProcess.sigdelset(signals, SigKill);
        _ = LibcProcess.sigdelset(signals, SigStop);
        Check(LibcProcess.posix_spawnattr_setsigdefault(attributes, signals));
    }

    /// <summary>Nothing to be read, and what is written is lost: /dev/null, or where a container has none, pipes whose other ends are closed.</summary>
    private static (int Input, int Output) OpenNowhere()
    {
        int file = LibcProcess.open("/dev/null", LibcProcess.O_RDWR | LibcProcess.O_CLOEXEC);
        if (file >= 0)
        {
            int input = AboveStandard(file);
            return (input, LibcProcess.fcntl(input, LibcProcess.F_DUPFD_CLOEXEC, 3));
        }

        int* silent = stackalloc int[2];
        int* lost = stackalloc int[2];
        if (LibcProcess.pipe2(silent, LibcProcess.O_CLOEXEC) != 0 || LibcProcess.pipe2(lost, LibcProcess.O_CLOEXEC) != 0)
        {
            throw Failed("pipe", Marshal.GetLastPInvokeError());
        }

        _ = LibcProcess.close(silent[1]);
        _ = LibcProcess.close(lost[0]);
        return (AboveStandard(silent[0]), AboveStandard(lost[1]));
    }

    /// <summary>A caller may have closed its standard descriptors; a pipe in their place would be overwritten by the file actions.</summary>
    private static int AboveStandard(int descriptor)
    {
        if (descriptor > 2)
        {
            return descriptor;
        }

        int moved = LibcProcess.fcntl(descriptor, LibcProcess.F_DUPFD_CLOEXEC, 3);
        _ = LibcProcess.close(descriptor);
        return moved;
    }

    // Whatever the caller left open without close-on-exec would otherwise live as long as the daemon: $(wg-quick up) would hang.
    private static void CloseOnExec(ReadOnlySpan<int> keep)
    {
        // Where the kernel does it in one go (5.11), the listing below and the code that makes it are not needed.
        if (LibcProcess.syscall(LibcProcess.SYS_close_range, 3, uint.MaxValue, LibcProcess.CLOSE_RANGE_CLOEXEC) == 0)
        {
            foreach (int descriptor in keep)
            {
                _ = LibcProcess.fcntl(descriptor, LibcProcess.F_SETFD, 0);
            }

            return;
        }

        foreach (int descriptor in OpenDescriptors())
        {
            if (descriptor > 2)
            {
                _ = LibcProcess.fcntl(descriptor, LibcProcess.F_SETFD, keep.Contains(descriptor) ? 0 : LibcProcess.FD_CLOEXEC);
            }
        }
    }

    // A copy, because the listing has a descriptor of its own.
    private static List<int> OpenDescriptors()
    {
        var descriptors = new List<int>();
        foreach (string entry in Directory.EnumerateFileSystemEntries("/proc/self/fd"))
        {
            descriptors.Add(int.Parse(Path.GetFileName(entry.AsSpan()), CultureInfo.InvariantCulture));
        }

        return descriptors;
    }

    // The environment is handed on as it is, byte for byte, by its pointers.
    private static byte** EnvironmentWith(byte** added, int additions)
    {
        byte** inherited = *(byte***)NativeLibrary.GetExport(NativeLibrary.GetMainProgramHandle(), "environ");
        nuint count = 0;
        while (inherited != null && inherited[count] != null)
        {
            count++;
        }

        var environment = (byte**)NativeMemory.AllocZeroed(count + (nuint)additions + 1, (nuint)sizeof(byte*));
        for (nuint i = 0; i < count; i++)
        {
            environment[i] = inherited[i];
        }

        for (int i = 0; i < additions; i++)
        {
            environment[count + (nuint)i] = added[i];
        }

        return environment;
    }

    private static byte** Strings(IReadOnlyList<string> values)
    {
        var pointers = (byte**)NativeMemory.AllocZeroed((nuint)values.Count + 1, (nuint)sizeof(byte*));
        for (int i = 0; i < values.Count; i++)
        {
            pointers[i] = (byte*)Marshal.StringToCoTaskMemUTF8(values[i]);
        }

        return pointers;
    }

    private static void Free(byte** strings)
    {
        for (byte** each = strings; *each != null; each++)
        {
            Marshal.FreeCoTaskMem((nint)(*each));
        }

        NativeMemory.Free(strings);
    }

    private static void Check(int errno)
    {
        if (errno != 0)
        {
            throw Failed("posix_spawn", errno);
        }
    }

    private static IOException Failed(string call, int errno) => new($"{call}: {new Win32Exception(errno).Message}", errno);
}
