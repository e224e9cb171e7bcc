using System.Globalization;
using System.Net.Sockets;
using WgSharp.Linux;

namespace WgSharp;

/// <summary>
/// The socket file's life: <c>/var/run/wireguard/IF.sock</c> appears only when it answers, and goes only if it is still ours.
/// </summary>
/// <remarks>
/// <c>wg</c> unlinks a socket that refuses connections, and lists whatever ends in <c>.sock</c>: so the socket is bound and
/// listens under another name first, then renamed over what a crashed daemon may have left.
/// </remarks>
internal sealed class UapiSocket : IDisposable
{
    public const string DefaultDirectory = "/var/run/wireguard";

    /// <summary>What follows the interface's name, and tells wg that it is one.</summary>
    public const string Extension = ".sock";

    private const string Unfinished = ".new";
    private const int Backlog = 128;
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private const UnixFileMode DirectoryMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    private readonly string? _path;
    private readonly FileIdentity? _identity;

    private UapiSocket(Socket listener, string? path, FileIdentity? identity)
    {
        Listener = listener;
        _path = path;
        _identity = identity;
    }

    public Socket Listener { get; }

    /// <summary>Null for an inherited socket, whose file belongs to who made it.</summary>
    public string? Path => _path;

    /// <summary>Of the file; null for an inherited socket.</summary>
    public FileIdentity? Identity => _identity;

    /// <summary>Whether a socket in a directory of that name, as /proc/net/unix shows it, is an interface's: renaming a file does not rename what was bound there.</summary>
    public static bool IsListenerOf(string interfaceName, string path)
    {
        string name = path[(path.LastIndexOf('/') + 1)..];
        return path.EndsWith($"/wireguard/{name}", StringComparison.Ordinal)
            && (name == interfaceName + Extension
                || (name.StartsWith($".{interfaceName}.", StringComparison.Ordinal) && name.EndsWith(Unfinished, StringComparison.Ordinal)
                    && int.TryParse(name.AsSpan()[(interfaceName.Length + 2)..^Unfinished.Length], NumberStyles.None, CultureInfo.InvariantCulture, out _)));
    }

    /// <summary>A listening socket that the caller has opened (WG_UAPI_FD).</summary>
    public static UapiSocket Inherited(int descriptor) => new(new Socket(new SafeSocketHandle(descriptor, ownsHandle: true)), null, null);

    /// <summary>A listening socket that a process before this one has made: who has connected meanwhile is served by this one.</summary>
    /// <param name="identity">What the file was when it was made.</param>
    /// <returns>Null if the file is another one by now, or gone.</returns>
    public static UapiSocket? Adopt(int descriptor, string directory, string interfaceName, FileIdentity identity)
    {
        string path = PathOf(directory, interfaceName);
        var handle = new SafeSocketHandle(descriptor, ownsHandle: true);
        if (FileIdentity.OfPath(path) == identity)
        {
            return new UapiSocket(new Socket(handle), path, identity);
        }

        handle.Dispose();
        return null;
    }

    /// <summary>Makes the directory if it is missing, and the socket.</summary>
    /// <param name="directory"><see cref="DefaultDirectory"/>, or another one in tests.</param>
    /// <param name="patience">How long a daemon that is just ending may take to leave the name.</param>
    /// <exception cref="IOException">The name is taken (HResult is EADDRINUSE) or the directory cannot be used.</exception>
    public static UapiSocket Listen(string directory, string interfaceName, TimeSpan patience)
    {
        string path = PathOf(directory, interfaceName);
        string temporary = System.IO.Path.Combine(directory, $".{interfaceName}.{Environment.ProcessId}{Unfinished}");
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            MakeDirectory(directory);
            EnsureFree(path, patience);
            CheckWritable(temporary);
            listener.Bind(new UnixDomainSocketEndPoint(temporary));
            File.SetUnixFileMode(temporary, OwnerOnly);
            listener.Listen(Backlog);
            FileIdentity? identity = FileIdentity.OfPath(temporary);
            File.Move(temporary, path, overwrite: true);
            return new UapiSocket(listener, path, identity);
        }
        catch (Exception failure) when (failure is SocketException or UnauthorizedAccessException or IOException { HResult: not Errno.EADDRINUSE })
        {
            listener.Dispose();
            throw CannotBeMade(path, directory, failure);
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }

    /// <summary>Returns when nobody answers under the name.</summary>
    /// <param name="patience">How long a daemon that is just ending may take to leave it.</param>
    /// <exception cref="IOException">It is taken: HResult is EADDRINUSE. Or nobody can be asked there.</exception>
    public static void AwaitFree(string directory, string interfaceName, TimeSpan patience)
    {
        string path = PathOf(directory, interfaceName);
        try
        {
            EnsureFree(path, patience);
        }
        catch (SocketException refused)
        {
            throw CannotBeMade(path, directory, refused);
        }
    }

    /// <summary>Calls back once, on another thread, when the socket file was deleted or replaced.</summary>
    /// <returns>Null for an inherited socket.</returns>
    /// <exception cref="IOException">The kernel refuses to watch; HResult is the errno.</exception>
    public FileWatch? Watch(Action gone) => _path is not null && _identity is { } identity ? new FileWatch(_path, identity, gone) : null;

    /// <summary>Deletes the file unless another daemon has taken the name meanwhile.</summary>
    public void RemoveFile()
    {
        if (_path is not null && _identity is not null && FileIdentity.OfPath(_path) == _identity)
        {
            File.Delete(_path);
        }
    }

    /// <summary>The file first, then the socket: who waits for the name sees the connection end when it is free.</summary>
    public void Dispose()
    {
        RemoveFile();
        Listener.Dispose();
    }

    private static string PathOf(string directory, string interfaceName) => System.IO.Path.Combine(directory, interfaceName + ".sock");

    // On Linux the HResult of an IOException is the errno; that of others is a code of the runtime's own.
    private static string Reason(Exception failure, string directory) => failure.HResult switch
    {
        Errno.EROFS => $"{Errno.Describe(Errno.EROFS)}; mount a tmpfs on {directory}, where wg looks for it.",
        > 0 => $"{Errno.Describe(failure.HResult)}.",
        _ => failure.Message,
    };

    // A plain file says why it cannot be made; of what a socket may answer (EROFS, ENOSPC), the runtime makes "unknown socket error".
    private static void CheckWritable(string temporary)
    {
        File.OpenHandle(temporary, FileMode.Create, FileAccess.Write).Dispose();
        File.Delete(temporary);
    }

    private static void MakeDirectory(string directory)
    {
        if (!Directory.Exists(directory))
        {
            Directory.CreateDirectory(directory);
            File.SetUnixFileMode(directory, DirectoryMode);
        }
    }

    // After `ip link delete` the old daemon takes a moment to go, and an `up` may follow at once: the connection that found it
    // alive also tells when it ends. That the name went between the look and the question (ENOENT) is "address not available" to the runtime.
    private static void EnsureFree(string path, TimeSpan patience)
    {
        long deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (FileIdentity.OfPath(path) is { } found)
        {
            if (!found.IsSocket)
            {
                throw new IOException($"{path} exists and is not a socket: remove it.", Errno.EADDRINUSE);
            }

            using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { Blocking = false };
            try
            {
                probe.Connect(new UnixDomainSocketEndPoint(path));
            }
            catch (SocketException refused) when (refused.SocketErrorCode == SocketError.ConnectionRefused)
            {
                return;
            }
            catch (SocketException gone) when (gone.SocketErrorCode == SocketError.AddressNotAvailable)
            {
                return;
            }
            catch (SocketException full) when (full.SocketErrorCode is SocketError.WouldBlock or SocketError.InProgress)
            {
                throw Taken(path);
            }

            long left = deadline - Environment.TickCount64;
            if (left <= 0 || !probe.Poll(TimeSpan.FromMilliseconds(left), SelectMode.SelectRead))
            {
                throw Taken(path);
            }
        }
    }

    private static IOException CannotBeMade(string path, string directory, Exception failure) =>
        new($"The control socket {path} cannot be made: {Reason(failure, directory)}", failure);

    private static IOException Taken(string path) => new(
        $"{path} answers: a daemon serves this interface already ({nameof(Errno.EADDRINUSE)}).",
        Errno.EADDRINUSE);
}
