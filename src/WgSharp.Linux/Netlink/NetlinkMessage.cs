using System.Runtime.InteropServices;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// Messages of rtnetlink(7) as byte arithmetic. A message is a header of 16 bytes (length, type, flags, sequence, port), a body of
/// fixed size, and attributes (length, type, data), everything aligned to 4 bytes and in native order.
/// </summary>
internal readonly ref struct NetlinkMessage
{
    internal const int HeaderSize = 16;

    private const int AddressBody = 8;

    private readonly ReadOnlySpan<byte> _bytes;

    private NetlinkMessage(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    internal ushort Type => MemoryMarshal.Read<ushort>(_bytes[4..]);

    internal uint Sequence => MemoryMarshal.Read<uint>(_bytes[8..]);

    /// <summary>Of the socket that asked; 0 where nobody did.</summary>
    internal uint Port => MemoryMarshal.Read<uint>(_bytes[12..]);

    internal ReadOnlySpan<byte> Body => _bytes[HeaderSize..];

    /// <summary>Takes the next message off a received buffer.</summary>
    /// <returns>False at the end, or where the rest is no message.</returns>
    internal static bool TryTake(scoped ref ReadOnlySpan<byte> buffer, out NetlinkMessage message)
    {
        message = default;
        if (buffer.Length < HeaderSize)
        {
            return false;
        }

        uint length = MemoryMarshal.Read<uint>(buffer);
        if (length < HeaderSize || length > (uint)buffer.Length)
        {
            return false;
        }

        message = new NetlinkMessage(buffer[..(int)length]);
        buffer = buffer[Math.Min(Align((int)length), buffer.Length)..];
        return true;
    }

    /// <summary>NLMSG_ERROR: the errno, 0 for an acknowledgement.</summary>
    internal int ReadError() => Body.Length >= sizeof(int) ? -MemoryMarshal.Read<int>(Body) : Errno.EPROTO;

    /// <summary>RTM_NEWLINK and RTM_DELLINK of AF_UNSPEC (bridges send their own kind): struct ifinfomsg and IFLA_MTU.</summary>
    internal bool TryReadLink(out int index, out bool up, out int mtu)
    {
        const int ifinfomsg = 16;
        index = 0;
        up = false;
        mtu = 0;
        if (Type is not (Libc.RTM_NEWLINK or Libc.RTM_DELLINK) || Body.Length < ifinfomsg || Body[0] != 0)
        {
            return false;
        }

        index = MemoryMarshal.Read<int>(Body[4..]);
        up = (MemoryMarshal.Read<uint>(Body[8..]) & Libc.IFF_UP) != 0;
        return TryReadAttribute(ifinfomsg, Libc.IFLA_MTU, out mtu);
    }

    /// <summary>RTM_NEWNSID and RTM_DELNSID: the number that a namespace has for another one, -1 if none.</summary>
    internal bool TryReadNamespaceId(out int id)
    {
        id = -1;
        return Type is Libc.RTM_NEWNSID or Libc.RTM_DELNSID && TryReadAttribute(4, Libc.NETNSA_NSID, out id);
    }

    /// <summary>RTM_NEWROUTE: the interface that the route leaves through.</summary>
    internal bool TryReadRoute(out int outgoing)
    {
        const int rtmsg = 12;
        outgoing = 0;
        return Type == Libc.RTM_NEWROUTE && TryReadAttribute(rtmsg, Libc.RTA_OIF, out outgoing);
    }

    /// <summary>RTM_NEWADDR and RTM_DELADDR: struct ifaddrmsg (family, prefix length, flags, scope, index).</summary>
    internal bool TryReadAddressIndex(out int index)
    {
        index = Type is Libc.RTM_NEWADDR or Libc.RTM_DELADDR && Body.Length >= AddressBody ? MemoryMarshal.Read<int>(Body[4..]) : 0;
        return index != 0;
    }

    /// <summary>RTM_NEWADDR of one family: the interface's own address, which is IFA_LOCAL, or IFA_ADDRESS where that does not name the other end.</summary>
    internal bool TryReadAddress(byte family, out InetAddress address)
    {
        address = InetAddress.None;
        int size = family == Libc.AF_INET6 ? 16 : 4;
        if (Type != Libc.RTM_NEWADDR || Body.Length < AddressBody || Body[0] != family
            || (!TryReadAttribute(AddressBody, Libc.IFA_LOCAL, size, out ReadOnlySpan<byte> bytes)
                && !TryReadAttribute(AddressBody, Libc.IFA_ADDRESS, size, out bytes)))
        {
            return false;
        }

        address = new InetAddress(bytes[..size]);
        return true;
    }

    private bool TryReadAttribute(int bodySize, ushort wanted, out int value)
    {
        bool found = TryReadAttribute(bodySize, wanted, sizeof(int), out ReadOnlySpan<byte> bytes);
        value = found ? MemoryMarshal.Read<int>(bytes) : 0;
        return found;
    }

    private bool TryReadAttribute(int bodySize, ushort wanted, int size, out ReadOnlySpan<byte> value)
    {
        const int header = 4;
        value = default;
        ReadOnlySpan<byte> rest = Body.Length >= bodySize ? Body[bodySize..] : default;
        while (rest.Length >= header)
        {
            int length = MemoryMarshal.Read<ushort>(rest);
            if (length < header || length > rest.Length)
            {
                return false;
            }

            if (MemoryMarshal.Read<ushort>(rest[2..]) == wanted && length >= header + size)
            {
                value = rest[header..length];
                return true;
            }

            rest = rest[Math.Min(Align(length), rest.Length)..];
        }

        return false;
    }

    internal static int Align(int length) => (length + 3) & ~3;
}

/// <summary>Builds a request of rtnetlink(7) in a caller's buffer.</summary>
internal ref struct NetlinkRequest
{
    private readonly Span<byte> _bytes;
    private int _length;

    /// <param name="bytes">Room for the whole request.</param>
    /// <param name="bodySize">Bytes of the fixed body, left all zeros.</param>
    internal NetlinkRequest(Span<byte> bytes, ushort type, ushort flags, uint sequence, int bodySize)
    {
        bytes.Clear();
        _bytes = bytes;
        _length = NetlinkMessage.HeaderSize + NetlinkMessage.Align(bodySize);
        MemoryMarshal.Write(bytes[4..], in type);
        MemoryMarshal.Write(bytes[6..], in flags);
        MemoryMarshal.Write(bytes[8..], in sequence);
    }

    /// <summary>The fixed part, to be filled in.</summary>
    internal readonly Span<byte> Body => _bytes[NetlinkMessage.HeaderSize.._length];

    internal void Add(ushort type, scoped ReadOnlySpan<byte> data)
    {
        ushort length = (ushort)(4 + data.Length);
        MemoryMarshal.Write(_bytes[_length..], in length);
        MemoryMarshal.Write(_bytes[(_length + 2)..], in type);
        data.CopyTo(_bytes[(_length + 4)..]);
        _length += NetlinkMessage.Align(length);
    }

    internal void Add(ushort type, int value)
    {
        Span<byte> data = stackalloc byte[sizeof(int)];
        MemoryMarshal.Write(data, in value);
        Add(type, data);
    }

    /// <summary>An attribute that holds those which are added until its <see cref="End"/>.</summary>
    /// <returns>Where it begins.</returns>
    internal int Begin(ushort type)
    {
        int start = _length;
        Add(type, []);
        return start;
    }

    internal readonly void End(int start)
    {
        ushort length = (ushort)(_length - start);
        MemoryMarshal.Write(_bytes[start..], in length);
    }

    /// <summary>The finished request.</summary>
    internal readonly ReadOnlySpan<byte> Finish()
    {
        uint length = (uint)_length;
        MemoryMarshal.Write(_bytes, in length);
        return _bytes[.._length];
    }
}
