namespace WgSharp.Mutation;

/// <summary>A test as it went without any mistake.</summary>
/// <param name="Number">Its place in the process that runs it.</param>
/// <param name="Mistakes">It came by these.</param>
/// <param name="Static">By these while a class was initialized: whichever test comes first, and it may be another one in another process.</param>
internal sealed record CoveredTest(int Number, TestResult Result, TimeSpan Took, int[] Mistakes, int[] Static);
