using System.Globalization;
using WgSharp.Doctor;

namespace WgSharp.Replace;

/// <summary>A peer, as <c>wg show IF dump</c> has it.</summary>
/// <param name="PresharedKey">Null: none.</param>
/// <param name="Endpoint">Null: none.</param>
/// <param name="AllowedIps">Separated by commas, always in the same order.</param>
/// <param name="Keepalive">In seconds; 0: off.</param>
/// <param name="LatestHandshake">In seconds since 1970 (boringtun: since the handshake); 0: none.</param>
internal sealed record LivePeer(string PublicKey, string? PresharedKey, string? Endpoint, string AllowedIps, int Keepalive, long LatestHandshake);

/// <summary>All that goes when an interface goes: what its program was told and has learnt, and what the kernel was told of it. There are secrets in it.</summary>
/// <param name="PrivateKey">Null: none, or the program does not tell (boringtun).</param>
/// <param name="ListenPort">0: none.</param>
/// <param name="FwMark">0: none.</param>
internal sealed record InterfaceState(string? PrivateKey, string? PublicKey, int ListenPort, uint FwMark)
{
    private const string None = "(none)";

    public IReadOnlyDictionary<string, LivePeer> Peers { get; private init; } = new Dictionary<string, LivePeer>(StringComparer.Ordinal);

    /// <summary>Null: not known.</summary>
    public string? Mtu { get; init; }

    /// <summary>Each as <c>ip address add</c> takes it.</summary>
    public IReadOnlyList<string> Addresses { get; init; } = [];

    /// <summary>Each as <c>ip route add</c> takes it, behind -4 or -6; those that the kernel makes by itself are left out.</summary>
    public IReadOnlyList<string> Routes { get; init; } = [];

    /// <returns>Null where nobody answers.</returns>
    public static InterfaceState? Find(IMachine machine, string name)
    {
        ProgramResult dump = machine.Run("wg", ["show", name, "dump"]);
        return (dump.Succeeded ? Parse(dump.Output) : null) is { } told
            ? told with
            {
                Mtu = machine.Read($"/sys/class/net/{name}/mtu")?.Trim(),
                Addresses = [.. ParseAddresses(Lines(machine.Run("ip", ["-o", "address", "show", "dev", name])))],
                Routes = [.. RoutesOf(machine, name, "-4"), .. RoutesOf(machine, name, "-6")],
            }
            : null;
    }

    /// <returns>Null if it is no dump.</returns>
    internal static InterfaceState? Parse(string dump)
    {
        string[][] lines = [.. dump.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split('\t'))];
        if (lines is not [[var privateKey, var publicKey, var port, var mark], ..])
        {
            return null;
        }

        // public-key preshared-key endpoint allowed-ips latest-handshake received sent keepalive
        return new InterfaceState(Given(privateKey), Given(publicKey), Number(port), LiveTunnel.ParseMark(mark))
        {
            Peers = lines.Skip(1).Where(fields => fields.Length == 8).ToDictionary(
                fields => fields[0],
                fields => new LivePeer(
                    fields[0], Given(fields[1]), Given(fields[2]), string.Join(',', (Given(fields[3]) ?? string.Empty).Split(',').Order(StringComparer.Ordinal)), Number(fields[7]), Number(fields[4])),
                StringComparer.Ordinal),
        };
    }

    // 5: wg0    inet 10.7.0.1/24 brd 10.7.0.255 scope global wg0\       valid_lft forever ...; link-local ones of IPv6 are the kernel's.
    internal static IEnumerable<string> ParseAddresses(IEnumerable<string> lines) =>
        lines.Select(line => line.Split([' ', '\\'], StringSplitOptions.RemoveEmptyEntries))
            .Select(words => (Words: words, Scope: Array.IndexOf(words, "scope")))
            .Where(each => each.Scope > 3 && each.Scope + 1 < each.Words.Length && !(each.Words[2] == "inet6" && each.Words[each.Scope + 1] == "link"))
            .Select(each => string.Join(' ', each.Words[3..(each.Scope + 2)]));

    // 10.9.0.0/24 table 51820 scope link, and what the kernel sees in it at the moment
    internal static IEnumerable<string> ParseRoutes(IEnumerable<string> lines) =>
        lines.Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Where(words => !words.Contains("kernel") && !words.Contains("nexthop"))
            .Select(words => string.Join(' ', words.Where(word => word is not ("linkdown" or "dead"))));

    private static IEnumerable<string> RoutesOf(IMachine machine, string name, string family) =>
        ParseRoutes(Lines(machine.Run("ip", [family, "-o", "route", "show", "table", "all", "dev", name]))).Select(route => $"{family} {route}");

    private static IEnumerable<string> Lines(ProgramResult shown) => shown.Succeeded ? shown.Lines : [];

    private static string? Given(string field) => field == None ? null : field;

    private static int Number(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : 0;
}
