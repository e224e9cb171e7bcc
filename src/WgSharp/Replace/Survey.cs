using WgSharp.Doctor;

namespace WgSharp.Replace;

/// <summary>An instance of wg-quick's unit.</summary>
/// <param name="Interface">Null: any that has no files of its own.</param>
/// <param name="Namings">What its files name, apart from the drop-in that is written here; the last one wins.</param>
internal sealed record QuickUnit(string? Interface, Serving Serving, IReadOnlyList<Naming> Namings)
{
    /// <summary>Set where it is up.</summary>
    public bool IsUp { get; init; }

    /// <summary>What it would start by its other files.</summary>
    public Naming? Named => Namings.Count == 0 ? null : Namings[^1];

    /// <summary>The same, without the package's drop-in.</summary>
    public Naming? NamedBefore => Namings.LastOrDefault(naming => !Survey.IsPackages(naming.Path)) is { Path: not null } found ? found : null;
}

/// <summary>What is there: units, what they name, who serves their interfaces. Looking changes nothing.</summary>
internal static class Survey
{
    // An instance that nobody has, for what is said of all of them.
    private const string Anyone = "wgsharp-replace";

    private static readonly string[] _ofShells = ["/etc/environment", "/etc/profile", "/etc/bash.bashrc", "/root/.profile", "/root/.bashrc"];

    public static string UnitName(string name) => $"wg-quick@{name}.service";

    /// <summary>Units that are up, those that start with the machine or have files of their own, and one that stands for all others.</summary>
    /// <exception cref="IOException">wg-quick's unit is not there.</exception>
    public static IReadOnlyList<QuickUnit> Units(IMachine machine, string dropIn)
    {
        string[] up = [.. Instances(machine.Run("systemctl", ["list-units", "--plain", "--no-legend", "--state=active", "wg-quick@*.service"]).Lines.Select(line => line.Split(' ')[0]))];
        string[] ready = [.. Instances(Directories(machine, ".wants").SelectMany(machine.Entries).Concat(Directories(machine, ".service.d").Select(path => path[..^".d".Length]))).Except(up)];
        return
        [
            .. up.Select(name => new QuickUnit(name, Serving.Find(machine, name), Namings(machine, name, dropIn)) { IsUp = true }),
            .. ready.Select(name => new QuickUnit(name, default, Namings(machine, name, dropIn))),
            new QuickUnit(null, default, Namings(machine, Anyone, dropIn)),
        ];
    }

    /// <summary>What the files of an instance name, as systemd has loaded them.</summary>
    /// <param name="without">A file that is passed over.</param>
    public static IReadOnlyList<Naming> Namings(IMachine machine, string name, string? without)
    {
        ProgramResult shown = machine.Run("systemctl", ["show", "-p", "FragmentPath", "-p", "DropInPaths", UnitName(name)]);
        string[] files = [.. Values(shown, "FragmentPath").Concat(Values(shown, "DropInPaths").SelectMany(paths => paths.Split(' '))).Where(path => path.Length > 0)];
        return files.Length > 0
            ? UnitNaming.Read(machine, name, files.Where(path => path != without))
            : throw new IOException($"there is no unit wg-quick@.service ({shown.Complaint}).");
    }

    /// <summary>What shells are told. No unit reads it, unless it says so.</summary>
    public static IEnumerable<Naming> OfShells(IMachine machine) =>
        _ofShells.Concat(machine.Entries("/etc/profile.d"))
            .SelectMany(path => (machine.Read(path) ?? string.Empty).Split('\n', StringSplitOptions.TrimEntries).Select(line => (Path: path, Line: line)))
            .Where(each => !each.Line.StartsWith('#') && each.Line.Contains(WgQuickSetup.VariableName + "=", StringComparison.Ordinal))
            .Select(each => new Naming(each.Path, UnitNaming.SplitWords(each.Line.Split(WgQuickSetup.VariableName + "=", 2)[1].Split(';')[0]).FirstOrDefault() ?? string.Empty))
            .Where(naming => !naming.IsWgsharp);

    /// <summary>Whether it is the drop-in that comes with the package or the tarball.</summary>
    public static bool IsPackages(string path) =>
        Programs.BaseName(path) == DropIn.PackageName && path.Contains("/lib/systemd/system/wg-quick@.service.d/", StringComparison.Ordinal);

    /// <summary>Interfaces whose programs were started by somebody else than these units.</summary>
    public static IEnumerable<(string Name, Serving Serving)> Strays(IMachine machine, IReadOnlyList<QuickUnit> units) =>
        machine.Entries(UapiSocket.DefaultDirectory)
            .Where(path => path.EndsWith(UapiSocket.Extension, StringComparison.Ordinal))
            .Select(path => Programs.BaseName(path)[..^UapiSocket.Extension.Length])
            .Where(name => !units.Any(unit => unit.IsUp && unit.Interface == name))
            .Select(name => (name, Serving.Find(machine, name)));

    /// <returns>Why an interface that is taken down would not come up as it was, whoever serves it; null: it would.</returns>
    public static string? WhyNotRestarted(IMachine machine, string name)
    {
        string path = $"/etc/wireguard/{name}.conf";
        if (machine.Read(path) is not { } text)
        {
            return $"{name} would not come up again: there is no {path}.";
        }

        // wg-quick writes what there is into the file before it takes the interface down.
        bool saves = text.Split('\n').Any(line => line.Replace(" ", string.Empty).Trim().Equals("SaveConfig=true", StringComparison.OrdinalIgnoreCase));
        return saves && InterfaceState.Find(machine, name)?.PrivateKey is null
            ? $"{name} would lose its private key: its program does not tell it, and SaveConfig in {path} writes a file without it. Take that line out first."
            : machine.Run("wg-quick", ["strip", name]) is { Succeeded: false } refused ? $"{name} would not come up again: {refused.Complaint}" : null;
    }

    private static IEnumerable<string> Directories(IMachine machine, string suffix) =>
        machine.Entries("/etc/systemd/system").Where(path => path.EndsWith(suffix, StringComparison.Ordinal));

    private static IEnumerable<string> Instances(IEnumerable<string> units)
    {
        const string Prefix = "wg-quick@";
        const string Suffix = ".service";
        return units.Select(Programs.BaseName)
            .Where(unit => unit.StartsWith(Prefix, StringComparison.Ordinal) && unit.EndsWith(Suffix, StringComparison.Ordinal) && unit.Length > Prefix.Length + Suffix.Length)
            .Select(unit => unit[Prefix.Length..^Suffix.Length])
            .Distinct();
    }

    private static IEnumerable<string> Values(ProgramResult shown, string key) =>
        shown.Lines.Where(line => line.StartsWith(key + "=", StringComparison.Ordinal)).Select(line => line[(key.Length + 1)..]);
}
