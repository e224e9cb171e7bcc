using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>
/// A file in memory without a name (memfd_create; before 3.17 one on a tmpfs that has lost its name): it lives as long as anybody has its descriptor, and is never
/// on a disk. As long as this process lives it is locked into memory, as far as the limit goes, so that it is not in the swap either.
/// </summary>
public sealed unsafe class MemoryFile : IDisposable
{
    private const int Chunk = 64 * 1024;

    // rw-------
    private const uint OwnerOnly = 0x180;

    // Where a tmpfs usually is. A unit with ProtectSystem=strict may write to the first.
    private static readonly string[] _directories = ["/dev/shm", "/run"];

    private readonly List<(nint Start, nuint Length)> _locked = [];
    private long _size;

    private MemoryFile(FileDescriptor descriptor) => Descriptor = descriptor;

    /// <summary>Bytes written.</summary>
    public long Length { get; private set; }

    /// <summary>To be handed on.</summary>
    public SafeHandle Handle => Descriptor;

    internal FileDescriptor Descriptor { get; }

    /// <param name="name">For who looks into /proc.</param>
    /// <exception cref="IOException">There is neither; HResult is the errno of memfd_create.</exception>
    public static MemoryFile Create(string name)
    {
        FileDescriptor? descriptor = FileDescriptor.From(Libc.memfd_create(name, Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING));
        if (descriptor is null)
        {
            int errno = Marshal.GetLastPInvokeError();
            return (errno == Errno.ENOSYS ? CreateOnTmpfs(_directories) : null) ?? throw Errno.Exception("memfd_create", errno);
        }

        // Nobody who has the descriptor can take writing away from us.
        _ = Libc.fcntl(descriptor, Libc.F_ADD_SEALS, Libc.F_SEAL_SEAL);
        return new MemoryFile(descriptor);
    }

    /// <summary>For kernels without memfd_create: in the first of these directories that is a tmpfs. The file has a name that nobody can guess, for the moment that it takes to remove it.</summary>
    /// <returns>Null where none of them is one that may be written to.</returns>
    internal static MemoryFile? CreateOnTmpfs(IEnumerable<string> directories)
    {
        Span<byte> random = stackalloc byte[16];
        SystemRandom.Fill(random);
        foreach (string directory in directories.Where(IsTmpfs))
        {
            string path = $"{directory}/.wgsharp-{Convert.ToHexString(random)}";
            if (FileDescriptor.From(Libc.open(path, Libc.O_RDWR | Libc.O_CREAT | Libc.O_EXCL | Libc.O_CLOEXEC, OwnerOnly)) is { } descriptor)
            {
                File.Delete(path);
                return new MemoryFile(descriptor);
            }
        }

        return null;
    }

    /// <summary>All of a file that another process has left.</summary>
    /// <param name="fd">Stays the caller's.</param>
    /// <returns>To be wiped; empty if it cannot be read.</returns>
    public static byte[] ReadAll(SafeHandle fd)
    {
        bool referenced = false;
        try
        {
            fd.DangerousAddRef(ref referenced);
            using var file = new Microsoft.Win32.SafeHandles.SafeFileHandle(fd.DangerousGetHandle(), ownsHandle: false);
            long length = RandomAccess.GetLength(file);
            byte[] bytes = GC.AllocateUninitializedArray<byte>((int)Math.Min(length, Array.MaxLength), pinned: true);
            int read = 0;
            int more;
            while (read < bytes.Length && (more = RandomAccess.Read(file, bytes.AsSpan(read), read)) > 0)
            {
                read += more;
            }

            return bytes;
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            return [];
        }
        finally
        {
            if (referenced)
            {
                fd.DangerousRelease();
            }
        }
    }

    /// <summary>Behind what is there. Whoever has the descriptor sees it at once.</summary>
    /// <exception cref="IOException">There is no memory for it; HResult is the errno.</exception>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        Grow(Length + bytes.Length);
        while (!bytes.IsEmpty)
        {
            nint written;
            fixed (byte* start = bytes)
            {
                written = Libc.pwrite(Descriptor, start, (nuint)bytes.Length, (nint)Length);
            }

            if (written > 0)
            {
                bytes = bytes[(int)written..];
                Length += written;
            }
            else if (Marshal.GetLastPInvokeError() != Errno.EINTR)
            {
                throw Errno.Exception("pwrite to a file in memory", Marshal.GetLastPInvokeError());
            }
        }
    }

    /// <summary>Nothing is left in it, whoever else has it.</summary>
    public void Clear()
    {
        Unlock();
        _ = Libc.ftruncate(Descriptor, 0);
        Length = 0;
        _size = 0;
    }

    public void Dispose()
    {
        Unlock();
        Descriptor.Dispose();
    }

    // struct statfs begins with the type, a word.
    private static bool IsTmpfs(string directory)
    {
        const int StatfsSize = 120;
        byte* result = stackalloc byte[StatfsSize];
        return Libc.statfs(directory, result) == 0 && *(nint*)result == Libc.TMPFS_MAGIC;
    }

    /// <summary>The file is as long as what is locked of it; behind what was written are zeros.</summary>
    private void Grow(long wanted)
    {
        if (wanted <= _size)
        {
            return;
        }

        // By a quarter, so that a large file is not locked in a thousand pieces.
        long more = (Math.Max(wanted - _size, _size / 4) + Chunk - 1) / Chunk * Chunk;
        if (Libc.ftruncate(Descriptor, (nint)(_size + more)) < 0)
        {
            throw Errno.Exception("ftruncate of a file in memory", Marshal.GetLastPInvokeError());
        }

        void* start = Libc.mmap(null, (nuint)more, Libc.PROT_READ, Libc.MAP_SHARED, Descriptor, (nint)_size);
        _size += more;
        if ((nint)start == -1)
        {
            return;
        }

        if (Libc.mlock(start, (nuint)more) == 0)
        {
            _locked.Add(((nint)start, (nuint)more));
        }
        else
        {
            _ = Libc.munmap(start, (nuint)more);
        }
    }

    private void Unlock()
    {
        foreach ((nint start, nuint length) in _locked)
        {
            _ = Libc.munmap((void*)start, length);
        }

        _locked.Clear();
    }
}
