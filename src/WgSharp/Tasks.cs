using WgSharp.Linux;

namespace WgSharp;

/// <summary>Why no more threads can be made, for who started the daemon.</summary>
internal static class Tasks
{
    // The runtime's five, the daemon's own, and as many of the process that starts it.
    private const int Wanted = 32;

    /// <returns>A sentence, or null where no limit on processes and threads is near.</returns>
    public static string? WhyNoMore() => new ControlGroups().NearestTaskLimit() is { Room: < Wanted } limit
        ? $"there are too few processes and threads to be had for it: {limit.Path} is {limit.Limit}."
        : null;
}
