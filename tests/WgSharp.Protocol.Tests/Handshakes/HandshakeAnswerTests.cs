namespace WgSharp.Protocol.Tests;

/// <summary>Handshake messages handed to a device one by one: who is answered, and what is left behind.</summary>
public sealed class HandshakeAnswerTests
{
    private static readonly InetEndpoint Elsewhere = DevicePair.At("198.51.100.66", 4711);
    private static readonly InetAddress Local = DevicePair.At("2001:db8::2", 0).Address;

    [Fact]
    public void Whoever_is_down_or_has_no_key_answers_nothing()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        pair.B.Device.LinkDown();
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(initiation, pair.A.Address));
        pair.B.Device.LinkUp(pair.Moment);
        pair.B.Apply(new DeviceConfiguration { RemovePrivateKey = true });
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(initiation, pair.A.Address));
        pair.B.Apply(new DeviceConfiguration { PrivateKey = pair.B.PrivateKey });
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(initiation, pair.A.Address));
    }

    [Fact]
    public void A_message_of_another_type_or_length_is_dropped()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(initiation.AsSpan(0, 147), pair.A.Address));
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle([.. initiation, 0], pair.A.Address));
        for (byte type = 2; type < 6; type++)
        {
            byte[] other = [type, .. initiation.AsSpan(1)];
            Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(other, pair.A.Address));
        }

        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(initiation, pair.A.Address));
    }

    [Fact]
    public void A_genuine_message_tells_where_the_peer_is_and_counts_and_a_forged_one_does_neither()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        byte[] forged = [.. initiation];
        forged[110] ^= 1;
        pair.B.Resign(forged);
        byte[] reply = new byte[148];
        var origin = new HandshakeOrigin(Elsewhere, Local, 3);
        Assert.Equal(default, pair.B.Device.Handle(forged, origin, false, pair.Moment, reply));
        Assert.Null(pair.B.Peer.Endpoint);
        Assert.Equal((0, 0), (pair.B.Peer.RxBytes, pair.B.Device.IndexCount));

        HandshakeResult answered = pair.B.Device.Handle(initiation, origin, false, pair.Moment, reply);
        Assert.Equal(new HandshakeResult(HandshakeOutcome.Respond, pair.B.Peer, 92), answered);
        Assert.Equal(new Endpoint(Elsewhere, Local, 3), pair.B.Peer.Endpoint);
        Assert.Equal((148, 0), (pair.B.Peer.RxBytes, pair.B.Peer.TxBytes));

        // Without being told anything more, the device knows when to look: the keys live for nine minutes.
        Assert.Equal(pair.Now + (Limits.RejectAfterTime * 3), pair.B.Device.NextDeadline);
        pair.B.Device.NoteHandshakeSent(pair.B.Peer, answered.ReplyLength, pair.Moment);
        Assert.Equal(92, pair.B.Peer.TxBytes);

        HandshakeResult established = pair.A.Device.Handle(reply.AsSpan(0, 92), new HandshakeOrigin(Elsewhere), false, pair.Moment, new byte[148]);
        Assert.Equal(new HandshakeResult(HandshakeOutcome.SessionEstablished, pair.A.Peer), established);
        Assert.Equal(Elsewhere, pair.A.Peer.Endpoint!.Remote);
        Assert.Equal((92, 148), (pair.A.Peer.RxBytes, pair.A.Peer.TxBytes));
        Assert.Equal(pair.Moment.Wall, pair.A.Peer.LastHandshake);
        Assert.Equal(default, pair.B.Peer.LastHandshake);
    }

    [Fact]
    public void A_response_that_is_forged_or_repeated_changes_nothing()
    {
        var pair = new DevicePair();
        pair.B.Handle(pair.A.Initiation(), pair.A.Address);
        byte[] response = pair.B.Reply;
        byte[] forged = [.. response];
        forged[20] ^= 1;
        pair.A.Resign(forged);
        Assert.Equal(HandshakeOutcome.Dropped, pair.A.Handle(forged, Elsewhere));
        Assert.Equal(pair.B.Address, pair.A.Peer.Endpoint!.Remote);
        Assert.Equal(1, pair.A.Device.IndexCount);
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(response, pair.B.Address));
        Keypairs keypairs = pair.A.Peer.Keypairs;
        Assert.Equal(HandshakeOutcome.Dropped, pair.A.Handle(response, Elsewhere));
        Assert.Equal(keypairs, pair.A.Peer.Keypairs);
        Assert.Equal(pair.B.Address, pair.A.Peer.Endpoint!.Remote);
        Assert.Equal(1, pair.A.Device.IndexCount);
    }

    [Fact]
    public void A_cookie_for_a_response_comes_under_the_index_of_its_session_and_one_for_nobody_is_dropped()
    {
        var pair = new DevicePair();
        pair.A.UnderLoad = true;
        pair.B.Handle(pair.A.Initiation(), pair.A.Address);
        Assert.Equal(HandshakeOutcome.CookieReply, pair.A.Handle(pair.B.Reply, pair.B.Address));
        byte[] cookie = pair.A.Reply;
        Assert.Equal(64, cookie.Length);
        byte[] unknown = [.. cookie];
        unknown[4] ^= 1;
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(unknown, pair.A.Address));
        byte[] forged = [.. cookie];
        forged[^1] ^= 1;
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(forged, Elsewhere));
        HandshakeResult stored = pair.B.Device.Handle(cookie, new HandshakeOrigin(Elsewhere, Local, 3), false, pair.Moment, new byte[148]);
        Assert.Equal(new HandshakeResult(HandshakeOutcome.CookieStored, pair.B.Peer), stored);

        // A cookie proves nothing about where it came from.
        Assert.Equal(pair.A.Address, pair.B.Peer.Endpoint!.Remote);
    }
}
