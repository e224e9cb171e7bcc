using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace WgSharp.Linux;

/// <summary>
/// systemd's file descriptor store (sd_notify(3): FDSTORE, FDSTOREREMOVE; FileDescriptorStoreMax= of the unit): what is handed over there outlives this process, and
/// its successor finds it among the descriptors that it is started with (sd_listen_fds(3)), under the name that it was given.
/// </summary>
/// <remarks>systemd gives a number that is not ours: two descriptors may have the same name, and one may lie there twice only if it is another file.</remarks>
public sealed unsafe class DescriptorStore
{
    /// <summary>How many it takes: by systemd since 254, by the unit before.</summary>
    public const string CapacityVariable = "FDSTORE";

    private const string SocketVariable = "NOTIFY_SOCKET";
    private const int FirstDescriptor = 3;

    private readonly byte[] _address;

    private DescriptorStore(byte[] address) => _address = address;

    /// <summary>That of the unit that this process is started by.</summary>
    /// <returns>Null where there is none.</returns>
    public static DescriptorStore? Open()
    {
        string? socket = Environment.GetEnvironmentVariable(SocketVariable);
        bool takes = int.TryParse(Environment.GetEnvironmentVariable(CapacityVariable), NumberStyles.None, CultureInfo.InvariantCulture, out int capacity)
            && capacity > 0;
        return takes && AddressOf(socket) is { } address ? new DescriptorStore(address) : null;
    }

    /// <summary>What this process was started with, in the order of the numbers; forgets the variables.</summary>
    public static IReadOnlyList<(string Name, int Descriptor)> Inherited()
    {
        IReadOnlyList<(string Name, int Descriptor)> inherited = Parse(
            Environment.GetEnvironmentVariable("LISTEN_PID"),
            Environment.GetEnvironmentVariable("LISTEN_FDS"),
            Environment.GetEnvironmentVariable("LISTEN_FDNAMES"),
            Environment.ProcessId);
        foreach (string variable in (ReadOnlySpan<string>)["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"])
        {
            Environment.SetEnvironmentVariable(variable, null);
        }

        foreach ((_, int descriptor) in inherited)
        {
            _ = LibcProcess.fcntl(descriptor, LibcProcess.F_SETFD, LibcProcess.FD_CLOEXEC);
        }

        return inherited;
    }

    /// <summary>Names are missing where systemd is older than they are, or when there are fewer than descriptors: "unknown", as sd_listen_fds_with_names(3) has it.</summary>
    /// <param name="process">Whose they must be: a child may have inherited the variables.</param>
    internal static IReadOnlyList<(string Name, int Descriptor)> Parse(string? pid, string? count, string? names, int process)
    {
        const int Most = 4096;
        if (!int.TryParse(pid, NumberStyles.None, CultureInfo.InvariantCulture, out int owner) || owner != process
            || !int.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out int descriptors) || descriptors > Most)
        {
            return [];
        }

        string[] named = string.IsNullOrEmpty(names) ? [] : names.Split(':');
        return [.. Enumerable.Range(0, descriptors).Select(i => (i < named.Length ? named[i] : "unknown", FirstDescriptor + i))];
    }

    /// <summary>Takes over a number that nobody in this process uses.</summary>
    public static SafeHandle Own(int descriptor) => FileDescriptor.From(descriptor)!;

    /// <summary>Hands a descriptor over; this process keeps its own.</summary>
    /// <param name="name">Up to 255 printable ASCII characters, no colon.</param>
    /// <param name="untilItHangsUp">systemd lets go of it by itself when poll(2) tells of an error or a hang-up. Never of its own accord otherwise (since 246).</param>
    /// <returns>Null, or why not.</returns>
    public string? Keep(string name, SafeHandle descriptor, bool untilItHangsUp = false) =>
        Tell($"FDSTORE=1\nFDNAME={name}{(untilItHangsUp ? string.Empty : "\nFDPOLL=0")}", descriptor);

    /// <summary>As <see cref="Keep(string, SafeHandle, bool)"/>, for the interface: when that is deleted, systemd lets go of it.</summary>
    internal string? Keep(string name, TunDevice tun) => Keep(name, tun.Descriptor, untilItHangsUp: true);

    /// <summary>Has systemd let go of all descriptors of this name; there may be none.</summary>
    /// <returns>Null, or why not.</returns>
    public string? Forget(string name) => Tell($"FDSTOREREMOVE=1\nFDNAME={name}", null);

    // struct sockaddr_un: family, then the path with its zero, or a zero and the abstract name without one.
    private static byte[]? AddressOf(string? socket)
    {
        const int MostPath = 107;
        if (string.IsNullOrEmpty(socket) || socket[0] is not ('/' or '@') || Encoding.UTF8.GetByteCount(socket) > MostPath)
        {
            return null;
        }

        bool isAbstract = socket[0] == '@';
        byte[] path = Encoding.UTF8.GetBytes(isAbstract ? '\0' + socket[1..] : socket + '\0');
        return [Libc.AF_UNIX, 0, .. path];
    }

    private string? Tell(string text, SafeHandle? descriptor)
    {
        using FileDescriptor? socket = FileDescriptor.From(Libc.socket(Libc.AF_UNIX, Libc.SOCK_DGRAM | Libc.SOCK_CLOEXEC, 0));
        if (socket is null)
        {
            return Errno.Describe(Marshal.GetLastPInvokeError());
        }

        // systemd may be busy; it may not hold up the tunnel for longer than that.
        long* patience = stackalloc long[2];
        patience[0] = 1;
        patience[1] = 0;
        _ = Libc.setsockopt(socket, Libc.SOL_SOCKET, Libc.SO_SNDTIMEO, patience, 2 * sizeof(long));
        bool referenced = false;
        try
        {
            descriptor?.DangerousAddRef(ref referenced);
            return Send(socket, Encoding.ASCII.GetBytes(text), descriptor is null ? -1 : (int)descriptor.DangerousGetHandle());
        }
        finally
        {
            if (referenced)
            {
                descriptor!.DangerousRelease();
            }
        }
    }

    private string? Send(FileDescriptor socket, byte[] text, int descriptor)
    {
        // struct cmsghdr: length, level, type; then the number.
        const int ControlSize = 24;
        byte* control = stackalloc byte[ControlSize];
        *(ulong*)control = 20;
        *(int*)(control + 8) = Libc.SOL_SOCKET;
        *(int*)(control + 12) = Libc.SCM_RIGHTS;
        *(long*)(control + 16) = (uint)descriptor;
        fixed (byte* name = _address, start = text)
        {
            var piece = new iovec { iov_base = start, iov_len = (nuint)text.Length };
            var message = new msghdr
            {
                msg_name = name,
                msg_namelen = (uint)_address.Length,
                msg_iov = &piece,
                msg_iovlen = 1,
                msg_control = descriptor < 0 ? null : control,
                msg_controllen = descriptor < 0 ? 0u : ControlSize,
            };
            return Libc.sendmsg(socket, &message, Libc.MSG_NOSIGNAL) >= 0 ? null : Errno.Describe(Marshal.GetLastPInvokeError());
        }
    }
}
