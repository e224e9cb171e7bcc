using System.Collections.Concurrent;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>Carries every frame that one TUN sends to another, both ways, header and all.</summary>
internal sealed class TunPump : IDisposable
{
    private readonly ConcurrentDictionary<byte, bool> _gsoTypes = new();
    private readonly EpollWaiter[] _waiters;
    private readonly Thread[] _threads;
    private volatile bool _stopped;

    internal TunPump(TunDevice a, TunDevice b)
    {
        _waiters = [new EpollWaiter(a, null, a.Features), new EpollWaiter(b, null, b.Features)];
        _threads = [new Thread(() => Carry(a, b, _waiters[0])), new Thread(() => Carry(b, a, _waiters[1]))];
        foreach (Thread thread in _threads)
        {
            thread.Start();
        }
    }

    internal ICollection<byte> SeenGsoTypes => _gsoTypes.Keys;

    public void Dispose()
    {
        _stopped = true;
        foreach (EpollWaiter waiter in _waiters)
        {
            waiter.Wake();
        }

        foreach (Thread thread in _threads)
        {
            thread.Join();
        }

        foreach (EpollWaiter waiter in _waiters)
        {
            waiter.Dispose();
        }
    }

    private void Carry(TunDevice from, TunDevice to, EpollWaiter waiter)
    {
        PacketBatch batch = Packets.OutboundBatch();
        while (!_stopped)
        {
            if (from.Read(batch) == IoStatus.WouldBlock)
            {
                waiter.Wait(Instant.Never);
                continue;
            }

            batch.SliceCount = 0;
            for (int i = 0; i < batch.FrameCount; i++)
            {
                ref TunFrame frame = ref batch.Frames[i];
                _gsoTypes[frame.Header.GsoType] = true;
                frame.FirstSlice = batch.SliceCount;
                frame.SliceCount = 1;
                batch.Slices[batch.SliceCount++] = new BufferSlice(frame.Offset, frame.Length);
            }

            to.Write(batch);
        }
    }
}
