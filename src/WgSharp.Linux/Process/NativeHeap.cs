using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>The C library's heap, from which the runtime takes what it needs beside the managed one.</summary>
public static partial class NativeHeap
{
    /// <summary>&lt;malloc.h&gt;</summary>
    private const int M_ARENA_MAX = -8;

    /// <summary>
    /// One arena for all threads. glibc gives each new thread another one, up to eight per processor, and each grows to the most that any thread ever
    /// needed at once: threads of the pool that come and go would add megabytes within minutes. Packets need no native memory, so nobody waits.
    /// </summary>
    /// <returns>False where the C library has no arenas (musl).</returns>
    public static bool UseOneArena()
    {
        try
        {
            return mallopt(M_ARENA_MAX, 1) == 1;
        }
        catch (EntryPointNotFoundException)
        {
            return false;
        }
    }

    [LibraryImport("libc")]
    private static partial int mallopt(int parameter, int value);
}
