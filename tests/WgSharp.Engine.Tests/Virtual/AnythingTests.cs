using WgSharp.Protocol;
using WgSharp.Protocol.Tests;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>Whole tunnels, and everything that may become of them, drawn from a seed.</summary>
public sealed class AnythingTests
{
    private static readonly InetEndpoint Stranger = VirtualPair.At("203.0.113.66", 6666);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    public void Whatever_happens_both_hear_each_other_soon_afterwards_and_nothing_is_left_of_it(int seed)
    {
        using var pair = new VirtualPair(seed);
        pair.B.Configure(pair.A.PublicKey, peer => peer.Endpoint = pair.A.Address);
        pair.A.Interleaving = pair.B.Interleaving = 0.2;
        Random random = pair.Wire.Random;
        var numbers = new Numbers();
        for (int round = 0; round < 100; round++)
        {
            string place = $"Seed {seed}, round {round}";
            pair.Wire.Seen.Clear();
            GoWild(pair.Wire);

            // If both moved at once, neither would ever find the other.
            VirtualTunnel mover = random.Next(2) == 0 ? pair.A : pair.B;
            for (int i = random.Next(4); i > 0; i--)
            {
                Happen(pair, random.Next(2) == 0 ? pair.A : pair.B, mover);
                Talk(pair, numbers, random.NextDouble() * 20);
            }

            pair.Wire.Mend();
            TalkUntilBothHear(pair, numbers, place);
            pair.Wire.AdvanceSeconds(3);
            numbers.AssertNoneTwice(pair.A, place);
            numbers.AssertNoneTwice(pair.B, place);
            pair.Wire.Seen.Clear();
            Exchange(pair, numbers, place);
            Repeat(pair, place);
            pair.Wire.AdvanceSeconds(random.Next(5) == 0 ? random.Next(600) : random.Next(30));
        }
    }

    /// <summary>Loss, delay, jitter that reorders, copies, turned bits.</summary>
    private static void GoWild(VirtualWire wire)
    {
        Random random = wire.Random;
        double loss = random.Next(6) * 0.1;
        double copies = random.Next(3) * 0.2;
        double errors = random.Next(3) * 0.1;
        (int least, int most) = (random.Next(5, 100), random.Next(100, 1500));
        wire.Fate = (_, bytes) =>
        {
            if (random.NextDouble() < errors)
            {
                bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
            }

            int count = random.NextDouble() < loss ? 0 : random.NextDouble() < copies ? 2 : 1;
            return [.. Enumerable.Range(0, count).Select(_ => TimeSpan.FromMilliseconds(random.Next(least, most)))];
        };
    }

    private static void Happen(VirtualPair pair, VirtualTunnel one, VirtualTunnel mover)
    {
        Random random = pair.Wire.Random;
        switch (random.Next(7))
        {
            case 0:
                one.LinkDown();
                pair.Wire.AdvanceSeconds(random.NextDouble() * 10);
                one.LinkUp();
                break;
            case 1:
                one.Sleep(TimeSpan.FromSeconds(random.Next(1, 300)));
                break;
            case 2:
                mover.Address = VirtualPair.At($"198.51.100.{random.Next(1, 255)}", (ushort)random.Next(1, 65536));
                break;
            case 3:
                pair.Wire.WallOffset += TimeSpan.FromHours(random.Next(-24, 24));
                break;
            case 4:
                one.Sending?.SetSendCounter(random.Next(2) == 0 ? Limits.RekeyAfterMessages : Limits.RejectAfterMessages - (ulong)random.Next(20));
                break;
            case 5:
                one.Overload();
                break;
            default:
                pair.Wire.AdvanceSeconds(random.Next(600));
                break;
        }
    }

    private static void Talk(VirtualPair pair, Numbers numbers, double seconds)
    {
        Random random = pair.Wire.Random;
        int speakers = random.Next(4);
        for (Instant end = pair.Wire.Now + TimeSpan.FromSeconds(seconds); pair.Wire.Now < end;)
        {
            if ((speakers & 1) != 0)
            {
                numbers.Send(pair.A, random);
            }

            if ((speakers & 2) != 0)
            {
                numbers.Send(pair.B, random);
            }

            pair.Wire.Advance(TimeSpan.FromMilliseconds(random.Next(1000)));
        }
    }

    private static void TalkUntilBothHear(VirtualPair pair, Numbers numbers, string place)
    {
        int a = pair.A.ReceivedCount;
        int b = pair.B.ReceivedCount;
        Instant began = pair.Wire.Now;
        while (pair.A.ReceivedCount == a || pair.B.ReceivedCount == b)
        {
            numbers.Send(pair.A, pair.Wire.Random);
            numbers.Send(pair.B, pair.Wire.Random);
            pair.Wire.Advance(TimeSpan.FromMilliseconds(200));
            Assert.True((pair.Wire.Now - began).TotalSeconds < 30, $"{place}: deaf.");
        }
    }

    /// <summary>On a good wire a packet each way arrives, after REKEY_TIMEOUT where the last message of a session has just been sent, and each knows where the other is.</summary>
    private static void Exchange(VirtualPair pair, Numbers numbers, string place)
    {
        (int a, int b) = (pair.A.ReceivedCount, pair.B.ReceivedCount);
        numbers.Send(pair.A, pair.Wire.Random);
        numbers.Send(pair.B, pair.Wire.Random);
        pair.Wire.AdvanceSeconds(7);
        Assert.Equal((place, a + 1, b + 1), (place, pair.A.ReceivedCount, pair.B.ReceivedCount));
        AssertEndpoints(pair, place);
        Assert.InRange(pair.A.Device.IndexCount(), 1, 5);
        Assert.InRange(pair.B.Device.IndexCount(), 1, 5);
        Assert.True(pair.A.Peer.Staged.IsEmpty && pair.B.Peer.Staged.IsEmpty);
    }

    /// <summary>What both have had already comes again from elsewhere, as it was and with a bit turned: nobody moves.</summary>
    private static void Repeat(VirtualPair pair, string place)
    {
        (int a, int b) = (pair.A.ReceivedCount, pair.B.ReceivedCount);
        foreach (Datagram datagram in pair.Wire.Seen.Where(d => d.To == pair.A.Address || d.To == pair.B.Address).ToArray())
        {
            VirtualTunnel to = datagram.To == pair.A.Address ? pair.A : pair.B;
            byte[] forged = [.. datagram.Bytes];
            forged[pair.Wire.Random.Next(8, forged.Length)] ^= 1;
            to.Receive(datagram.Bytes, Stranger);
            to.Receive(forged, Stranger);
        }

        AssertEndpoints(pair, place);
        Assert.Equal((place, a, b), (place, pair.A.ReceivedCount, pair.B.ReceivedCount));
    }

    private static void AssertEndpoints(VirtualPair pair, string place) => Assert.Equal(
        (place, pair.B.Address, pair.A.Address),
        (place, pair.A.Peer.Endpoint!.Remote, pair.B.Peer.Endpoint!.Remote));

    /// <summary>Every packet is one of a kind.</summary>
    private sealed class Numbers
    {
        private readonly HashSet<int> _arrived = [];
        private int _next;

        public void Send(VirtualTunnel from, Random random)
        {
            byte[] content = new byte[4 + random.Next(1300)];
            BitConverter.TryWriteBytes(content, _next++);
            from.Send(content);
        }

        public void AssertNoneTwice(VirtualTunnel to, string place)
        {
            Assert.All(to.Received, content => Assert.True(_arrived.Add(BitConverter.ToInt32(content)), $"{place}: it came twice."));
            to.Received.Clear();
        }
    }
}
