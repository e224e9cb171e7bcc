using System.Buffers.Binary;
using System.Net;
using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>Two nodes over a pipe that loses, delays and reorders: WireGuard without a network.</summary>
public sealed class MessageTunnelTests
{
    private static readonly InetEndpoint At1 = new(InetAddress.From(IPAddress.Parse("192.0.2.1")), 1);
    private static readonly InetEndpoint At2 = new(InetAddress.From(IPAddress.Parse("192.0.2.2")), 2);

    [Fact]
    public void A_packet_that_has_to_wait_for_the_handshake_arrives_and_so_does_its_answer()
    {
        using var pair = new Pair(1, lossPercent: 0, maxDelay: 0);
        byte[] question = Packet("10.0.0.1", "10.0.0.2", 100, 1);
        Assert.Equal(SealResult.Staged, pair.A.Send(question));
        pair.Run(TimeSpan.FromSeconds(1));
        Assert.Equal([question], pair.B.Delivered);
        byte[] answer = Packet("10.0.0.2", "10.0.0.1", 1000, 2);
        Assert.Equal(SealResult.Sealed, pair.B.Send(answer));
        pair.Run(TimeSpan.FromSeconds(1));
        Assert.Equal([answer], pair.A.Delivered);
    }

    [Fact]
    public void A_session_without_anything_to_send_is_confirmed_by_a_keepalive()
    {
        using var pair = new Pair(2, lossPercent: 0, maxDelay: 0);
        pair.A.Send(Packet("10.0.0.1", "10.0.0.2", 10, 1));
        pair.Run(TimeSpan.FromSeconds(1));
        pair.Run(TimeSpan.FromSeconds(140));

        // The initiator's REKEY_AFTER_TIME has passed: B's packet makes A begin anew, and B sends with the new session without having heard data.
        Assert.Equal(SealResult.Sealed, pair.A.Send(Packet("10.0.0.1", "10.0.0.2", 10, 2)));
        pair.Run(TimeSpan.FromSeconds(50));
        Assert.Equal(SealResult.Sealed, pair.B.Send(Packet("10.0.0.2", "10.0.0.1", 10, 3)));
        pair.Run(TimeSpan.FromSeconds(1));
        Assert.Single(pair.A.Delivered);
    }

    [Fact]
    public void What_is_nobodys_is_told_and_what_is_no_packet()
    {
        using var pair = new Pair(3, lossPercent: 0, maxDelay: 0);
        Assert.Equal(SealResult.NoPeer, pair.A.Send(Packet("10.0.0.1", "10.9.9.9", 10, 1)));
        Assert.Equal(SealResult.Malformed, pair.A.Send([0x45, 0, 0]));
        Assert.Equal(0, pair.Carried);
    }

    [Fact]
    public void A_source_that_is_not_the_peers_is_not_delivered()
    {
        using var pair = new Pair(4, lossPercent: 0, maxDelay: 0);
        pair.A.Send(Packet("10.0.0.77", "10.0.0.2", 10, 1));
        pair.A.Send(Packet("10.0.0.1", "10.0.0.2", 10, 2));
        pair.Run(TimeSpan.FromSeconds(1));
        Assert.Single(pair.B.Delivered);
    }

    [Theory]
    [InlineData(11)]
    [InlineData(12)]
    [InlineData(13)]
    [InlineData(14)]
    public void Over_a_pipe_that_loses_duplicates_and_reorders_nothing_arrives_twice_or_changed_and_most_arrives(int seed)
    {
        using var pair = new Pair(seed, lossPercent: 15, maxDelay: 80);
        var random = new Random(seed);
        var sentByA = new HashSet<string>();
        var sentByB = new HashSet<string>();
        for (int i = 0; i < 3000; i++)
        {
            byte[] fromA = Packet("10.0.0.1", "10.0.0.2", random.Next(0, 1400), i);
            pair.A.Send(fromA);
            sentByA.Add(Convert.ToHexString(fromA));
            if (i > 100 && random.Next(2) == 0)
            {
                byte[] fromB = Packet("10.0.0.2", "10.0.0.1", random.Next(0, 1400), i);
                pair.B.Send(fromB);
                sentByB.Add(Convert.ToHexString(fromB));
            }

            pair.Run(TimeSpan.FromMilliseconds(random.Next(0, 300)));
        }

        // Seven minutes: several rekeys.
        pair.Run(TimeSpan.FromSeconds(10));
        AssertMostOf(sentByA, pair.B.Delivered);
        AssertMostOf(sentByB, pair.A.Delivered);
    }

    private static void AssertMostOf(HashSet<string> sent, List<byte[]> delivered)
    {
        string[] arrived = [.. delivered.Select(Convert.ToHexString)];
        Assert.Equal(arrived.Length, arrived.Distinct().Count());
        Assert.All(arrived, packet => Assert.Contains(packet, sent));
        Assert.InRange(arrived.Length, sent.Count * 70 / 100, sent.Count);
    }

    private static byte[] Packet(string source, string destination, int payload, int number)
    {
        byte[] packet = new byte[24 + payload];
        packet[0] = 0x45;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(2), (ushort)packet.Length);
        packet[8] = 64;
        packet[9] = 253;
        IPAddress.Parse(source).GetAddressBytes().CopyTo(packet, 12);
        IPAddress.Parse(destination).GetAddressBytes().CopyTo(packet, 16);
        BinaryPrimitives.WriteInt32BigEndian(packet.AsSpan(20), number);
        new Random(number).NextBytes(packet.AsSpan(24));
        return packet;
    }

    private sealed class Pair : IDisposable
    {
        private readonly PriorityQueue<(Node To, byte[] Bytes, InetEndpoint From), long> _pipe = new();
        private readonly Random _random;
        private readonly int _lossPercent;
        private readonly int _maxDelay;

        public Pair(int seed, int lossPercent, int maxDelay)
        {
            _random = new Random(seed);
            _lossPercent = lossPercent;
            _maxDelay = maxDelay;
            var fill = new SeededRandom(seed);
            using var keyA = NewKey(fill);
            using var keyB = NewKey(fill);
            A = new Node(this, At1, Tunnel(keyA, keyB, "10.0.0.2", At2, fill));
            B = new Node(this, At2, Tunnel(keyB, keyA, "10.0.0.1", null, fill));
        }

        public Moment Now { get; private set; } = new(new Instant(1_000_000_000_000), new UnixTime(1_700_000_000_000_000_000));

        public Node A { get; }

        public Node B { get; }

        public int Carried { get; private set; }

        public void Carry(Node from, ReadOnlySpan<byte> datagram, InetEndpoint to)
        {
            Carried++;
            for (int copies = _maxDelay > 0 && _random.Next(20) == 0 ? 2 : 1; copies > 0; copies--)
            {
                if (_random.Next(100) >= _lossPercent)
                {
                    TimeSpan delay = TimeSpan.FromMilliseconds(_maxDelay > 0 ? _random.Next(_maxDelay) : 0);
                    _pipe.Enqueue((to == At1 ? A : B, datagram.ToArray(), from.Address), (Now.Now + delay).Nanoseconds);
                }
            }
        }

        public void Run(TimeSpan span)
        {
            Instant end = Now.Now + span;
            while (true)
            {
                Instant next = Min(A.Tunnel.NextDeadline, B.Tunnel.NextDeadline);
                bool isDatagram = _pipe.TryPeek(out _, out long due) && due <= next.Nanoseconds;
                next = isDatagram ? new Instant(due) : next;
                if (next > end)
                {
                    break;
                }

                MoveTo(next);
                if (isDatagram)
                {
                    (Node to, byte[] bytes, InetEndpoint from) = _pipe.Dequeue();
                    to.Receive(bytes, from);
                }

                A.Flush();
                B.Flush();
            }

            MoveTo(end);
        }

        public void Dispose()
        {
            A.Tunnel.Dispose();
            B.Tunnel.Dispose();
        }

        private static PrivateKey NewKey(SeededRandom random)
        {
            byte[] key = new byte[PrivateKey.Size];
            random.Fill(key);
            return new PrivateKey(key);
        }

        private MessageTunnel Tunnel(PrivateKey own, PrivateKey other, string allowed, InetEndpoint? endpoint, SeededRandom random)
        {
            var peer = new PeerConfiguration { PublicKey = X25519.PublicKeyOf(other), Endpoint = endpoint };
            peer.AllowedIps.Add(new AllowedIpChange(IpPrefix.Of(InetAddress.From(IPAddress.Parse(allowed)), 32), Remove: false));
            var configuration = new DeviceConfiguration { PrivateKey = new PrivateKey(own.Span) };
            configuration.Peers.Add(peer);
            return new MessageTunnel(configuration, random.Fill, Now);
        }

        private void MoveTo(Instant instant)
        {
            long passed = Math.Max(0, instant.Nanoseconds - Now.Now.Nanoseconds);
            Now = new Moment(new Instant(Now.Now.Nanoseconds + passed), new UnixTime(Now.Wall.Nanoseconds + passed));
        }

        private static Instant Min(Instant left, Instant right) => left < right ? left : right;
    }

    private sealed class Node(Pair pair, InetEndpoint address, MessageTunnel tunnel)
    {
        private readonly byte[] _datagram = new byte[4096];
        private readonly byte[] _reply = new byte[148];

        public MessageTunnel Tunnel => tunnel;

        public InetEndpoint Address => address;

        public List<byte[]> Delivered { get; } = [];

        public SealResult Send(byte[] packet)
        {
            SealResult result = tunnel.Seal(packet, pair.Now, _datagram, out int length, out InetEndpoint to);
            if (result == SealResult.Sealed)
            {
                pair.Carry(this, _datagram.AsSpan(0, length), to);
            }

            Flush();
            return result;
        }

        public void Receive(byte[] datagram, InetEndpoint from)
        {
            switch (tunnel.Open(datagram, from, pair.Now, _reply, out int start, out int length))
            {
                case OpenResult.Packet:
                    Delivered.Add(datagram.AsSpan(start, length).ToArray());
                    break;
                case OpenResult.Reply:
                    pair.Carry(this, _reply.AsSpan(start, length), from);
                    break;
            }
        }

        public void Flush()
        {
            while (tunnel.TryTake(pair.Now, _datagram, out int length, out InetEndpoint to))
            {
                pair.Carry(this, _datagram.AsSpan(0, length), to);
            }
        }
    }
}
