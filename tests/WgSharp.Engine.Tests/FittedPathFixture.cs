using System.Buffers.Binary;
using WgSharp.Engine.Offload;
using WgSharp.Engine.Tests.Offload;
using WgSharp.Protocol;

namespace WgSharp.Engine.Tests;

/// <summary>
/// A <see cref="DataPathFixture"/> whose packets are those of <see cref="InnerPackets"/>, plain or super-packets, of both families, and whose path takes only so
/// much. What B opens is exactly what A sealed: B has no policy of its own.
/// </summary>
public abstract class FittedPathFixture : DataPathFixture
{
    private protected const int MtuOfTun = 1500;

    private readonly InboundPath _opener;

    private protected FittedPathFixture()
    {
        foreach (string address in (string[])["10.0.0.200", "fd00::2"])
        {
            Configure(_a, null, PeerOfA.PublicKey, address, EndpointB);
        }

        Configure(_b, null, PeerOfB.PublicKey, "fd00::1", EndpointA);
        _opener = NewInbound(MtuPolicy.Kernel);
        _path = NewOutbound(MtuPolicy.Auto);
    }

    private protected Peer PeerOfA => _a.Peers.First();

    private protected Peer PeerOfB => _b.Peers.First();

    /// <summary>A's way out: remembers whom it told.</summary>
    private protected OutboundPath _path;

    private protected TunnelLink _linkA = null!;

    /// <summary>The longest inner packet that fits into an outer IPv4 packet.</summary>
    private protected static int MaxInner(int outer) => outer - 60;

    private protected OutboundPath NewOutbound(MtuPolicy policy)
    {
        _linkA = new TunnelLink(_a, _waiter) { MtuPolicy = policy, Mtu = MtuOfTun };
        return new OutboundPath(Io(_tunA), _a, _linkA, new RunSender(_udp, _linkA, new WarningList(_warnings)), new WarningList(_warnings));
    }

    private protected InboundPath NewInbound(MtuPolicy policy)
    {
        var link = new TunnelLink(_b, _waiter) { MtuPolicy = policy, Mtu = MtuOfTun };
        return new InboundPath(
            Io(_tunB), _b, link, new HandshakeScreen(_b, _handshakes, link), InboundPath.CreateCoalescer(TunOffload.None), new WarningList(_warnings));
    }

    /// <summary>Fragments do not pass, and that is known: probes have said so.</summary>
    private protected PeerPath MakeHard(int outer)
    {
        PeerPath path = Follow();
        Instant now = _moment.Now;
        path.Mtu.NoteTraffic(_udp.Mtu, now);
        for (int i = 0; i < 1000 && !(path.Budget.IsHard && path.Budget.OuterMtu == outer); i++)
        {
            while (path.Mtu.TryTakeProbe(now, out PathProbe probe))
            {
                if (probe.DontFragment && probe.OuterSize <= outer)
                {
                    path.Mtu.NoteAnswered(probe.Id, now);
                }
            }

            now += TimeSpan.FromMilliseconds(100);
        }

        Assert.True(path.Budget.IsHard);
        Assert.Equal(outer, path.Budget.OuterMtu);
        return path;
    }

    private protected PeerPath Follow() => PeerOfA.FollowPath(EndpointB, _udp.Mtu, MtuPolicy.Auto, _moment.Now);

    /// <summary>A batch that holds the frames, and no more than so much of what is made of them.</summary>
    private protected static PacketBatch Batch(IReadOnlyList<WireFrame> frames, int packets = 1024, int room = 400_000)
    {
        int capacity = frames.Sum(frame => frame.Bytes.Length);
        return new PacketBatch(capacity + room, packets, frames.Count, trains: 0) { ReadCapacity = capacity };
    }

    private protected static WireFrame Plain(byte[] packet) => new(default, packet);

    /// <summary>The checksum is left to "hardware".</summary>
    private protected static WireFrame Partial(byte[] packet)
    {
        byte[] bytes = [.. packet];
        bool isIPv6 = packet[0] >> 4 == 6;
        int start = isIPv6 ? 40 : 20;
        int offset = (isIPv6 ? packet[6] : packet[9]) == 6 ? 16 : 6;
        ushort sum = (ushort)~InnerPackets.NaiveChecksum([], InnerPackets.NaivePseudoHeader(packet, packet.Length - start));
        BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(start + offset), sum);
        return new WireFrame(new VirtioNetHeader { Flags = VirtioNetHeader.NeedsCsum, CsumStart = (ushort)start, CsumOffset = (ushort)offset }, bytes);
    }

    /// <summary>Sends frames, and opens what left.</summary>
    /// <returns>The inner packets, in order.</returns>
    private protected List<byte[]> Carry(params WireFrame[] frames) => Carry(Batch(frames), frames);

    private protected List<byte[]> Carry(PacketBatch batch, params WireFrame[] frames)
    {
        SendBy(batch, frames);
        int before = _tunB.Written.Count;
        Receive(_opener);
        return _tunB.Written[before..];
    }

    private protected void SendBy(PacketBatch batch, params WireFrame[] frames)
    {
        _udp.RunCounts.Clear();
        _udp.RunLengths.Clear();
        _tunA.Packets = [.. frames.Select(frame => frame.Bytes)];
        _tunA.Headers = [.. frames.Select(frame => frame.Header)];
        batch.Clear();
        _tunA.Read(batch);
        SplitPosition position = default;
        bool more;
        do
        {
            more = _path.Prepare(batch, ref position, _moment.Now);
            OutboundPath.Seal(batch);
            _path.Transmit(batch, _moment.Now);
        }
        while (more);
    }

    /// <summary>As <see cref="Carry(WireFrame[])"/>, and by batches of hardly any size too, which have to be gone on with again and again: the same must leave, and the
    /// same be told.</summary>
    /// <param name="told">The ICMP errors that went into A's TUN.</param>
    private protected List<byte[]> CarryAnyhow(MtuPolicy policy, WireFrame[] frames, out List<byte[]> told)
    {
        _path = NewOutbound(policy);
        _tunA.Written.Clear();
        List<byte[]> sent = Carry(frames);
        int[] runs = [.. _udp.RunCounts];
        told = [.. _tunA.Written];
        for (int packets = 1; packets < 8; packets++)
        {
            _path = NewOutbound(policy);
            _tunA.Written.Clear();
            Assert.Equal(sent, Carry(Batch(frames, packets, room: 10_000), frames));

            // Of two pairs of addresses one may displace the other, and be told once more.
            Assert.Equal(told.DistinctBy(error => error[0] >> 4), _tunA.Written.DistinctBy(error => error[0] >> 4));
        }

        _udp.RunCounts.Clear();
        _udp.RunCounts.AddRange(runs);
        return sent;
    }
}
