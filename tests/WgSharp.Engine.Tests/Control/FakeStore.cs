using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Control;

/// <summary>A log in memory, as a successor would find it.</summary>
internal sealed class FakeStore : IConfigurationStore
{
    private List<byte> _log = [];
    private List<byte>? _new;

    public bool Refuses { get; set; }

    public bool IsAbandoned { get; private set; }

    public long Length => _log.Count;

    public SavedConfiguration Saved() => SavedConfiguration.Read(_log.ToArray())!;

    public void Begin() => _new = [];

    public void Append(ReadOnlySpan<byte> bytes)
    {
        if (Refuses)
        {
            throw new IOException("no memory");
        }

        (_new ?? _log).AddRange(bytes);
    }

    public void Replace()
    {
        _log = _new!;
        _new = null;
    }

    public void Abandon() => IsAbandoned = true;
}
