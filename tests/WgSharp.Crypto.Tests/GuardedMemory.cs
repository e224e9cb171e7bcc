using System.Runtime.InteropServices;

namespace WgSharp.Crypto.Tests;

/// <summary>Memory with an inaccessible page on either side: a lane that strays by one byte ends the process.</summary>
internal sealed unsafe partial class GuardedMemory : IDisposable
{
    private const int PageSize = 4096;
    private readonly byte* _mapping;
    private readonly int _mapped;

    public GuardedMemory(int length)
    {
        Length = (length + PageSize - 1) / PageSize * PageSize;
        _mapped = Length + (2 * PageSize);
        _mapping = (byte*)mmap(null, (nuint)_mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        Assert.NotEqual((nint)(-1), (nint)_mapping);
        Assert.Equal(0, mprotect(_mapping + PageSize, (nuint)Length, PROT_READ | PROT_WRITE));
    }

    public int Length { get; }

    /// <summary>The accessible memory's last bytes.</summary>
    public Span<byte> AtEnd(int length) => new(_mapping + PageSize + Length - length, length);

    /// <summary>The accessible memory's first bytes.</summary>
    public Span<byte> AtStart(int length) => new(_mapping + PageSize, length);

    public void Dispose() => Assert.Equal(0, munmap(_mapping, (nuint)_mapped));

    private const int PROT_NONE = 0;
    private const int PROT_READ = 1;
    private const int PROT_WRITE = 2;
    private const int MAP_PRIVATE = 2;
    private const int MAP_ANONYMOUS = 0x20;

    [LibraryImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial void* mmap(void* addr, nuint length, int prot, int flags, int fd, nint offset);

    [LibraryImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int mprotect(void* addr, nuint len, int prot);

    [LibraryImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int munmap(void* addr, nuint length);
}
