namespace WgSharp.Status;

/// <summary>The members of an enum as programs are told of them: <c>SocketRefused</c> is <c>socket_refused</c>.</summary>
internal static class Words<T>
    where T : struct, Enum
{
    private static readonly T[] _values = Enum.GetValues<T>();
    private static readonly string[] _words = [.. _values.Select(value => Word(value.ToString()))];

    public static IReadOnlyList<T> Values => _values;

    public static string Of(T value) => _words[Array.IndexOf(_values, value)];

    /// <returns>False for a word of another version.</returns>
    public static bool TryParse(string word, out T value)
    {
        int index = Array.IndexOf(_words, word);
        value = index < 0 ? default : _values[index];
        return index >= 0;
    }

    private static string Word(string name) =>
        string.Concat(name.Select((letter, i) => char.IsUpper(letter) ? (i > 0 ? "_" : string.Empty) + char.ToLowerInvariant(letter) : letter.ToString()));
}
