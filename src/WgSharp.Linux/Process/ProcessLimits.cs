using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>What this process needs of the limits that its caller gave it, and what it forbids itself.</summary>
public static unsafe partial class ProcessLimits
{
    /// <summary>The runtime keeps the executable open once per assembly, some 80 times; the rest is ours, and the control connections'.</summary>
    private const ulong LeastFiles = 192;
    private const ulong EnoughFiles = 1024;

    /// <summary>1.3 GiB: the heap's range, what the runtime reserves for code, and threads with stacks of 8 MiB.</summary>
    private const ulong LeastAddressSpace = 1331ul << 20;

    // <sys/resource.h>, <linux/prctl.h>
    private const int RLIMIT_CORE = 4;
    private const int RLIMIT_NOFILE = 7;
    private const int RLIMIT_AS = 9;
    private const int PR_SET_DUMPABLE = 4;

    /// <summary>Raises what is too low and may be raised. To be called before anything else: hardly a descriptor may be left to open.</summary>
    /// <returns>Null, or why the daemon could not live under these limits, in one sentence.</returns>
    public static string? Prepare()
    {
        rlimit files;
        if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < LeastFiles)
        {
            ulong had = files.rlim_max;
            files.rlim_cur = files.rlim_max = EnoughFiles;
            if (setrlimit(RLIMIT_NOFILE, &files) != 0)
            {
                return $"Only {had} files may be open at once, {LeastFiles} are needed: raise the limit (ulimit -n {EnoughFiles}, or LimitNOFILE={EnoughFiles} in the unit).";
            }
        }

        rlimit memory;
        return getrlimit(RLIMIT_AS, &memory) == 0 && memory.rlim_cur < LeastAddressSpace
            ? $"Only {memory.rlim_cur >> 20} MiB of address space may be used, {LeastAddressSpace >> 20} are needed (mostly reserved, not used): raise the limit (ulimit -v unlimited, or LimitAS=infinity in the unit)."
            : null;
    }

    /// <summary>No core dumps of this process, by the kernel or by who attaches without privilege: keys would be in them.</summary>
    public static void ForbidDumps()
    {
        // The limit for files, the attribute for the pipe of a crash handler, which no limit stops.
        rlimit none = default;
        _ = setrlimit(RLIMIT_CORE, &none);
        _ = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    }

    /// <summary>Says it on standard error, with nothing but the system call: there may be no descriptor left for more.</summary>
    public static void Say(string sentence)
    {
        byte[] bytes = System.Text.Encoding.UTF8.GetBytes(sentence + "\n");
        fixed (byte* start = bytes)
        {
            _ = LibcProcess.write(2, start, bytes.Length);
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int getrlimit(int resource, rlimit* limit);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int setrlimit(int resource, rlimit* limit);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int prctl(int option, nuint first, nuint second, nuint third, nuint fourth);

#pragma warning disable CS8981 // All lower case: the name that the manual page uses.
    /// <summary>&lt;sys/resource.h&gt;, 16 bytes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct rlimit
    {
        public ulong rlim_cur;
        public ulong rlim_max;
    }
#pragma warning restore CS8981
}
