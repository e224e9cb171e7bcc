using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// Whether a sticky source still agrees with the routes. The kernel module (send4 in drivers/net/wireguard/socket.c) gives up an
/// IPv4 source as soon as the route to the peer leaves through another interface than the one that the peer was last heard on: a
/// better route moves the source with it. It does so for IPv4 only, and so does this.
/// <para>
/// The verdict about an <see cref="Endpoint"/> object is asked for once, noted in it, and stands until a route, rule, address or link changes.
/// The generation of news is read before the question: a change that comes after it makes the answer an old one.
/// </para>
/// </summary>
internal sealed class SourceRoutes : IDisposable
{
    private readonly RouteNews _news;
    private readonly NetlinkSocket? _questions;
    private readonly Lock _gate = new();
    private uint _mark;

    /// <summary>In the namespace of the sockets.</summary>
    internal SourceRoutes(RouteNews news, KernelFeatures features)
    {
        _news = news;
        try
        {
            _questions = news.IsHeard ? new NetlinkSocket(0) : null;
        }
        catch (IOException refused)
        {
            features.Refused(KernelFeature.Routes, "rtnetlink", refused.HResult);
        }
    }

    /// <summary>The mark that the sockets send with: part of the question.</summary>
    internal void SetMark(uint mark)
    {
        lock (_gate)
        {
            _mark = mark;
        }
    }

    /// <summary>Any thread; does not allocate once an endpoint was seen.</summary>
    internal bool Agree(Endpoint endpoint)
    {
        if (endpoint.SourceInterface == 0 || !endpoint.Source.IsIPv4 || _questions is null)
        {
            return true;
        }

        int generation = _news.Generation;
        EndpointNotes notes = EndpointNotes.Of(endpoint);
        return notes.SourceAgrees(generation) ?? Ask(endpoint, notes, generation);
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _questions?.Dispose();
        }
    }

    private bool Ask(Endpoint endpoint, EndpointNotes notes, int generation)
    {
        lock (_gate)
        {
            if (_questions!.Descriptor.IsClosed)
            {
                return true;
            }

            // No route, or no such source: sending will tell, in its own way.
            int errno = _questions.AskRoute(endpoint.Remote.Address, endpoint.Source, _mark, out int outgoing);
            bool agrees = errno != 0 || outgoing == endpoint.SourceInterface;
            notes.NoteSource(generation, agrees);
            return agrees;
        }
    }
}
