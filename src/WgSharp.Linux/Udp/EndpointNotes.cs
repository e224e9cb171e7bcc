using System.Runtime.CompilerServices;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// What is remembered of the way to one endpoint, kept in the endpoint itself: however many peers are active, none displaces another's answers,
/// and they go when the endpoint does. Any thread; two that ask at the same moment write the same.
/// </summary>
internal sealed class EndpointNotes
{
    /// <summary>The route's MTU in bytes; 0: not asked yet.</summary>
    internal int Mtu;

    /// <summary>The generation of route news that the MTU belongs to.</summary>
    internal int MtuGeneration;

    /// <summary>Nanoseconds: until then the MTU stands whatever was announced.</summary>
    internal long MtuStands;

    /// <summary>Nanoseconds: from then on it is asked for again although nothing was announced.</summary>
    internal long MtuExpires;

    private long _source;

    /// <summary>Whether the sticky source agrees with the routes, and for which generation of news that was found.</summary>
    internal bool? SourceAgrees(int generation)
    {
        long noted = Volatile.Read(ref _source);
        return (int)(noted >> 2) != generation || (noted & 1) == 0 ? null : (noted & 2) != 0;
    }

    internal void NoteSource(int generation, bool agrees) => Volatile.Write(ref _source, ((long)generation << 2) | (agrees ? 3L : 1L));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static EndpointNotes Of(Endpoint endpoint) => endpoint.Notes as EndpointNotes ?? Create(endpoint);

    private static EndpointNotes Create(Endpoint endpoint)
    {
        var notes = new EndpointNotes();
        endpoint.Notes = notes;
        return notes;
    }
}
