using System.Reflection;
using System.Reflection.Metadata;
using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Package.Tests;

public sealed class PackageTests(InstalledPackage package) : IClassFixture<InstalledPackage>
{
    private const string Place = "lib/net10.0/";

    private static readonly Assembly[] Assemblies = [typeof(PrivateKey).Assembly, typeof(MessageTunnel).Assembly];

    [Fact]
    public void It_holds_both_assemblies_as_they_are_tested_with_their_documentation_and_depends_on_nothing()
    {
        Assert.Equal(
            ["README.md", Place + "WgSharp.Crypto.dll", Place + "WgSharp.Crypto.xml", Place + "WgSharp.Protocol.dll", Place + "WgSharp.Protocol.xml"],
            package.PackageContent.Keys.Where(name => name == "README.md" || name.StartsWith("lib/", StringComparison.Ordinal)).Order(StringComparer.Ordinal));
        Assert.All(Assemblies, assembly => Assert.Equal(File.ReadAllBytes(assembly.Location), package.PackageContent[Place + Path.GetFileName(assembly.Location)]));
        string description = System.Text.Encoding.UTF8.GetString(package.PackageContent["WgSharp.Protocol.nuspec"]);
        Assert.DoesNotContain("<dependency ", description, StringComparison.Ordinal);
        Assert.Contains("<readme>README.md</readme>", description, StringComparison.Ordinal);
    }

    [Fact]
    public void The_symbols_are_those_of_the_assemblies()
    {
        Assert.All(Assemblies, assembly =>
        {
            using var program = new System.Reflection.PortableExecutable.PEReader(File.OpenRead(assembly.Location));
            Guid wanted = program.ReadCodeViewDebugDirectoryData(program.ReadDebugDirectory().First(entry => entry.Type == System.Reflection.PortableExecutable.DebugDirectoryEntryType.CodeView)).Guid;
            using MetadataReaderProvider symbols = MetadataReaderProvider.FromPortablePdbStream(
                new MemoryStream(package.SymbolContent[Place + Path.ChangeExtension(Path.GetFileName(assembly.Location), ".pdb")]));
            Assert.Equal(wanted, new BlobContentId(symbols.GetMetadataReader().DebugMetadataHeader!.Id).Guid);
        });
    }

    [Fact]
    public void The_example_in_its_README_prints_what_the_README_says()
    {
        string readme = System.Text.Encoding.UTF8.GetString(package.PackageContent["README.md"]);
        string promised = readme.Split("It prints\n\n```\n")[1].Split("```")[0];
        Assert.Equal((0, promised, string.Empty), InstalledPackage.Run("dotnet", Path.Combine(package.ProgramDirectory, "program.dll")));
    }

    [Fact]
    public void Without_libsodium_it_says_in_one_sentence_what_to_install()
    {
        const string WithoutSodium = """
            mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work &&
                mount -t overlay -o lowerdir=/usr/lib/x86_64-linux-gnu,upperdir=/mnt/upper,workdir=/mnt/work overlay /usr/lib/x86_64-linux-gnu &&
                rm /usr/lib/x86_64-linux-gnu/libsodium.so* && exec "$@"
            """;
        (int status, string _, string error) = InstalledPackage.Run(
            "unshare", "--mount", "sh", "-c", WithoutSodium, "sh", "dotnet", Path.Combine(package.ProgramDirectory, "program.dll"));
        Assert.NotEqual(0, status);
        Assert.StartsWith(
            "Unhandled exception. WgSharp.Crypto.SodiumMissingException: libsodium is missing: install it (Debian and Ubuntu: apt install libsodium23)",
            error.TrimStart(),
            StringComparison.Ordinal);
    }

    [Fact]
    public void Its_public_API_is_the_approved_one()
    {
        string actual = PublicApi.Of(Assemblies);
        string approved = InstalledPackage.Built("Approved");
        string proposal = Path.Combine(AppContext.BaseDirectory, Path.GetFileName(approved));
        File.WriteAllText(proposal, actual);
        Assert.True(actual == File.ReadAllText(approved), $"The public API has changed. If that is meant: cp {proposal} {approved}");
    }
}
