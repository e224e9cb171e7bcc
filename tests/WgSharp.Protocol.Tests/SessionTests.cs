namespace WgSharp.Protocol.Tests;

/// <summary>Sessions, as far as they are the devices' own: what the control loop and the data path ask of one.</summary>
public sealed class SessionTests
{
    [Fact]
    public void A_confirmation_counts_for_the_keypair_it_came_with_and_not_for_a_newer_one()
    {
        var pair = new DevicePair();
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));
        Peer peer = pair.B.Peer;
        Keypair confirmed = peer.Keypairs.Next!;
        Assert.Equal(PeerWork.Confirmed, peer.NoteReceived(confirmed, 1, 32, carriesData: false, pair.Now));
        pair.B.Device.QueueWork(peer, PeerWork.Confirmed);

        // Before the control loop looks, it takes another initiation.
        var later = new Moment(pair.Now + TimeSpan.FromSeconds(6), new UnixTime(pair.Moment.Wall.Nanoseconds + 6_000_000_000));
        byte[] message = new byte[MessageSize.HandshakeInitiation];
        Assert.True(pair.A.Device.TryCreateInitiation(pair.A.Peer, retry: true, later, message));
        Assert.Equal(
            HandshakeOutcome.Respond,
            pair.B.Device.Handle(message, new HandshakeOrigin(pair.A.Address), underLoad: false, later, new byte[148]).Outcome);
        Keypair pending = peer.Keypairs.Next!;
        Assert.False(pair.B.Device.TryTakeWork(later, out _, out _));
        Assert.NotSame(confirmed, pending);
        Assert.Equal(new Keypairs(null, confirmed, pending), peer.Keypairs);
    }

    [Fact]
    public void A_request_in_vain_does_not_delay_the_one_after_the_endpoint_was_configured()
    {
        var pair = new DevicePair(knowsEndpoints: false);
        Peer peer = pair.A.Peer;
        Assert.True(peer.WantsHandshake(pair.Now));
        Assert.False(pair.A.Device.TryCreateInitiation(peer, retry: false, pair.Moment, new byte[148]));
        Assert.False(peer.WantsHandshake(pair.Now + TimeSpan.FromSeconds(1)));
        pair.A.Configure(pair.B.PublicKey, one => one.Endpoint = pair.B.Address);
        Assert.True(peer.WantsHandshake(pair.Now));
        Assert.True(pair.A.Device.TryCreateInitiation(peer, retry: false, pair.Moment, new byte[148]));
    }

    [Fact]
    public void Of_two_initiations_within_twenty_milliseconds_one_is_accepted()
    {
        var pair = new DevicePair();
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(pair.A.Initiation(), pair.A.Address));

        // A restarted A would not know that it must wait.
        var restarted = new DeviceEnd(pair, pair.A.Address, seed: 10);
        restarted.Apply(new DeviceConfiguration { PrivateKey = pair.A.PrivateKey });
        restarted.Configure(pair.B.PublicKey, peer => peer.Endpoint = pair.B.Address);
        restarted.Device.LinkUp(pair.Moment);
        pair.SetWallForward(TimeSpan.FromSeconds(1));
        byte[] message = restarted.Initiation();
        Assert.Equal(HandshakeOutcome.Dropped, pair.B.Handle(message, pair.A.Address));

        pair.Advance(TimeSpan.FromMilliseconds(20));
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(message, pair.A.Address));
    }

    [Fact]
    public void A_keypair_asks_for_a_rekey_on_receipt_once_and_only_the_initiators_does()
    {
        DevicePair pair = DevicePair.WithSession();
        pair.Advance(TimeSpan.FromSeconds(145.1));
        Keypair current = pair.A.Peer.Keypairs.Current!;
        Assert.True(current.TakeRekeyOnReceive(pair.Now));
        Assert.False(current.TakeRekeyOnReceive(pair.Now));
        Assert.False(pair.B.Peer.Keypairs.Current!.TakeRekeyOnReceive(pair.Now));
    }

    [Fact]
    public void The_same_address_again_is_no_new_object()
    {
        DevicePair pair = DevicePair.WithSession();
        Endpoint known = pair.B.Peer.Endpoint!;
        pair.B.Peer.Learn(known.Remote, known.Source, known.SourceInterface);
        Assert.Same(known, pair.B.Peer.Endpoint);
    }

    [Fact]
    public void A_refused_source_is_forgotten_unless_the_endpoint_is_another_by_now()
    {
        InetEndpoint elsewhere = DevicePair.At("198.51.100.7", 4711);
        DevicePair pair = DevicePair.WithSession();
        Peer peer = pair.B.Peer;
        InetAddress source = pair.B.Address.Address;
        peer.Learn(pair.A.Address, source, 3);
        Endpoint sticky = peer.Endpoint!;
        Assert.Equal((source, 3), (sticky.Source, sticky.SourceInterface));

        Endpoint? without = peer.ForgetSource(sticky);
        Assert.Equal(new Endpoint(pair.A.Address), without);
        Assert.Same(without, peer.Endpoint);

        peer.Learn(elsewhere, source, 4);
        Assert.Equal(new Endpoint(elsewhere, source, 4), peer.ForgetSource(sticky));
        Assert.Equal(new Endpoint(elsewhere, source, 4), peer.Endpoint);
    }

    [Fact]
    public void The_timestamp_of_an_initiation_does_not_tell_the_nanoseconds()
    {
        var time = new UnixTime(1_700_000_000_987_654_321);
        Tai64n stamp = Tai64n.From(time);
        Assert.Equal(0x400000000000000aUL + 1_700_000_000UL, stamp.Seconds);
        Assert.Equal(987_654_321u & 0xff000000u, stamp.Nanoseconds);

        Span<byte> bytes = stackalloc byte[Tai64n.Size];
        stamp.WriteTo(bytes);
        Assert.Equal(stamp, Tai64n.Read(bytes));
        Assert.Equal("400000006553F10A3A000000", Convert.ToHexString(bytes));
        Assert.True(stamp.Next() > stamp);
        Assert.True(new Tai64n(5, 0x3b000000).Next() is { Seconds: 6, Nanoseconds: 0 });
    }

    [Fact]
    public void After_a_suspend_no_key_of_before_is_left_and_nothing_is_due_for_it()
    {
        DevicePair pair = DevicePair.WithSession();
        Keypair before = pair.A.Peer.Keypairs.Current!;
        Assert.Equal(1, pair.A.Device.DeadlineCount);

        pair.A.Device.WipeAfterSuspend();

        Assert.True(before.IsWiped);
        Assert.Equal(Keypairs.None, pair.A.Peer.Keypairs);
        Assert.Equal(0, pair.A.Device.IndexCount);
        Assert.Equal(Instant.Never, pair.A.Device.NextDeadline);
    }
}
