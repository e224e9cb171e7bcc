namespace WgSharp.Linux;

/// <summary>
/// The TUN device could not be opened or failed. The message is one sentence that says what to do; HResult is the errno.
/// </summary>
public sealed class TunException : IOException
{
    public TunException(string message, int errno)
        : base(message, errno) => (Wrong, Mend) = (message, string.Empty);

    private TunException(string wrong, string mend, int errno)
        : base($"{wrong}: {mend}.", errno) => (Wrong, Mend) = (wrong + ".", mend);

    public int ErrorNumber => HResult;

    /// <summary>The message without what to do about it.</summary>
    public string Wrong { get; }

    /// <summary>What to do about it, the rest of the message; empty where there is nothing to be said.</summary>
    public string Mend { get; }

    /// <summary>There is no /dev/net/tun, and this process could not make one.</summary>
    internal static TunException NoNode(int mknodErrno) => new(
        mknodErrno == 0
            ? "There is no /dev/net/tun"
            : $"There is no /dev/net/tun, and making it failed with {Errno.Describe(mknodErrno)}",
        mknodErrno == 0 ? "run as root, or enable TUN/TAP in the control panel of this server" : "enable TUN/TAP in the control panel of this server",
        Errno.ENOENT);

    /// <summary>open("/dev/net/tun") failed on a node that exists.</summary>
    internal static TunException Open(int errno) => errno switch
    {
        Errno.ENODEV or Errno.ENXIO => new TunException(
            $"/dev/net/tun has no driver behind it ({Errno.Name(errno)})", "run 'modprobe tun', in a container on its host", errno),
        Errno.EPERM or Errno.EACCES => new TunException(
            $"/dev/net/tun may not be opened ({Errno.Name(errno)})", "run as root, in a container also allow the device c 10:200 rwm", errno),
        _ => new TunException($"/dev/net/tun could not be opened: {Errno.Describe(errno)}.", errno),
    };

    /// <summary>TUNSETIFF failed.</summary>
    internal static TunException Create(string name, int errno) => errno switch
    {
        Errno.EPERM or Errno.EACCES => new TunException(
            $"Interface {name} may not be created ({Errno.Name(errno)})",
            "the capability CAP_NET_ADMIN is missing; run as root, in a container add NET_ADMIN",
            errno),
        Errno.EBUSY => new TunException(
            $"Interface {name} is in use by another program ({Errno.Name(errno)})", "stop that one, or choose another name", errno),
        Errno.EINVAL or Errno.EEXIST => new TunException(
            $"Interface {name} exists already and is not a TUN device ({Errno.Name(errno)})",
            $"delete it with 'ip link delete {name}', or choose another name",
            errno),
        _ => new TunException($"Interface {name} could not be created: {Errno.Describe(errno)}.", errno),
    };

    internal static TunException Mtu(string name, int errno) =>
        new($"The MTU of {name} could not be set: {Errno.Describe(errno)}.", errno);

    internal static TunException Adopt(int fd, int errno) => new(
        $"File descriptor {fd} is not a TUN device with an interface attached: {Errno.Describe(errno)}.", errno);

    internal static TunException PacketInformation(int fd) => new(
        $"File descriptor {fd} puts packet information before each packet: attach it to its interface with IFF_NO_PI.", Errno.EINVAL);

    internal static TunException Name(string name, string why) =>
        new($"'{name}' cannot be the name of an interface: {why}.", Errno.EINVAL);

    internal static TunException Transfer(string call, string name, int errno) =>
        new($"{call} on {name} failed: {Errno.Describe(errno)}.", errno);
}
