using System.CommandLine;
using WgSharp.Linux;
using WgSharp.Metrics;
using WgSharp.Protocol;

namespace WgSharp.Status;

/// <summary><c>wgsharp metrics</c>: what a daemon serves to Prometheus, once and to standard output, for node_exporter's textfile collector.</summary>
internal static class MetricsCommand
{
    private const int StandardOutput = 1;

    public static Command Create()
    {
        var name = new Argument<string?>("interface") { Arity = ArgumentArity.ZeroOrOne, Description = "the interface; without it, all that answer" };
        var peers = new Option<int>("--peers") { HelpName = "N", DefaultValueFactory = _ => Settings.DefaultMetricsPeers, Description = "how many peers have metrics of their own" };
        var command = new Command("metrics", "Prints the metrics of interfaces in the text format of Prometheus.") { name, peers, new System.CommandLine.Help.HelpOption() };
        // Help names the programs above a command.
        _ = new RootCommand { command };
        command.SetAction(parsed => Run(UapiSocket.DefaultDirectory, parsed.GetValue(name), parsed.GetValue(peers)));
        return command;
    }

    private static int Run(string directory, string? name, int mostPeers)
    {
        var refusals = new List<string>();
        IReadOnlyList<InterfaceStatus> found = StatusCommand.Ask(directory, name, refusals);
        foreach (string refusal in refusals)
        {
            ProcessLimits.Say($"wgsharp: {refusal}");
        }

        foreach (InterfaceStatus status in found)
        {
            foreach (PeerStatus peer in status.Peers)
            {
                status.Count(peer);
            }

            status.Peers = [.. status.Peers.Take(mostPeers)];
        }

        var text = new MetricsText(found);
        using var output = new DescriptorStream(StandardOutput);
        byte[] buffer = new byte[64 * 1024];
        while (!text.IsComplete)
        {
            output.Write(buffer.AsSpan(0, text.Write(buffer)));
        }

        return found.Count > 0 ? 0 : 1;
    }
}
