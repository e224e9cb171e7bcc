using System.ComponentModel;
using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>
/// Tells when a path no longer means the file it meant: unlinked, renamed, or replaced. Sleeps in inotify, polls nothing.
/// </summary>
/// <remarks>
/// A socket that a process has bound stays alive without its name, so its inode is not deleted with it: what the kernel
/// reports at once is the change of its link count (IN_ATTRIB). A chmod reports the same; hence the look at the path.
/// </remarks>
public sealed class FileWatch : IDisposable
{
    private readonly string _path;
    private readonly FileIdentity _identity;
    private readonly Action _gone;
    private readonly int _inotify;
    private readonly int _watch;
    private readonly Thread _thread;

    /// <param name="path">Must mean the file now.</param>
    /// <param name="identity">The file.</param>
    /// <param name="gone">Called once, on the watch's own thread.</param>
    /// <exception cref="IOException">No inotify (fs.inotify.max_user_instances); HResult is the errno.</exception>
    public FileWatch(string path, FileIdentity identity, Action gone)
    {
        _path = path;
        _identity = identity;
        _gone = gone;
        _inotify = LibcProcess.inotify_init1(LibcProcess.IN_CLOEXEC);
        if (_inotify < 0)
        {
            throw Failed("inotify");
        }

        _watch = LibcProcess.inotify_add_watch(
            _inotify, path, LibcProcess.IN_ATTRIB | LibcProcess.IN_DELETE_SELF | LibcProcess.IN_MOVE_SELF);
        if (_watch < 0)
        {
            IOException failure = Failed(path);
            _ = LibcProcess.close(_inotify);
            throw failure;
        }

        _thread = new Thread(Run, maxStackSize: 128 * 1024) { IsBackground = true, Name = "file-watch" };
        _thread.Start();
    }

    /// <summary>Ends the thread: removing the watch queues a last event, which it reads. Not to be called by the callback.</summary>
    public void Dispose()
    {
        _ = LibcProcess.inotify_rm_watch(_inotify, _watch);
        _thread.Join();
        _ = LibcProcess.close(_inotify);
    }

    private unsafe void Run()
    {
        const uint Ignored = 0x8000;
        byte* buffer = stackalloc byte[4096];
        bool watching = true;
        while (watching)
        {
            nint length = LibcProcess.read(_inotify, buffer, 4096);
            if (length <= 0)
            {
                watching = length < 0 && Marshal.GetLastPInvokeError() == LibcProcess.EINTR;
                continue;
            }

            // struct inotify_event: wd, mask, cookie, len, name[len]; a watch on a file carries no name.
            for (nint offset = 0; offset + 16 <= length; offset += 16 + *(int*)(buffer + offset + 12))
            {
                watching &= (*(uint*)(buffer + offset + 4) & Ignored) == 0;
            }

            if (watching && FileIdentity.OfPath(_path) != _identity)
            {
                _gone();
                watching = false;
            }
        }
    }

    private static IOException Failed(string what)
    {
        int errno = Marshal.GetLastPInvokeError();
        return new IOException($"{what}: {new Win32Exception(errno).Message}", errno);
    }
}
