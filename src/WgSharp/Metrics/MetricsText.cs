using System.Globalization;
using System.Text;
using WgSharp.Protocol;
using WgSharp.Status;

namespace WgSharp.Metrics;

/// <summary>
/// Interfaces in the text format of Prometheus, version 0.0.4: metric by metric, each with all of its interfaces and peers. Written piece by piece into a buffer
/// of any size.
/// </summary>
internal sealed class MetricsText(IReadOnlyList<InterfaceStatus> interfaces)
{
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    /// <summary>More than the longest line.</summary>
    public const int MaxLine = 2048;

    private readonly IEnumerator<string> _lines = Lines(interfaces).GetEnumerator();

    public bool IsComplete { get; private set; }

    /// <summary>Writes as many whole lines as fit.</summary>
    /// <param name="buffer">At least <see cref="MaxLine"/> bytes.</param>
    /// <returns>Bytes written.</returns>
    public int Write(Span<byte> buffer)
    {
        int written = 0;
        while (!IsComplete && buffer.Length - written >= MaxLine)
        {
            if (_lines.MoveNext())
            {
                written += Encoding.UTF8.GetBytes(_lines.Current, buffer[written..]);
                buffer[written++] = (byte)'\n';
            }
            else
            {
                IsComplete = true;
            }
        }

        return written;
    }

    /// <summary>All of it.</summary>
    public static IEnumerable<string> Lines(IReadOnlyList<InterfaceStatus> interfaces)
    {
        foreach (Metric metric in Metric.All)
        {
            yield return $"# HELP {metric.Name} {metric.Help}";
            yield return $"# TYPE {metric.Name} {metric.Type}";
            foreach (InterfaceStatus status in interfaces)
            {
                string labels = $"interface={Metric.Quote(status.Name)}";
                foreach (Sample sample in metric.OfInterface?.Invoke(status) ?? [])
                {
                    yield return Line(metric, labels, sample);
                }

                foreach (PeerStatus peer in metric.OfPeer is null ? [] : status.Peers)
                {
                    foreach (Sample sample in metric.OfPeer!(peer))
                    {
                        yield return Line(metric, $"{labels},public_key=\"{peer.PublicKey}\"", sample);
                    }
                }
            }
        }
    }

    private static string Line(Metric metric, string labels, Sample sample) =>
        string.Create(CultureInfo.InvariantCulture, $"{metric.Name}{{{labels}{(sample.Labels.Length > 0 ? "," : string.Empty)}{sample.Labels}}} {sample.Value}");
}
