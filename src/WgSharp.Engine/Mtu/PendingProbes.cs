namespace WgSharp.Engine.Mtu;

/// <summary>
/// A peer's probes that may still be answered: the last few. The control loop adds and takes; any thread reads <see cref="Tokens"/>, an
/// array that is replaced as a whole.
/// </summary>
public sealed class PendingProbes
{
    /// <summary>Late answers count too, but not for ever.</summary>
    public const int Capacity = 16;

    private uint[] _ids = [];
    private ProbeToken[] _tokens = [];

    /// <summary>For <see cref="MtuProbes.Recognise"/>.</summary>
    public ReadOnlySpan<ProbeToken> Tokens => Volatile.Read(ref _tokens);

    /// <summary>Control loop only. A probe may be sent several times under one token (to both addresses of a peer, with both TTLs): it is answered once.</summary>
    /// <param name="id">The path's name for it: <see cref="WgSharp.Protocol.PathProbe.Id"/>.</param>
    public void Add(in ProbeToken token, uint id)
    {
        int drop = _tokens.Length == Capacity ? 1 : 0;
        _ids = [.. _ids.AsSpan(drop), id];
        Volatile.Write(ref _tokens, [.. _tokens.AsSpan(drop), token]);
    }

    /// <summary>Control loop only: the answer to this token has come.</summary>
    /// <returns>False if it had before, or the probe is forgotten.</returns>
    public bool TryTake(in ProbeToken token, out uint id)
    {
        int index = _tokens.AsSpan().IndexOf(token);
        id = index < 0 ? 0 : _ids[index];
        if (index < 0)
        {
            return false;
        }

        _ids = [.. _ids.AsSpan(0, index), .. _ids.AsSpan(index + 1)];
        Volatile.Write(ref _tokens, [.. _tokens.AsSpan(0, index), .. _tokens.AsSpan(index + 1)]);
        return true;
    }

    /// <summary>Control loop only: the peer is somewhere else now.</summary>
    public void Clear()
    {
        _ids = [];
        Volatile.Write(ref _tokens, []);
    }
}
