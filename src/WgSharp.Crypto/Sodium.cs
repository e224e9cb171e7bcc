using System.Reflection;
using System.Runtime.InteropServices;

namespace WgSharp.Crypto;

/// <summary>libsodium could not be loaded; <see cref="Exception.Message"/> is one sentence for the person who starts the program.</summary>
public sealed class SodiumMissingException : Exception
{
    public SodiumMissingException()
        : base("libsodium is missing or unusable: install it (Debian and Ubuntu: apt install libsodium23) or put libsodium.so.23 beside the executable.")
    {
    }

    public SodiumMissingException(string message)
        : base(message)
    {
    }

    public SodiumMissingException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}

/// <summary>Lets a program find out at its start, and not in its first handshake, whether libsodium is there.</summary>
public static class SodiumLibrary
{
    /// <summary>Loads and initialises libsodium; later calls do nothing.</summary>
    /// <exception cref="SodiumMissingException">No usable libsodium beside the executable or in the system.</exception>
    public static void Load() => _ = Sodium.sodium_library_version_major();
}

/// <summary>
/// Every import of libsodium, under its own names. The library is looked for beside the executable first, then in the system,
/// and initialised when it is loaded: no caller can come before <c>sodium_init</c>.
/// </summary>
internal static unsafe partial class Sodium
{
    private const string Library = "libsodium";

    private static readonly string[] Names = ["libsodium.so.23", "libsodium.so.26", "libsodium.so"];

    private static readonly Lazy<nint> Handle = new(Load);

    static Sodium() => NativeLibrary.SetDllImportResolver(typeof(Sodium).Assembly, Resolve);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    internal static partial int sodium_library_version_major();

    /// <returns>0, or -1 when the result is all zeros; <paramref name="q"/> may then be unwritten.</returns>
    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    internal static partial int crypto_scalarmult_curve25519(byte* q, byte* n, byte* p);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    internal static partial int crypto_scalarmult_curve25519_base(byte* q, byte* n);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    internal static partial int crypto_aead_chacha20poly1305_ietf_encrypt_detached(
        byte* c, byte* mac, ulong* maclen_p, byte* m, ulong mlen, byte* ad, ulong adlen, byte* nsec, byte* npub, byte* k);

    /// <returns>0, or -1 for a forgery.</returns>
    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    internal static partial int crypto_aead_chacha20poly1305_ietf_decrypt_detached(
        byte* m, byte* nsec, byte* c, ulong clen, byte* mac, byte* ad, ulong adlen, byte* npub, byte* k);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    internal static partial int crypto_aead_xchacha20poly1305_ietf_encrypt_detached(
        byte* c, byte* mac, ulong* maclen_p, byte* m, ulong mlen, byte* ad, ulong adlen, byte* nsec, byte* npub, byte* k);

    /// <returns>0, or -1 for a forgery.</returns>
    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    internal static partial int crypto_aead_xchacha20poly1305_ietf_decrypt_detached(
        byte* m, byte* nsec, byte* c, ulong clen, byte* mac, byte* ad, ulong adlen, byte* npub, byte* k);

    /// <returns>0, or -1 with errno; the pages are left out of core dumps either way.</returns>
    [LibraryImport(Library, SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    internal static partial int sodium_mlock(void* addr, nuint len);

    private static nint Resolve(string libraryName, Assembly assembly, DllImportSearchPath? searchPath) =>
        string.Equals(libraryName, Library, StringComparison.Ordinal) ? Handle.Value : 0;

    private static nint Load() => Load(AppContext.BaseDirectory);

    /// <summary>A copy in <paramref name="directory"/> wins over the system's.</summary>
    internal static nint Load(string directory)
    {
        foreach (string name in Names)
        {
            string beside = Path.Combine(directory, name);
            if (File.Exists(beside) && TryLoad(beside, out nint handle))
            {
                return handle;
            }
        }

        foreach (string name in Names)
        {
            if (TryLoad(name, out nint handle))
            {
                return handle;
            }
        }

        throw new SodiumMissingException();
    }

    private static bool TryLoad(string path, out nint handle)
    {
        if (!NativeLibrary.TryLoad(path, out handle))
        {
            return false;
        }

        // -1 is failure, 1 "already initialised".
        return NativeLibrary.TryGetExport(handle, "sodium_init", out nint init) && ((delegate* unmanaged<int>)init)() >= 0;
    }
}
