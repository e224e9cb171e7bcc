using System.Buffers.Binary;
using System.Net;
using WgSharp.Engine.Mtu;
using WgSharp.Engine.Tests.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Mtu;

/// <summary>Probes and their answers byte by byte; what a kernel answers stands in the tests of WgSharp.Linux.</summary>
public sealed class MtuProbesTests
{
    private static readonly FillRandom _random = new Random(3).NextBytes;
    private readonly ProbeToken[] _pending = [.. Enumerable.Range(0, 16).Select(_ => ProbeToken.Draw(_random))];

    [Theory]
    [InlineData("10.0.0.1", "10.0.0.2", ProbeKind.Peer, 64, 44)]
    [InlineData("10.0.0.1", "10.0.0.2", ProbeKind.Return, 64, 44)]
    [InlineData("10.0.0.1", "10.0.0.2", ProbeKind.Expire, 1, 44)]
    [InlineData("fd00::1", "fd00::2", ProbeKind.Peer, 64, 64)]
    [InlineData("fd00::1", "fd00::2", ProbeKind.Return, 64, 64)]
    [InlineData("fd00::1", "fd00::2", ProbeKind.Expire, 1, 64)]
    public void A_probe_is_an_echo_request_with_right_checksums(string own, string peer, ProbeKind kind, byte hopLimit, int length)
    {
        byte[] probe = Probe(own, peer, kind, 3);
        Assert.Equal(length, probe.Length);
        bool isIPv4 = length == 44;
        Assert.Equal(hopLimit, probe[isIPv4 ? 8 : 7]);
        Assert.Equal(Bytes(own), isIPv4 ? probe[12..16] : probe[8..24]);
        Assert.Equal(Bytes(kind == ProbeKind.Peer ? peer : own), isIPv4 ? probe[16..20] : probe[24..40]);
        Assert.Equal(isIPv4 ? (8, 0) : (128, 0), (probe[^24], probe[^23]));
        AssertChecksums(probe);
    }

    [Fact]
    public void Addresses_of_two_families_make_no_probe()
    {
        Assert.Throws<ArgumentException>(() => Probe("10.0.0.1", "fd00::2", ProbeKind.Peer, 0));
        Assert.Throws<ArgumentException>(() => MtuProbes.Write(ProbeKind.Return, _pending[0], default, default, new byte[100]));
    }

    public static TheoryData<string, bool, bool> Answers
    {
        get
        {
            var answers = new TheoryData<string, bool, bool>();
            foreach (bool isIPv4 in (bool[])[true, false])
            {
                answers.Add("EchoReply", isIPv4, false);
                answers.Add("Returned", isIPv4, false);
                foreach (string error in (string[])["TimeExceeded", "Redirect", "Unreachable"])
                {
                    answers.Add(error, isIPv4, false);
                    answers.Add(error, isIPv4, true);
                }
            }

            return answers;
        }
    }

    [Theory]
    [MemberData(nameof(Answers))]
    public void An_answer_tells_which_probe_it_is_for_and_whose_it_is(string name, bool isIPv4, bool isCut)
    {
        ProbeAnswer expected = Enum.Parse<ProbeAnswer>(name);
        for (int i = 0; i < _pending.Length; i++)
        {
            byte[] answer = Answer(expected, isIPv4, i, isCut);
            Assert.Equal(expected, MtuProbes.Recognise(answer, _pending, out int index, out InetAddress speaker));
            Assert.Equal(i, index);
            Assert.Equal(expected == ProbeAnswer.Returned ? InetAddress.None : Address(isIPv4 ? "10.0.0.2" : "fd00::2"), speaker);

            // With padding behind it, too; but of nobody who has no such probe.
            Assert.Equal(expected, MtuProbes.Recognise([.. answer, 0, 0, 0], _pending, out _, out _));
            Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(answer, _pending.AsSpan(0, i), out index, out speaker));
            Assert.Equal((-1, InetAddress.None), (index, speaker));
            Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(answer, [], out _, out _));
        }
    }

    [Theory]
    [MemberData(nameof(Answers))]
    public void One_bit_of_identifier_sequence_or_secret_makes_it_somebody_elses(string name, bool isIPv4, bool isCut)
    {
        byte[] answer = Answer(Enum.Parse<ProbeAnswer>(name), isIPv4, 5, isCut);
        int known = isCut ? 4 : 20;
        for (int bit = 0; bit < known * 8; bit++)
        {
            byte[] other = [.. answer];
            other[other.Length - known + (bit / 8)] ^= (byte)(1 << (bit % 8));
            Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(other, _pending, out _, out _));
        }

        for (int length = 0; length < answer.Length; length++)
        {
            Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(answer.AsSpan(0, length), _pending, out _, out _));
        }
    }

    [Fact]
    public void Fragments_and_pings_of_others_are_for_the_tun()
    {
        byte[] reply = Answer(ProbeAnswer.EchoReply, isIPv4: true, 0, isCut: false);
        reply[6] = 0x20;
        Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(reply, _pending, out _, out _));
        reply[6] = 0;
        reply[7] = 1;
        Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(reply, _pending, out _, out _));

        // An echo request to somebody else is a ping, whatever is in it.
        byte[] ping = Answer(ProbeAnswer.Returned, isIPv4: true, 0, isCut: false);
        ping[15]++;
        Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(ping, _pending, out _, out _));
        byte[] ping6 = Answer(ProbeAnswer.Returned, isIPv4: false, 0, isCut: false);
        ping6[23]++;
        Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(ping6, _pending, out _, out _));
    }

    [Fact]
    public void An_error_that_quotes_something_else_is_for_the_tun()
    {
        byte[] udp = Answer(ProbeAnswer.TimeExceeded, isIPv4: true, 0, isCut: false);
        udp[28 + 9] = 17;
        Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(udp, _pending, out _, out _));
        byte[] reply = Answer(ProbeAnswer.TimeExceeded, isIPv4: true, 0, isCut: false);
        reply[28 + 20] = 0;
        Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(reply, _pending, out _, out _));
        byte[] udp6 = Answer(ProbeAnswer.TimeExceeded, isIPv4: false, 0, isCut: false);
        udp6[48 + 6] = 17;
        Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(udp6, _pending, out _, out _));
    }

    [Fact]
    public void Noise_is_survived_and_is_no_answer()
    {
        var random = new Random(8);
        foreach (ProbeAnswer kind in (ProbeAnswer[])[ProbeAnswer.EchoReply, ProbeAnswer.Returned, ProbeAnswer.TimeExceeded, ProbeAnswer.Redirect, ProbeAnswer.Unreachable])
        {
            for (int i = 0; i < 20_000; i++)
            {
                byte[] noise = Answer(kind, i % 2 == 0, i % 16, isCut: false)[..];
                int header = i % 2 == 0 ? 20 : 40;
                random.NextBytes(noise.AsSpan(header + 1));
                noise[header + random.Next(noise.Length - header)] = 4;
                noise[header + random.Next(1, 50) % (noise.Length - header)] = 1;
                Array.Resize(ref noise, random.Next(noise.Length + 1));
                Assert.Equal(ProbeAnswer.None, MtuProbes.Recognise(noise, _pending, out _, out _));
            }
        }
    }

    [Fact]
    public void Looking_at_a_packet_and_building_one_allocates_nothing()
    {
        byte[] answer = Answer(ProbeAnswer.Redirect, isIPv4: false, 15, isCut: false);
        byte[] data = InnerPackets.Build(new Flow(), new byte[1000]);
        byte[] probe = new byte[MtuProbes.MaxLength];
        InetAddress own = Address("fd00::1");
        var pending = new PendingProbes();
        pending.Add(_pending[15], 1);
        Allocations.AssertNone(1000, () =>
        {
            MtuProbes.Recognise(answer, pending.Tokens, out _, out _);
            MtuProbes.Recognise(data, pending.Tokens, out _, out _);
            MtuProbes.Write(ProbeKind.Return, _pending[0], own, default, probe);
        });
    }

    [Fact]
    public void The_last_sixteen_probes_are_pending_and_each_is_answered_once()
    {
        var pending = new PendingProbes();
        for (uint id = 1; id <= 20; id++)
        {
            pending.Add(new ProbeToken((ushort)id, 0, id), id);
        }

        Assert.Equal(16, pending.Tokens.Length);
        Assert.False(pending.TryTake(new ProbeToken(4, 0, 4), out uint taken));
        Assert.Equal(0u, taken);
        Assert.True(pending.TryTake(new ProbeToken(5, 0, 5), out taken));
        Assert.Equal(5u, taken);
        Assert.False(pending.TryTake(new ProbeToken(5, 0, 5), out _));
        Assert.True(pending.TryTake(new ProbeToken(20, 0, 20), out taken));
        Assert.Equal(20u, taken);

        // All are known again: a second answer is not for the TUN either, nor is a late one of another path.
        Assert.Equal(16, pending.Tokens.Length);
        pending.Disregard();
        Assert.Equal(16, pending.Tokens.Length);
        Assert.False(pending.TryTake(new ProbeToken(6, 0, 6), out _));
    }

    private byte[] Probe(string own, string peer, ProbeKind kind, int index)
    {
        byte[] buffer = new byte[MtuProbes.MaxLength];
        return buffer[..MtuProbes.Write(kind, _pending[index], Address(own), Address(peer), buffer)];
    }

    /// <summary>As another host would make it.</summary>
    private byte[] Answer(ProbeAnswer kind, bool isIPv4, int index, bool isCut)
    {
        (string own, string peer) = isIPv4 ? ("10.0.0.1", "10.0.0.2") : ("fd00::1", "fd00::2");
        byte[] probe = Probe(own, peer, kind == ProbeAnswer.EchoReply ? ProbeKind.Peer : ProbeKind.Return, index);
        int header = isIPv4 ? 20 : 40;
        if (kind == ProbeAnswer.Returned)
        {
            probe[isIPv4 ? 8 : 7]--;
            return probe;
        }

        byte[] quote = isCut ? probe[..(header + 8)] : probe;
        byte[] icmp = (kind, isIPv4) switch
        {
            (ProbeAnswer.EchoReply, true) => [0, 0, .. probe[22..]],
            (ProbeAnswer.EchoReply, false) => [129, 0, .. probe[42..]],
            (ProbeAnswer.TimeExceeded, true) => [11, 0, 1, 2, 0, 0, 0, 0, .. quote],
            (ProbeAnswer.TimeExceeded, false) => [3, 0, 1, 2, 0, 0, 0, 0, .. quote],
            (ProbeAnswer.Unreachable, true) => [3, 10, 1, 2, 0, 0, 0, 0, .. quote],
            (ProbeAnswer.Unreachable, false) => [1, 1, 1, 2, 0, 0, 0, 0, .. quote],
            (ProbeAnswer.Redirect, true) => [5, 1, 1, 2, 10, 0, 0, 1, .. quote],
            _ => [137, 0, 1, 2, 0, 0, 0, 0, .. new byte[32], 2, 1, 0, 0, 0, 0, 0, 0, 4, 9, 0, 0, 0, 0, 0, 0, .. quote],
        };
        byte[] packet = [.. new byte[header], .. icmp];
        if (isIPv4)
        {
            packet[0] = 0x45;
            packet[9] = 1;
            BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(2), (ushort)packet.Length);
        }
        else
        {
            packet[0] = 0x60;
            packet[6] = 58;
            BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(4), (ushort)icmp.Length);
        }

        Bytes(peer).CopyTo(packet, isIPv4 ? 12 : 8);
        Bytes(own).CopyTo(packet, isIPv4 ? 16 : 24);
        return packet;
    }

    private static void AssertChecksums(byte[] packet)
    {
        bool isIPv4 = packet[0] >> 4 == 4;
        int header = isIPv4 ? 20 : 40;
        Assert.Equal(0, isIPv4 ? InnerPackets.NaiveChecksum(packet.AsSpan(0, header)) : 0);
        Assert.Equal(0, InnerPackets.NaiveChecksum(packet.AsSpan(header), isIPv4 ? 0 : InnerPackets.NaivePseudoHeader(packet, packet.Length - header)));
    }

    private static InetAddress Address(string address) => InetAddress.From(IPAddress.Parse(address));

    private static byte[] Bytes(string address) => IPAddress.Parse(address).GetAddressBytes();
}
