using System.Diagnostics;
using System.Globalization;

namespace WgSharp.Mutation;

/// <summary>What became of a mistake that tests were run with.</summary>
internal enum Verdict
{
    Survived,
    Noticed,

    /// <summary>A test did not come to its end.</summary>
    Hung,
}

/// <summary>The outer side of a process that runs tests: starts it when it is needed, and anew when it hung or died.</summary>
/// <param name="tests">Path of the tests' assembly.</param>
/// <param name="mutated">Name of the assembly with the mistakes.</param>
/// <param name="part">Only tests whose names match this regular expression.</param>
internal sealed class TestLane(string tests, string mutated, string part) : IDisposable
{
    /// <summary>More than a busy machine makes of the shortest test.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    /// <summary>More than any test that is not marked as long takes.</summary>
    private static readonly TimeSpan MostPatience = TimeSpan.FromMinutes(3);

    private Process? _process;

    public async Task<string[]> ListAsync()
    {
        Ask("list");
        var names = new List<string>();
        while (await ReadAsync() is not ["end"] and var line)
        {
            names.Add(line is ["name", .. string[] words] ? string.Join(' ', words) : throw Unexpected(line));
        }

        return [.. names];
    }

    /// <summary>Runs the tests from the first on, one in so many, without any mistake.</summary>
    /// <param name="names">Of all tests.</param>
    public async Task<CoveredTest[]> CoverAsync(int first, int step, string[] names)
    {
        Ask($"cover {first} {step}");
        var covered = new List<CoveredTest>();
        string current = "";
        while (true)
        {
            Task<string[]> answer = ReadAsync();
            if (!await EndsWithin(answer, MostPatience))
            {
                End();
                throw new InvalidOperationException($"Does not come to its end without any mistake: {current}");
            }

            string[] line = await answer;
            switch (line)
            {
                case ["end"]:
                    return [.. covered];
                case ["begin", string begun]:
                    current = names[int.Parse(begun, CultureInfo.InvariantCulture)];
                    continue;
            }

            covered.Add(line is ["test", string number, string result, string milliseconds, string mistakes, string once]
                ? new CoveredTest(
                    int.Parse(number, CultureInfo.InvariantCulture),
                    Enum.Parse<TestResult>(result),
                    TimeSpan.FromMilliseconds(double.Parse(milliseconds, CultureInfo.InvariantCulture)),
                    TestProcess.Numbers(mistakes),
                    TestProcess.Numbers(once))
                : throw Unexpected(line));
        }
    }

    /// <summary>Makes a mistake and runs tests until one notices it.</summary>
    /// <param name="selected">In this order.</param>
    /// <param name="fromBeginning">In a process of its own that makes the mistake from its beginning.</param>
    public async Task<(Verdict Verdict, CoveredTest? By)> RunAsync(int mistake, IReadOnlyList<CoveredTest> selected, bool fromBeginning)
    {
        if (fromBeginning)
        {
            End();
            Start(mistake);
        }

        CoveredTest? by = null;
        try
        {
            (Verdict verdict, by) = await RunAsync(mistake, selected);
            if (verdict != Verdict.Noticed || fromBeginning || (await RunAsync(MutantControl.None, [by!])).Verdict == Verdict.Survived)
            {
                return (verdict, by);
            }
        }
        finally
        {
            if (fromBeginning)
            {
                End();
            }
        }

        // The same test fails without the mistake too: what the tests before it left in this process disturbs it. Once more in a new one.
        End();
        return await RunAsync(mistake, selected);
    }

    public void Dispose() => End();

    private async Task<(Verdict Verdict, CoveredTest? By)> RunAsync(int mistake, IReadOnlyList<CoveredTest> selected)
    {
        Ask($"run {mistake} {string.Join(',', selected.Select(test => test.Number))}");
        CoveredTest? current = null;
        TimeSpan patience = Patience;
        while (true)
        {
            Task<string[]?> answer = TryReadAsync();
            if (!await EndsWithin(answer, patience))
            {
                End();
                return (Verdict.Hung, current);
            }

            switch (await answer)
            {
                case ["begin", string number]:
                    int begun = int.Parse(number, CultureInfo.InvariantCulture);
                    current = selected.First(test => test.Number == begun);
                    patience = TimeSpan.FromTicks(Math.Min((Patience + (current.Took * 20)).Ticks, MostPatience.Ticks));
                    break;
                case ["survived"]:
                    return (Verdict.Survived, null);
                case ["noticed", _]:
                    return (Verdict.Noticed, current);
                case null:
                    // The process died of it: a test host would have as well.
                    End();
                    return (Verdict.Noticed, current);
                case var line:
                    throw Unexpected(line);
            }
        }
    }

    /// <summary>By steps: a machine that stood still meanwhile takes one of them, not all.</summary>
    private static async Task<bool> EndsWithin(Task task, TimeSpan patience)
    {
        var step = TimeSpan.FromMilliseconds(250);
        for (TimeSpan waited = TimeSpan.Zero; waited < patience && !task.IsCompleted; waited += step)
        {
            await Task.WhenAny(task, Task.Delay(step));
        }

        return task.IsCompleted;
    }

    private void Ask(string question)
    {
        Process process = _process ?? Start(MutantControl.None);
        process.StandardInput.WriteLine(question);
        process.StandardInput.Flush();
    }

    private async Task<string[]> ReadAsync() => await TryReadAsync() ?? throw new InvalidOperationException("The process that runs tests died without any mistake being made.");

    private async Task<string[]?> TryReadAsync() => (await _process!.StandardOutput.ReadLineAsync())?.Split(' ');

    private Process Start(int mistake)
    {
        string stem = tests[..^".dll".Length];
        string[] arguments =
        [
            "exec", "--depsfile", $"{stem}.deps.json", "--runtimeconfig", $"{stem}.runtimeconfig.json", typeof(TestLane).Assembly.Location,
            "--run", tests, mutated, mistake.ToString(CultureInfo.InvariantCulture), part,
        ];
        var start = new ProcessStartInfo(Environment.ProcessPath!, arguments)
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            WorkingDirectory = Path.GetDirectoryName(tests),
        };

        // A mistake that makes memory grow without end is one that the test notices, not the machine.
        start.Environment["DOTNET_GCHeapHardLimit"] = "40000000";
        _process = Process.Start(start)!;
        return _process;
    }

    private void End()
    {
        if (_process is { } process)
        {
            _process = null;
            process.Kill(entireProcessTree: true);
            process.WaitForExit();
            process.Dispose();
        }
    }

    private static InvalidOperationException Unexpected(string[] line) => new($"Not an answer: {string.Join(' ', line)}");
}
