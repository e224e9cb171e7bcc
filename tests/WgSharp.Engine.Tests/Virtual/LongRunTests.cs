using WgSharp.Protocol;
using WgSharp.Protocol.Tests;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>Days on virtual time: whatever the wire does, two peers never stay deaf to each other.</summary>
public sealed class LongRunTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void In_a_day_of_traffic_under_twenty_percent_loss_neither_side_goes_deaf(int seed)
    {
        using VirtualPair pair = Quiet(VirtualPair.WithSession(seed));
        pair.Wire.Lose(0.2);
        var a = new Silence(pair.A);
        var b = new Silence(pair.B);
        int sent = 0;
        for (int second = 0; second < 86_400; second += 2)
        {
            pair.A.Send(1);
            pair.B.Send(2);
            sent++;
            pair.Wire.AdvanceSeconds(2);
            a.Look(second);
            b.Look(second);
        }

        Assert.InRange(a.Longest, 2, 40);
        Assert.InRange(b.Longest, 2, 40);
        Assert.InRange(pair.A.ReceivedCount, (int)(sent * 0.75), (int)(sent * 0.85));
        Assert.InRange(pair.B.ReceivedCount, (int)(sent * 0.75), (int)(sent * 0.85));
        Assert.InRange(pair.A.Device.IndexCount(), 1, 4);
        Assert.InRange(pair.B.Device.IndexCount(), 1, 4);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    public void Pauses_of_any_length_from_either_side_are_followed_by_traffic_within_half_a_minute(int seed)
    {
        using VirtualPair pair = Quiet(VirtualPair.WithSession(seed));
        pair.B.Configure(pair.A.PublicKey, peer => peer.Endpoint = pair.A.Address);
        Random random = pair.Wire.Random;
        for (int round = 0; round < 400; round++)
        {
            pair.Wire.Lose(random.Next(3) * 0.1);
            pair.Wire.AdvanceSeconds(random.NextDouble() * 700);
            bool aSpeaks = random.Next(3) != 0;
            bool bSpeaks = !aSpeaks || random.Next(2) == 0;
            int a = pair.A.ReceivedCount;
            int b = pair.B.ReceivedCount;
            int seconds = 0;
            while ((bSpeaks && pair.A.ReceivedCount == a) || (aSpeaks && pair.B.ReceivedCount == b))
            {
                if (aSpeaks)
                {
                    pair.A.Send(1);
                }

                if (bSpeaks)
                {
                    pair.B.Send(2);
                }

                pair.Wire.AdvanceSeconds(1);
                Assert.True(++seconds < 30, $"Round {round}: deaf for {seconds} s.");
            }
        }
    }

    [Theory]
    [InlineData(6)]
    [InlineData(7)]
    public void A_single_packet_arrives_without_another_to_push_it(int seed)
    {
        using VirtualPair pair = Quiet(VirtualPair.WithSession(seed));
        pair.B.Configure(pair.A.PublicKey, peer => peer.Endpoint = pair.A.Address);
        Random random = pair.Wire.Random;
        for (int round = 0; round < 300; round++)
        {
            // Handshake messages may be lost, data not: what was sent must arrive.
            pair.Wire.AdvanceSeconds(random.NextDouble() * 400);
            pair.Wire.Fate = (datagram, _) => datagram.Type != MessageType.TransportData && random.Next(3) == 0 ? [] : [VirtualWire.Latency];
            int a = pair.A.ReceivedCount;
            int b = pair.B.ReceivedCount;
            pair.A.Send(1);
            pair.Wire.Advance(TimeSpan.FromMilliseconds(random.Next(60)));
            pair.B.Send(2);
            pair.Wire.AdvanceSeconds(60);
            Assert.Equal((round, a + 1, b + 1), (round, pair.A.ReceivedCount, pair.B.ReceivedCount));
        }
    }

    [Fact]
    public void A_wire_that_delays_duplicates_reorders_and_corrupts_does_no_harm()
    {
        using VirtualPair pair = Quiet(VirtualPair.WithSession(8));
        Random random = pair.Wire.Random;
        pair.Wire.Fate = (_, bytes) =>
        {
            if (random.Next(10) == 0)
            {
                bytes[random.Next(bytes.Length)] ^= (byte)random.Next(1, 256);
            }

            return [.. Enumerable.Range(0, random.Next(3)).Select(_ => TimeSpan.FromMilliseconds(random.Next(5, 2000)))];
        };
        var seen = new HashSet<int>();
        int sent = 0;
        for (int i = 0; i < 20_000; i++)
        {
            pair.A.Send(BitConverter.GetBytes(i));
            sent++;
            pair.Wire.Advance(TimeSpan.FromMilliseconds(random.Next(1, 400)));
        }

        pair.Wire.AdvanceSeconds(10);
        Assert.All(pair.B.Received, content => Assert.True(seen.Add(BitConverter.ToInt32(content)), "It came twice."));
        Assert.InRange(seen.Count, sent / 2, sent);
        pair.Wire.Mend();
        pair.A.Send(1, 2, 3, 4);
        pair.Wire.AdvanceSeconds(20);
        Assert.Equal([1, 2, 3, 4], pair.B.Received[^1]);
    }

    [Fact]
    public void Restarts_of_either_side_and_a_clock_that_jumps_do_no_lasting_harm()
    {
        using VirtualPair pair = Quiet(VirtualPair.WithSession(9));
        Random random = pair.Wire.Random;
        for (int round = 0; round < 200; round++)
        {
            VirtualTunnel node = random.Next(2) == 0 ? pair.A : pair.B;
            switch (random.Next(3))
            {
                case 0:
                    node.LinkDown();
                    pair.Wire.AdvanceSeconds(random.Next(10));
                    node.LinkUp();
                    break;
                case 1:
                    pair.Wire.WallOffset += TimeSpan.FromHours(random.Next(-24, 24));
                    break;
                default:
                    pair.Wire.AdvanceSeconds(random.Next(600));
                    break;
            }

            int before = pair.B.ReceivedCount;
            int seconds = 0;
            while (pair.B.ReceivedCount == before)
            {
                pair.A.Send(1);
                pair.Wire.AdvanceSeconds(1);
                Assert.True(++seconds < 40, $"Round {round}: deaf for {seconds} s.");
            }
        }
    }

    private static VirtualPair Quiet(VirtualPair pair)
    {
        pair.Wire.KeepsSeen = false;
        return pair;
    }

    /// <summary>The longest time without anything received.</summary>
    private sealed class Silence(VirtualTunnel node)
    {
        private int _count = node.ReceivedCount;
        private int _since;

        public int Longest { get; private set; }

        public void Look(int second)
        {
            if (node.ReceivedCount != _count)
            {
                _count = node.ReceivedCount;
                _since = second;
            }

            Longest = Math.Max(Longest, second - _since);
        }
    }
}
