using System.Text.Json;
using System.Text.RegularExpressions;
using WgSharp.Metrics;
using WgSharp.Status;
using WgSharp.Tests.Status;

namespace WgSharp.Tests.Metrics;

public partial class MetricsTextTests
{
    [Fact]
    public void The_metrics_are_as_approved() =>
        StatusExample.AssertApproved("metrics.prom", string.Concat(MetricsText.Lines([Counted(StatusExample.Interface())]).Select(line => line + "\n")));

    [Fact]
    public void Every_metric_is_one_group_whatever_number_of_interfaces_there_is()
    {
        InterfaceStatus other = Counted(StatusExample.Interface(3));
        other.Name = "wg1";
        var seen = new List<string>();
        foreach (string line in MetricsText.Lines([Counted(StatusExample.Interface(3)), other]).Where(line => line[0] != '#'))
        {
            string name = line[..line.IndexOf('{', StringComparison.Ordinal)];
            if (seen.LastOrDefault() != name)
            {
                Assert.DoesNotContain(name, seen);
                seen.Add(name);
            }
        }

        Assert.Equal(Metric.All.Select(metric => metric.Name), seen);
    }

    [Fact]
    public void The_text_is_the_same_in_pieces()
    {
        InterfaceStatus[] one = [Counted(StatusExample.Interface(200))];
        var text = new MetricsText(one);
        byte[] buffer = new byte[MetricsText.MaxLine + 100];
        using var whole = new MemoryStream();
        while (!text.IsComplete)
        {
            whole.Write(buffer, 0, text.Write(buffer));
        }

        Assert.Equal(string.Concat(MetricsText.Lines(one).Select(line => line + "\n")), System.Text.Encoding.UTF8.GetString(whole.ToArray()));
    }

    [Fact]
    public void Labels_are_escaped() => Assert.Equal("\"a\\\\b\\\"c\\nd\"", Metric.Quote("a\\b\"c\nd"));

    // promtool's rules for names, as far as they concern these.
    [Fact]
    public void Names_say_what_is_counted()
    {
        Assert.All(Metric.All, metric =>
        {
            Assert.Matches("^wgsharp_[a-z_]+$", metric.Name);
            Assert.Equal(metric.Type == "counter", metric.Name.EndsWith("_total", StringComparison.Ordinal));
            Assert.EndsWith(".", metric.Help, StringComparison.Ordinal);
        });
        Assert.Equal(Metric.All.Count, Metric.All.Select(metric => metric.Name).Distinct().Count());
    }

    [Fact]
    public void The_dashboard_asks_for_metrics_and_labels_that_exist()
    {
        string[] lines = [.. MetricsText.Lines([Counted(StatusExample.Interface(1))]).Where(line => line[0] != '#')];
        Dictionary<string, HashSet<string>> known = lines
            .GroupBy(line => line[..line.IndexOf('{', StringComparison.Ordinal)])
            .ToDictionary(group => group.Key, group => group.SelectMany(line => LabelName().Matches(line).Select(match => match.Groups["label"].Value)).ToHashSet());
        string[] queries = [.. Queries(JsonDocument.Parse(File.ReadAllText(Dashboard())).RootElement)];

        Assert.True(queries.Length >= 10, $"{queries.Length} queries");
        Assert.All(queries, query =>
        {
            MatchCollection metrics = MetricName().Matches(query);
            Assert.NotEmpty(metrics);
            Assert.All(metrics, metric =>
            {
                Assert.Contains(metric.Value, known.Keys);
                Assert.All(AskedLabel().Matches(query).SelectMany(match => match.Groups["labels"].Value.Split(',', StringSplitOptions.TrimEntries)), label => Assert.Contains(label, known[metric.Value]));
            });
        });
    }

    private static InterfaceStatus Counted(InterfaceStatus status)
    {
        foreach (Protocol.PeerStatus peer in status.Peers)
        {
            status.Count(peer);
        }

        return status;
    }

    private static string Dashboard()
    {
        string? directory = AppContext.BaseDirectory;
        while (directory is not null && !File.Exists(Path.Combine(directory, "WgSharp.sln")))
        {
            directory = Path.GetDirectoryName(directory);
        }

        return Path.Combine(directory!, "packaging/grafana/wgsharp.json");
    }

    // Everything that is sent to Prometheus: targets, and the variables' queries.
    private static IEnumerable<string> Queries(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => element.EnumerateObject().SelectMany(property =>
            property.Name is "expr" or "definition" && property.Value.ValueKind == JsonValueKind.String ? [property.Value.GetString()!] : Queries(property.Value)),
        JsonValueKind.Array => element.EnumerateArray().SelectMany(Queries),
        _ => [],
    };

    [GeneratedRegex("wgsharp_[a-z_]+", RegexOptions.None, 10_000)]
    private static partial Regex MetricName();

    [GeneratedRegex("[{,](?<label>[a-z_]+)=\"", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex LabelName();

    // interface=~"..." in a selector, by (a, b), and the label of label_values(metric, label)
    [GeneratedRegex("([{,] *(?=[a-z_]+=)|by \\(|label_values\\([a-z_]+, *)(?<labels>[a-z_, ]+)", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex AskedLabel();
}
