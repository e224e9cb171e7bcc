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
            string system = File.ReadLines("/proc/self/maps").First(line => line.Contains("libsodium", StringComparison.Ordinal)).Split(' ')[^1];
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
    public void A_missing_library_is_one_sentence_that_names_the_package()
    {
        string message = new SodiumMissingException().Message;
        Assert.Contains("libsodium23", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }
}
