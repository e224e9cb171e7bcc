namespace WgSharp.Crypto.Tests;

public class SodiumTests
{
    [Fact]
    public void The_library_loads_once_and_again()
    {
        SodiumLibrary.Load();
        SodiumLibrary.Load();
    }

    [Fact]
    public void A_copy_beside_the_executable_comes_before_the_system_s()
    {
        string directory = Directory.CreateTempSubdirectory("wgsharp-sodium").FullName;
        try
        {
            string system = LoadedPath("libsodium");
            string copy = Path.Combine(directory, "libsodium.so.23");
            File.Copy(system, copy);
            Assert.NotEqual(0, Sodium.Load(directory));
            Assert.Contains(File.ReadLines("/proc/self/maps"), line => line.EndsWith(copy, StringComparison.Ordinal));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void A_damaged_copy_beside_the_executable_falls_back_to_the_system_s()
    {
        string directory = Directory.CreateTempSubdirectory("wgsharp-sodium").FullName;
        try
        {
            File.WriteAllText(Path.Combine(directory, "libsodium.so.23"), "not a library");
            Assert.NotEqual(0, Sodium.Load(directory));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void A_copy_that_needs_a_newer_C_library_leaves_the_field_to_the_system_s()
    {
        using var copy = new Copy(bytes => Replace(bytes, "GLIBC_2.4\0"u8, "GLIBC_9.9\0"u8));
        Assert.NotEqual(0, Sodium.Load(copy.Directory));
    }

    [Fact]
    public void Why_a_copy_cannot_be_used_is_told_where_there_is_no_other()
    {
        using var copy = new Copy(bytes => Replace(bytes, "GLIBC_2.4\0"u8, "GLIBC_9.9\0"u8));
        string message = Assert.Throws<SodiumMissingException>(() => Sodium.Load([copy.Path, "libsodium-of-nobody.so"])).Message;
        Assert.Contains(copy.Path, message, StringComparison.Ordinal);
        Assert.True(message.Contains("GLIBC_9.9", StringComparison.Ordinal), message);
        Assert.DoesNotContain('\n', message);
    }

    /// <summary>The loader maps a library without a look at its length: this would be the end of the process.</summary>
    [Theory]
    [InlineData(100)]
    [InlineData(5000)]
    [InlineData(100_000)]
    [InlineData(-1)]
    public void A_copy_that_was_cut_off_is_not_loaded(int length)
    {
        using var copy = new Copy(bytes => bytes[..(length < 0 ? bytes.Length + length : length)]);
        Assert.NotEqual(0, Sodium.Load(copy.Directory));
        string message = Assert.Throws<SodiumMissingException>(() => Sodium.Load([copy.Path])).Message;
        Assert.Contains("not a whole library", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_library_that_is_another_one_says_so()
    {
        using var copy = new Copy(_ => File.ReadAllBytes(LoadedPath("libgcc_s")));
        string message = Assert.Throws<SodiumMissingException>(() => Sodium.Load([copy.Path])).Message;
        Assert.True(message.Contains("does not initialise", StringComparison.Ordinal), message);
    }

    [Fact]
    public void No_library_at_all_is_one_sentence_that_names_the_package()
    {
        string message = Assert.Throws<SodiumMissingException>(() => Sodium.Load(["libsodium-of-nobody.so"])).Message;
        Assert.StartsWith("libsodium is missing: ", message, StringComparison.Ordinal);
        Assert.Contains("libsodium23", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    private static string LoadedPath(string name)
    {
        SodiumLibrary.Load();
        return File.ReadLines("/proc/self/maps")
            .First(line => line.Contains(name, StringComparison.Ordinal) && !line.EndsWith("(deleted)", StringComparison.Ordinal))
            .Split(' ')[^1];
    }

    private static byte[] Replace(byte[] bytes, ReadOnlySpan<byte> old, ReadOnlySpan<byte> replacement)
    {
        int at = bytes.AsSpan().IndexOf(old);
        Assert.True(at >= 0);
        replacement.CopyTo(bytes.AsSpan(at));
        return bytes;
    }

    /// <summary>The system's library, changed, in a directory of its own.</summary>
    private sealed class Copy : IDisposable
    {
        public Copy(Func<byte[], byte[]> change)
        {
            Directory = System.IO.Directory.CreateTempSubdirectory("wgsharp-sodium").FullName;
            Path = System.IO.Path.Combine(Directory, "libsodium.so.23");
            File.WriteAllBytes(Path, change(File.ReadAllBytes(LoadedPath("libsodium"))));
        }

        public string Directory { get; }

        public string Path { get; }

        public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);
    }
}
