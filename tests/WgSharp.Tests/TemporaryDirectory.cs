namespace WgSharp.Tests;

/// <summary>A short path: the name of a unix socket has 107 bytes.</summary>
internal sealed class TemporaryDirectory : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("wgs").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
