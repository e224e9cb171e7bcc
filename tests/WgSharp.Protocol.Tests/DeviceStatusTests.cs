using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>What is told of peers: why there is no session, and all of them in portions, whatever happens meanwhile.</summary>
public class DeviceStatusTests
{
    [Fact]
    public void Attempts_are_counted_until_there_is_a_session()
    {
        var pair = new DevicePair();
        pair.A.Initiation();
        Assert.Equal((1, HandshakeTrouble.None), Told(pair, pair.A));

        pair.Advance(TimeSpan.FromSeconds(6));
        pair.A.Initiation(retry: true);
        pair.Advance(TimeSpan.FromSeconds(6));
        byte[] third = pair.A.Initiation(retry: true);

        PeerStatus status = Status(pair, pair.A);
        Assert.Equal((3, HandshakeTrouble.NoAnswer), (status.HandshakeAttempts, status.Trouble));
        Assert.Equal(TimeSpan.FromSeconds(12), status.TroubleAge);
        Assert.Null(status.KeypairAge);

        pair.B.Handle(third, pair.A.Address);
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(pair.B.Reply, pair.B.Address));
        pair.Advance(TimeSpan.FromSeconds(2));

        status = Status(pair, pair.A);
        Assert.Equal((0, HandshakeTrouble.None), (status.HandshakeAttempts, status.Trouble));
        Assert.Equal((TimeSpan.FromSeconds(2), true, true), (status.KeypairAge, status.IsInitiator, status.HasSession));
    }

    [Fact]
    public void Another_preshared_key_is_seen_at_both_ends()
    {
        var pair = new DevicePair();
        byte[] other = new byte[PresharedKey.Size];
        other[0] = 1;
        using var psk = new PresharedKey(other);
        pair.B.Configure(pair.A.PublicKey, peer => peer.PresharedKey = psk);
        for (int attempt = 0; attempt < 2; attempt++)
        {
            Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(retry: attempt > 0), pair.A.Address));
            Assert.Equal(HandshakeOutcome.Dropped, pair.A.Handle(pair.B.Reply, pair.B.Address));
            pair.Advance(TimeSpan.FromSeconds(5.5));
        }

        Assert.Equal((2, HandshakeTrouble.AnswerNotAuthentic), Told(pair, pair.A));
        Assert.Equal(HandshakeTrouble.AnswerNotConfirmed, Status(pair, pair.B).Trouble);
        Assert.Equal(TimeSpan.FromSeconds(11), Status(pair, pair.B).TroubleAge);
    }

    [Fact]
    public void A_stranger_is_remembered_by_key_and_source()
    {
        var pair = new DevicePair();
        pair.B.Configure(pair.A.PublicKey, peer => peer.Remove = true);

        pair.B.Handle(pair.A.Initiation(), pair.A.Address);

        Assert.Equal(new Strangers(1, pair.A.PublicKey, pair.A.Address, pair.Now), pair.B.Device.Strangers);
    }

    [Fact]
    public void An_initiation_that_is_repeated_is_told_of_with_its_age()
    {
        DevicePair pair = DevicePair.WithSession();
        byte[] initiation = pair.A.Initiation();
        pair.B.Handle(initiation, pair.A.Address);
        pair.Advance(TimeSpan.FromSeconds(1));

        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(initiation, pair.A.Address));
        pair.Advance(TimeSpan.FromSeconds(2));

        PeerStatus status = Status(pair, pair.B);
        Assert.Equal((HandshakeTrouble.InitiationOld, TimeSpan.FromSeconds(2)), (status.Trouble, status.TroubleAge));
        Assert.True(status.HasSession);
    }

    [Fact]
    public void What_does_not_leave_is_told_with_its_error_until_something_does()
    {
        var pair = new DevicePair();
        pair.A.Initiation();
        pair.A.Device.NoteHandshakeSent(pair.A.Peer, 0, pair.Moment, errno: 101);

        PeerStatus status = Status(pair, pair.A);
        Assert.Equal((HandshakeTrouble.SendFailed, 101), (status.Trouble, status.TroubleErrno));

        pair.Advance(TimeSpan.FromSeconds(6));
        pair.A.Initiation(retry: true);
        status = Status(pair, pair.A);
        Assert.Equal((HandshakeTrouble.NoAnswer, 0), (status.Trouble, status.TroubleErrno));
    }

    [Fact]
    public void A_peer_that_is_nowhere_and_an_interface_without_a_key_are_told()
    {
        var pair = new DevicePair(knowsEndpoints: false);
        byte[] message = new byte[MessageSize.HandshakeInitiation];
        Assert.False(pair.A.Device.TryCreateInitiation(pair.A.Peer, retry: false, pair.Moment, message));
        Assert.Equal((0, HandshakeTrouble.NoEndpoint), Told(pair, pair.A));

        pair.A.Apply(new DeviceConfiguration { RemovePrivateKey = true });
        pair.A.Configure(pair.B.PublicKey, peer => peer.Endpoint = pair.B.Address);
        Assert.Equal((0, HandshakeTrouble.None), Told(pair, pair.A));
        Assert.False(pair.A.Device.TryCreateInitiation(pair.A.Peer, retry: false, pair.Moment, message));
        Assert.Equal((0, HandshakeTrouble.NoPrivateKey), Told(pair, pair.A));
    }

    [Fact]
    public void Attempts_that_ended_are_told_as_that()
    {
        var pair = new DevicePair();
        pair.A.Initiation();
        for (int i = 0; i < 200 && Status(pair, pair.A).Trouble != HandshakeTrouble.GivenUp; i++)
        {
            pair.Advance(TimeSpan.FromSeconds(1));
        }

        Assert.Equal(HandshakeTrouble.GivenUp, Status(pair, pair.A).Trouble);
        pair.A.Initiation();
        Assert.Equal(HandshakeTrouble.NoAnswer, Status(pair, pair.A).Trouble);
    }

    [Fact]
    public void When_the_link_goes_down_nothing_is_remembered()
    {
        var pair = new DevicePair();
        pair.A.Initiation();
        pair.Advance(TimeSpan.FromSeconds(30));
        pair.A.Device.LinkDown();

        Assert.Equal((0, HandshakeTrouble.None), Told(pair, pair.A));
    }

    [Fact]
    public void Peers_that_are_there_all_the_while_are_described_once()
    {
        using Device device = WithPeers(0, 100);
        var random = new Random(7);
        for (int run = 0; run < 200; run++)
        {
            HashSet<PublicKey> before = [.. device.Peers.Select(peer => peer.PublicKey)];
            HashSet<PublicKey> always = [.. before];
            var told = new List<PeerStatus>();
            var cursor = new PeerCursor();
            bool more = true;
            while (more)
            {
                var portion = new List<PeerStatus>();
                more = device.DescribePeers(cursor, 7, 1, default, portion);
                Assert.InRange(portion.Count, 0, 7);
                told.AddRange(portion);
                var change = new DeviceConfiguration { ReplacePeers = random.Next(60) == 0 };
                if (change.ReplacePeers)
                {
                    always.Clear();
                }

                for (int i = 0; i < 6; i++)
                {
                    PublicKey key = Key(random.Next(120));
                    bool remove = random.Next(2) == 0;
                    change.Peers.Add(new PeerConfiguration { PublicKey = key, Remove = remove });
                    if (remove)
                    {
                        always.Remove(key);
                    }
                }

                device.Apply(change, default);
            }

            Dictionary<PublicKey, int> counts = told.GroupBy(peer => peer.PublicKey).ToDictionary(group => group.Key, group => group.Count());
            Assert.All(always, key => Assert.Equal(1, counts.GetValueOrDefault(key)));
        }
    }

    [Fact]
    public void Of_many_allowed_ips_the_first_are_shown_and_all_are_counted()
    {
        using Device device = WithPeers(0, 1);
        var change = new DeviceConfiguration();
        var peer = new PeerConfiguration { PublicKey = Key(0) };
        for (int i = 0; i < 1000; i++)
        {
            peer.AllowedIps.Add(new AllowedIpChange(IpPrefix.Of(new InetAddress([10, 0, (byte)(i >> 8), (byte)i]), 32), Remove: false));
        }

        change.Peers.Add(peer);
        device.Apply(change, default);
        var told = new List<PeerStatus>();

        Assert.False(device.DescribePeers(new PeerCursor(), 10, 3, default, told));
        Assert.Equal(1000, told.Single().AllowedIpCount);
        Assert.Equal(["10.0.0.0/32", "10.0.0.1/32", "10.0.0.2/32"], told.Single().AllowedIps.Select(prefix => prefix.ToString()));
    }

    private static (int Attempts, HandshakeTrouble Trouble) Told(DevicePair pair, DeviceEnd end) =>
        Status(pair, end) is var status ? (status.HandshakeAttempts, status.Trouble) : default;

    private static PeerStatus Status(DevicePair pair, DeviceEnd end)
    {
        var told = new List<PeerStatus>();
        Assert.False(end.Device.DescribePeers(new PeerCursor(), 10, 10, pair.Now, told));
        return told.Single();
    }

    private static Device WithPeers(int first, int count)
    {
        var device = new Device(new SeededRandom(1).Fill);
        var configuration = new DeviceConfiguration();
        for (int i = first; i < first + count; i++)
        {
            configuration.Peers.Add(new PeerConfiguration { PublicKey = Key(i) });
        }

        device.Apply(configuration, default);
        return device;
    }

    private static PublicKey Key(int number)
    {
        byte[] bytes = new byte[PublicKey.Size];
        BitConverter.TryWriteBytes(bytes, number + 1);
        return new PublicKey(bytes);
    }
}
