using System.Globalization;
using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>What this process has mapped of files: its program, the runtime's, the libraries.</summary>
public static partial class MappedFiles
{
    /// <summary>&lt;sys/mman.h&gt;</summary>
    private const int MADV_DONTNEED = 4;

    private const string ThisProcess = "/proc/self/smaps";

    /// <summary>
    /// Lets go of all pages of files that nobody has written to. They are mapped again when they are touched, from the page cache if there was room for them
    /// meanwhile. For the end of the start, of whose code most is never executed again.
    /// </summary>
    /// <returns>Bytes of address space that were let go of.</returns>
    public static long Release()
    {
        long released = 0;
        foreach ((nint start, nint length) in Unwritten(File.ReadLines(ThisProcess)))
        {
            released += madvise(start, length, MADV_DONTNEED) == 0 ? length : 0;
        }

        return released;
    }

    /// <summary>Mappings of files that are not writable, and of whose pages none is a copy (proc(5), smaps; a library's relocations are such copies).</summary>
    internal static IEnumerable<(nint Start, nint Length)> Unwritten(IEnumerable<string> smaps)
    {
        (nint Start, nint Length)? mapping = null;
        foreach (string line in smaps)
        {
            // Addresses begin with a lower-case digit, names of figures with a capital.
            if (char.IsAsciiHexDigitLower(line[0]))
            {
                mapping = FileNotWritable(line);
            }
            else if (mapping is { } unwritten && line.StartsWith("Anonymous:", StringComparison.Ordinal) && line.AsSpan()[10..].TrimStart().StartsWith("0 "))
            {
                yield return unwritten;
            }
        }
    }

    /// <param name="line">"7f0000000000-7f0000001000 r-xp 00000000 fe:00 1234      /usr/bin/wgsharp".</param>
    private static (nint Start, nint Length)? FileNotWritable(string line)
    {
        int end = line.IndexOf('-', StringComparison.Ordinal);
        int permissions = line.IndexOf(' ', StringComparison.Ordinal);
        if (line[permissions + 2] == 'w' || !line.Contains(" /", StringComparison.Ordinal))
        {
            return null;
        }

        nint start = nint.Parse(line.AsSpan(0, end), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        return (start, nint.Parse(line.AsSpan(end + 1, permissions - end - 1), NumberStyles.HexNumber, CultureInfo.InvariantCulture) - start);
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int madvise(nint start, nint length, int advice);
}
