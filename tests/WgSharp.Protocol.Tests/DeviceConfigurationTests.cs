using System.Buffers.Binary;
using System.Diagnostics;
using FsCheck;
using FsCheck.Fluent;
using Microsoft.FSharp.Core;
using WgSharp.Crypto;
using Xunit.Abstractions;

namespace WgSharp.Protocol.Tests;

/// <summary>Random sequences of configuration operations against <see cref="ModelDevice"/>; and very many peers.</summary>
public sealed class DeviceConfigurationTests(ITestOutputHelper output)
{
    private static readonly Moment Now = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Any_sequence_of_operations_leaves_what_a_plain_list_would_say(ulong seed)
    {
        Property property = Prop.ForAll(Arb.From(Gen.ArrayOf(Steps()), Shrink), steps => RunAll(steps));
        Config config = Config.QuickThrowOnFailure
            .WithMaxTest(250)
            .WithEndSize(40)
            .WithReplay(FSharpOption<Replay>.Some(new Replay(new Rnd(seed), FSharpOption<int>.None)));
        Check.One(config, property);
    }

    [Fact]
    public void A_session_survives_every_change_that_does_not_concern_it()
    {
        DevicePair pair = DevicePair.WithSession();
        Keypairs session = pair.A.Peer.Keypairs;
        Assert.NotNull(session.Current);
        PublicKey peer = pair.B.PublicKey;
        using PresharedKey psk = Palette.Psk(1);
        Action<DeviceConfiguration, PeerConfiguration>[] changes =
        [
            (device, _) => device.PrivateKey = pair.A.PrivateKey,
            (device, _) => device.ListenPort = 77,
            (device, _) => device.Fwmark = 77,
            (_, one) => one.PresharedKey = psk,
            (_, one) => one.Endpoint = pair.B.Address,
            (_, one) => one.PersistentKeepaliveInterval = 25,
            (_, one) => one.PersistentKeepaliveInterval = 0,
            (_, one) => one.ReplaceAllowedIps = true,
            (_, one) => one.AllowedIps.Add(new AllowedIpChange(Palette.Prefixes[0], Remove: false)),
            (_, one) => one.AllowedIps.Add(new AllowedIpChange(Palette.Prefixes[0], Remove: true)),
            (_, one) => one.UpdateOnly = true,
            (device, _) => device.Peers.Add(new PeerConfiguration { PublicKey = Palette.PublicKeys[5] }),
            (device, _) => device.Peers.Add(new PeerConfiguration { PublicKey = Palette.PublicKeys[5], Remove = true }),
        ];
        foreach (Action<DeviceConfiguration, PeerConfiguration> change in changes)
        {
            var configuration = new DeviceConfiguration();
            configuration.Peers.Add(new PeerConfiguration { PublicKey = peer });
            change(configuration, configuration.Peers[0]);
            pair.A.Apply(configuration);
            Assert.Same(session, pair.A.Device.Peers.First().Keypairs);
        }

        Assert.True(session.Current.MaySend(pair.Now));
    }

    [Fact]
    public void Twenty_five_thousand_peers_with_130561_prefixes_are_applied_shown_and_removed()
    {
        const int peers = 25_000;
        const int prefixes = 130_561;
        using var device = new Device(new SeededRandom(1).Fill);
        var configuration = new DeviceConfiguration { PrivateKey = Palette.Identity(0), ReplacePeers = true };
        for (int i = 0; i < peers; i++)
        {
            configuration.Peers.Add(new PeerConfiguration { PublicKey = Key(i) });
        }

        for (int i = 0; i < prefixes; i++)
        {
            configuration.Peers[i % peers].AllowedIps.Add(new AllowedIpChange(Prefix(i), Remove: false));
        }

        var clock = Stopwatch.StartNew();
        device.Apply(configuration, Now);
        output.WriteLine($"applied in {clock.ElapsedMilliseconds} ms");
        clock.Restart();
        device.LinkUp(Now);
        output.WriteLine($"link up in {clock.ElapsedMilliseconds} ms");
        clock.Restart();
        DeviceSnapshot snapshot = device.Snapshot();
        output.WriteLine($"snapshot in {clock.ElapsedMilliseconds} ms");
        Assert.Equal(peers, snapshot.Peers.Count);
        Assert.Equal(prefixes, snapshot.Peers.Sum(peer => peer.AllowedIps.Count));
        AssertPeers(device, snapshot, configuration);

        // The same once more, as wg syncconf and wg setconf do: nothing changes but that every peer is made anew.
        Peer[] before = [.. device.Peers];
        clock.Restart();
        device.Apply(configuration, Now);
        output.WriteLine($"replaced in {clock.ElapsedMilliseconds} ms");
        AssertPeers(device, device.Snapshot(), configuration);
        Assert.All(before, peer => Assert.True(peer.IsRemoved));
        Assert.Empty(device.Peers.Intersect(before));

        clock.Restart();
        for (int i = 0; i < peers; i += 2)
        {
            var removal = new DeviceConfiguration();
            removal.Peers.Add(new PeerConfiguration { PublicKey = Key(i), Remove = true });
            device.Apply(removal, Now);
        }

        output.WriteLine($"{peers / 2} peers removed one by one in {clock.ElapsedMilliseconds} ms");
        Assert.Equal(peers / 2, device.Peers.Count);
        Span<byte> address = stackalloc byte[16];
        for (int i = 0; i < prefixes; i++)
        {
            Prefix(i).Address.CopyTo(address);
            Peer? owner = device.AllowedIps.Lookup(address[..Prefix(i).Address.Length]);
            Assert.Equal(i % peers % 2 != 0, owner is not null);
        }
    }

    private static void AssertPeers(Device device, DeviceSnapshot snapshot, DeviceConfiguration configuration)
    {
        Peer[] living = [.. device.Peers];
        Span<byte> address = stackalloc byte[16];
        for (int i = 0; i < living.Length; i++)
        {
            Assert.Equal(configuration.Peers[i].PublicKey, snapshot.Peers[i].PublicKey);
            Assert.Equal(configuration.Peers[i].AllowedIps.Select(change => change.Prefix), snapshot.Peers[i].AllowedIps);
            foreach (IpPrefix prefix in snapshot.Peers[i].AllowedIps)
            {
                prefix.Address.CopyTo(address);
                Assert.Same(living[i], device.AllowedIps.Lookup(address[..prefix.Address.Length]));
            }
        }
    }

    private static void RunAll(Step[] steps)
    {
        using var device = new Device(new SeededRandom(7).Fill);
        var model = new ModelDevice();
        var retired = new HashSet<Peer>();
        foreach (Step step in steps)
        {
            Peer[] before = [.. device.Peers];
            switch (step)
            {
                case LinkStep { Up: true }:
                    device.LinkUp(Now);
                    break;
                case LinkStep:
                    device.LinkDown();
                    break;
                case SetStep set:
                    device.Apply(set.ToConfiguration(), Now);
                    break;
            }

            model.Apply(step);
            AssertPeers(device, model, before, retired);
            AssertSnapshot(device, model);
            AssertRoutes(device, model);
            AssertKeepalives(device, model);
        }
    }

    /// <summary>A peer that stays is the same object, one that is gone says so, and one that came again is a new one.</summary>
    private static void AssertPeers(Device device, ModelDevice model, Peer[] before, HashSet<Peer> retired)
    {
        Assert.Equal(model.Peers.Count, device.Peers.Count);
        foreach ((ModelPeer expected, Peer actual) in model.Peers.Zip(device.Peers))
        {
            Assert.Equal(Palette.PublicKeys[expected.Key], actual.PublicKey);
            Assert.False(actual.IsRemoved);
            Assert.DoesNotContain(actual, retired);
            expected.Actual ??= actual;
            Assert.Same(expected.Actual, actual);
        }

        foreach (Peer gone in before.Except(device.Peers))
        {
            Assert.True(gone.IsRemoved);
            gone.Staged.Add(new byte[20]);
            Assert.True(gone.Staged.IsEmpty);
            retired.Add(gone);
        }
    }

    private static void AssertSnapshot(Device device, ModelDevice model)
    {
        DeviceSnapshot snapshot = device.Snapshot();
        Assert.Equal(model.Port, snapshot.ListenPort);
        Assert.Equal(model.Fwmark, snapshot.Fwmark);
        Assert.Equal(model.Identity is not null, snapshot.PrivateKey is not null);
        Assert.True(model.Identity is not { } identity || Palette.Identity(identity).SameAs(snapshot.PrivateKey));
        Assert.Equal(model.Peers.Select(peer => Palette.PublicKeys[peer.Key]), snapshot.Peers.Select(peer => peer.PublicKey));
        foreach ((ModelPeer expected, PeerSnapshot shown) in model.Peers.Zip(snapshot.Peers))
        {
            Assert.Equal(expected.Psk != 0, shown.PresharedKey is not null);
            Assert.True(expected.Psk == 0 || Palette.Psk(expected.Psk).SameAs(shown.PresharedKey));
            Assert.Equal(expected.Endpoint, shown.Endpoint);
            Assert.Equal(expected.Keepalive, shown.PersistentKeepaliveInterval);
            Assert.Equal(expected.Prefixes, shown.AllowedIps);
            Assert.Equal((0, 0, default), (shown.RxBytes, shown.TxBytes, shown.LastHandshake));
        }
    }

    private static void AssertRoutes(Device device, ModelDevice model)
    {
        AllowedIps routes = device.AllowedIps;
        foreach (byte[] address in Palette.Addresses)
        {
            Assert.Same(model.OwnerOf(address)?.Actual, routes.Lookup(address));
        }
    }

    /// <summary>Time stands still: only what is due at once can be due.</summary>
    private static void AssertKeepalives(Device device, ModelDevice model)
    {
        Assert.False(device.TryTakeWork(Now, out _, out _));
        var due = new HashSet<Peer>();
        while (device.TryTakeDueTimer(Now, out Peer peer, out TimerAction action))
        {
            Assert.Equal(TimerAction.SendKeepalive, action);
            Assert.True(due.Add(peer));
        }

        Assert.Equal(model.Peers.Where(peer => peer.KeepaliveDue).Select(peer => peer.Actual!).ToHashSet(), due);
        model.Peers.ForEach(peer => peer.KeepaliveDue = false);
    }

    internal static Gen<Step> Steps()
    {
        Gen<Step> link = Gen.Choose(0, 1).Select(Step (up) => new LinkStep(up == 1));
        Gen<Step> set =
            from identity in Sometimes(3, Gen.Choose(-1, Palette.Identities - 1))
            from port in Sometimes(5, Gen.Choose(0, 3))
            from mark in Sometimes(5, Gen.Choose(0, 3))
            from replace in Chance(12)
            from count in Gen.Choose(0, 4)
            from peers in Gen.ArrayOf(Peers(), count)
            select (Step)new SetStep(identity, (ushort?)port, (uint?)mark, replace, peers);
        return Gen.Frequency((1, link), (6, set));
    }

    private static Gen<PeerStep> Peers() =>
        from key in Gen.Choose(0, Palette.Peers - 1)
        from remove in Chance(6)
        from updateOnly in Chance(4)
        from psk in Sometimes(4, Gen.Choose(0, 2))
        from endpoint in Sometimes(3, Gen.Choose(0, Palette.Endpoints.Length - 1))
        from keepalive in Sometimes(3, Gen.Elements<int>(0, 1, 25, 65535))
        from replace in Chance(5)
        from count in Gen.Choose(0, 5)
        from changes in Gen.ArrayOf(Changes(), count)
        select new PeerStep(key, remove, updateOnly, psk, endpoint, (ushort?)keepalive, replace, changes);

    private static Gen<AllowedIpChange> Changes() =>
        from prefix in Gen.Elements(Palette.Prefixes)
        from remove in Chance(4)
        select new AllowedIpChange(prefix, remove);

    /// <summary>True once in so many times.</summary>
    private static Gen<bool> Chance(int times) => Gen.Choose(1, times).Select(n => n == 1);

    private static Gen<int?> Sometimes(int times, Gen<int> gen) =>
        Gen.Frequency((times - 1, Gen.Constant<int?>(null)), (1, gen.Select(value => (int?)value)));

    /// <summary>Leaves out halves, then steps, then peers, then prefixes.</summary>
    internal static IEnumerable<Step[]> Shrink(Step[] steps)
    {
        if (steps.Length > 3)
        {
            yield return steps[..(steps.Length / 2)];
            yield return steps[(steps.Length / 2)..];
        }

        for (int i = 0; i < steps.Length; i++)
        {
            yield return [.. steps[..i], .. steps[(i + 1)..]];
        }

        for (int i = 0; i < steps.Length; i++)
        {
            if (steps[i] is SetStep set)
            {
                foreach (IReadOnlyList<PeerStep> peers in Shrink(set.Peers))
                {
                    yield return [.. steps[..i], set with { Peers = peers }, .. steps[(i + 1)..]];
                }
            }
        }
    }

    private static IEnumerable<IReadOnlyList<PeerStep>> Shrink(IReadOnlyList<PeerStep> peers)
    {
        for (int i = 0; i < peers.Count; i++)
        {
            yield return [.. peers.Where((_, index) => index != i)];
            for (int j = 0; j < peers[i].AllowedIps.Count; j++)
            {
                PeerStep less = peers[i] with { AllowedIps = [.. peers[i].AllowedIps.Where((_, index) => index != j)] };
                yield return [.. peers.Select((peer, index) => index == i ? less : peer)];
            }
        }
    }

    private static PublicKey Key(int number)
    {
        Span<byte> bytes = stackalloc byte[32];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, number);
        bytes[31] = 0x42;
        return new PublicKey(bytes);
    }

    private static IpPrefix Prefix(int number)
    {
        if (number % 2 == 0)
        {
            return new IpPrefix(new InetAddress([10, (byte)(number >> 17), (byte)(number >> 9), (byte)(number >> 1)]), 32);
        }

        Span<byte> bytes = stackalloc byte[16];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, 0x2001_0db8_0000_0000UL + (uint)number);
        return new IpPrefix(new InetAddress(bytes), 64);
    }
}
