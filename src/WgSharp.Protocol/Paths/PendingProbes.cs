using System.Runtime.InteropServices;

namespace WgSharp.Protocol;

/// <summary>What a probe is known again by: random, so that nobody can make an answer who has not seen the probe.</summary>
/// <param name="Identifier">The echo request's identifier.</param>
/// <param name="Sequence">Its sequence number.</param>
/// <param name="Secret">Its payload.</param>
internal readonly record struct ProbeToken(ushort Identifier, ushort Sequence, UInt128 Secret)
{
    public static ProbeToken Draw(FillRandom random)
    {
        Span<byte> bytes = stackalloc byte[20];
        random(bytes);
        return new ProbeToken(MemoryMarshal.Read<ushort>(bytes), MemoryMarshal.Read<ushort>(bytes[2..]), MemoryMarshal.Read<UInt128>(bytes[4..]));
    }
}

/// <summary>
/// A peer's probes whose answers are known again: the last few, also those that were answered (another answer may follow, and is no packet either). The control
/// loop adds and takes; any thread reads <see cref="Tokens"/>, an array that is replaced as a whole.
/// </summary>
internal sealed class PendingProbes
{
    /// <summary>Late answers count too, but not for ever.</summary>
    public const int Capacity = 16;

    private readonly Lock _lock = new();
    private readonly Queue<(ProbeToken Token, InetAddress Speaker)> _answers = new();

    /// <summary>The path's names for them; 0: answered, or of no interest any more.</summary>
    private uint[] _ids = [];
    private ProbeToken[] _tokens = [];

    /// <summary>For whoever looks for answers.</summary>
    public ReadOnlySpan<ProbeToken> Tokens => Volatile.Read(ref _tokens);

    /// <summary>Control loop only. A probe may be sent several times under one token (to both addresses of a peer, with both TTLs): it is answered once.</summary>
    /// <param name="id">The path's name for it: <see cref="PathProbe.Id"/>, not 0.</param>
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
        if (id == 0)
        {
            return false;
        }

        _ids[index] = 0;
        return true;
    }

    /// <summary>Control loop only: the peer is somewhere else now. What was asked on the way there says nothing of the way here, but answers may still come.</summary>
    public void Disregard() => _ids.AsSpan().Clear();

    /// <summary>Any thread: an answer was seen. What is not asked for by <see cref="TryTakeAnswer"/> in time is forgotten.</summary>
    /// <param name="speaker">Who answered: the peer's address in the tunnel; none if the probe itself came back.</param>
    public void NoteAnswer(in ProbeToken token, in InetAddress speaker)
    {
        lock (_lock)
        {
            if (_answers.Count < Capacity)
            {
                _answers.Enqueue((token, speaker));
            }
        }
    }

    /// <summary>Control loop only: the next answer to a probe that had none yet.</summary>
    public bool TryTakeAnswer(out uint id, out InetAddress speaker)
    {
        lock (_lock)
        {
            while (_answers.TryDequeue(out (ProbeToken Token, InetAddress Speaker) answer))
            {
                speaker = answer.Speaker;
                if (TryTake(answer.Token, out id))
                {
                    return true;
                }
            }
        }

        id = 0;
        speaker = InetAddress.None;
        return false;
    }
}
