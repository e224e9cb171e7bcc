using WgSharp.Protocol;

namespace WgSharp.Engine;

/// <summary>Where a handshake message came from and what address it was sent to.</summary>
internal readonly record struct HandshakeOrigin(InetEndpoint Source, InetAddress LocalAddress, int LocalInterface);

/// <summary>
/// Handshake messages on their way from the inbound path to the control loop: a bounded ring, so that a flood costs memory once and no more.
/// A full queue drops what arrives. The device is under load while the queue holds an eighth of its capacity, and for a second after
/// (whitepaper, section 5.3; receive.c, wg_receive_handshake_packet).
/// </summary>
internal sealed class HandshakeQueue
{
    private static readonly TimeSpan UnderLoadLasts = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly byte[] _bytes;
    private readonly int[] _lengths;
    private readonly HandshakeOrigin[] _origins;
    private readonly int _capacity;
    private int _head;
    private volatile int _count;
    private Instant _underLoadUntil;

    /// <param name="capacity">Messages; each takes 148 bytes.</param>
    public HandshakeQueue(int capacity)
    {
        _capacity = capacity;
        _bytes = new byte[capacity * MessageSize.HandshakeInitiation];
        _lengths = new int[capacity];
        _origins = new HandshakeOrigin[capacity];
    }

    public bool IsEmpty => _count == 0;

    /// <summary>Any thread.</summary>
    /// <param name="message">At most 148 bytes.</param>
    /// <returns>True if the queue was empty: the control loop must be woken.</returns>
    public bool Add(ReadOnlySpan<byte> message, in HandshakeOrigin origin)
    {
        lock (_lock)
        {
            if (_count == _capacity)
            {
                return false;
            }

            int slot = (_head + _count) % _capacity;
            message.CopyTo(_bytes.AsSpan(slot * MessageSize.HandshakeInitiation));
            _lengths[slot] = message.Length;
            _origins[slot] = origin;
            return _count++ == 0;
        }
    }

    /// <summary>Control loop only.</summary>
    /// <param name="message">148 bytes.</param>
    public bool TryTake(Span<byte> message, out int length, out HandshakeOrigin origin, Instant now, out bool underLoad)
    {
        lock (_lock)
        {
            underLoad = false;
            length = 0;
            origin = default;
            if (_count == 0)
            {
                return false;
            }

            if (_count >= _capacity / 8)
            {
                _underLoadUntil = now + UnderLoadLasts;
            }

            underLoad = now < _underLoadUntil;
            length = _lengths[_head];
            origin = _origins[_head];
            _bytes.AsSpan(_head * MessageSize.HandshakeInitiation, length).CopyTo(message);
            _head = (_head + 1) % _capacity;
            _count--;
            return true;
        }
    }

    /// <summary>Drops everything: the sockets were closed.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            _count = 0;
        }
    }
}
