using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace WgSharp.Crypto;

/// <summary>What is to be known of a library's file (ELF64) before it is loaded, and what the loader said of one that it refused.</summary>
internal static class SharedObject
{
    /// <summary>
    /// False where the file is shorter than it says of itself: the loader maps it without a look at its length, and the process dies (SIGBUS) at the
    /// first page that is not there. The table of sections, which no loader needs, stands at the end of every library that was not cut off.
    /// </summary>
    public static bool IsWhole(string path)
    {
        const int HeaderSize = 64;
        Span<byte> header = stackalloc byte[HeaderSize];
        try
        {
            using SafeFileHandle file = File.OpenHandle(path);
            long length = RandomAccess.GetLength(file);
            if (RandomAccess.Read(file, header, 0) < HeaderSize || !header.StartsWith("\u007fELF"u8))
            {
                return false;
            }

            ulong sections = BinaryPrimitives.ReadUInt64LittleEndian(header[40..]);
            uint size = (uint)BinaryPrimitives.ReadUInt16LittleEndian(header[58..]) * BinaryPrimitives.ReadUInt16LittleEndian(header[60..]);
            return sections <= (ulong)length && size <= (ulong)length - sections;
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>The loader's own line out of the runtime's explanation; null where it says no more than that there is no such file.</summary>
    public static string? Complaint(string message, string candidate)
    {
        string? line = message
            .Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .Skip(1)
            .FirstOrDefault(line => !line.Contains("cannot open shared object file", StringComparison.Ordinal) || !line.Contains(Path.GetFileName(candidate) + ":", StringComparison.Ordinal));
        return line?.TrimEnd('.', ';');
    }
}
