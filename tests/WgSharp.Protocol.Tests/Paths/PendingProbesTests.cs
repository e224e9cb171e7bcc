using System.Net;

namespace WgSharp.Protocol.Tests;

/// <summary>Which answers belong to a probe that was sent.</summary>
public sealed class PendingProbesTests
{
    private static readonly InetAddress Speaker = InetAddress.From(IPAddress.Parse("10.0.0.2"));

    private readonly PendingProbes _probes = new();

    [Fact]
    public void A_token_is_twenty_random_bytes()
    {
        var token = ProbeToken.Draw(static bytes =>
        {
            Assert.Equal(20, bytes.Length);
            for (int i = 0; i < bytes.Length; i++)
            {
                bytes[i] = (byte)i;
            }
        });
        Assert.Equal(new ProbeToken(0x0100, 0x0302, UInt128.Parse("131211100f0e0d0c0b0a090807060504", System.Globalization.NumberStyles.HexNumber)), token);
    }

    [Fact]
    public void Each_is_taken_once_by_the_name_it_was_added_under()
    {
        _probes.Add(Token(1), 11);
        _probes.Add(Token(2), 12);
        Assert.True(_probes.TryTake(Token(2), out uint id));
        Assert.Equal(12u, id);
        Assert.False(_probes.TryTake(Token(2), out id));
        Assert.Equal(0u, id);
        Assert.False(_probes.TryTake(Token(3), out id));
        Assert.Equal(0u, id);
        Assert.True(_probes.TryTake(Token(1), out id));
        Assert.Equal(11u, id);
    }

    [Fact]
    public void What_was_answered_is_still_no_packet_for_anybody_else()
    {
        _probes.Add(Token(1), 11);
        Assert.True(_probes.TryTake(Token(1), out _));
        Assert.Equal([Token(1)], _probes.Tokens.ToArray());
    }

    [Fact]
    public void The_last_sixteen_are_known()
    {
        for (uint i = 1; i <= PendingProbes.Capacity; i++)
        {
            _probes.Add(Token(i), 100 + i);
        }

        Assert.Equal(PendingProbes.Capacity, _probes.Tokens.Length);
        _probes.Add(Token(17), 117);
        Assert.Equal(Enumerable.Range(2, PendingProbes.Capacity).Select(i => Token((uint)i)), _probes.Tokens.ToArray());
        Assert.False(_probes.TryTake(Token(1), out _));
        for (uint i = 2; i <= 17; i++)
        {
            Assert.True(_probes.TryTake(Token(i), out uint id));
            Assert.Equal(100 + i, id);
        }
    }

    [Fact]
    public void Whoever_looks_for_answers_keeps_what_it_looks_at()
    {
        _probes.Add(Token(1), 11);
        ReadOnlySpan<ProbeToken> before = _probes.Tokens;
        _probes.Add(Token(2), 12);
        Assert.Equal([Token(1)], before.ToArray());
    }

    [Fact]
    public void What_was_asked_on_another_way_counts_no_more()
    {
        _probes.Add(Token(1), 11);
        _probes.Disregard();
        Assert.Equal([Token(1)], _probes.Tokens.ToArray());
        Assert.False(_probes.TryTake(Token(1), out _));
        _probes.Add(Token(2), 12);
        Assert.True(_probes.TryTake(Token(2), out uint id));
        Assert.Equal(12u, id);
    }

    [Fact]
    public void Answers_are_taken_in_their_order_and_of_each_probe_one()
    {
        _probes.Add(Token(1), 11);
        _probes.Add(Token(2), 12);
        _probes.NoteAnswer(Token(2), Speaker);
        _probes.NoteAnswer(Token(3), Speaker);
        _probes.NoteAnswer(Token(2), InetAddress.None);
        _probes.NoteAnswer(Token(1), InetAddress.None);
        Assert.True(_probes.TryTakeAnswer(out uint id, out InetAddress speaker));
        Assert.Equal((12u, Speaker), (id, speaker));
        Assert.True(_probes.TryTakeAnswer(out id, out speaker));
        Assert.Equal((11u, InetAddress.None), (id, speaker));
        Assert.False(_probes.TryTakeAnswer(out id, out speaker));
        Assert.Equal((0u, InetAddress.None), (id, speaker));
    }

    [Fact]
    public void More_answers_than_probes_are_forgotten()
    {
        _probes.Add(Token(1), 11);
        for (int i = 0; i < PendingProbes.Capacity; i++)
        {
            _probes.NoteAnswer(Token(2), Speaker);
        }

        _probes.NoteAnswer(Token(1), Speaker);
        Assert.False(_probes.TryTakeAnswer(out _, out _));
        for (int i = 1; i < PendingProbes.Capacity; i++)
        {
            _probes.NoteAnswer(Token(2), Speaker);
        }

        _probes.NoteAnswer(Token(1), Speaker);
        Assert.True(_probes.TryTakeAnswer(out _, out _));
    }

    private static ProbeToken Token(uint number) => new((ushort)number, 7, number);
}
