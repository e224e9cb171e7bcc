using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>Two ends that both know where the other is and may begin at once: two devices of ours, or one and a <see cref="StockNode"/>.</summary>
internal sealed class CrossingPair : IDisposable
{
    public CrossingPair(int seed, bool stock)
    {
        if (!stock)
        {
            var pair = new VirtualPair(seed);
            pair.B.Configure(pair.A.PublicKey, peer => peer.Endpoint = pair.A.Address);
            (Wire, A, B) = (pair.Wire, pair.A, pair.B);
            return;
        }

        Wire = new VirtualWire(seed);
        A = new VirtualTunnel(Wire, VirtualPair.At("192.0.2.1", 51820), seed * 10, number: 1);
        byte[] psk = new byte[32];
        Wire.Random.NextBytes(psk);
        var other = new StockNode(Wire, VirtualPair.At("2001:db8::2", 51821), (seed * 10) + 1, A, psk);
        B = other;
        VirtualPair.Introduce(A, other.PublicKey, other.Address, psk, number: 2);
        A.LinkUp();
    }

    public VirtualWire Wire { get; }

    public VirtualTunnel A { get; }

    public IVirtualNode B { get; }

    public void Dispose()
    {
        A.Dispose();
        (B as IDisposable)?.Dispose();
    }

    /// <summary>Both send with one and the same session.</summary>
    public bool Agrees => A.Sending is { } ours && B.Sending is { } theirs
        && (ours.LocalIndex, ours.RemoteIndex) == (theirs.RemoteIndex, theirs.LocalIndex)
        && ours.IsInitiator != theirs.IsInitiator;

    /// <summary>Each datagram takes what the function says for its direction; none is lost.</summary>
    public void Delay(Func<TimeSpan> toB, Func<TimeSpan> toA) =>
        Wire.Fate = (datagram, _) => [datagram.From == A.Address ? toB() : toA()];

    public TimeSpan Between(TimeSpan least, TimeSpan most) => least + ((most - least) * Wire.Random.NextDouble());
}

/// <summary>For how long an end sent what the other could not open, and nothing it could: measured where it arrives.</summary>
internal sealed class Deafness
{
    private readonly VirtualWire _wire;
    private Instant _since = Instant.Never;

    public Deafness(VirtualWire wire, IVirtualNode node)
    {
        _wire = wire;
        node.Heard = Note;
    }

    public TimeSpan Longest { get; private set; }

    /// <summary>Messages that could not be opened.</summary>
    public int Lost { get; private set; }

    private void Note(bool opened)
    {
        if (opened)
        {
            _since = Instant.Never;
            return;
        }

        Lost++;
        _since = _since == Instant.Never ? _wire.Now : _since;
        TimeSpan span = _wire.Now - _since;
        Longest = span > Longest ? span : Longest;
    }
}
