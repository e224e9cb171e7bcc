using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>Memory that outlives the process, for a log (<see cref="ConfigurationWriter"/>) that its successor reads. Control loop only.</summary>
internal interface IConfigurationStore
{
    /// <summary>Bytes in the log that a successor would find.</summary>
    long Length { get; }

    /// <summary>What is appended from now on goes into a new log, which nobody finds yet.</summary>
    /// <exception cref="IOException">There is no memory for it.</exception>
    void Begin();

    /// <summary>When this returns, a successor finds it, whatever becomes of this process.</summary>
    /// <exception cref="IOException">There is no memory for it.</exception>
    void Append(ReadOnlySpan<byte> bytes);

    /// <summary>The new log takes the place of the one before; a successor finds one of the two at any moment.</summary>
    /// <exception cref="IOException">It cannot be handed over.</exception>
    void Replace();

    /// <summary>A successor is to find nothing: better than what is no longer true.</summary>
    void Abandon();
}
