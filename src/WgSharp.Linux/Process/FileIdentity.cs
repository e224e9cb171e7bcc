namespace WgSharp.Linux;

/// <summary>Which file a path or descriptor means: device and inode. Two files that exist at the same time never share it.</summary>
/// <param name="Device">As st_dev, so that it compares with what systemd writes into $JOURNAL_STREAM.</param>
/// <param name="Inode">As st_ino.</param>
/// <param name="IsSocket">A unix socket, not a file, directory or link.</param>
/// <param name="IsPipe">With a name or without.</param>
public readonly record struct FileIdentity(ulong Device, ulong Inode, bool IsSocket, bool IsPipe = false)
{
    /// <summary>A symbolic link is not followed.</summary>
    /// <returns>Null if there is nothing, or it cannot be looked at.</returns>
    public static FileIdentity? OfPath(string path) => Stat(LibcProcess.AT_FDCWD, path, LibcProcess.AT_SYMLINK_NOFOLLOW);

    /// <summary>What a symbolic link leads to, such as those of /proc/PID/fd.</summary>
    /// <returns>Null if there is nothing, or it cannot be looked at.</returns>
    public static FileIdentity? OfTarget(string path) => Stat(LibcProcess.AT_FDCWD, path, flags: 0);

    /// <returns>Null if the descriptor is not open.</returns>
    public static FileIdentity? OfDescriptor(int descriptor) => Stat(descriptor, string.Empty, LibcProcess.AT_EMPTY_PATH);

    // statx and not stat: the C library exports no plain stat before 2.33, and emulates statx on kernels before 4.11.
    private static unsafe FileIdentity? Stat(int directory, string path, int flags)
    {
        LibcProcess.Statx result;
        if (LibcProcess.statx(directory, path, flags, LibcProcess.STATX_BASIC_STATS, &result) != 0)
        {
            return null;
        }

        return new FileIdentity(
            DeviceNumber(result.DeviceMajor, result.DeviceMinor),
            result.Inode,
            (result.Mode & LibcProcess.S_IFMT) == LibcProcess.S_IFSOCK,
            (result.Mode & LibcProcess.S_IFMT) == LibcProcess.S_IFIFO);
    }

    // gnu_dev_makedev: the low 12 bits of the major number between the low 8 and the high 24 of the minor.
    private static ulong DeviceNumber(ulong major, ulong minor) =>
        (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xffffff00) << 12) | ((major & 0xfffff000) << 32);
}
