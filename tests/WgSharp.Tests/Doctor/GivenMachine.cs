using System.Collections;
using System.Net;
using WgSharp.Doctor;
using WgSharp.Linux;

namespace WgSharp.Tests.Doctor;

/// <summary>A machine of which everything is given: healthy until a test takes something away.</summary>
internal sealed class GivenMachine : IMachine
{
    public Dictionary<string, string> Files { get; } = new(StringComparer.Ordinal)
    {
        ["/proc/self/status"] = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
        ["/proc/sys/net/ipv4/ip_forward"] = "0\n",
        ["/proc/sys/net/ipv4/ip_unprivileged_port_start"] = "1024\n",
        ["/proc/sys/net/ipv4/conf/all/rp_filter"] = "0\n",
        ["/proc/sys/net/ipv4/conf/default/rp_filter"] = "0\n",
        ["/proc/sys/net/ipv4/conf/all/src_valid_mark"] = "0\n",
        ["/proc/sys/net/ipv6/conf/all/disable_ipv6"] = "0\n",
        ["/proc/sys/net/ipv6/conf/default/disable_ipv6"] = "0\n",
        ["/proc/sys/net/ipv6/conf/all/forwarding"] = "0\n",
        ["/usr/bin/wgsharp"] = string.Empty,
        ["/usr/bin/wg"] = string.Empty,
        ["/usr/bin/wg-quick"] = string.Empty,
        ["/usr/sbin/ip"] = string.Empty,
        ["/usr/sbin/nft"] = string.Empty,
        ["/usr/sbin/sysctl"] = string.Empty,
        ["/usr/sbin/iptables"] = string.Empty,
        ["/usr/sbin/iptables-restore"] = string.Empty,
        ["/usr/sbin/iptables-save"] = string.Empty,
        ["/usr/sbin/ip6tables"] = string.Empty,
        ["/usr/sbin/ip6tables-restore"] = string.Empty,
    };

    public Dictionary<string, string> Variables { get; } = new(StringComparer.Ordinal)
    {
        ["PATH"] = "/usr/sbin:/usr/bin",
        ["WG_QUICK_USERSPACE_IMPLEMENTATION"] = "/usr/bin/wgsharp",
    };

    /// <summary>What a command line says, by its beginning; what is not named here succeeds and says nothing.</summary>
    public Dictionary<string, ProgramResult> Programs { get; } = new(StringComparer.Ordinal)
    {
        ["wg show wg0 "] = new(1, "Unable to access interface: No such device\n"),
    };

    public Dictionary<string, DateTimeOffset> Dates { get; } = new(StringComparer.Ordinal);

    public Dictionary<string, string> Links { get; } = new(StringComparer.Ordinal);

    public HashSet<string> ReadOnly { get; } = new(StringComparer.Ordinal);

    public HashSet<int> TakenPorts { get; } = [];

    public HashSet<string> DeadSockets { get; } = new(StringComparer.Ordinal);

    public List<string> Ran { get; } = [];

    public Hashtable Settings { get; } = [];

    public bool HasScratchNetwork { get; set; } = true;

    public int Mtu { get; set; } = 1500;

    public TunTrial Tun { get; set; } = new(TunStep.Done, null, false);

    public long Room { get; set; } = long.MaxValue;

    public string? Sodium { get; set; }

    public string? Limits { get; set; }

    public DateTimeOffset Now { get; set; } = new(2026, 11, 22, 12, 0, 0, TimeSpan.Zero);

    public string Self => "/usr/bin/wgsharp";

    public string? Read(string path) => Files.GetValueOrDefault(path);

    public bool Exists(string path) => Files.ContainsKey(path) || Files.Keys.Any(each => each.StartsWith(path + "/", StringComparison.Ordinal));

    public DateTimeOffset? Written(string path) => Dates.TryGetValue(path, out DateTimeOffset at) ? at : null;

    public int WriteErrno(string path) => ReadOnly.Any(each => path.StartsWith(each, StringComparison.Ordinal)) ? Errno.EROFS : 0;

    public IReadOnlyList<string> Entries(string directory) =>
        [.. Files.Keys.Concat(Links.Keys).Concat(DeadSockets)
            .Where(path => path.StartsWith(directory + "/", StringComparison.Ordinal))
            .Select(path => $"{directory}/{path[(directory.Length + 1)..].Split('/')[0]}")
            .Distinct()
            .Order(StringComparer.Ordinal)];

    public string? LinkTarget(string path) => Links.GetValueOrDefault(path);

    public string? Variable(string name) => Variables.GetValueOrDefault(name);

    public ProgramResult Run(string program, IReadOnlyList<string> arguments, string input = "")
    {
        string line = $"{program} {string.Join(' ', arguments)} {input}";
        Ran.Add(line);
        return WgSharp.Doctor.Programs.Find(this, program) is null
            ? new ProgramResult(ProgramResult.NotThere, $"{program}: not found")
            : Programs.FirstOrDefault(each => line.StartsWith(each.Key, StringComparison.Ordinal)) is { Key: not null } found ? found.Value : new ProgramResult(0, string.Empty);
    }

    public ProgramResult? RunApart(string program, IReadOnlyList<string> arguments, string input = "") =>
        HasScratchNetwork ? Run(program, arguments, input) : null;

    public int TryPort(int port, bool ipv6) => !ipv6 && TakenPorts.Contains(port) ? Errno.EADDRINUSE : 0;

    public int? RouteMtu(IPAddress address, uint mark) => Mtu;

    public bool RefusesConnections(string socket) => DeadSockets.Contains(socket);

    public TunTrial TryTun() => Tun;

    public string? WhyNoSodium() => Sodium;

    public string? WhyNotLocked(int peers) => null;

    public string? WhyLimitsTooLow() => Limits;

    public string? WhyNoTasks() => null;

    public long MemoryRoom() => Room;

    public Settings SettingsOf(string interfaceName) => WgSharp.Settings.Read("/nonexistent", interfaceName, Settings, []);
}
