using System.Buffers.Binary;

namespace WgSharp.Protocol.Tests;

/// <summary>What strangers send: silence is the answer, and nothing grows.</summary>
public sealed class HostileInputTests
{
    private static readonly InetEndpoint Stranger = PeerPair.At("203.0.113.66", 6666);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Random_datagrams_of_every_length_and_type_are_met_with_silence(bool underLoad)
    {
        PeerPair pair = PeerPair.WithSession();
        pair.B.UnderLoad = underLoad;
        Random random = pair.Wire.Random;
        int indices = pair.B.Device.IndexCount;
        for (int length = 0; length <= 65_535; length += length < 300 ? 1 : random.Next(1, 3000))
        {
            byte[] datagram = new byte[length];
            for (uint type = 0; type <= 5; type++)
            {
                random.NextBytes(datagram);
                if (length >= 4)
                {
                    BinaryPrimitives.WriteUInt32LittleEndian(datagram, type);
                }

                Assert.Equal(HandshakeOutcome.Dropped, Handle(pair, datagram));
                pair.B.Receive(datagram, Stranger);
            }
        }

        Assert.Empty(pair.Wire.Seen);
        Assert.Equal(indices, pair.B.Device.IndexCount);
        Assert.Equal(pair.A.Address, pair.B.Peer.Endpoint!.Remote);
        AssertStillWorks(pair);
    }

    [Fact]
    public void Real_messages_with_a_bit_turned_or_bytes_missing_or_too_many_are_met_with_silence()
    {
        var pair = new PeerPair();
        pair.A.Send(1);
        pair.Wire.AdvanceSeconds(1);
        byte[][] messages = [.. pair.Wire.Seen.Select(d => d.Bytes)];
        pair.Wire.AdvanceSeconds(100);
        pair.Wire.Seen.Clear();
        foreach (byte[] message in messages)
        {
            for (int bit = 0; bit < message.Length * 8; bit++)
            {
                byte[] mutated = [.. message];
                mutated[bit / 8] ^= (byte)(1 << (bit % 8));
                pair.A.Receive(mutated, Stranger);
                pair.B.Receive(mutated, Stranger);
            }

            for (int length = 0; length < message.Length + 20; length++)
            {
                byte[] resized = [.. message];
                Array.Resize(ref resized, length);
                pair.A.Receive(resized, Stranger);
                pair.B.Receive(resized, Stranger);
            }
        }

        Assert.Empty(pair.Wire.Seen);
        Assert.Equal([[1]], pair.B.Received);
        Assert.Equal(1, pair.A.Device.IndexCount);
        Assert.Equal(1, pair.B.Device.IndexCount);
        AssertStillWorks(pair);
    }

    [Fact]
    public void A_fresh_initiation_with_any_bit_turned_is_met_with_silence_even_if_mac1_was_made_to_fit()
    {
        var pair = new PeerPair();
        byte[] initiation = new byte[148];
        Assert.True(pair.A.Device.TryCreateInitiation(pair.A.Peer, retry: false, pair.Wire.Moment, initiation));
        using var maker = new CookieMaker(pair.B.PublicKey);
        for (int bit = 8 * 8; bit < 116 * 8; bit++)
        {
            byte[] mutated = [.. initiation];
            mutated[bit / 8] ^= (byte)(1 << (bit % 8));
            maker.AddMacs(mutated, pair.Wire.Now);

            // The top bit of a Curve25519 key is not part of it, but it is part of the transcript.
            Assert.Equal(HandshakeOutcome.Dropped, Handle(pair, mutated));
        }

        Assert.Equal(0, pair.B.Device.IndexCount);
        Assert.Equal(HandshakeOutcome.Respond, Handle(pair, initiation));
    }

    [Fact]
    public void Nothing_is_allocated_for_strangers()
    {
        PeerPair pair = PeerPair.WithSession();
        byte[][] datagrams = new byte[300][];
        for (int i = 0; i < datagrams.Length; i++)
        {
            datagrams[i] = new byte[i switch { < 100 => 148, < 200 => 92, _ => 64 }];
            pair.Wire.Random.NextBytes(datagrams[i]);
            BinaryPrimitives.WriteUInt32LittleEndian(datagrams[i], (uint)(1 + (i / 100)));
        }

        HandleAll(pair, datagrams);
        long before = GC.GetAllocatedBytesForCurrentThread();
        HandleAll(pair, datagrams);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void A_device_without_a_private_key_answers_nobody()
    {
        var pair = new PeerPair();
        byte[] initiation = new byte[148];
        Assert.True(pair.A.Device.TryCreateInitiation(pair.A.Peer, retry: false, pair.Wire.Moment, initiation));
        pair.B.Apply(new DeviceConfiguration { RemovePrivateKey = true });
        pair.B.UnderLoad = true;
        Assert.Equal(HandshakeOutcome.Dropped, Handle(pair, initiation));
        pair.B.UnderLoad = false;
        Assert.Equal(HandshakeOutcome.Dropped, Handle(pair, initiation));
    }

    [Fact]
    public void A_device_whose_link_is_down_answers_nobody()
    {
        var pair = new PeerPair();
        byte[] initiation = new byte[148];
        Assert.True(pair.A.Device.TryCreateInitiation(pair.A.Peer, retry: false, pair.Wire.Moment, initiation));
        pair.B.Device.LinkDown();
        Assert.Equal(HandshakeOutcome.Dropped, Handle(pair, initiation));
        pair.B.Device.LinkUp(pair.Wire.Moment);
        Assert.Equal(HandshakeOutcome.Respond, Handle(pair, initiation));
    }

    private static HandshakeOutcome Handle(PeerPair pair, ReadOnlySpan<byte> datagram)
    {
        Span<byte> reply = stackalloc byte[148];
        return pair.B.Device.Handle(
            datagram, Stranger, InetAddress.None, 0, pair.B.UnderLoad, pair.Wire.Moment, reply, out _, out _);
    }

    private static void HandleAll(PeerPair pair, byte[][] datagrams)
    {
        foreach (byte[] datagram in datagrams)
        {
            Handle(pair, datagram);
        }
    }

    private static void AssertStillWorks(PeerPair pair)
    {
        pair.B.UnderLoad = false;
        pair.B.Received.Clear();
        pair.A.Send(42);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[42]], pair.B.Received);
    }
}
