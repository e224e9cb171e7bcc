namespace WgSharp.Replace;

/// <summary>What is going to be done, and why.</summary>
/// <param name="Restarts">Interfaces whose units are restarted, in this order.</param>
/// <param name="Says">One line for each thing that is found or done.</param>
/// <param name="Refusals">Why it is not done after all; empty: nothing is in the way.</param>
internal sealed record Plan(DropInState Wanted, IReadOnlyList<string> Restarts, IReadOnlyList<string> Says, IReadOnlyList<string> Refusals)
{
    /// <summary>Wgsharp in the place of what others name.</summary>
    /// <param name="text">The drop-in that names it.</param>
    /// <param name="only">The one interface whose unit is restarted; null: all of them.</param>
    public static Plan Forth(IReadOnlyList<QuickUnit> units, DropInState now, string path, string text, string? only = null)
    {
        bool needed = units.Any(unit => unit.Named is not { IsWgsharp: true });
        var wanted = new DropInState(needed ? text : null, PackageMasked: false);
        QuickUnit[] others = [.. units.Where(unit => unit is { IsUp: true, Serving.By: Server.Another })];
        var says = new List<string>();
        if (needed && now != wanted)
        {
            says.Add($"{path} will name wgsharp to wg-quick's unit, in place of {Join(units.Select(Other).OfType<string>().DefaultIfEmpty(Naming.WithoutAny))}.");
        }
        else if (now != wanted)
        {
            says.Add($"{DropIn.PackageName} of the package will be read again: it names wgsharp.");
        }

        says.AddRange(units.Where(unit => unit.IsUp).Select(unit => $"{unit.Interface}: " + unit.Serving.By switch
        {
            Server.Another when IsLeft(unit, only) => $"{unit.Serving.Program} serves it, until {Survey.UnitName(unit.Interface!)} is started the next time.",
            Server.Another => $"{unit.Serving.Program} serves it; {Survey.UnitName(unit.Interface!)} will be restarted with wgsharp.",
            Server.Wgsharp => "wgsharp serves it already.",
            Server.Kernel => "the kernel serves it, and goes on.",
            _ => "nobody serves it; it is left alone.",
        }));
        return new Plan(wanted, [.. others.Where(unit => !IsLeft(unit, only)).Select(unit => unit.Interface!)], says, []);

        static string? Other(QuickUnit unit) => unit.Named is { IsWgsharp: false } other ? other.ToString() : null;
    }

    /// <summary>What others name, in the place of wgsharp.</summary>
    /// <param name="find">Where a program is, by wg-quick's path; null: nowhere.</param>
    /// <param name="only">The one interface whose unit is restarted; null: all of them.</param>
    public static Plan Back(IReadOnlyList<QuickUnit> units, DropInState now, string path, Func<string, string?> find, string? only = null)
    {
        QuickUnit[] ours = [.. units.Where(unit => unit is { IsUp: true, Serving.By: Server.Wgsharp })];
        bool othersNamed = units.Any(unit => unit.NamedBefore is { IsWgsharp: false });
        if (now.Text is null && !othersNamed && find(Naming.WithoutAny) is null)
        {
            return new Plan(now, [], [], []);
        }

        // The package's drop-in is passed over where it names wgsharp before others, as it would.
        bool mask = now.PackageMasked || units.Any(unit => unit.Named is { IsWgsharp: true } last && Survey.IsPackages(last.Path));
        var says = new List<string>();
        var refusals = new List<string>();
        if (now.Text is not null)
        {
            says.Add($"{path} will be taken away.");
        }

        if (mask && !now.PackageMasked)
        {
            says.Add($"The package's {DropIn.PackageName} will be passed over (a link to /dev/null beside the drop-ins of /etc).");
        }

        foreach (QuickUnit unit in ours)
        {
            Naming next = unit.NamedBefore ?? new Naming("wg-quick's own choice", Naming.WithoutAny);
            if (next.IsWgsharp)
            {
                refusals.Add($"{unit.Interface}: {next.Path} names wgsharp, and was not written by this command: change it there.");
            }
            else if (find(next.Program) is null)
            {
                refusals.Add($"{unit.Interface}: {next} is not there any more.");
            }
            else if (IsLeft(unit, only))
            {
                says.Add($"{unit.Interface}: wgsharp serves it, until {Survey.UnitName(unit.Interface!)} is started the next time.");
            }
            else
            {
                says.Add($"{unit.Interface}: wgsharp serves it; {Survey.UnitName(unit.Interface!)} will be restarted with {next}.");
            }
        }

        return new Plan(new DropInState(null, mask), [.. ours.Where(unit => !IsLeft(unit, only)).Select(unit => unit.Interface!)], says, refusals);
    }

    private static bool IsLeft(QuickUnit unit, string? only) => only is not null && unit.Interface != only;

    private static string Join(IEnumerable<string> words) => string.Join(", ", words.Distinct());
}
