using System.Globalization;
using FsCheck;
using FsCheck.Fluent;
using Microsoft.FSharp.Core;

namespace WgSharp.Protocol.Tests;

/// <summary>What a device writes down for its successor, and what that makes of it, whole and torn.</summary>
public sealed class ConfigurationLogTests
{
    private static readonly Moment Now = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Whatever_was_configured_a_successor_has_the_same(ulong seed) => ForAll(seed, 200, steps =>
    {
        using var log = new Log();
        foreach (Step step in steps)
        {
            log.Run(step);
        }

        Assert.Equal(log.Describe(), DescribeSuccessor(log.Bytes));
    });

    [Fact]
    public void A_description_says_as_much_as_all_that_led_to_it() => ForAll(3, 200, steps =>
    {
        using var log = new Log();
        foreach (Step step in steps)
        {
            log.Run(step);
        }

        log.BeginAnew(2);
        Assert.Equal(log.Describe(), DescribeSuccessor(log.Bytes));
    });

    [Fact]
    public void A_log_that_is_cut_off_anywhere_is_what_it_was_at_the_last_commit() => ForAll(4, 40, steps =>
    {
        using var log = new Log();
        var commits = new List<(int Length, string Device)> { (log.Bytes.Length, log.Describe()) };
        foreach (Step step in steps)
        {
            log.Run(step);
            commits.Add((log.Bytes.Length, log.Describe()));
        }

        byte[] bytes = log.Bytes;
        for (int length = commits[0].Length; length <= bytes.Length; length += 7)
        {
            string expected = commits.Last(commit => commit.Length <= length).Device;
            Assert.Equal(expected, DescribeSuccessor(bytes[..length]));

            // As it is in memory: what was not written yet are zeros.
            byte[] torn = [.. bytes[..length], .. new byte[100]];
            Assert.Equal(expected, DescribeSuccessor(torn));
        }
    });

    [Fact]
    public void A_byte_that_is_wrong_ends_the_log_at_the_commit_before_it() => ForAll(5, 40, steps =>
    {
        using var log = new Log();
        var commits = new List<(int Length, string Device)> { (log.Bytes.Length, log.Describe()) };
        foreach (Step step in steps)
        {
            log.Run(step);
            commits.Add((log.Bytes.Length, log.Describe()));
        }

        for (int place = commits[0].Length; place < log.Bytes.Length; place += 11)
        {
            byte[] bytes = log.Bytes;
            bytes[place] ^= 0x10;
            Assert.Equal(commits.Last(commit => commit.Length <= place).Device, DescribeSuccessor(bytes));
        }
    });

    [Fact]
    public void What_is_no_log_of_this_version_is_none()
    {
        using var log = new Log();
        byte[] bytes = log.Bytes;
        byte[] other = [.. bytes];
        other[7]++;
        byte[] stranger = [.. bytes];
        stranger[0] ^= 1;

        Assert.NotNull(SavedConfiguration.Read(bytes));
        Assert.Null(SavedConfiguration.Read(other));
        Assert.Null(SavedConfiguration.Read(stranger));
        Assert.Null(SavedConfiguration.Read([]));
        Assert.Null(SavedConfiguration.Read(bytes.AsSpan(0, 16)));
        Assert.Null(SavedConfiguration.Read(bytes.AsSpan(0, bytes.Length - 1)));
        Assert.Null(SavedConfiguration.Read(new byte[1000]));
    }

    [Fact]
    public void A_record_in_another_place_than_its_own_is_not_believed()
    {
        using var log = new Log();
        int first = log.Bytes.Length;
        log.Configure(new DeviceConfiguration { Fwmark = 7 });
        byte[] bytes = log.Bytes;
        byte[] twice = [.. bytes, .. bytes[first..]];

        using SavedConfiguration? saved = SavedConfiguration.Read(twice);

        Assert.Equal(7u, Assert.Single(saved!.Steps).Fwmark);
        Assert.Equal(log.Describe(), DescribeSuccessor(twice));
    }

    [Fact]
    public void A_peer_with_more_allowed_ips_than_a_record_takes_keeps_all_of_them_in_order()
    {
        using var log = new Log();
        var configuration = new DeviceConfiguration();
        var peer = new PeerConfiguration { PublicKey = Palette.PublicKeys[4], ReplaceAllowedIps = true };
        for (int i = 0; i < 5000; i++)
        {
            peer.AllowedIps.Add(new AllowedIpChange(new IpPrefix(new InetAddress([10, 0, (byte)(i >> 8), (byte)i]), 32), Remove: false));
        }

        configuration.Peers.Add(peer);
        log.Configure(configuration);
        Assert.Equal(log.Describe(), DescribeSuccessor(log.Bytes));

        log.BeginAnew(2);
        Assert.Equal(log.Describe(), DescribeSuccessor(log.Bytes));
    }

    [Fact]
    public void Where_a_peer_was_found_and_that_it_had_a_session_is_written_down()
    {
        var pair = new DevicePair();
        using Device b = WithNotes(pair);
        var written = new List<byte>();
        var writer = new ConfigurationWriter(bytes => written.AddRange(bytes));
        writer.Begin(1);
        b.Describe(writer);
        writer.Commit();
        Assert.False(b.HasNotes);

        byte[] reply = new byte[MessageSize.HandshakeInitiation];
        HandshakeResult answered = b.Handle(pair.A.Initiation(), new HandshakeOrigin(pair.A.Address), false, pair.Moment, reply);
        Assert.Equal(HandshakeOutcome.SessionEstablished, pair.A.Handle(reply.AsSpan(0, answered.ReplyLength), pair.B.Address));
        Peer peer = answered.Peer!;
        b.QueueWork(peer, peer.NoteReceived(peer.Keypairs.Next!, 1, MessageSize.Keepalive, carriesData: false, pair.Now));
        Assert.False(b.TryTakeWork(pair.Moment, out _, out _));
        Assert.True(b.HasNotes);
        b.WriteNotes(writer);
        writer.Commit();
        Assert.False(b.HasNotes);

        using SavedConfiguration saved = SavedConfiguration.Read(written.ToArray())!;
        using var successor = new Device(new SeededRandom(1).Fill);
        Assert.Equal(1, successor.Restore(saved, pair.Moment));
        PeerSnapshot shown = successor.Snapshot().Peers.Single();
        Assert.Equal(pair.A.Address, shown.Endpoint);
        Assert.Equal(pair.Moment.Wall, shown.LastHandshake);

        // As soon as the link is up, and once.
        Assert.False(successor.TryTakeWork(pair.Moment, out _, out _));
        successor.LinkUp(pair.Moment);
        Assert.True(successor.TryTakeWork(pair.Moment, out _, out PeerWork work));
        Assert.Equal(PeerWork.Handshake, work);
        successor.LinkDown();
        successor.LinkUp(pair.Moment);
        Assert.False(successor.TryTakeWork(pair.Moment, out _, out _));
    }

    [Fact]
    public void A_peer_that_moves_within_its_session_is_noted_until_that_is_written()
    {
        DevicePair pair = DevicePair.WithSession();
        using Device b = WithNotes(pair);
        Peer peer = b.Peers.Single();
        var written = new List<byte>();
        var writer = new ConfigurationWriter(bytes => written.AddRange(bytes));
        writer.Begin(1);
        b.Describe(writer);
        InetEndpoint elsewhere = DevicePair.At("198.51.100.7", 7);

        Assert.True(peer.Learn(elsewhere, InetAddress.None, 0));
        Assert.True(peer.IsMoveNew());
        b.QueueWork(peer, PeerWork.Moved);
        Assert.False(b.TryTakeWork(pair.Moment, out _, out _));
        Assert.False(peer.Learn(elsewhere, new InetAddress([10, 0, 0, 1]), 2));
        Assert.False(peer.IsMoveNew());
        b.WriteNotes(writer);
        writer.Commit();

        Assert.True(peer.IsMoveNew());
        using SavedConfiguration saved = SavedConfiguration.Read(written.ToArray())!;
        using var successor = new Device(new SeededRandom(1).Fill);
        Assert.Equal(0, successor.Restore(saved, pair.Moment));
        Assert.Equal(elsewhere, successor.Snapshot().Peers.Single().Endpoint);
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(179, true)]
    [InlineData(180, false)]
    [InlineData(-10, false)]
    public void Only_who_may_still_send_under_a_key_that_is_lost_is_asked_for_a_new_session(int age, bool asked)
    {
        DevicePair pair = DevicePair.WithSession();
        using SavedConfiguration saved = Save(pair.A.Device);
        using var successor = new Device(new SeededRandom(1).Fill);
        var then = new Moment(pair.Now, new UnixTime((new Instant(pair.A.Peer.LastHandshake.Nanoseconds) + TimeSpan.FromSeconds(age)).Nanoseconds));

        Assert.Equal(asked ? 1 : 0, successor.Restore(saved, then));

        successor.LinkUp(then);
        Assert.Equal(asked, successor.TryTakeWork(then, out _, out _));
    }

    [Fact]
    public void Timestamps_go_on_growing_in_both_directions_although_the_wall_clock_was_set_back()
    {
        DevicePair pair = DevicePair.WithSession();
        byte[] replayed = pair.B.Initiation();
        Assert.Equal(HandshakeOutcome.Respond, pair.A.Handle(replayed, pair.B.Address));
        using SavedConfiguration saved = Save(pair.A.Device);
        using var successor = new Device(new SeededRandom(1).Fill);
        pair.Advance(TimeSpan.FromSeconds(10));
        pair.SetWallForward(TimeSpan.FromHours(-1));
        successor.Restore(saved, pair.Moment);
        successor.LinkUp(pair.Moment);
        byte[] message = new byte[MessageSize.HandshakeInitiation];

        Assert.Equal(HandshakeOutcome.Dropped, successor.Handle(replayed, new HandshakeOrigin(pair.B.Address), false, pair.Moment, message).Outcome);
        Assert.True(successor.TryCreateInitiation(successor.Peers.Single(), retry: false, pair.Moment, message));
        Assert.Equal(HandshakeOutcome.Respond, pair.B.Handle(message, pair.A.Address));
    }

    [Fact]
    public void What_is_written_of_keys_is_wiped_when_it_was_handed_on()
    {
        using var log = new Log();
        log.Device.Apply(new DeviceConfiguration { PrivateKey = Palette.Identity(1) }, Now);
        byte[] copy = [];
        var writer = new ConfigurationWriter(bytes => copy = bytes.ToArray());
        writer.Begin(1);
        log.Device.Describe(writer);
        Assert.False(writer.IsWiped);

        writer.Commit();

        Assert.True(copy.AsSpan().IndexOf(Palette.Identity(1).Span) > 0);
        Assert.True(writer.IsWiped);
    }

    private static void ForAll(ulong seed, int tests, Action<Step[]> holds) => Check.One(
        Config.QuickThrowOnFailure.WithMaxTest(tests).WithEndSize(20)
            .WithReplay(FSharpOption<Replay>.Some(new Replay(new Rnd(seed), FSharpOption<int>.None))),
        Prop.ForAll(Arb.From(Gen.ArrayOf(DeviceConfigurationTests.Steps()), DeviceConfigurationTests.Shrink), holds));

    private static SavedConfiguration Save(Device device)
    {
        var written = new List<byte>();
        var writer = new ConfigurationWriter(bytes => written.AddRange(bytes));
        writer.Begin(1);
        device.Describe(writer);
        writer.Commit();
        return SavedConfiguration.Read(written.ToArray())!;
    }

    private static string DescribeSuccessor(byte[] log)
    {
        using SavedConfiguration? saved = SavedConfiguration.Read(log);
        Assert.NotNull(saved);
        using var successor = new Device(new SeededRandom(9).Fill);
        successor.Restore(saved, Now);
        return Describe(successor);
    }

    /// <summary>B of a pair as it would be with somebody who wants notes: the same identity and peer, nothing else.</summary>
    private static Device WithNotes(DevicePair pair)
    {
        var device = new Device(new SeededRandom(77).Fill) { TakesNotes = true };
        DeviceSnapshot snapshot = pair.B.Device.Snapshot();
        var configuration = new DeviceConfiguration { PrivateKey = snapshot.PrivateKey };
        configuration.Peers.Add(new PeerConfiguration { PublicKey = pair.A.PublicKey, PresharedKey = snapshot.Peers.Single().PresharedKey });
        device.Apply(configuration, pair.Moment);
        device.LinkUp(pair.Moment);
        return device;
    }

    private static string Describe(Device device)
    {
        DeviceSnapshot snapshot = device.Snapshot();
        IEnumerable<string> peers = snapshot.Peers.Select(peer => string.Join(
            ' ',
            peer.PublicKey,
            peer.PresharedKey is { } psk ? Convert.ToHexString(psk.Span) : "-",
            peer.Endpoint?.ToString() ?? "-",
            peer.PersistentKeepaliveInterval.ToString(CultureInfo.InvariantCulture),
            string.Join(',', peer.AllowedIps)));
        string key = snapshot.PrivateKey is { } own ? Convert.ToHexString(own.Span) : "-";
        return string.Join('\n', [$"{key} {snapshot.ListenPort} {snapshot.Fwmark}", .. peers]);
    }

    /// <summary>A device, and what it writes.</summary>
    private sealed class Log : IDisposable
    {
        private readonly List<byte> _bytes = [];
        private readonly ConfigurationWriter _writer;

        public Log()
        {
            _writer = new ConfigurationWriter(bytes => _bytes.AddRange(bytes));
            BeginAnew(1);
        }

        public Device Device { get; } = new(new SeededRandom(7).Fill);

        public byte[] Bytes => [.. _bytes];

        public void BeginAnew(ulong generation)
        {
            _bytes.Clear();
            _writer.Begin(generation);
            Device.Describe(_writer);
            _writer.Commit();
        }

        public void Configure(DeviceConfiguration configuration)
        {
            Device.Apply(configuration, Now);
            _writer.Write(configuration);
            _writer.Commit();
        }

        public void Run(Step step)
        {
            switch (step)
            {
                case LinkStep { Up: true }:
                    Device.LinkUp(Now);
                    break;
                case LinkStep:
                    Device.LinkDown();
                    break;
                case SetStep set:
                    Configure(set.ToConfiguration());
                    break;
            }
        }

        public string Describe() => ConfigurationLogTests.Describe(Device);

        public void Dispose() => Device.Dispose();
    }
}
