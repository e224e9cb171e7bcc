using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>The C library calls of the daemon's process and files: spawn, descriptors, file identity, inotify. Names are C's.</summary>
internal static unsafe partial class LibcProcess
{
    public const int O_RDWR = 2;
    public const int O_CLOEXEC = 0x80000;
    public const int F_SETFD = 2;
    public const int F_DUPFD_CLOEXEC = 1030;
    public const int FD_CLOEXEC = 1;
    public const int EINTR = 4;

    /// <summary>The same on all architectures; glibc has a function only since 2.34.</summary>
    public const nint SYS_close_range = 436;
    public const uint CLOSE_RANGE_CLOEXEC = 4;

    public const int SIG_BLOCK = 0;
    public const int SFD_CLOEXEC = O_CLOEXEC;
    public const nint SIG_IGN = 1;

    public const short POSIX_SPAWN_SETSIGDEF = 0x04;
    public const short POSIX_SPAWN_SETSIGMASK = 0x08;
    public const short POSIX_SPAWN_SETSID = 0x80;

    /// <summary>Generous for the opaque types of spawn.h and signal.h (glibc: 80, 336 and 128 bytes).</summary>
    public const int OpaqueSize = 1024;

    public const int AT_FDCWD = -100;
    public const int AT_SYMLINK_NOFOLLOW = 0x100;
    public const int AT_EMPTY_PATH = 0x1000;
    public const uint STATX_BASIC_STATS = 0x7ff;
    public const ushort S_IFMT = 0xf000;
    public const ushort S_IFSOCK = 0xc000;
    public const ushort S_IFIFO = 0x1000;

    public const int IN_CLOEXEC = O_CLOEXEC;
    public const uint IN_ATTRIB = 0x4;
    public const uint IN_DELETE_SELF = 0x400;
    public const uint IN_MOVE_SELF = 0x800;

    private const string Library = "libc";

    [LibraryImport(Library, SetLastError = true)]
    public static partial int pipe2(int* descriptors, int flags);

    [LibraryImport(Library, SetLastError = true, EntryPoint = "syscall")]
    public static partial nint syscall(nint number, nuint first, nuint second, nuint third);

    [LibraryImport(Library, SetLastError = true)]
    public static partial int fcntl(int descriptor, int command, int argument);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int open(string path, int flags);

    [LibraryImport(Library, SetLastError = true)]
    public static partial int dup2(int from, int to);

    [LibraryImport(Library, SetLastError = true)]
    public static partial int close(int descriptor);

    [LibraryImport(Library, SetLastError = true)]
    public static partial nint read(int descriptor, byte* buffer, nint count);

    [LibraryImport(Library, SetLastError = true)]
    public static partial nint write(int descriptor, byte* buffer, nint count);

    [LibraryImport(Library)]
    public static partial uint umask(uint mask);

    [LibraryImport(Library, SetLastError = true)]
    public static partial int waitpid(int process, int* status, int options);

    [LibraryImport(Library)]
    public static partial int posix_spawn(int* process, byte* path, byte* fileActions, byte* attributes, byte** arguments, byte** environment);

    [LibraryImport(Library)]
    public static partial int posix_spawn_file_actions_init(byte* fileActions);

    [LibraryImport(Library)]
    public static partial int posix_spawn_file_actions_destroy(byte* fileActions);

    [LibraryImport(Library)]
    public static partial int posix_spawn_file_actions_adddup2(byte* fileActions, int from, int to);

    [LibraryImport(Library)]
    public static partial int posix_spawnattr_init(byte* attributes);

    [LibraryImport(Library)]
    public static partial int posix_spawnattr_destroy(byte* attributes);

    [LibraryImport(Library)]
    public static partial int posix_spawnattr_setflags(byte* attributes, short flags);

    [LibraryImport(Library)]
    public static partial int posix_spawnattr_setsigdefault(byte* attributes, byte* signals);

    [LibraryImport(Library)]
    public static partial int posix_spawnattr_setsigmask(byte* attributes, byte* signals);

    [LibraryImport(Library)]
    public static partial int sigemptyset(byte* signals);

    [LibraryImport(Library)]
    public static partial int sigfillset(byte* signals);

    [LibraryImport(Library)]
    public static partial int sigdelset(byte* signals, int signal);

    [LibraryImport(Library)]
    public static partial int sigaddset(byte* signals, int signal);

    /// <summary>Of the calling thread. (pthread_sigmask, which says so, is not in libc before glibc 2.32.)</summary>
    [LibraryImport(Library)]
    public static partial int sigprocmask(int how, byte* signals, byte* old);

    [LibraryImport(Library)]
    public static partial int sigaction(int signal, byte* action, byte* old);

    [LibraryImport(Library, SetLastError = true)]
    public static partial int signalfd(int descriptor, byte* signals, int flags);

    [LibraryImport(Library, SetLastError = true)]
    public static partial int execve(byte* path, byte** arguments, byte** environment);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int statx(int directory, string path, int flags, uint mask, Statx* result);

    [LibraryImport(Library, SetLastError = true)]
    public static partial int inotify_init1(int flags);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int inotify_add_watch(int descriptor, string path, uint mask);

    [LibraryImport(Library, SetLastError = true)]
    public static partial int inotify_rm_watch(int descriptor, int watch);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial uint if_nametoindex(string name);

    /// <summary>struct statx (include/uapi/linux/stat.h), the members that are read.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    public struct Statx
    {
        [FieldOffset(28)]
        public ushort Mode;

        [FieldOffset(32)]
        public ulong Inode;

        [FieldOffset(136)]
        public uint DeviceMajor;

        [FieldOffset(140)]
        public uint DeviceMinor;
    }
}
