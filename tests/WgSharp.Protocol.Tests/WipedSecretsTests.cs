using System.Net;
using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>Whatever ends a session or a handshake: no byte of its secrets is left, and no index leads to it. Alone: what was wiped is taken again by whoever asks next.</summary>
[CollectionDefinition(nameof(WipedSecretsTests), DisableParallelization = true)]
[Collection(nameof(WipedSecretsTests))]
public sealed class WipedSecretsTests : IDisposable
{
    private const int StaticStaticSize = 32;

    private static readonly InetEndpoint EndpointA = new(InetAddress.From(IPAddress.Parse("192.0.2.1")), 1111);
    private static readonly InetEndpoint EndpointB = new(InetAddress.From(IPAddress.Parse("192.0.2.2")), 2222);

    private readonly Device _a = new(new SeededRandom(1).Fill);
    private readonly Device _b = new(new SeededRandom(2).Fill);
    private Moment _moment = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

    public WipedSecretsTests()
    {
        byte[] bytes = new byte[64];
        new Random(3).NextBytes(bytes);
        using var keyA = new PrivateKey(bytes.AsSpan(0, 32));
        using var keyB = new PrivateKey(bytes.AsSpan(32));
        Configure(_a, keyA, keyB, EndpointB);
        Configure(_b, keyB, keyA, EndpointA);
    }

    public enum Ending
    {
        LinkDown,
        Removal,
        OldAge,
        Suspend,
        Disposal,
    }

    public static TheoryData<Ending> Endings => [.. Enum.GetValues<Ending>()];

    private Peer PeerOfA => _a.Peers.First();

    private Peer PeerOfB => _b.Peers.First();

    public void Dispose()
    {
        _a.Dispose();
        _b.Dispose();
    }

    [Theory]
    [MemberData(nameof(Endings))]
    public void The_previous_session_ends_with_the_current_one(Ending ending)
    {
        Shake(_a, PeerOfA, EndpointA, _b, EndpointB);
        Shake(_a, PeerOfA, EndpointA, _b, EndpointB);
        Keypairs keypairs = PeerOfA.Keypairs;
        AssertGone(ending, keypairs.Previous, keypairs.Current);
    }

    [Theory]
    [MemberData(nameof(Endings))]
    public void A_session_that_waits_for_its_confirmation_and_one_that_has_made_room_for_it_end_too(Ending ending)
    {
        Shake(_a, PeerOfA, EndpointA, _b, EndpointB);
        Shake(_a, PeerOfA, EndpointA, _b, EndpointB);
        Keypair? parting = PeerOfA.Keypairs.Previous;
        Shake(_b, PeerOfB, EndpointB, _a, EndpointA);
        Assert.Same(parting, PeerOfA.Parting);
        AssertGone(ending, parting, PeerOfA.Keypairs.Current, PeerOfA.Keypairs.Next);
    }

    [Fact]
    public void A_keypair_that_is_in_use_keeps_its_keys_until_it_is_given_back()
    {
        Shake(_a, PeerOfA, EndpointA, _b, EndpointB);
        Keypair keypair = PeerOfA.Keypairs.Current!;
        SecretWitness[] keys = [SecretWitness.Of(keypair.SendKey), SecretWitness.Of(keypair.ReceiveKey)];
        Assert.True(keypair.TryLease());
        Assert.True(keypair.TryLease());
        _a.LinkDown();
        keypair.Release();
        Assert.All(keys, key => Assert.False(key.IsWiped));
        keypair.Release();
        Assert.All(keys, key => Assert.True(key.IsWiped));
        Assert.False(keypair.TryLease());
    }

    [Fact]
    public void A_handshake_that_was_answered_leaves_nothing_but_the_static_secret()
    {
        byte[] initiation = Initiate(_a, PeerOfA);
        SecretWitness[] secrets = Secrets(SymmetricState.Size);
        Answer(initiation, EndpointA, _a, _b, EndpointB);
        Assert.NotNull(PeerOfA.Keypairs.Current);
        Assert.All(secrets, secret => Assert.True(secret.IsWiped));
    }

    [Fact]
    public void A_handshake_that_is_begun_anew_leaves_nothing_of_the_one_before()
    {
        Initiate(_a, PeerOfA);
        var before = SecretWitness.OfEphemeral(PeerOfA.Handshake);
        Assert.False(before.IsWiped);
        Pass(TimeSpan.FromSeconds(6));
        Initiate(_a, PeerOfA);
        Assert.True(before.IsWiped);
    }

    [Theory]
    [InlineData(Ending.LinkDown)]
    [InlineData(Ending.Suspend)]
    public void A_handshake_that_nobody_answered_leaves_nothing_but_the_static_secret(Ending ending)
    {
        Initiate(_a, PeerOfA);
        SecretWitness[] secrets = Secrets(SymmetricState.Size);
        End(ending);
        Assert.All(secrets, secret => Assert.True(secret.IsWiped));
        Assert.Equal(0, _a.IndexCount);
    }

    [Theory]
    [InlineData(Ending.Removal)]
    [InlineData(Ending.Disposal)]
    public void Of_a_peer_that_is_removed_nothing_at_all_is_left(Ending ending)
    {
        using var psk = new PresharedKey([.. Enumerable.Repeat((byte)7, PresharedKey.Size)]);
        _a.Apply(new DeviceConfiguration { Peers = { new PeerConfiguration { PublicKey = PeerOfA.PublicKey, PresharedKey = psk } } }, _moment);
        Initiate(_a, PeerOfA);
        SecretWitness[] secrets = [.. Secrets(SymmetricState.Size + StaticStaticSize), SecretWitness.Of(PeerOfA.PresharedKey!)];
        End(ending);
        Assert.All(secrets, secret => Assert.True(secret.IsWiped));
        Assert.Equal(0, _a.IndexCount);
    }

    [Fact]
    public void Memory_that_was_taken_for_a_peers_secrets_is_given_back_with_the_peer()
    {
        int before = SecretMemory.InUse;
        using (PrivateKey key = new([.. Enumerable.Repeat((byte)5, PrivateKey.Size)]))
        {
            var one = new PeerConfiguration { PublicKey = X25519.PublicKeyOf(key), Endpoint = EndpointB };
            _a.Apply(new DeviceConfiguration { Peers = { one } }, _moment);
        }

        Peer peer = _a.Peers.Last();
        Initiate(_a, peer);
        Assert.True(SecretMemory.InUse > before);
        _a.Apply(new DeviceConfiguration { Peers = { new PeerConfiguration { PublicKey = peer.PublicKey, Remove = true } } }, _moment);
        Assert.Equal(before, SecretMemory.InUse);
    }

    [Fact]
    public void With_our_private_key_the_static_secrets_go()
    {
        Initiate(_a, PeerOfA);
        SecretWitness[] secrets = Secrets(SymmetricState.Size + StaticStaticSize);
        _a.Apply(new DeviceConfiguration { RemovePrivateKey = true }, _moment);
        Assert.All(secrets, secret => Assert.True(secret.IsWiped));
    }

    private void AssertGone(Ending ending, params Keypair?[] keypairs)
    {
        Assert.All(keypairs, Assert.NotNull);
        Assert.All(keypairs, keypair => Assert.True(_a.TryFindKeypair(keypair!.LocalIndex, out _)));
        SecretWitness[] keys = [.. keypairs.SelectMany(keypair => new[] { SecretWitness.Of(keypair!.SendKey), SecretWitness.Of(keypair.ReceiveKey) })];
        Assert.All(keys, key => Assert.False(key.IsWiped));
        End(ending);
        Assert.All(keypairs, keypair => Assert.False(keypair!.TryLease()));
        Assert.All(keypairs, keypair => Assert.False(_a.TryFindKeypair(keypair!.LocalIndex, out _)));
        Assert.All(keys, key => Assert.True(key.IsWiped));
        Assert.Equal(0, _a.IndexCount);
    }

    /// <summary>Of A's handshake, all of them alive.</summary>
    private SecretWitness[] Secrets(int length)
    {
        SecretWitness[] secrets = [SecretWitness.Of(PeerOfA.Handshake, length), SecretWitness.OfEphemeral(PeerOfA.Handshake)];
        Assert.All(secrets, secret => Assert.False(secret.IsWiped));
        return secrets;
    }

    private void End(Ending ending)
    {
        switch (ending)
        {
            case Ending.LinkDown:
                _a.LinkDown();
                break;
            case Ending.Removal:
                _a.Apply(new DeviceConfiguration { Peers = { new PeerConfiguration { PublicKey = PeerOfA.PublicKey, Remove = true } } }, _moment);
                break;
            case Ending.OldAge:
                Pass(Limits.RejectAfterTime * 3);
                while (_a.TryTakeDueTimer(_moment, out _, out _))
                {
                    // The one of the keys is among them.
                }

                break;
            case Ending.Suspend:
                _a.WipeAfterSuspend();
                break;
            case Ending.Disposal:
                _a.Dispose();
                break;
        }
    }

    /// <summary>A whole handshake, later than REKEY_TIMEOUT after the one before.</summary>
    private void Shake(Device initiator, Peer peer, InetEndpoint from, Device responder, InetEndpoint to)
    {
        Pass(TimeSpan.FromSeconds(6));
        Answer(Initiate(initiator, peer), from, initiator, responder, to);
    }

    private byte[] Initiate(Device initiator, Peer peer)
    {
        byte[] initiation = new byte[MessageSize.HandshakeInitiation];
        Assert.True(initiator.TryCreateInitiation(peer, retry: false, _moment, initiation));
        return initiation;
    }

    private void Answer(byte[] initiation, InetEndpoint from, Device initiator, Device responder, InetEndpoint to)
    {
        byte[] reply = new byte[MessageSize.HandshakeInitiation];
        HandshakeResult answered = responder.Handle(initiation, new HandshakeOrigin(from), false, _moment, reply);
        Assert.Equal(HandshakeOutcome.Respond, answered.Outcome);
        HandshakeResult established = initiator.Handle(reply.AsSpan(0, answered.ReplyLength), new HandshakeOrigin(to), false, _moment, initiation);
        Assert.Equal(HandshakeOutcome.SessionEstablished, established.Outcome);
    }

    private void Pass(TimeSpan time) =>
        _moment = new Moment(_moment.Now + time, new UnixTime(_moment.Wall.Nanoseconds + (time.Ticks * TimeSpan.NanosecondsPerTick)));

    private void Configure(Device device, PrivateKey own, PrivateKey peers, InetEndpoint endpoint)
    {
        var configuration = new DeviceConfiguration { PrivateKey = new PrivateKey(own.Span) };
        configuration.Peers.Add(new PeerConfiguration { PublicKey = X25519.PublicKeyOf(peers), Endpoint = endpoint });
        device.Apply(configuration, _moment);
        device.LinkUp(_moment);
        configuration.PrivateKey.Dispose();
    }
}
