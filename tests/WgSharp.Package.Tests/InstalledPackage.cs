using System.Diagnostics;
using System.IO.Compression;
using System.Reflection;
using System.Text;

namespace WgSharp.Package.Tests;

/// <summary>
/// The package as <c>dotnet pack</c> makes it of what was built for these tests, and a program made of it as somebody makes one who knows nothing else:
/// the example in the package's own README, in an empty directory, with that package as the only one there is.
/// </summary>
public sealed class InstalledPackage : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("wgsharp-package-").FullName;

    public InstalledPackage()
    {
        Dotnet("pack", Built("Project"), "-c", Built("Configuration"), "--no-build", "--no-restore", "-o", PathOf("source"));
        PackageContent = Read($"WgSharp.Protocol.{Built("Version")}.nupkg");
        SymbolContent = Read($"WgSharp.Protocol.{Built("Version")}.snupkg");
        MakeProgram();
    }

    /// <summary>The package's files by their names.</summary>
    public IReadOnlyDictionary<string, byte[]> PackageContent { get; }

    public IReadOnlyDictionary<string, byte[]> SymbolContent { get; }

    public string ProgramDirectory => PathOf("program/bin/Release/net10.0");

    /// <summary>What the build of these tests knows.</summary>
    public static string Built(string what) => typeof(InstalledPackage).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().First(one => one.Key == what).Value!;

    public static (int Status, string Output, string Error) Run(string program, params string[] arguments) => Run(Directory.GetCurrentDirectory(), program, arguments);

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private void MakeProgram()
    {
        Directory.CreateDirectory(PathOf("program"));
        File.WriteAllText(PathOf("program/Program.cs"), Example());
        File.WriteAllText(PathOf("program/program.csproj"), """
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <Nullable>enable</Nullable>
                <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
              </PropertyGroup>
            </Project>
            """);
        File.WriteAllText(PathOf("program/nuget.config"), $"""
            <configuration>
              <config><add key="globalPackagesFolder" value="{PathOf("packages")}" /></config>
              <packageSources><clear /><add key="here" value="{PathOf("source")}" /></packageSources>
            </configuration>
            """);
        Dotnet("add", "package", "WgSharp.Protocol");
        Dotnet("build", "-c", "Release", "-p:UseSharedCompilation=false");
    }

    private string Example()
    {
        string[] parts = Encoding.UTF8.GetString(PackageContent["README.md"]).Split("```csharp\n");
        Assert.Equal(2, parts.Length);
        return parts[1][..parts[1].IndexOf("```", StringComparison.Ordinal)];
    }

    private string PathOf(string name) => Path.Combine(_directory, name);

    private Dictionary<string, byte[]> Read(string archive)
    {
        using ZipArchive zip = ZipFile.OpenRead(PathOf($"source/{archive}"));
        return zip.Entries.ToDictionary(entry => entry.FullName, entry =>
        {
            using Stream content = entry.Open();
            using var copy = new MemoryStream();
            content.CopyTo(copy);
            return copy.ToArray();
        });
    }

    private void Dotnet(params string[] arguments)
    {
        string program = PathOf("program");
        (int status, string output, string error) = Run(Directory.Exists(program) ? program : _directory, "dotnet", arguments);
        Assert.True(status == 0, $"dotnet {string.Join(' ', arguments)}: {output}{error}");
    }

    private static (int Status, string Output, string Error) Run(string directory, string program, string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { UseShellExecute = false, WorkingDirectory = directory, RedirectStandardOutput = true, RedirectStandardError = true };
        // No server of the build is left behind.
        start.Environment["MSBUILDDISABLENODEREUSE"] = "1";
        start.Environment["DOTNET_CLI_USE_MSBUILD_SERVER"] = "0";
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.GetAwaiter().GetResult());
    }
}
