using WgSharp.Crypto;
using WgSharp.Protocol;

namespace WgSharp.Engine.Inbound;

/// <summary>
/// What becomes of the handshake messages of a batch: their mac1 is checked on the receiving thread, eight at a time, and only those whose senders
/// know our public key are kept for the control loop. So a stranger's flood costs a hash for each message, takes nobody's place and is no load; and
/// whoever does know the key and floods costs even less, once there is no place left for it.
/// Used by one receiving thread at a time; empty between two calls of <see cref="Finish"/>.
/// </summary>
internal sealed class HandshakeScreen(Device device, HandshakeQueue queue, TunnelLink link)
{
    private readonly Candidates _initiations = new(MessageSize.HandshakeInitiation);
    private readonly Candidates _responses = new(MessageSize.HandshakeResponse);

    /// <summary>The train that was looked at last: all of its messages have one source.</summary>
    private int _train = -1;
    private SourceHash _source;
    private bool _isHopeless;

    /// <summary>Takes a message of a handshake's type and length.</summary>
    public void Add(PacketBatch batch, int train, int offset, int length, Instant now)
    {
        if (train != _train)
        {
            _train = train;
            _source = queue.HashOf(batch.Trains[train].Source);
            _isHopeless = queue.IsHopeless(_source, now);
        }

        if (length == MessageSize.CookieReply)
        {
            Keep(batch, new Candidate(train, offset, _source), length, now);
            return;
        }

        ReadOnlySpan<byte> message = batch.Buffer.AsSpan(offset, length);
        if (length == MessageSize.HandshakeInitiation && _isHopeless && !WireMessage.HasCookie(message))
        {
            batch.Drops.Add(DropReason.HandshakeFlood);
            return;
        }

        Candidates candidates = length == MessageSize.HandshakeInitiation ? _initiations : _responses;
        candidates.Offsets[candidates.Count] = offset;
        candidates.All[candidates.Count++] = new Candidate(train, offset, _source);
        if (candidates.Count == MacKey.Lanes)
        {
            Check(batch, candidates, now);
            _isHopeless = queue.IsHopeless(_source, now);
        }
    }

    /// <summary>The batch has no more of them.</summary>
    public void Finish(PacketBatch batch, Instant now)
    {
        _train = -1;
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
                Keep(batch, candidates.All[i], candidates.Length, now);
            }
            else
            {
                batch.Drops.Add(DropReason.WrongMac);
            }
        }

        candidates.Count = 0;
    }

    private void Keep(PacketBatch batch, in Candidate candidate, int length, Instant now)
    {
        ref readonly DatagramTrain train = ref batch.Trains[candidate.Train];
        ReadOnlySpan<byte> message = batch.Buffer.AsSpan(candidate.Offset, length);
        bool checksMac2 = length != MessageSize.CookieReply
            && WireMessage.HasCookie(message)
            && queue.IsUnderLoad(candidate.Source, now)
            && queue.MayCheckMac2(candidate.Source, now);
        HandshakeStanding standing = device.Judge(message, train.Source, checksMac2, now);
        if (standing != HandshakeStanding.Worthless
            && queue.Add(message, new HandshakeOrigin(train.Source, train.LocalAddress, train.LocalInterface), candidate.Source, standing, now))
        {
            link.WakeControlLoop();
        }
    }

    private readonly record struct Candidate(int Train, int Offset, SourceHash Source);

    /// <summary>Messages of one length whose mac1 is still to be checked.</summary>
    private sealed class Candidates(int length)
    {
        public readonly int[] Offsets = new int[MacKey.Lanes];
        public readonly Candidate[] All = new Candidate[MacKey.Lanes];
        public int Count;

        public int Length => length;
    }
}
