using System.IO.MemoryMappedFiles;

namespace WgSharp.Linux.Tests;

public sealed class MappedFilesTests
{
    [Theory]
    [InlineData("r-xp 00001000 fe:00 12      /usr/bin/wgsharp", 0, true)]
    [InlineData("r--s 00000000 fe:00 12      /usr/bin/wgsharp", 0, true)]
    [InlineData("r--p 00000000 fe:00 12      /usr/lib/with a space.so", 0, true)]
    [InlineData("r--p 00001000 fe:00 12      /usr/lib/relocated.so", 4, false)]
    [InlineData("r-xp 00001000 fe:00 12      /usr/lib/patched.so", 120, false)]
    [InlineData("rw-p 00001000 fe:00 12      /usr/bin/wgsharp", 0, false)]
    [InlineData("rw-s 00001000 fe:00 12      /dev/shm/shared", 0, false)]
    [InlineData("r-xp 00000000 00:00 0       [vdso]", 0, false)]
    [InlineData("r--p 00000000 00:00 0 ", 0, false)]
    public void Unwritten_is_what_is_a_files_and_neither_writable_nor_copied(string mapping, int anonymous, bool unwritten)
    {
        string[] smaps =
        [
            $"12a00000-12a03000 {mapping}", "Rss:                  12 kB", $"Anonymous:           {anonymous,4} kB", "Locked:                0 kB",
            "7f12b0000000-7f12b0001000 rw-p 00000000 00:00 0 ", "Rss:                   4 kB", "Anonymous:              0 kB",
        ];
        (nint, nint)[] expected = unwritten ? [(0x12a00000, 0x3000)] : [];
        Assert.Equal(expected, MappedFiles.Unwritten(smaps));
    }

    [Fact]
    public void Pages_that_were_let_go_of_come_back_as_they_were_and_written_ones_stay()
    {
        string path = Path.GetTempFileName();
        byte[] content = new byte[1 << 20];
        new Random(1).NextBytes(content);
        File.WriteAllBytes(path, content);
        using MemoryMappedFile file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        using MemoryMappedViewAccessor view = file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        using MemoryMappedFile own = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        using MemoryMappedViewAccessor written = own.CreateViewAccessor(0, 0, MemoryMappedFileAccess.CopyOnWrite);
        written.Write(5, (byte)~content[5]);
        Assert.Equal(content, Read(view));
        Assert.True(ResidentOf(path) >= content.Length);

        Assert.True(MappedFiles.Release() >= content.Length);

        // What is left is the page that was written to.
        Assert.True(ResidentOf(path) < content.Length / 2, $"{ResidentOf(path)} bytes are resident");
        Assert.Equal(content, Read(view));
        Assert.Equal((byte)~content[5], written.ReadByte(5));
        File.Delete(path);
    }

    private static byte[] Read(MemoryMappedViewAccessor view)
    {
        byte[] bytes = new byte[1 << 20];
        view.ReadArray(0, bytes, 0, bytes.Length);
        return bytes;
    }

    private static long ResidentOf(string path)
    {
        long resident = 0;
        bool inside = false;
        foreach (string line in File.ReadLines("/proc/self/smaps"))
        {
            inside = char.IsAsciiHexDigitLower(line[0]) ? line.EndsWith(path, StringComparison.Ordinal) : inside;
            resident += inside && line.StartsWith("Rss:", StringComparison.Ordinal) ? long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]) << 10 : 0;
        }

        return resident;
    }
}
