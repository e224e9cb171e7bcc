using WgSharp.Engine;

namespace WgSharp.Linux;

/// <summary>
/// The log of a configuration in files in memory that lie in systemd's descriptor store as well. A new log is handed over under another name before the old one
/// is taken back: who comes after a crash between the two finds both, and takes the younger one.
/// </summary>
internal sealed class ConfigurationMemory(DescriptorStore store) : IConfigurationStore, IDisposable
{
    private MemoryFile? _file;
    private MemoryFile? _new;
    private int _turn;

    /// <summary>Under which a log may lie.</summary>
    public static IReadOnlyList<string> Names { get; } = ["configuration-0", "configuration-1"];

    /// <summary>The name of the log of now is not to be this one: a predecessor's lies there.</summary>
    public void Avoid(string name) => _turn = Names[0] == name ? 1 : 0;

    /// <inheritdoc/>
    public long Length => _file?.Length ?? 0;

    /// <inheritdoc/>
    public void Begin()
    {
        _new?.Dispose();
        _new = MemoryFile.Create("wgsharp configuration");
    }

    /// <inheritdoc/>
    public void Append(ReadOnlySpan<byte> bytes) => (_new ?? _file)!.Append(bytes);

    /// <inheritdoc/>
    public void Replace()
    {
        string own = Names[_turn];
        string other = Names[1 - _turn];
        if (store.Keep(own, _new!.Handle) is { } why)
        {
            throw new IOException($"systemd does not take it: {why}");
        }

        _ = store.Forget(other);
        _file?.Clear();
        _file?.Dispose();
        _file = _new;
        _new = null;
        _turn = 1 - _turn;
    }

    /// <inheritdoc/>
    public void Abandon()
    {
        foreach (string name in Names)
        {
            _ = store.Forget(name);
        }

        foreach (MemoryFile? file in (ReadOnlySpan<MemoryFile?>)[_file, _new])
        {
            file?.Clear();
            file?.Dispose();
        }

        _file = null;
        _new = null;
    }

    /// <summary>What was handed over stays.</summary>
    public void Dispose()
    {
        _file?.Dispose();
        _new?.Dispose();
    }
}
