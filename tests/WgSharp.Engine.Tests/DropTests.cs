using WgSharp.Crypto;
using WgSharp.Engine.Offload;
using WgSharp.Engine.Tests.Offload;
using WgSharp.Engine.Tests.Virtual;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>Every packet that is dropped is counted once, where it belongs, and nothing else is.</summary>
public sealed class DropTests : FittedPathFixture
{
    private static readonly byte[] Good = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 500);

    // ---- out ----

    [Fact]
    public void Malformed_frames()
    {
        byte[] noPacket = [.. Good];
        noPacket[0] = 0x25;
        WireFrame lies = OffloadBatches.Super(new Flow(), 5000, 1000);
        lies = lies with { Header = lies.Header with { GsoType = VirtioNetHeader.GsoTcp6 } };
        WireFrame beyond = new(new VirtioNetHeader { Flags = VirtioNetHeader.NeedsCsum, CsumStart = 600, CsumOffset = 6 }, Good);
        AssertDrops("MalformedFrame 3", Plain(noPacket), lies, Plain(Good), beyond);
        Assert.Equal("MalformedFrame 2", PeerOfA.Drops?.ToString()); // whose the first one is, nobody knows
        Assert.Equal([1], _udp.RunCounts);

        _udp.Mtu = 400;
        byte[] mayFragment = [.. Good];
        mayFragment[6] = 0;
        AssertDrops("MalformedFrame 1", beyond with { Bytes = mayFragment });
    }

    [Fact]
    public void Frames_of_nobody_and_for_nobody_who_is_anywhere()
    {
        using PrivateKey key = TunnelPair.NewKey();
        var configuration = new DeviceConfiguration();
        var lost = new PeerConfiguration { PublicKey = X25519.PublicKeyOf(key) };
        lost.AllowedIps.Add(new AllowedIpChange(IpPrefix.Of(TunnelPair.Address("10.0.0.7"), 32), Remove: false));
        configuration.Peers.Add(lost);
        _a.Apply(configuration, _moment);
        WireFrame nowhere = Plain(TunnelPair.Packet("10.0.0.1", "10.0.0.7", 10));
        AssertDrops("NoPeer 1, NoEndpoint 2", Plain(TunnelPair.Packet("10.0.0.1", "10.9.9.9", 10)), nowhere, Plain(Good), nowhere);
        Assert.Equal("NoEndpoint 2", _a.Peers.Single(peer => peer.PublicKey == lost.PublicKey).Drops?.ToString());
        Assert.Null(PeerOfA.Drops);
    }

    [Fact]
    public void Messages_that_go_in_circles()
    {
        byte[] message = TunnelPair.Packet("10.0.0.1", "10.0.0.2", 100);
        message[8] = 8;
        message.AsSpan(28, 4).Clear();
        message[28] = 4;
        AssertDrops("RoutingLoop 1", Plain(message));
        Assert.Equal("RoutingLoop 1", PeerOfA.Drops?.ToString());
    }

    [Fact]
    public void What_the_socket_refuses_by_messages()
    {
        _udp.Outcome = run => run.Count == 3 ? SendOutcome.Lost : SendOutcome.Sent;
        WireFrame super = OffloadBatches.Super(new Flow(), 3000, 1000);
        AssertDrops("SocketRefused 3", super);
        AssertDrops("nothing", Plain(Good));
        Assert.Equal("SocketRefused 3", PeerOfA.Drops?.ToString());
    }

    // ---- in ----

    [Fact]
    public void Datagrams_that_are_no_messages_and_messages_of_no_session()
    {
        _udp.Put([1, 2, 3]);
        Receive();
        _udp.Put(new byte[100]);
        Receive();
        byte[] stray = new byte[64];
        stray[0] = 4;
        _udp.Put(stray);
        Receive();
        Assert.Equal("MalformedMessage 2, NoSession 1", _in.Drops.ToString());
    }

    [Fact]
    public void Handshake_messages_for_another_key()
    {
        foreach (int length in (int[])[MessageSize.HandshakeInitiation, MessageSize.HandshakeResponse])
        {
            byte[] message = new byte[length];
            message[0] = length == MessageSize.HandshakeInitiation ? (byte)1 : (byte)2;
            _udp.Put(message);
            Receive();
        }

        Assert.Equal("WrongMac 2", _in.Drops.ToString());
    }

    [Fact]
    public void Forged_replayed_and_late_messages()
    {
        _tunA.Packets = [Good, Good, Good];
        Send();
        _udp.Corrupt(100);
        Assert.Equal(2, Receive());
        Assert.Equal("NotAuthentic 1", _in.Drops.ToString());

        // The one that was changed is opened now for the first time... as are those after it for the second.
        _udp.Rewind();
        Receive();
        Assert.Equal("NotAuthentic 2, Replayed 2", _in.Drops.ToString());

        Send();
        _moment = new Moment(_moment.Now + Limits.RejectAfterTime + TimeSpan.FromSeconds(1), _moment.Wall);
        Receive();
        Assert.Equal(3, _in.Drops[DropReason.SessionExpired]);
        Assert.Equal("SessionExpired 3, NotAuthentic 2, Replayed 2", _in.Drops.ToString());
        Assert.Equal("SessionExpired 3, NotAuthentic 2, Replayed 2", PeerOfB.Drops?.ToString());
    }

    [Fact]
    public void Contents_that_are_no_packets_or_of_sources_that_are_not_the_peers()
    {
        Assert.Equal(0, Arrive([9, 9, 9]));
        Assert.Equal(0, Arrive(TunnelPair.Packet("10.0.0.99", "10.0.0.2", 10)));
        Assert.Equal(0, Arrive([])); // a keepalive
        Assert.Equal(1, Arrive(TunnelPair.Packet("10.0.0.1", "10.0.0.2", 10)));
        Assert.Equal("MalformedPacket 1, SourceNotAllowed 1", _in.Drops.ToString());
        Assert.Equal("MalformedPacket 1, SourceNotAllowed 1", PeerOfB.Drops?.ToString());
    }

    [Fact]
    public void What_the_TUN_refuses_and_not_the_super_packet_that_goes_through_in_parts()
    {
        _tunB.RefusesAll = true;
        _tunA.Packets = [Good, Good];
        Assert.Equal(0, Cross());
        Assert.Equal("TunRefused 2", _in.Drops.ToString());

        _tunB.RefusesAll = false;
        _tunB.RefusesSuperPackets = true;
        var link = new TunnelLink(_b, _waiter);
        var inbound = new InboundPath(
            Io(_tunB), _b, link, new HandshakeScreen(_b, _handshakes, link), InboundPath.CreateCoalescer(TunOffload.All), new WarningList(_warnings));
        WireFrame super = OffloadBatches.Super(new Flow(), 3000, 1000);
        SendBy(Batch([super]), super);
        Assert.Equal(3, Receive(inbound));
        Assert.Equal("TunRefused 2", _in.Drops.ToString());
    }

    [Fact]
    public void An_answer_to_a_probe_is_not_a_drop()
    {
        PeerPath path = PeerOfB.FollowPath(EndpointA, 1500, MtuPolicy.Auto, _moment.Now);
        path.Probes.Add(new ProbeToken(0x1234, 0x5678, 9), 1);
        byte[] reply = new byte[44];
        _ = Engine.Mtu.MtuProbes.Write(
            Engine.Mtu.ProbeKind.Peer, new ProbeToken(0x1234, 0x5678, 9), TunnelPair.Address("10.0.0.1"), TunnelPair.Address("10.0.0.2"), reply);
        reply[20] = 0;
        Assert.Equal(0, Arrive(reply));
        Assert.Equal("nothing", _in.Drops.ToString());
        Assert.True(_b.TryTakeWork(_moment, out Peer peer, out PeerWork work));
        Assert.Same(PeerOfB, peer);
        Assert.True(work.HasFlag(PeerWork.Path));
        Assert.True(path.Probes.TryTakeAnswer(out uint id, out InetAddress speaker));
        Assert.Equal(1u, id);
        Assert.Equal(TunnelPair.Address("10.0.0.1"), speaker);
    }

    // ---- both ----

    [Fact]
    public void A_peers_drops_are_told_of_it_and_those_that_were_pushed_out_with_them()
    {
        using var pair = new VirtualPair();
        pair.Wire.Cut();
        for (int i = 0; i < 130; i++)
        {
            pair.A.Send(1);
        }

        Assert.Equal("StagingFull 2", pair.A.Describe().Drops?.ToString());
        pair.Wire.Mend();
        pair.A.LosesData = true;
        pair.Wire.AdvanceSeconds(30);
        PeerStatus status = pair.A.Describe();
        Assert.Equal("StagingFull 2, SocketRefused 128", status.Drops?.ToString());
        Assert.Null(pair.B.Describe().Drops);

        // A copy: what is told does not change afterwards.
        pair.A.Send(1);
        Assert.Equal(128, status.Drops![DropReason.SocketRefused]);
        Assert.Equal(129, pair.A.Describe().Drops![DropReason.SocketRefused]);
    }

    [Fact]
    public void Threads_that_drop_of_one_peer_at_once_lose_no_count()
    {
        const int Each = 20_000;
        Parallel.For(0, 4, _ =>
        {
            for (int i = 0; i < Each; i++)
            {
                PeerOfA.NoteDropped(DropReason.NotAuthentic, 2);
            }
        });

        Assert.Equal(4 * Each * 2, PeerOfA.Drops![DropReason.NotAuthentic]);
    }

    [Fact]
    public void A_tunnel_adds_up_what_all_its_batches_and_the_staging_dropped()
    {
        using var pair = new VirtualPair();
        pair.Wire.Cut();
        for (int i = 0; i < 130; i++)
        {
            pair.A.Send(1);
        }

        pair.A.SendTo(77, [1]);
        pair.A.Receive([1, 2, 3], pair.B.Address);
        Assert.Equal("NoPeer 1, StagingFull 2, MalformedMessage 1", pair.A.Drops.ToString());
        Assert.Equal("nothing", pair.B.Drops.ToString());

        // What was staged is lost by the control loop's own batch.
        pair.Wire.Mend();
        pair.A.LosesData = true;
        pair.Wire.AdvanceSeconds(30);
        Assert.Equal("NoPeer 1, StagingFull 2, SocketRefused 128, MalformedMessage 1", pair.A.Drops.ToString());
    }

    private int Arrive(byte[] content)
    {
        Keypair keypair = PeerOfA.Keypairs.Current!;
        Assert.True(keypair.TryReserve(1, _moment.Now, out ulong counter));
        byte[] message = new byte[MessageSize.TransportOverhead + content.Length];
        TransportData.WriteHeader(message, keypair.RemoteIndex, counter);
        content.CopyTo(message.AsSpan(MessageSize.TransportHeader));
        keypair.SendKey.Seal(message, [new AeadPacket { Offset = MessageSize.TransportHeader, Length = content.Length, Counter = counter }]);
        _udp.Put(message);
        return Receive();
    }

    private void AssertDrops(string expected, params WireFrame[] frames)
    {
        PacketBatch batch = Batch(frames);
        SendBy(batch, frames);
        Assert.Equal(expected, batch.Drops.ToString());
    }
}
