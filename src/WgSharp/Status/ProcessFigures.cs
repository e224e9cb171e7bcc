using System.Globalization;

namespace WgSharp.Status;

/// <summary>What /proc/self/stat says of this process; zeros where it cannot be read.</summary>
internal readonly record struct ProcessFigures(long Tasks, long ResidentBytes, TimeSpan ProcessorTime)
{
    // USER_HZ is 100 wherever Linux shows it to user space.
    private const int TicksPerSecond = 100;

    public static ProcessFigures Read(string path = "/proc/self/stat")
    {
        try
        {
            return Parse(File.ReadAllText(path), Environment.SystemPageSize);
        }
        catch (Exception hidden) when (hidden is IOException or UnauthorizedAccessException)
        {
            return default;
        }
    }

    /// <param name="stat">proc(5): the second field is a name in parentheses, and may hold anything.</param>
    public static ProcessFigures Parse(string stat, int pageSize)
    {
        string[] fields = stat[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return new ProcessFigures(
            Field(fields, 20),
            Field(fields, 24) * pageSize,
            TimeSpan.FromSeconds((Field(fields, 14) + Field(fields, 15)) / (double)TicksPerSecond));
    }

    /// <param name="number">As proc(5) counts, from one; the first of these is the third.</param>
    private static long Field(string[] fields, int number) =>
        number - 3 < fields.Length && long.TryParse(fields[number - 3], NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : 0;
}
