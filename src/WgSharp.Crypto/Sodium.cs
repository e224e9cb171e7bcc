using System.Reflection;
using System.Runtime.InteropServices;

namespace WgSharp.Crypto;

/// <summary>libsodium could not be loaded; <see cref="Exception.Message"/> is one sentence for the person who starts the program.</summary>
public sealed class SodiumMissingException : Exception
{
    private const string WhatToDo = "install it (Debian and Ubuntu: apt install libsodium23) or put libsodium.so.23 beside the executable.";

    public SodiumMissingException()
        : base($"libsodium is missing: {WhatToDo}")
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

    internal static SodiumMissingException Unusable(string path, string reason) =>
        new($"{path} cannot be used ({reason}), and there is no other libsodium: {WhatToDo}");
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

    /// <summary>A copy in <paramref name="directory"/> wins over the system's; one that cannot be used (it may need a newer C library) leaves the field to it.</summary>
    internal static nint Load(string directory) => Load([.. Names.Select(name => Path.Combine(directory, name)).Where(File.Exists), .. Names]);

    /// <exception cref="SodiumMissingException">None can be used; the message says why the first that there is cannot.</exception>
    internal static nint Load(IReadOnlyList<string> candidates)
    {
        string? found = null;
        string? reason = null;
        foreach (string candidate in candidates)
        {
            if (TryLoad(candidate, out nint handle, out string? why))
            {
                return handle;
            }

            (found, reason) = reason is null && why is not null ? (candidate, why) : (found, reason);
        }

        throw reason is null ? new SodiumMissingException() : SodiumMissingException.Unusable(found!, reason);
    }

    /// <param name="why">Why not, where there is such a file.</param>
    private static bool TryLoad(string candidate, out nint handle, out string? why)
    {
        handle = 0;
        why = Path.IsPathRooted(candidate) && !SharedObject.IsWhole(candidate) ? "it is not a whole library" : null;
        if (why is not null)
        {
            return false;
        }

        try
        {
            handle = NativeLibrary.Load(candidate);
        }
        catch (Exception refused) when (refused is DllNotFoundException or BadImageFormatException)
        {
            why = SharedObject.Complaint(refused.Message, candidate);
            return false;
        }

        // -1 is failure, 1 "already initialised".
        if (NativeLibrary.TryGetExport(handle, "sodium_init", out nint init) && ((delegate* unmanaged<int>)init)() >= 0)
        {
            return true;
        }

        why = "it does not initialise";
        return false;
    }
}
