using WgSharp.Engine;

namespace WgSharp.Linux.Tests;

/// <summary>Opening sockets in a namespace, and waiting for what arrives at them.</summary>
internal static class UdpDatagrams
{
    internal static UdpSocket Open(TestNamespace side, KernelFeature disabled, out ushort port)
    {
        UdpSocket udp = side.Run(() => new UdpSocket(new KernelFeatures(disabled)));
        port = side.Run(() => udp.Open(0, 0));
        return udp;
    }

    internal static void WaitFor(UdpSocket udp)
    {
        using var waiter = new EpollWaiter(null, udp, new KernelFeatures());
        Assert.Equal(Readiness.Udp, waiter.Wait(SystemClock.Now + TimeSpan.FromSeconds(20)));
    }

    internal static List<ReceivedDatagram> Receive(UdpSocket udp, int count)
    {
        PacketBatch batch = Packets.InboundBatch();
        var datagrams = new List<ReceivedDatagram>();
        while (datagrams.Count < count)
        {
            WaitFor(udp);
            udp.Receive(batch);
            foreach (DatagramTrain train in batch.Trains.AsSpan(0, batch.TrainCount))
            {
                for (int at = 0; at < train.Length; at += train.Stride)
                {
                    datagrams.Add(new ReceivedDatagram(batch.Buffer.AsSpan(train.Offset + at, Math.Min(train.Stride, train.Length - at)).ToArray(), train));
                }
            }
        }

        Assert.Equal(count, datagrams.Count);
        return datagrams;
    }
}

/// <summary>One datagram, and the train that it came in.</summary>
internal sealed record ReceivedDatagram(byte[] Bytes, DatagramTrain Train);
