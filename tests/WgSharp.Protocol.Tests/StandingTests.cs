using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>What a handshake message is worth before anybody spends a Diffie-Hellman on it.</summary>
public sealed class StandingTests
{
    [Fact]
    public void Mac1_tells_who_knows_our_public_key_for_as_many_messages_as_come()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        for (int count = 1; count <= MacKey.Lanes; count++)
        {
            for (int forged = 0; forged < count; forged++)
            {
                byte[] buffer = new byte[count * 200];
                int[] offsets = [.. Enumerable.Range(0, count).Select(i => i * 200)];
                foreach (int offset in offsets)
                {
                    initiation.CopyTo(buffer, offset);
                }

                buffer[offsets[forged] + 50] ^= 1;
                bool[] valid = new bool[MacKey.Lanes];
                pair.B.Device.CheckMac1(buffer, offsets, initiation.Length, valid);
                Assert.Equal(Enumerable.Range(0, count).Select(i => i != forged), valid.Take(count));
            }
        }
    }

    [Fact]
    public void Without_an_identity_nobody_knows_our_public_key()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        bool[] valid = [false];
        pair.B.Device.CheckMac1(initiation, [0], initiation.Length, valid);
        Assert.True(valid[0]);
        pair.B.Apply(new DeviceConfiguration { RemovePrivateKey = true });
        pair.B.Device.CheckMac1(initiation, [0], initiation.Length, valid);
        Assert.False(valid[0]);
    }

    [Fact]
    public void A_source_is_proven_by_its_cookie_and_only_when_it_is_looked_at()
    {
        var pair = new DevicePair();
        pair.B.UnderLoad = true;
        pair.B.Handle(pair.A.Initiation(), pair.A.Address);
        Assert.Equal(HandshakeOutcome.CookieStored, pair.A.Handle(pair.B.Reply, pair.B.Address));
        pair.Advance(TimeSpan.FromSeconds(5));
        byte[] withCookie = pair.A.Initiation(retry: true);
        Instant now = pair.Now;
        Assert.True(WireMessage.HasCookie(withCookie));
        Assert.Equal(HandshakeStanding.Proven, pair.B.Device.Judge(withCookie, pair.A.Address, checksMac2: true, now));
        Assert.Equal(HandshakeStanding.Honest, pair.B.Device.Judge(withCookie, pair.A.Address, checksMac2: false, now));
        Assert.Equal(HandshakeStanding.Honest, pair.B.Device.Judge(withCookie, DevicePair.At("192.0.2.99", 1), checksMac2: true, now));
        Assert.Equal(HandshakeStanding.Honest, pair.B.Device.Judge(withCookie, pair.A.Address, checksMac2: true, now + TimeSpan.FromSeconds(120)));
    }

    [Fact]
    public void An_answer_to_our_initiation_is_awaited_until_three_were_forged_and_again_with_the_next_initiation()
    {
        var pair = new DevicePair();
        byte[] initiation = pair.A.Initiation();
        uint index = BitConverter.ToUInt32(initiation, 4);
        byte[] forged = Response(pair.A, index);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(HandshakeStanding.Awaited, pair.A.Device.Judge(forged, pair.B.Address, checksMac2: true, pair.Now));
            Assert.Equal(HandshakeOutcome.Dropped, pair.A.Handle(forged, pair.B.Address));
        }

        Assert.Equal(HandshakeStanding.Honest, pair.A.Device.Judge(forged, pair.B.Address, checksMac2: true, pair.Now));
        pair.Advance(TimeSpan.FromSeconds(5));
        byte[] next = pair.A.Initiation(retry: true);
        Assert.Equal(HandshakeStanding.Worthless, pair.A.Device.Judge(forged, pair.B.Address, checksMac2: true, pair.Now));
        forged = Response(pair.A, BitConverter.ToUInt32(next, 4));
        Assert.Equal(HandshakeStanding.Awaited, pair.A.Device.Judge(forged, pair.B.Address, checksMac2: true, pair.Now));
    }

    [Fact]
    public void What_answers_nothing_of_ours_is_worthless()
    {
        var pair = new DevicePair();
        Assert.Equal(HandshakeStanding.Worthless, pair.A.Device.Judge(Response(pair.A, 12345), pair.B.Address, checksMac2: true, pair.Now));
        byte[] cookie = new byte[MessageSize.CookieReply];
        cookie[0] = 3;
        Assert.Equal(HandshakeStanding.Worthless, pair.A.Device.Judge(cookie, pair.B.Address, checksMac2: true, pair.Now));
    }

    /// <summary>A response with a right mac1 and nothing else.</summary>
    private static byte[] Response(DeviceEnd to, uint index)
    {
        byte[] message = new byte[MessageSize.HandshakeResponse];
        message[0] = 2;
        BitConverter.TryWriteBytes(message.AsSpan(8), index);
        Span<byte> key = stackalloc byte[32];
        Blake2s.Hash("mac1----"u8, to.PublicKey.Span, key);
        Blake2s.Mac(key, message.AsSpan(0, 60), message.AsSpan(60, 16));
        return message;
    }
}
