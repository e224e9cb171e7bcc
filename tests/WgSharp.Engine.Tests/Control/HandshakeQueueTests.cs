using System.Buffers.Binary;
using System.Net;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests.Control;

/// <summary>Who gets a place, who goes first, and who is a load.</summary>
public sealed class HandshakeQueueTests
{
    private readonly HandshakeQueue _queue = new(new Random(1).NextBytes);
    private readonly byte[] _message = new byte[MessageSize.HandshakeInitiation];
    private Instant _now = new(1_000_000_000_000);

    [Fact]
    public void A_source_that_floods_takes_no_place_and_no_turn_from_another()
    {
        int kept = 0;
        for (int i = 0; i < 100_000; i++)
        {
            kept += Add(Initiation(1), From("192.0.2.66", 1000 + (i % 50_000)), HandshakeStanding.Honest, _now) ? 1 : 0;
        }

        Assert.Equal(1, kept);
        Add(Initiation(2), From("192.0.2.1", 51820), HandshakeStanding.Honest, _now);
        int before = 0;
        while (Take().Sender != 2)
        {
            before++;
        }

        // By address and by port take turns, and within each the sources do.
        Assert.InRange(before, 0, 4);
    }

    [Fact]
    public void Behind_one_address_there_are_places_by_port()
    {
        for (int i = 0; i < 1000; i++)
        {
            Add(Initiation(1), From("192.0.2.66", 1000), HandshakeStanding.Honest, _now);
        }

        Add(Initiation(2), From("192.0.2.66", 2000), HandshakeStanding.Honest, _now);
        var senders = new List<uint>();
        while (!_queue.IsEmpty)
        {
            senders.Add(Take().Sender);
        }

        Assert.Contains(2u, senders);
        Assert.InRange(senders.Count, 2, 9);
    }

    [Fact]
    public void Every_address_of_an_ipv6_network_shares_its_places()
    {
        for (int i = 0; i < 10_000; i++)
        {
            Add(Initiation(1), From($"2001:db8::{i:x}", 1000), HandshakeStanding.Honest, _now);
        }

        int count = 0;
        for (; !_queue.IsEmpty; count++)
        {
            Take();
        }

        // Four by the network, and what addresses with one port share among the places by port.
        Assert.InRange(count, 4, 4 + (128 * 4));
        Assert.False(_queue.IsUnderLoad(_queue.HashOf(From("2001:db9::1", 1000).Source), _now + TimeSpan.FromSeconds(2)));
    }

    [Fact]
    public void Answers_to_us_go_first_then_proven_sources_then_the_others()
    {
        Add(Initiation(1), From("192.0.2.1", 1), HandshakeStanding.Honest, _now);
        Add(Initiation(2), From("192.0.2.2", 1), HandshakeStanding.Proven, _now);
        Add(Response(3, 77), From("192.0.2.3", 1), HandshakeStanding.Awaited, _now);
        Assert.Equal([HandshakeStanding.Awaited, HandshakeStanding.Proven, HandshakeStanding.Honest], [Take().Standing, Take().Standing, Take().Standing]);
        Assert.True(_queue.IsEmpty);
    }

    [Fact]
    public void Merely_honest_ones_can_be_left_for_later()
    {
        Add(Initiation(1), From("192.0.2.1", 1), HandshakeStanding.Honest, _now);
        Assert.False(_queue.TryTake(_message, _now, onlySure: true, out _));
        Add(Initiation(2), From("192.0.2.2", 1), HandshakeStanding.Proven, _now);
        Assert.True(_queue.TryTake(_message, _now, onlySure: true, out _));
        Assert.False(_queue.IsEmpty);
        Assert.Equal(1u, Take().Sender);
    }

    [Fact]
    public void Copies_of_one_answer_take_no_place_from_the_answers_to_others()
    {
        for (int i = 0; i < 10_000; i++)
        {
            Add(Response(1, 500), From("192.0.2.66", 1), HandshakeStanding.Awaited, _now);
        }

        for (uint i = 0; i < 255; i++)
        {
            Add(Response(2, 501 + i), From("192.0.2.1", 1), HandshakeStanding.Awaited, _now);
        }

        var taken = new List<uint>();
        while (!_queue.IsEmpty)
        {
            (HandshakeStanding standing, uint sender) = Take();
            Assert.Equal(HandshakeStanding.Awaited, standing);
            taken.Add(sender);
        }

        Assert.Equal(255, taken.Count(sender => sender == 2));
        Assert.Equal(4, taken.Count(sender => sender == 1));
    }

    [Fact]
    public void Only_the_address_that_makes_the_load_needs_a_cookie_for_a_second()
    {
        HandshakeOrigin flood = From("192.0.2.66", 1000);
        HandshakeOrigin honest = From("192.0.2.1", 51820);
        Flood(flood, 100);
        Assert.False(_queue.IsUnderLoad(_queue.HashOf(flood.Source), _now));
        Flood(flood, 200);
        Assert.True(_queue.IsUnderLoad(_queue.HashOf(flood.Source), _now));
        Assert.False(_queue.IsUnderLoad(_queue.HashOf(honest.Source), _now));
        Assert.True(_queue.TryTake(_message, _now, onlySure: false, out QueuedHandshake taken));
        Assert.True(taken.NeedsCookie);

        _now += TimeSpan.FromSeconds(1);
        Assert.False(_queue.IsUnderLoad(_queue.HashOf(flood.Source), _now));
    }

    [Fact]
    public void A_load_without_a_free_place_is_hopeless_and_nobody_else_is()
    {
        SourceHash flood = _queue.HashOf(From("192.0.2.66", 1000).Source);
        SourceHash neighbour = _queue.HashOf(From("192.0.2.66", 2000).Source);
        Flood(From("192.0.2.66", 1000), 100);
        Assert.False(_queue.IsHopeless(flood, _now));
        Flood(From("192.0.2.66", 1000), 100);
        Assert.True(_queue.IsHopeless(flood, _now));
        Assert.False(_queue.IsHopeless(neighbour, _now));
        Take();
        Take();
        Assert.False(_queue.IsHopeless(flood, _now));
        Flood(From("192.0.2.66", 1000), 100);
        Assert.False(_queue.IsHopeless(flood, _now + TimeSpan.FromSeconds(1)));
    }

    [Fact]
    public void Mac2_is_looked_at_64_times_in_10_ms_for_one_source()
    {
        SourceHash flood = _queue.HashOf(From("192.0.2.66", 1000).Source);
        Assert.Equal(64, Enumerable.Range(0, 1000).Count(_ => _queue.MayCheckMac2(flood, _now)));
        Assert.True(_queue.MayCheckMac2(_queue.HashOf(From("192.0.2.1", 1).Source), _now));
        Assert.True(_queue.MayCheckMac2(flood, _now + TimeSpan.FromMilliseconds(10)));
    }

    [Fact]
    public void A_control_loop_that_keeps_up_is_not_under_load()
    {
        HandshakeOrigin source = From("192.0.2.1", 51820);
        for (int i = 0; i < 1000; i++)
        {
            Flood(source, 20);
            while (!_queue.IsEmpty)
            {
                Take();
            }
        }

        Assert.False(_queue.IsUnderLoad(_queue.HashOf(source.Source), _now));
    }

    [Fact]
    public void When_many_wait_everybody_needs_a_cookie_but_answers_to_us_do_not()
    {
        for (int i = 0; i < 2000; i++)
        {
            Add(Initiation(1), From($"198.51.{i / 250}.{i % 250}", 1000), HandshakeStanding.Honest, _now);
        }

        Assert.True(_queue.IsUnderLoad(_queue.HashOf(From("192.0.2.1", 1).Source), _now));
        Add(Response(3, 77), From("192.0.2.3", 1), HandshakeStanding.Awaited, _now);
        Assert.True(_queue.TryTake(_message, _now, onlySure: false, out QueuedHandshake taken));
        Assert.Equal((HandshakeStanding.Awaited, false), (taken.Standing, taken.NeedsCookie));
    }

    [Fact]
    public void The_control_loop_is_woken_for_the_first_and_for_the_first_that_is_sure()
    {
        HandshakeOrigin origin = From("192.0.2.1", 1);
        Assert.True(Add(Initiation(1), origin, HandshakeStanding.Honest, _now));
        Assert.False(Add(Initiation(1), origin, HandshakeStanding.Honest, _now));
        Assert.True(Add(Initiation(1), origin, HandshakeStanding.Proven, _now));
        Assert.False(Add(Initiation(1), origin, HandshakeStanding.Proven, _now));
        _queue.Clear();
        Assert.True(_queue.IsEmpty);
        Assert.False(_queue.TryTake(_message, _now, onlySure: false, out _));
        Assert.True(Add(Initiation(1), origin, HandshakeStanding.Proven, _now));
    }

    private bool Add(byte[] message, in HandshakeOrigin origin, HandshakeStanding standing, Instant now) =>
        _queue.Add(message, origin, _queue.HashOf(origin.Source), standing, now);

    private void Flood(in HandshakeOrigin origin, int count)
    {
        for (int i = 0; i < count; i++)
        {
            Add(Initiation(1), origin, HandshakeStanding.Honest, _now);
        }
    }

    private (HandshakeStanding Standing, uint Sender) Take()
    {
        Assert.True(_queue.TryTake(_message, _now, onlySure: false, out QueuedHandshake taken));
        return (taken.Standing, BinaryPrimitives.ReadUInt32LittleEndian(_message.AsSpan(4)));
    }

    private static byte[] Initiation(uint sender)
    {
        byte[] message = new byte[MessageSize.HandshakeInitiation];
        message[0] = 1;
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(4), sender);
        return message;
    }

    private static byte[] Response(uint sender, uint receiver)
    {
        byte[] message = new byte[MessageSize.HandshakeResponse];
        message[0] = 2;
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(4), sender);
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(8), receiver);
        return message;
    }

    private static HandshakeOrigin From(string address, int port) =>
        new(new InetEndpoint(InetAddress.From(IPAddress.Parse(address)), (ushort)port), InetAddress.None, 0);
}
