using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>
/// What becomes of the handshake messages of a batch: their mac1 is checked on the receiving thread, eight at a time, and only those whose senders
/// know our public key are kept for the control loop. So a stranger's flood costs a hash for each message, takes nobody's place and is no load.
/// Used by one receiving thread at a time; empty between two calls of <see cref="Finish"/>.
/// </summary>
internal sealed class HandshakeScreen(Device device, HandshakeQueue queue, TunnelLink link)
{
    private readonly Candidates _initiations = new(MessageSize.HandshakeInitiation);
    private readonly Candidates _responses = new(MessageSize.HandshakeResponse);

    /// <summary>Takes a message of a handshake's type and length.</summary>
    public void Add(PacketBatch batch, int train, int offset, int length, Instant now)
    {
        if (length == MessageSize.CookieReply)
        {
            Keep(batch, train, offset, length, now);
            return;
        }

        Candidates candidates = length == MessageSize.HandshakeInitiation ? _initiations : _responses;
        candidates.Offsets[candidates.Count] = offset;
        candidates.Trains[candidates.Count++] = train;
        if (candidates.Count == MacKey.Lanes)
        {
            Check(batch, candidates, now);
        }
    }

    /// <summary>The batch has no more of them.</summary>
    public void Finish(PacketBatch batch, Instant now)
    {
        if (_initiations.Count > 0)
        {
            Check(batch, _initiations, now);
        }

        if (_responses.Count > 0)
        {
            Check(batch, _responses, now);
        }
    }

    private void Check(PacketBatch batch, Candidates candidates, Instant now)
    {
        Span<bool> valid = stackalloc bool[MacKey.Lanes];
        device.CheckMac1(batch.Buffer, candidates.Offsets.AsSpan(0, candidates.Count), candidates.Length, valid);
        for (int i = 0; i < candidates.Count; i++)
        {
            if (valid[i])
            {
                Keep(batch, candidates.Trains[i], candidates.Offsets[i], candidates.Length, now);
            }
        }

        candidates.Count = 0;
    }

    private void Keep(PacketBatch batch, int trainIndex, int offset, int length, Instant now)
    {
        ref readonly DatagramTrain train = ref batch.Trains[trainIndex];
        ReadOnlySpan<byte> message = batch.Buffer.AsSpan(offset, length);
        HandshakeStanding standing = device.Judge(message, train.Source, queue.IsUnderLoad(train.Source.Address, now), now);
        if (standing != HandshakeStanding.Worthless
            && queue.Add(message, new HandshakeOrigin(train.Source, train.LocalAddress, train.LocalInterface), standing, now))
        {
            link.WakeControlLoop();
        }
    }

    /// <summary>Messages of one length whose mac1 is still to be checked.</summary>
    private sealed class Candidates(int length)
    {
        public readonly int[] Offsets = new int[MacKey.Lanes];
        public readonly int[] Trains = new int[MacKey.Lanes];
        public int Count;

        public int Length => length;
    }
}
