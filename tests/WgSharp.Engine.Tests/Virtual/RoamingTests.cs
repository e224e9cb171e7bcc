using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>Where a peer is: any authenticated message tells, nothing else does.</summary>
public sealed class RoamingTests
{
    private static readonly InetEndpoint Elsewhere = VirtualPair.At("198.51.100.7", 4711);

    [Fact]
    public void Data_from_a_new_address_moves_the_endpoint_and_answers_go_there()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Address = Elsewhere;
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal(Elsewhere, pair.B.Peer.Endpoint!.Remote);

        pair.B.Send(2);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[2]], pair.A.Received);
    }

    [Fact]
    public void A_keepalive_and_an_initiation_and_a_response_move_it_too()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.B.Send(9);
        pair.A.Address = Elsewhere;
        pair.Wire.AdvanceSeconds(11);
        pair.A.Address = VirtualPair.At("198.51.100.7", 4712);
        pair.B.Send(9);
        pair.A.Configure(pair.B.PublicKey, peer => peer.PersistentKeepaliveInterval = 25);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal(pair.A.Address, pair.B.Peer.Endpoint!.Remote);

        using var fresh = new VirtualPair(seed: 5);
        fresh.B.Configure(fresh.A.PublicKey, peer => peer.Endpoint = Elsewhere);
        fresh.A.Send(1);
        fresh.Wire.Advance(VirtualWire.Latency);
        Assert.Equal(fresh.A.Address, fresh.B.Peer.Endpoint!.Remote);
        Datagram response = fresh.Wire.Seen[^1];
        fresh.A.Receive(response.Bytes, Elsewhere);
        Assert.Equal([HandshakeOutcome.SessionEstablished], fresh.A.Outcomes);
        Assert.Equal(Elsewhere, fresh.A.Peer.Endpoint!.Remote);
    }

    [Fact]
    public void Forged_and_replayed_messages_and_cookie_replies_do_not_move_it()
    {
        using VirtualPair pair = VirtualPair.WithSession();
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(1);
        InetEndpoint before = pair.B.Peer.Endpoint!.Remote;
        byte[] data = pair.Wire.Seen.Last(d => d.Type == MessageType.TransportData).Bytes;
        pair.B.Receive(data, Elsewhere);
        data[^1] ^= 1;
        data[8] ^= 1;
        pair.B.Receive(data, Elsewhere);
        Assert.Equal(before, pair.B.Peer.Endpoint!.Remote);

        pair.Wire.AdvanceSeconds(200);
        pair.B.Overload();
        pair.A.Send(1);
        pair.Wire.Fate = (datagram, _) => datagram.Type == MessageType.CookieReply ? [] : [VirtualWire.Latency];
        pair.Wire.AdvanceSeconds(1);
        Datagram reply = Assert.Single(pair.Wire.Seen, d => d.Type == MessageType.CookieReply && d.To == pair.A.Address);
        pair.A.Receive(reply.Bytes, Elsewhere);
        Assert.Equal(HandshakeOutcome.CookieStored, pair.A.Outcomes[^1]);
        Assert.Equal(pair.B.Address, pair.A.Peer.Endpoint!.Remote);
    }

    [Fact]
    public void The_sticky_source_goes_with_a_retry_a_new_endpoint_a_new_mark_and_a_new_port()
    {
        using var pair = new VirtualPair();
        Peer peer = pair.A.Peer;
        InetAddress source = pair.A.Address.Address;
        void Stick() => peer.Learn(pair.B.Address, source, 2);

        Stick();
        pair.A.Configure(peer.PublicKey, p => p.Endpoint = pair.B.Address);
        Assert.True(peer.Endpoint!.Source.IsNone);
        Stick();
        pair.A.Apply(new DeviceConfiguration { Fwmark = 7 });
        Assert.True(peer.Endpoint!.Source.IsNone);
        Stick();
        pair.A.Apply(new DeviceConfiguration { ListenPort = 777 });
        Assert.True(peer.Endpoint!.Source.IsNone);
        Stick();
        pair.A.Apply(new DeviceConfiguration { ListenPort = 777 });
        Assert.False(peer.Endpoint!.Source.IsNone);
        pair.A.Device.ForgetSources();
        Assert.True(peer.Endpoint!.Source.IsNone);

        Stick();
        pair.Wire.Cut();
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(1);
        Assert.False(peer.Endpoint!.Source.IsNone);
        pair.Wire.AdvanceSeconds(5);
        Assert.True(peer.Endpoint!.Source.IsNone);
        Assert.Equal(pair.B.Address, peer.Endpoint.Remote);
    }
}
