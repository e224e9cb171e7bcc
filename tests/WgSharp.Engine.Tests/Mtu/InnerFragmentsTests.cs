using System.Buffers.Binary;
using WgSharp.Engine.Mtu;
using WgSharp.Engine.Tests.Offload;

namespace WgSharp.Engine.Tests.Mtu;

public sealed class InnerFragmentsTests
{
    private const ushort DontFragment = 0x4000;
    private const ushort MoreFragments = 0x2000;

    private static readonly byte[] _copiedOption = [0x83, 7, 4, 10, 0, 0, 1];
    private static readonly byte[] _recordRoute = [7, 7, 4, 0, 0, 0, 0];

    [Theory]
    [InlineData(1500, 1320, 2, 764)]
    [InlineData(1500, 1499, 2, 764)]
    [InlineData(2836, 1428, 2, 1428)]
    [InlineData(2837, 1428, 3, 964)]
    [InlineData(4008, 1352, 3, 1348)]
    [InlineData(4009, 1352, 4, 1020)]
    [InlineData(1500, 28, 185, 28)]
    public void A_packet_is_cut_into_as_few_pieces_as_fit_and_even_ones(int length, int maxInner, int count, int first)
    {
        List<byte[]> pieces = Cut(Packet(length, 0, []), maxInner);
        Assert.Equal(count, pieces.Count);
        Assert.Equal(first, pieces[0].Length);
        Assert.InRange(pieces[^1].Length, first - (8 * count), maxInner);
    }

    [Theory]
    [InlineData(1321, 1320, 2)]
    [InlineData(1320, 1320, 0)]
    [InlineData(1500, 27, 0)]
    [InlineData(1500, -5, 0)]
    public void What_fits_and_what_nothing_can_be_cut_from_is_left_as_it_is(int length, int maxInner, int count) =>
        Assert.Equal(count, Cut(Packet(length, 0, []), maxInner).Count);

    [Fact]
    public void What_must_not_be_cut_is_left_as_it_is()
    {
        Assert.Empty(Cut(Packet(1500, DontFragment, []), 1320));
        Assert.Empty(Cut(InnerPackets.Build(new Flow { IsIPv6 = true }, new byte[1400]), 1320));
        Assert.Empty(Cut([], 1320));
        Assert.Empty(Cut(Packet(1500, 0, [])[..1400], 1320));

        // A fragment that more are to follow, but not of whole 8 bytes; one that would end behind 64 KiB.
        Assert.Empty(Cut(Packet(1501, MoreFragments, []), 1320));
        Assert.Empty(Cut(Packet(1500, 0x1fff, []), 1320));
    }

    [Theory]
    [InlineData(new byte[] { 0x83, 0, 0, 0 })]
    [InlineData(new byte[] { 0x83, 1, 0, 0 })]
    [InlineData(new byte[] { 1, 1, 1, 0x83 })]
    [InlineData(new byte[] { 7, 5, 0, 0 })]
    public void Options_that_cannot_be_understood_are_not_cut(byte[] options) => Assert.Empty(Cut(Packet(1500, 0, options), 1320));

    [Fact]
    public void Options_are_copied_where_their_flag_says_so()
    {
        byte[] options = [1, .. _recordRoute, .. _copiedOption, 0];
        List<byte[]> pieces = Cut(Packet(3000, 0, options), 1320);
        Assert.Equal(options, pieces[0][20..36]);
        Assert.All(pieces.Skip(1), piece => Assert.Equal([.. _copiedOption, 0], piece[20..28]));
        Assert.All(pieces.Skip(1), piece => Assert.Equal(0x47, piece[0]));
        Assert.All(Cut(Packet(3000, 0, [.. _recordRoute, 0]), 1320).Skip(1), piece => Assert.Equal(0x45, piece[0]));
    }

    [Fact]
    public void Any_packet_is_the_same_again_when_its_pieces_are_put_together()
    {
        var random = new Random(5);
        int cut = 0;
        for (int i = 0; i < 20_000; i++)
        {
            byte[] options = RandomOptions(random);
            int room = random.Next(3) == 0 ? random.Next(20, 200) : random.Next(500, 1500);
            int length = Math.Min(65535, Math.Max(20 + options.Length + 1, room + random.Next(-50, random.Next(2) == 0 ? 3000 : 40)));
            ushort flags = (ushort)(random.Next(3) == 0 ? random.Next(0, 0x2000 - 600) : 0);
            if (random.Next(4) == 0)
            {
                flags |= MoreFragments;
                length -= (length - 20 - options.Length) % 8;
            }

            byte[] packet = Packet(length, flags, options, random);
            List<byte[]> pieces = Cut(packet, room);
            if (pieces.Count == 0)
            {
                Assert.True(length <= room || room - 20 - options.Length < 8 || (flags & 0x1fff) + (length / 8) > 0x1fff);
                continue;
            }

            cut++;
            Assert.InRange(pieces.Count, 2, 65535);
            Assert.Equal(packet, Reassemble(pieces, room));
            int even = pieces[0].Length - 20 - options.Length;
            Assert.InRange(pieces[^1].Length, 21, room);
            Assert.All(pieces.Take(pieces.Count - 1), piece => Assert.Equal(even, piece.Length - ((piece[0] & 15) * 4)));

            // Not one less would do, and none is more than 8 bytes per piece shorter than another.
            int most = (room - 20 - options.Length) / 8 * 8;
            int payload = length - 20 - options.Length;
            Assert.True(payload > ((pieces.Count - 2) * most) + (room - 20 - options.Length));
            Assert.InRange(even - (payload / pieces.Count), -8, 8);
        }

        Assert.InRange(cut, 8000, 20_000);
    }

    [Fact]
    public void Pieces_are_cut_again_on_the_way()
    {
        var random = new Random(6);
        for (int i = 0; i < 300; i++)
        {
            byte[] packet = Packet(random.Next(1400, 9000), 0, RandomOptions(random), random);
            List<byte[]> pieces = [.. Cut(packet, random.Next(900, 1300)).SelectMany(piece => Cut(piece, 700) is { Count: > 0 } again ? again : [piece])];
            Assert.Equal(packet, Reassemble([.. pieces.OrderBy(_ => random.Next())], 1300));
        }
    }

    [Fact]
    public void Noise_is_survived()
    {
        var random = new Random(7);
        byte[] piece = new byte[200];
        for (int i = 0; i < 100_000; i++)
        {
            byte[] noise = new byte[random.Next(200)];
            random.NextBytes(noise);
            if (noise.Length > 7)
            {
                noise[0] = (byte)(0x40 | (noise[0] & 15));
                BinaryPrimitives.WriteUInt16BigEndian(noise.AsSpan(2), (ushort)random.Next(noise.Length + 1));
                noise[6] &= 0x3f;
            }

            if (InnerFragments.TryPlan(noise, random.Next(20, 150), out InnerFragments plan))
            {
                for (int j = 0; j < plan.Count; j++)
                {
                    plan.Write(noise, j, piece);
                }
            }
        }
    }

    [Fact]
    public void Nothing_is_allocated()
    {
        byte[] packet = Packet(3000, 0, [1, .. _recordRoute, .. _copiedOption, 0]);
        byte[] piece = new byte[1500];
        Allocations.AssertNone(1000, () =>
        {
            InnerFragments.TryPlan(packet, 1320, out InnerFragments plan);
            for (int i = 0; i < plan.Count; i++)
            {
                plan.Write(packet, i, piece);
            }
        });
    }

    private static List<byte[]> Cut(byte[] packet, int maxInner)
    {
        byte[] before = [.. packet];
        List<byte[]> pieces = [];
        if (InnerFragments.TryPlan(packet, maxInner, out InnerFragments plan))
        {
            byte[] buffer = new byte[plan.MaxLength];
            for (int i = 0; i < plan.Count; i++)
            {
                pieces.Add(buffer[..plan.Write(packet, i, buffer)]);
            }

            Assert.Equal(plan.MaxLength, pieces.Max(piece => piece.Length));
        }

        Assert.Equal(before, packet);
        return pieces;
    }

    /// <summary>RFC 815's holes, with the simplest of lists; checks each piece on the way.</summary>
    internal static byte[] Reassemble(List<byte[]> pieces, int maxInner)
    {
        byte[] first = pieces.MinBy(OffsetOf)!;
        int header = (first[0] & 15) * 4;
        int begin = OffsetOf(first);
        int total = 0;
        byte[] payload = new byte[pieces.Sum(piece => piece.Length)];
        byte[] last = first;
        bool[] filled = new bool[payload.Length];
        foreach (byte[] piece in pieces)
        {
            int own = (piece[0] & 15) * 4;
            Assert.InRange(piece.Length, own + 1, maxInner);
            Assert.Equal(piece.Length, BinaryPrimitives.ReadUInt16BigEndian(piece.AsSpan(2)));
            Assert.Equal(0, InnerPackets.NaiveChecksum(piece.AsSpan(0, own)));
            Assert.Equal(first[1], piece[1]);
            Assert.Equal(first[4..6], piece[4..6]);
            Assert.Equal(first[8..10], piece[8..10]);
            Assert.Equal(first[12..20], piece[12..20]);
            int offset = OffsetOf(piece) - begin;
            for (int i = own; i < piece.Length; i++)
            {
                Assert.False(filled[offset + i - own]);
                filled[offset + i - own] = true;
                payload[offset + i - own] = piece[i];
            }

            total = Math.Max(total, offset + piece.Length - own);
            last = OffsetOf(piece) > OffsetOf(last) ? piece : last;
            Assert.True(ReferenceEquals(piece, last) || pieces.Any(other => OffsetOf(other) > OffsetOf(piece)));
        }

        Assert.All(pieces.Where(piece => OffsetOf(piece) < OffsetOf(last)), piece => Assert.NotEqual(0, piece[6] & 0x20));
        Assert.All(filled[..total], Assert.True);
        byte[] whole = [.. first[..header], .. payload[..total]];
        BinaryPrimitives.WriteUInt16BigEndian(whole.AsSpan(2), (ushort)whole.Length);
        whole[6] = (byte)((whole[6] & ~0x20) | (last[6] & 0x20));
        BinaryPrimitives.WriteUInt16BigEndian(whole.AsSpan(10), 0);
        BinaryPrimitives.WriteUInt16BigEndian(whole.AsSpan(10), InnerPackets.NaiveChecksum(whole.AsSpan(0, header)));
        return whole;
    }

    private static int OffsetOf(byte[] piece) => (BinaryPrimitives.ReadUInt16BigEndian(piece.AsSpan(6)) & 0x1fff) * 8;

    private static byte[] RandomOptions(Random random)
    {
        List<byte> options = [];
        while (random.Next(3) > 0 && options.Count < 28)
        {
            byte type = (byte)(random.Next(2) == 0 ? 0x80 | random.Next(2, 30) : random.Next(1, 30));
            byte[] option = type == 1 ? [1] : [type, (byte)random.Next(2, 11), .. new byte[9]];
            options.AddRange(type == 1 ? option : option[..option[1]]);
        }

        options.AddRange(new byte[(4 - (options.Count % 4)) % 4]);
        return [.. options];
    }

    private static byte[] Packet(int length, ushort flags, byte[] options, Random? random = null)
    {
        byte[] packet = new byte[length];
        (random ?? new Random(1)).NextBytes(packet);
        packet[0] = (byte)(0x45 + (options.Length / 4));
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(2), (ushort)length);
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(6), flags);
        options.CopyTo(packet, 20);
        int header = 20 + options.Length;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(10), 0);
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(10), InnerPackets.NaiveChecksum(packet.AsSpan(0, header)));
        return packet;
    }
}
