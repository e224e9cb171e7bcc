using System.Diagnostics;
using System.Globalization;
using System.Reflection;

namespace WgSharp.Mutation;

// A process that runs tests, as it is asked to by lines on its standard input:
//
//   list                 answered by a line "name NAME" for each test, in the order of their numbers, then "end"
//   cover FIRST STEP     runs the tests from the first on, one in so many, and notes who comes by which mistakes;
//                        "begin NUMBER" before each, "test NUMBER RESULT MILLISECONDS MISTAKES STATIC" after it; then "end"
//   run MISTAKE TEST,…   runs these tests until one notices the mistake; "begin TEST" before each; then "noticed TEST" or "survived"

/// <summary>The inner side: has the tests in it, and the assembly with the mistakes.</summary>
internal static class TestProcess
{
    /// <param name="tests">Path of the tests' assembly.</param>
    /// <param name="mutated">Name of the assembly with the mistakes.</param>
    /// <param name="mistake">Is made from the beginning.</param>
    /// <param name="part">Only tests whose names match this regular expression.</param>
    public static void Run(string tests, string mutated, int mistake, string part)
    {
        TextReader questions = Console.In;
        TextWriter answers = Console.Out;
        Console.SetIn(TextReader.Null);
        Console.SetOut(TextWriter.Null);
        Console.SetError(TextWriter.Null);
        var control = new MutantControl(Assembly.Load(new AssemblyName(mutated)));
        control.Activate(mistake);
        control.BeginCoverage();
        using var suite = new TestSuite(Assembly.Load(new AssemblyName(Path.GetFileNameWithoutExtension(tests))), part);
        while (questions.ReadLine() is { } question)
        {
            switch (question.Split(' '))
            {
                case ["list"]:
                    List(suite, answers);
                    break;
                case ["cover", string first, string step]:
                    Cover(suite, control, int.Parse(first, CultureInfo.InvariantCulture), int.Parse(step, CultureInfo.InvariantCulture), answers);
                    break;
                case ["run", string which, string selected]:
                    control.EndCoverage();
                    control.Activate(int.Parse(which, CultureInfo.InvariantCulture));
                    Run(suite, Numbers(selected), answers);
                    break;
                default:
                    throw new InvalidOperationException($"Not a question: {question}");
            }

            answers.Flush();
        }
    }

    public static int[] Numbers(string list) => [.. list.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(number => int.Parse(number, CultureInfo.InvariantCulture))];

    private static void List(TestSuite suite, TextWriter answers)
    {
        for (int test = 0; test < suite.Count; test++)
        {
            answers.WriteLine($"name {suite.NameOf(test).ReplaceLineEndings(" ")}");
        }

        answers.WriteLine("end");
    }

    private static void Cover(TestSuite suite, MutantControl control, int first, int step, TextWriter answers)
    {
        // What was come by while the tests were only looked for does not happen again either.
        int[] before = control.TakeCoverage().Mistakes;
        for (int test = first; test < suite.Count; test += step)
        {
            answers.WriteLine($"begin {test}");
            answers.Flush();
            long begin = Stopwatch.GetTimestamp();
            TestResult result = suite.Run(test);
            TimeSpan took = Stopwatch.GetElapsedTime(begin);
            (int[] mistakes, int[] once) = control.TakeCoverage();
            answers.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"test {test} {result} {Math.Ceiling(took.TotalMilliseconds)} {string.Join(',', mistakes)} {string.Join(',', once.Concat(before))}"));
            answers.Flush();
            before = [];
        }

        answers.WriteLine("end");
    }

    private static void Run(TestSuite suite, int[] tests, TextWriter answers)
    {
        foreach (int test in tests)
        {
            answers.WriteLine($"begin {test}");
            answers.Flush();
            if (suite.Run(test) == TestResult.Failed)
            {
                answers.WriteLine($"noticed {test}");
                return;
            }
        }

        answers.WriteLine("survived");
    }
}
