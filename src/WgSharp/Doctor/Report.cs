using System.Text.Encodings.Web;
using System.Text.Json;

namespace WgSharp.Doctor;

/// <summary>What was found, for people and for programs.</summary>
internal static class Report
{
    private const string Red = "\e[31m";
    private const string Yellow = "\e[33m";
    private const string Bold = "\e[1m";
    private const string Plain = "\e[0m";

    private static readonly JsonWriterOptions _readable = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>One line for each, its mend below it; and a last line that sums up.</summary>
    public static void WriteText(TextWriter to, IReadOnlyList<Finding> findings, bool colours)
    {
        int id = findings.Select(finding => finding.Id.Length).Append(0).Max();
        foreach (Finding finding in findings)
        {
            Complaint complaint = finding.Complaint;
            string colour = complaint.Level == Level.Fault ? Red : Yellow;
            string about = complaint.About is null ? string.Empty : $"{complaint.About}: ";
            to.WriteLine($"{Painted(colours, colour, Word(complaint.Level).PadRight(7))}  {finding.Id.PadRight(id)}  {about}{complaint.Wrong}");
            to.WriteLine($"{string.Empty.PadRight(7)}  {string.Empty.PadRight(id)}  -> {Painted(colours && complaint.Mend.Command is not null, Bold, complaint.Mend.ToString())}");
        }

        to.WriteLine(Sum(findings));
    }

    /// <summary>
    /// <c>version</c>, <c>healthy</c>, and <c>findings</c>: each with <c>id</c>, <c>level</c> (fault or warning), <c>about</c> (an interface or a file, or null),
    /// <c>wrong</c>, and one of <c>command</c> and <c>elsewhere</c>, the other being null.
    /// </summary>
    public static void WriteJson(Stream to, IReadOnlyList<Finding> findings)
    {
        using (var json = new Utf8JsonWriter(to, _readable))
        {
            json.WriteStartObject();
            json.WriteString("version", Program.Version);
            json.WriteBoolean("healthy", findings.Count == 0);
            json.WriteStartArray("findings");
            foreach ((string id, Complaint complaint) in findings)
            {
                json.WriteStartObject();
                json.WriteString("id", id);
                json.WriteString("level", Word(complaint.Level));
                json.WriteString("about", complaint.About);
                json.WriteString("wrong", complaint.Wrong);
                json.WriteString("command", complaint.Mend.Command);
                json.WriteString("elsewhere", complaint.Mend.Elsewhere);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        to.Write("\n"u8);
    }

    private static string Word(Level level) => level == Level.Fault ? "fault" : "warning";

    private static string Painted(bool colours, string colour, string text) => colours ? $"{colour}{text}{Plain}" : text;

    private static string Sum(IReadOnlyList<Finding> findings)
    {
        int faults = findings.Count(finding => finding.Complaint.Level == Level.Fault);
        int warnings = findings.Count - faults;
        return findings.Count == 0 ? "Healthy." : $"{Count(faults, "fault")}, {Count(warnings, "warning")}.";
    }

    private static string Count(int number, string what) => $"{number} {what}{(number == 1 ? string.Empty : "s")}";
}
