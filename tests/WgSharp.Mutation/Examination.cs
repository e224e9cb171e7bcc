using System.Collections.Concurrent;

namespace WgSharp.Mutation;

/// <summary>All mistakes of a report that were not noticed yet, and all tests of an assembly that come by them.</summary>
internal sealed class Examination
{
    private readonly Report _report;
    private readonly string[] _names;
    private readonly ILookup<int, CoveredTest> _testsOf;
    private readonly HashSet<int> _static;
    private readonly CoveredTest[] _all;
    private readonly Lock _lock = new();

    private Examination(Report report, string[] names, CoveredTest[] tests)
    {
        _report = report;
        _names = names;

        // The shortest first: most mistakes are noticed by many.
        _all = [.. tests.Where(test => test.Result == TestResult.Passed).OrderBy(test => test.Took)];
        _static = [.. tests.SelectMany(test => test.Static)];
        _testsOf = _all.SelectMany(test => test.Mistakes, (test, mistake) => (test, mistake)).ToLookup(pair => pair.mistake, pair => pair.test);
    }

    /// <returns>1 if there was a test that failed without any mistake.</returns>
    public static async Task<int> RunAsync(string reportPath, string tests, int lanes, string part)
    {
        var report = new Report(reportPath);
        tests = Path.GetFullPath(tests);
        string mutated = MutatedBeside(tests);
        TestLane[] all = [.. Enumerable.Range(0, lanes).Select(_ => new TestLane(tests, mutated, part))];
        string[] names = await all[0].ListAsync();
        CoveredTest[][] parts = await Task.WhenAll(all.Select((lane, first) => Task.Run(() => lane.CoverAsync(first, lanes, names))));
        CoveredTest[] covered = [.. parts.SelectMany(tests => tests).OrderBy(test => test.Number)];
        string[] broken = [.. covered.Where(test => test.Result == TestResult.Failed).Select(test => names[test.Number])];
        foreach (string name in broken)
        {
            Console.WriteLine($"fails without any mistake, and is left out: {name}");
        }

        foreach (CoveredTest test in covered.OrderByDescending(test => test.Took).Take(5))
        {
            Console.WriteLine($"{test.Took.TotalSeconds,6:F1} s  {names[test.Number]}");
        }

        Console.WriteLine($"{covered.Length} tests, {covered.Sum(test => test.Took.TotalSeconds):F0} s; {report.Open.Length} mistakes");
        var examination = new Examination(report, names, covered);
        var open = new ConcurrentQueue<int>(report.Open);
        await Task.WhenAll(all.Select(lane => Task.Run(() => examination.TakeAsync(open, lane))));
        Console.WriteLine();
        return broken.Length == 0 ? 0 : 1;
    }

    /// <returns>The name of the assembly with the mistakes: the one that holds Stryker's switch.</returns>
    private static string MutatedBeside(string tests) =>
        Directory.GetFiles(Path.GetDirectoryName(tests)!, "wgsharp*.dll", new EnumerationOptions { MatchCasing = MatchCasing.CaseInsensitive })
            .Where(path => File.ReadAllBytes(path).AsSpan().IndexOf("ActiveMutant"u8) >= 0)
            .Select(path => Path.GetFileNameWithoutExtension(path)!)
            .Single();

    private async Task TakeAsync(ConcurrentQueue<int> open, TestLane lane)
    {
        using (lane)
        {
            while (open.TryDequeue(out int mistake))
            {
                await ExamineAsync(mistake, lane);
            }
        }
    }

    private async Task ExamineAsync(int mistake, TestLane lane)
    {
        bool isStatic = _static.Contains(mistake);
        IReadOnlyList<CoveredTest> tests = isStatic ? _all : [.. _testsOf[mistake]];
        (Verdict verdict, CoveredTest? by) = tests.Count == 0 ? (Verdict.Survived, null) : await lane.RunAsync(mistake, tests, isStatic);
        lock (_lock)
        {
            (string status, char sign) = verdict switch
            {
                Verdict.Noticed => ("Killed", '.'),
                Verdict.Hung => ("Timeout", 'T'),
                _ when tests.Count == 0 && !_report.WasMet(mistake) => ("NoCoverage", '-'),
                _ => ("Survived", 'S'),
            };
            _report.Set(mistake, status, by is null ? null : _names[by.Number]);
            _report.Save();
            Console.Write(sign);
        }
    }
}
