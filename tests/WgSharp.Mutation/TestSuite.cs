using System.Reflection;
using System.Text.RegularExpressions;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace WgSharp.Mutation;

/// <summary>What became of a test.</summary>
internal enum TestResult
{
    Passed,
    Failed,
    Skipped,
}

/// <summary>The tests of an assembly, found and run by xunit itself, one at a time.</summary>
internal sealed class TestSuite : IDisposable
{
    private readonly XunitTestFramework _framework = new(new Sink(_ => true));
    private readonly ITestFrameworkExecutor _executor;
    private readonly IXunitTestCase[] _cases;

    /// <param name="tests">The assembly; those that are marked as long (<c>[Trait("Long", "true")]</c>) are left out.</param>
    /// <param name="part">Only tests whose names match this regular expression.</param>
    public TestSuite(Assembly tests, string part)
    {
        _executor = _framework.GetExecutor(tests.GetName());
        using ITestFrameworkDiscoverer discoverer = _framework.GetDiscoverer(Reflector.Wrap(tests));
        var found = new List<IXunitTestCase>();
        using var done = new ManualResetEventSlim();
        discoverer.Find(includeSourceInformation: false, new Sink(message => Collect(message, found, done)), new Options());
        done.Wait();

        // The order is the same in every process.
        _cases =
        [
            .. found.Where(test => !IsLong(test) && Regex.IsMatch(test.DisplayName, part, RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1)))
                .OrderBy(test => test.DisplayName, StringComparer.Ordinal).ThenBy(test => test.UniqueID, StringComparer.Ordinal),
        ];
    }

    public int Count => _cases.Length;

    public string NameOf(int test) => _cases[test].DisplayName;

    public TestResult Run(int test)
    {
        var result = TestResult.Skipped;
        using var done = new ManualResetEventSlim();
        _executor.RunTests([_cases[test]], new Sink(message => Follow(message, done, ref result)), new Options());
        done.Wait();
        return result;
    }

    public void Dispose()
    {
        _executor.Dispose();
        _framework.Dispose();
    }

    private static bool IsLong(IXunitTestCase test) => test.Traits.TryGetValue("Long", out List<string>? values) && values.Contains("true", StringComparer.Ordinal);

    private static bool Collect(IMessageSinkMessage message, List<IXunitTestCase> found, ManualResetEventSlim done)
    {
        switch (message)
        {
            case ITestCaseDiscoveryMessage { TestCase: IXunitTestCase test }:
                found.Add(test);
                break;
            case IDiscoveryCompleteMessage:
                done.Set();
                break;
        }

        return true;
    }

    /// <returns>False once it failed: a theory's other rows are not run any more.</returns>
    private static bool Follow(IMessageSinkMessage message, ManualResetEventSlim done, ref TestResult result)
    {
        switch (message)
        {
            case ITestFailed or IErrorMessage or ITestCleanupFailure or ITestClassCleanupFailure:
                result = TestResult.Failed;
                break;
            case ITestPassed when result == TestResult.Skipped:
                result = TestResult.Passed;
                break;
            case ITestAssemblyFinished:
                done.Set();
                break;
        }

        return result != TestResult.Failed;
    }
}
