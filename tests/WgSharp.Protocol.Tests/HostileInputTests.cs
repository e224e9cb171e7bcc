using System.Buffers.Binary;

namespace WgSharp.Protocol.Tests;

/// <summary>What strangers send: silence is the answer, and nothing grows.</summary>
public sealed class HostileInputTests
{
    private static readonly InetEndpoint Stranger = DevicePair.At("203.0.113.66", 6666);

    [Fact]
    public void A_fresh_initiation_with_any_bit_turned_is_met_with_silence_even_if_mac1_was_made_to_fit()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        using var maker = new CookieMaker(pair.B.PublicKey);
        for (int bit = 8 * 8; bit < 116 * 8; bit++)
        {
            byte[] mutated = [.. initiation];
            mutated[bit / 8] ^= (byte)(1 << (bit % 8));
            maker.AddMacs(mutated, pair.Now);

            // The top bit of a Curve25519 key is not part of it, but it is part of the transcript.
            Assert.Equal(HandshakeOutcome.Dropped, Handle(pair, mutated));
        }

        Assert.Equal(0, pair.B.Device.IndexCount);
        Assert.Equal(HandshakeOutcome.Respond, Handle(pair, initiation));
    }

    [Fact]
    public void Nothing_is_allocated_for_strangers()
    {
        DevicePair pair = DevicePair.WithSession();
        var random = new Random(1);
        byte[][] datagrams = new byte[300][];
        for (int i = 0; i < datagrams.Length; i++)
        {
            datagrams[i] = new byte[i switch { < 100 => 148, < 200 => 92, _ => 64 }];
            random.NextBytes(datagrams[i]);
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
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        pair.B.Apply(new DeviceConfiguration { RemovePrivateKey = true });
        pair.B.UnderLoad = true;
        Assert.Equal(HandshakeOutcome.Dropped, Handle(pair, initiation));
        pair.B.UnderLoad = false;
        Assert.Equal(HandshakeOutcome.Dropped, Handle(pair, initiation));
    }

    [Fact]
    public void A_device_whose_link_is_down_answers_nobody()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        pair.B.Device.LinkDown();
        Assert.Equal(HandshakeOutcome.Dropped, Handle(pair, initiation));
        pair.B.Device.LinkUp(pair.Moment);
        Assert.Equal(HandshakeOutcome.Respond, Handle(pair, initiation));
    }

    private static HandshakeOutcome Handle(DevicePair pair, ReadOnlySpan<byte> datagram)
    {
        Span<byte> reply = stackalloc byte[148];
        return pair.B.Device.Handle(datagram, new HandshakeOrigin(Stranger), pair.B.UnderLoad, pair.Moment, reply).Outcome;
    }

    private static void HandleAll(DevicePair pair, byte[][] datagrams)
    {
        foreach (byte[] datagram in datagrams)
        {
            Handle(pair, datagram);
        }
    }
}
