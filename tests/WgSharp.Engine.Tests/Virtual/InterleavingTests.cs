using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Virtual;

/// <summary>
/// The packet thread and the control loop of one machine, each interrupted by the other wherever it asks for something of the machine, while local
/// programs go on sending: with sessions that begin, age, end and are wiped under them.
/// </summary>
public sealed class InterleavingTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public void Every_packet_arrives_once_and_in_order(int seed)
    {
        using var pair = new VirtualPair(seed);
        pair.B.Configure(pair.A.PublicKey, peer => peer.Endpoint = pair.A.Address);
        pair.Wire.KeepsSeen = false;
        Flow[] flows = [new Flow(pair.A, pair.B, pair.Wire), new Flow(pair.B, pair.A, pair.Wire)];
        Random random = pair.Wire.Random;
        for (int round = 0; round < 400; round++)
        {
            foreach (Flow flow in flows)
            {
                flow.Send(random.Next(4) == 0 ? random.Next(Flow.Most) : random.Next(3));
            }

            pair.Wire.Advance(TimeSpan.FromMilliseconds(random.Next(60)));

            if (random.Next(3) == 0)
            {
                flows[0].IsOpen = flows[1].IsOpen = false;
                pair.Wire.AdvanceSeconds(8);
                Assert.All(flows, flow => flow.AssertComplete(round));
                pair.Wire.AdvanceSeconds(random.Next(200));
                PassTheEnd(pair);
                flows[0].IsOpen = flows[1].IsOpen = true;
            }
        }

        Assert.All(flows, flow => Assert.True(flow.Sent > 3000));
    }

    /// <summary>What is sent with a session that ends before it arrives is lost to everyone (REJECT_AFTER_TIME).</summary>
    private static void PassTheEnd(VirtualPair pair)
    {
        while (EndsSoon(pair.A.Sending) || EndsSoon(pair.B.Sending))
        {
            pair.Wire.AdvanceSeconds(1);
        }

        bool EndsSoon(Keypair? keypair) => keypair is not null && keypair.MayReceive(pair.Wire.Now) && !keypair.MayReceive(pair.Wire.Now + TimeSpan.FromSeconds(10));
    }

    /// <summary>Numbered packets from one to the other, never more under way than may be staged.</summary>
    private sealed class Flow
    {
        public const int Most = Limits.MaxStagedPackets;
        private readonly VirtualTunnel _from;
        private readonly VirtualTunnel _to;
        private readonly VirtualWire _wire;

        public Flow(VirtualTunnel from, VirtualTunnel to, VirtualWire wire)
        {
            (_from, _to, _wire) = (from, to, wire);
            from.Interleaving = 0.3;
            from.Meanwhile = () => Send(wire.Random.Next(4) == 0 ? wire.Random.Next(3) : 0);
        }

        public bool IsOpen { get; set; } = true;

        public int Sent { get; private set; }

        public void Send(int count)
        {
            for (; count > 0 && IsOpen && Sent - _to.ReceivedCount < Most; count--)
            {
                byte[] content = new byte[4 + (_wire.Random.Next(3) * 100)];
                BitConverter.TryWriteBytes(content, Sent++);
                _from.Queue(content);
            }
        }

        public void AssertComplete(int round)
        {
            Assert.Equal(
                $"seed {_wire.Seed}, round {round}: {string.Join(' ', Enumerable.Range(0, Sent).TakeLast(_to.Received.Count))}",
                $"seed {_wire.Seed}, round {round}: {string.Join(' ', _to.Received.Select(content => BitConverter.ToInt32(content)))}");
            _to.Received.Clear();
            Assert.Equal(Sent, _to.ReceivedCount);
        }
    }
}
