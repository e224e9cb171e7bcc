using WgSharp.Protocol;
using WgSharp.Protocol.Tests;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>A <see cref="StockPeer"/> on the wire: the only peer of a <see cref="VirtualTunnel"/>.</summary>
internal sealed class StockNode : IVirtualNode
{
    private const byte Number = 2;
    private readonly StockPeer _peer;

    public StockNode(VirtualWire wire, InetEndpoint address, int seed, VirtualTunnel other, byte[] psk)
    {
        Address = address;
        _peer = new StockPeer(seed, other.PublicKey, psk, () => wire.Moment, message => wire.Send(Address, other.Address, message));
        wire.Add(this);
    }

    public InetEndpoint Address { get; }

    public Crypto.PublicKey PublicKey => _peer.PublicKey;

    public Instant NextDeadline => _peer.NextDeadline;

    public int ReceivedCount => _peer.ReceivedCount;

    public Keypair? Sending => _peer.Sending;

    public Action<bool>? Heard
    {
        get => _peer.Heard;
        set => _peer.Heard = value ?? (_ => { });
    }

    public void Send(params byte[] content) => _peer.Send(VirtualTunnel.Inner(Number, VirtualTunnel.OtherNumber(Number), content));

    public void Arrive(byte[] datagram, InetEndpoint from) => _peer.Receive([.. datagram]);

    public void Run() => _peer.Run();
}
