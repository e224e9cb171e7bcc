using System.Globalization;
using WgSharp.Mutation;

// Which of the small mistakes that Stryker has built into an assembly do tests notice? Stryker asks by a new test process for each, which takes
// seconds; here the tests run within one process, in which the mistakes are switched on one after the other (TestProcess.cs).
//
//   WgSharp.Mutation REPORT TESTS [LANES [PART]]
//     REPORT   Stryker's report in JSON: names the mistakes; what becomes of them is written there
//     TESTS    the tests' assembly; beside it lies the one with the mistakes
//     LANES    how many processes run tests at once
//     PART     only tests whose names match this regular expression
//
//   WgSharp.Mutation --run TESTS MUTATED MISTAKE [PART]      one such process; what it is asked comes by standard input

switch (args)
{
    case ["--run", string tests, string mutated, string mistake, .. string[] part]:
        TestProcess.Run(tests, mutated, int.Parse(mistake, CultureInfo.InvariantCulture), part.FirstOrDefault(""));
        return 0;
    case [string report, string tests]:
        return await Examination.RunAsync(report, tests, Environment.ProcessorCount, part: "");
    case [string report, string tests, string lanes, .. string[] part]:
        return await Examination.RunAsync(report, tests, int.Parse(lanes, CultureInfo.InvariantCulture), part.FirstOrDefault(""));
    default:
        await Console.Error.WriteLineAsync("WgSharp.Mutation REPORT TESTS [LANES [PART]]");
        return 2;
}
