namespace WgSharp.Doctor;

/// <summary>
/// What a daemon that crashed, or was killed, leaves of what wg-quick made: the interface is gone and with it its routes, while rules and firewall stay.
/// </summary>
internal static class LeftoverChecks
{
    private const string TablePrefix = "wg-quick-";
    private const string Marker = "wg-quick(8) rule for ";

    public static IEnumerable<Complaint> Rules(Examination examination)
    {
        IMachine machine = examination.Machine;
        if (Programs.Find(machine, "wg") is null)
        {
            yield break;
        }

        HashSet<uint> living = [.. examination.Living.Select(tunnel => tunnel.FwMark)];
        foreach (string family in (string[])["-4", "-6"])
        {
            IReadOnlyList<Rule> rules = ParseRules(machine.Run("ip", [family, "rule", "show"]));
            IReadOnlyList<Rule> dead = [.. rules.Where(rule => rule.Mark is { } mark && !living.Contains(mark))];
            bool anyAlive = rules.Any(rule => rule.Mark is { } mark && living.Contains(mark));

            // The other one has no mark: it is left over where none of the first kind lives.
            IReadOnlyList<Rule> gone = [.. dead, .. rules.Where(rule => rule.Mark is null && !anyAlive)];
            if (gone.Count > 0)
            {
                yield return Complaint.Warning(
                    null,
                    $"A tunnel that is gone has left rules: {string.Join("; ", gone.Select(rule => $"ip {family} rule '{rule.Text}'"))}.",
                    Mend.By(string.Join(" && ", gone.Select(rule => $"ip {family} rule delete {rule.Deletion}"))));
            }
        }
    }

    public static IEnumerable<Complaint> NftTables(Examination examination)
    {
        if (!NfTablesAwake(examination.Machine) || Programs.Find(examination.Machine, "nft") is null)
        {
            yield break;
        }

        // table ip wg-quick-wg0
        foreach (string[] words in examination.Machine.Run("nft", ["list", "tables"]).Lines.Select(line => line.Split(' ')))
        {
            if (words is ["table", var family, var table] && table.StartsWith(TablePrefix, StringComparison.Ordinal)
                && !IsThere(examination, table[TablePrefix.Length..]))
            {
                yield return Complaint.Warning(
                    null, $"{table[TablePrefix.Length..]} is gone, and its nft table {family} {table} is not.", Mend.By($"nft delete table {family} {table}"));
            }
        }
    }

    public static IEnumerable<Complaint> IptablesRules(Examination examination)
    {
        IMachine machine = examination.Machine;
        foreach (string program in (string[])["iptables", "ip6tables"])
        {
            string save = $"{program}-save";
            if (Programs.Find(machine, save) is null || (machine.Run(save, ["-V"]).Output.Contains("nf_tables", StringComparison.Ordinal) && !NfTablesAwake(machine)))
            {
                continue;
            }

            foreach (string name in machine.Run(save, []).Lines.Select(Marked).OfType<string>().Distinct().Where(name => !IsThere(examination, name)))
            {
                yield return Complaint.Warning(
                    null,
                    $"{name} is gone, and its {program} rules are not.",
                    Mend.By($"{save} | sed -n '/^\\*/p; /^COMMIT/p; /{Marker.Replace("(", "[(]").Replace(")", "[)]")}{name}\"/s/^-A/-D/p' | {program}-restore -n"));
            }
        }
    }

    public static IEnumerable<Complaint> Sockets(Examination examination)
    {
        foreach (string socket in examination.Machine.Entries(UapiSocket.DefaultDirectory).Where(path => path.EndsWith(UapiSocket.Extension, StringComparison.Ordinal)))
        {
            if (examination.Machine.RefusesConnections(socket))
            {
                yield return Complaint.Warning(null, $"Nobody serves the control socket {socket}: a daemon has died.", Mend.By($"rm {socket}"));
            }
        }
    }

    /// <summary>
    /// DNS = of wg-quick goes through resolvconf, which keeps it under the interface's name, "tun." before it where the order of interfaces has such a line; and
    /// goes on to answer with a resolver that nobody reaches any more. (systemd-resolved forgets it with the interface.)
    /// </summary>
    public static IEnumerable<Complaint> Resolvers(Examination examination)
    {
        IMachine machine = examination.Machine;

        // openresolv since 3.13, openresolv before, Debian's resolvconf.
        string[] records = ["/run/resolvconf/keys", "/run/resolvconf/interfaces", "/run/resolvconf/interface"];
        foreach (string record in records.SelectMany(machine.Entries).Select(path => path[(path.LastIndexOf('/') + 1)..]).Distinct())
        {
            if (Owner(record) is { } name && !IsThere(examination, name))
            {
                yield return Complaint.Warning(
                    null, $"{name} is gone, and its DNS is not: names are still asked of what was reached through it.", Mend.By($"resolvconf -d {record}"));
            }
        }

        // Other programs' records are nothing to us: it is one of wg-quick's if there is a configuration of that name.
        string? Owner(string record) => new[] { record, record[(record.IndexOf('.', StringComparison.Ordinal) + 1)..] }.FirstOrDefault(IsTunnel);

        bool IsTunnel(string name) => machine.Exists($"/etc/wireguard/{name}.conf") || examination.Tunnels.Any(tunnel => tunnel.File is not null && tunnel.Name == name);
    }

    /// <summary>Of the two rules that wg-quick makes for a default route, those that are there.</summary>
    internal static IReadOnlyList<Rule> ParseRules(ProgramResult shown)
    {
        var rules = new List<Rule>();
        foreach (string line in shown.Succeeded ? shown.Lines : [])
        {
            // 32765: not from all fwmark 0xca6c lookup 51820     32764: from all lookup main suppress_prefixlength 0
            string text = line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
            string[] words = text.Split(' ');
            if (words is ["not", "from", "all", "fwmark", var mark, "lookup", var table]
                && LiveTunnel.ParseMark(mark) is var number and not 0 && table == number.ToString(System.Globalization.CultureInfo.InvariantCulture))
            {
                rules.Add(new Rule(number, text, $"not fwmark {mark} table {table}"));
            }
            else if (words is ["from", "all", "lookup", "main", "suppress_prefixlength", "0"])
            {
                rules.Add(new Rule(null, text, "table main suppress_prefixlength 0"));
            }
        }

        return rules;
    }

    private static bool IsThere(Examination examination, string name) => examination.Links.Any(link => link.Name == name);

    /// <summary>To ask for tables would load a module that is not loaded; and then there are none.</summary>
    private static bool NfTablesAwake(IMachine machine) =>
        machine.Read("/proc/modules") is not { Length: > 0 } modules
        || modules.Split('\n').Any(line => line.StartsWith("nf_tables ", StringComparison.Ordinal));

    private static string? Marked(string rule)
    {
        int start = rule.IndexOf(Marker, StringComparison.Ordinal);
        return start < 0 ? null : rule[(start + Marker.Length)..].Split('"')[0];
    }

    /// <param name="Mark">Of the rule that sends everything without the mark to the table of the same number; null for the other one.</param>
    /// <param name="Deletion">What <c>ip rule delete</c> wants to hear.</param>
    internal sealed record Rule(uint? Mark, string Text, string Deletion);
}
