namespace WgSharp.Protocol.Tests;

/// <summary>How sessions begin: initiation, response, key confirmation, and what waits meanwhile.</summary>
public sealed class SessionTests
{
    [Fact]
    public void The_first_packet_starts_a_handshake_and_arrives_after_one_round_trip_and_a_half()
    {
        var pair = new PeerPair();
        pair.A.Send(1, 2, 3);
        Assert.Equal([MessageType.HandshakeInitiation], pair.Wire.Seen.Select(d => d.Type));

        pair.Wire.Advance(VirtualWire.Latency * 3);
        Assert.Equal([[1, 2, 3]], pair.B.Received);
        Assert.Equal(
            [MessageType.HandshakeInitiation, MessageType.HandshakeResponse, MessageType.TransportData],
            pair.Wire.Seen.Select(d => d.Type));
    }
}
