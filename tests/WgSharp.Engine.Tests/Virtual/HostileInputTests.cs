using System.Buffers.Binary;
using WgSharp.Protocol;
using WgSharp.Protocol.Tests;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>What strangers send: silence is the answer, and nothing grows.</summary>
public sealed class HostileInputTests
{
    private static readonly InetEndpoint Stranger = VirtualPair.At("203.0.113.66", 6666);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Random_datagrams_of_every_length_and_type_are_met_with_silence(bool underLoad)
    {
        using VirtualPair pair = VirtualPair.WithSession();
        if (underLoad)
        {
            pair.B.Overload();
        }

        Random random = pair.Wire.Random;
        int known = pair.B.Outcomes.Count;
        int indices = pair.B.Device.IndexCount();
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

                pair.B.Receive(datagram, Stranger);
            }
        }

        Assert.DoesNotContain(pair.Wire.Seen, d => d.To == Stranger);
        Assert.DoesNotContain(pair.B.Outcomes.Skip(known), outcome => outcome != HandshakeOutcome.CookieReply);
        Assert.Equal(indices, pair.B.Device.IndexCount());
        Assert.Equal(pair.A.Address, pair.B.Peer.Endpoint!.Remote);
        AssertStillWorks(pair);
    }

    [Fact]
    public void Real_messages_with_a_bit_turned_or_bytes_missing_or_too_many_are_met_with_silence()
    {
        using var pair = new VirtualPair();
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
        Assert.Equal(1, pair.A.Device.IndexCount());
        Assert.Equal(1, pair.B.Device.IndexCount());
        AssertStillWorks(pair);
    }

    private static void AssertStillWorks(VirtualPair pair)
    {
        pair.B.Received.Clear();
        pair.A.Send(42);
        pair.Wire.AdvanceSeconds(1);
        Assert.Equal([[42]], pair.B.Received);
    }
}
