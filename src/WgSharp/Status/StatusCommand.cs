using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using WgSharp.Linux;

namespace WgSharp.Status;

/// <summary><c>wgsharp status</c>: what <c>wg show</c> cannot tell, once or over and over.</summary>
internal sealed class StatusCommand
{
    private const int StandardOutput = 1;

    private static readonly TimeSpan _betweenLooks = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan _defaultInterval = TimeSpan.FromSeconds(2);

    private readonly string? _name;
    private readonly bool _json;
    private readonly bool _rates;
    private readonly TimeSpan? _interval;
    private readonly PeerChoice _choice;
    private readonly StatusViewer _viewer;
    private readonly string _directory;

    private StatusCommand(string? name, bool json, bool rates, TimeSpan? interval, PeerChoice choice, string directory)
    {
        _name = name;
        _json = json;
        _rates = rates;
        _interval = interval;
        _choice = choice;
        _viewer = new StatusViewer(choice);
        _directory = directory;
    }

    public static Command Create()
    {
        var name = new Argument<string?>("interface") { Arity = ArgumentArity.ZeroOrOne, Description = "the interface; without it, all that answer" };
        var json = new Option<bool>("--json") { Description = "for programs, see wgsharp-status(8)" };
        var watch = new Option<string?>("--watch") { Arity = ArgumentArity.ZeroOrOne, HelpName = "SECONDS", Description = "again and again (2 s) until Ctrl-C, with rates" };
        var rates = new Option<bool>("--rates") { Description = "look twice, a second apart, and show bytes a second" };
        var peer = new Option<string?>("--peer") { HelpName = "WHICH", Description = "peers by the beginning of the key, endpoint, or address in the tunnel" };
        var sort = new Option<string>("--sort") { HelpName = "ORDER", DefaultValueFactory = _ => "handshake", Description = "handshake, rate, trouble or config" };
        var top = new Option<int?>("--top") { HelpName = "N", Description = "no more than the first N peers" };
        var command = new Command("status", "Shows what interfaces are doing: handshakes, paths, drops, queues.") { name, json, watch, rates, peer, sort, top, new System.CommandLine.Help.HelpOption() };
        // Help names the programs above a command.
        _ = new RootCommand { command };
        command.SetAction(parsed =>
        {
            string? interfaceName = parsed.GetValue(name);
            bool watches = parsed.GetResult(watch) is not null;
            TimeSpan? interval = watches ? ParseInterval(parsed.GetValue(watch), ref interfaceName) : null;
            var choice = new PeerChoice(parsed.GetValue(peer), ParseOrder(parsed.GetValue(sort)!), ParseTop(parsed.GetValue(top)));
            return new StatusCommand(interfaceName, parsed.GetValue(json), parsed.GetValue(rates), interval, choice, UapiSocket.DefaultDirectory).Run();
        });
        return command;
    }

    /// <summary>The interface named, or all; what cannot be had of the latter is said beside them.</summary>
    /// <exception cref="IOException">There is nothing to be told.</exception>
    public static IReadOnlyList<InterfaceStatus> Ask(string directory, string? name, ICollection<string> refusals)
    {
        if (name is not null)
        {
            if (name.StartsWith('-'))
            {
                throw new SettingsException($"There is no option {name}, see --help.");
            }

            InterfaceName.Check(name);
            return [StatusClient.Ask(directory, name)];
        }

        var found = new List<InterfaceStatus>();
        foreach (string each in StatusClient.Names(directory))
        {
            try
            {
                found.Add(StatusClient.Ask(directory, each));
            }
            catch (IOException refused)
            {
                refusals.Add(refused.Message);
            }
        }

        return found.Count > 0 || refusals.Count > 0 ? found : throw new IOException($"No interface is served here: there is no control socket in {directory}.");
    }

    // `--watch wg0` is a watch without seconds.
    private static TimeSpan ParseInterval(string? text, ref string? interfaceName)
    {
        if (text is null)
        {
            return _defaultInterval;
        }

        if (double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double seconds))
        {
            return seconds is >= 0.1 and <= 86400
                ? TimeSpan.FromSeconds(seconds)
                : throw new SettingsException($"--watch {text}: from 0.1 to 86400 seconds.");
        }

        interfaceName = interfaceName is null ? text : throw new SettingsException($"--watch: '{text}' is not a number of seconds.");
        return _defaultInterval;
    }

    private static PeerOrder ParseOrder(string text) =>
        Words<PeerOrder>.TryParse(text, out PeerOrder order) ? order : throw new SettingsException($"--sort: there are handshake, rate, trouble and config, not '{text}'.");

    private static int ParseTop(int? top) => top is null ? int.MaxValue : top >= 0 ? top.Value : throw new SettingsException("--top: a number of peers.");

    private int Run()
    {
        try
        {
            return _interval is { } interval ? Watch(interval) : ShowOnce();
        }
        catch (IOException closed) when (closed.HResult == Errno.EPIPE)
        {
            // Whoever read it has seen enough.
            return 0;
        }
    }

    private int ShowOnce()
    {
        var refusals = new List<string>();
        IReadOnlyList<InterfaceView> views = Look(refusals);
        if (_rates)
        {
            Thread.Sleep(_betweenLooks);
            refusals.Clear();
            views = Look(refusals);
        }

        foreach (string refusal in refusals)
        {
            ProcessLimits.Say($"wgsharp: {refusal}");
        }

        bool isTerminal = Terminal.TrySize(StandardOutput, out int columns, out int rows);
        byte[] text = _json
            ? StatusJson.Of(views, indented: true)
            : Encoding.UTF8.GetBytes(string.Concat(Lines(views, isTerminal, isTerminal ? columns : int.MaxValue).Select(line => line + "\n")));
        if (!isTerminal || _json || text.Count(character => character == (byte)'\n') < rows || !Pager.TryShow(text))
        {
            Write(text);
        }

        return views.Count > 0 ? 0 : 1;
    }

    private int Watch(TimeSpan interval)
    {
        using var wake = new SemaphoreSlim(0);
        bool ended = false;
        void End(PosixSignalContext context)
        {
            context.Cancel = true;
            Volatile.Write(ref ended, true);
            wake.Release();
        }

        using PosixSignalRegistration interrupted = PosixSignalRegistration.Create(PosixSignal.SIGINT, End);
        using PosixSignalRegistration terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, End);
        using PosixSignalRegistration hungUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, End);
        using PosixSignalRegistration resized = PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => wake.Release());
        using var screen = new Screen(!_json && Terminal.TrySize(StandardOutput, out _, out _));
        while (!Volatile.Read(ref ended))
        {
            Show(screen);
            wake.Wait(interval);
        }

        return 0;
    }

    private void Show(Screen screen)
    {
        var refusals = new List<string>();
        IReadOnlyList<InterfaceView> views = [];
        try
        {
            views = Look(refusals);
        }
        catch (IOException gone)
        {
            // It may come again.
            refusals.Add(gone.Message);
        }

        if (_json)
        {
            Write(StatusJson.Of(views, indented: false));
            return;
        }

        bool isTerminal = Terminal.TrySize(StandardOutput, out int columns, out int rows);
        IEnumerable<string> said = refusals.Concat(Lines(Fit(views, isTerminal ? rows - refusals.Count : int.MaxValue), isTerminal, isTerminal ? columns : int.MaxValue));
        screen.Show([.. said], rows);
    }

    /// <summary>As many peers of each interface as fit onto one screen together.</summary>
    private static IReadOnlyList<InterfaceView> Fit(IReadOnlyList<InterfaceView> views, int rows)
    {
        var text = new StatusText(colour: false);
        bool Fits(int most) => views.Sum(view => text.Lines(view.Top(most)).Count() + 1) <= rows;
        int most = views.Count == 0 ? 0 : views.Max(view => view.Peers.Count);
        if (rows == int.MaxValue || Fits(most))
        {
            return views;
        }

        // A table is shorter than the cards of fewer peers: what fits is looked for from above.
        most = Math.Min(most, rows);
        while (most > 0 && !Fits(most))
        {
            most--;
        }

        return [.. views.Select(view => view.Top(most))];
    }

    private IReadOnlyList<InterfaceView> Look(ICollection<string> refusals)
    {
        IReadOnlyList<InterfaceStatus> found = Ask(_directory, _name, refusals);
        long now = Stopwatch.GetTimestamp();
        return [.. found.Select(status => _viewer.View(status, now))];
    }

    private static IEnumerable<string> Lines(IReadOnlyList<InterfaceView> views, bool isTerminal, int columns)
    {
        var text = new StatusText(isTerminal && WantsColour(), columns);
        return views.SelectMany((view, i) => i == 0 ? text.Lines(view) : text.Lines(view).Prepend(string.Empty));
    }

    // https://no-color.org
    private static bool WantsColour() =>
        string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR")) && Environment.GetEnvironmentVariable("TERM") is not (null or "" or "dumb");

    private static void Write(ReadOnlySpan<byte> text)
    {
        using var output = new DescriptorStream(StandardOutput);
        output.Write(text);
    }
}
