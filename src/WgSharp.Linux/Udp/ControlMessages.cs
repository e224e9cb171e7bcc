using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// Ancillary data (cmsg(3)) as byte arithmetic: each message is a header of length (native word), level and type (ints), its data,
/// and padding to the native word. Built for sending, read after receiving; neither trusts a length that leaves the buffer.
/// </summary>
internal static class ControlMessages
{
    /// <summary>Room for everything that is asked for: 4 messages, the longest an in6_pktinfo.</summary>
    internal const int ReceiveSpace = 128;

    /// <summary>Room for everything that is sent: in6_pktinfo, DS field, hop limit, segment size.</summary>
    internal const int SendSpace = 128;

    private static readonly int _word = nuint.Size;
    private static readonly int _header = nuint.Size + 8;

    /// <summary>Builds what goes with one send.</summary>
    /// <param name="source">The address to send from, or none. Its interface is named only where the address means nothing without
    /// (link-local): as in the kernel module, the routes decide through which interface a packet leaves, not where the last one came in.</param>
    /// <param name="trafficClass">The outer DS field; 0 is the sockets' default and needs no message.</param>
    /// <param name="hopLimit">The outer hop limit; 0 is the sockets' own and needs no message.</param>
    /// <param name="segment">Bytes per message for UDP_SEGMENT, or 0.</param>
    /// <returns>The bytes used of <paramref name="target"/>, which has <see cref="SendSpace"/>.</returns>
    internal static int Write(Span<byte> target, in InetAddress source, int sourceInterface, byte trafficClass, byte hopLimit, int segment, bool ipv6)
    {
        int used = 0;
        if (!source.IsNone && source.IsIPv6 == ipv6)
        {
            used += ipv6 ? WritePktInfo6(target, source, sourceInterface) : WritePktInfo4(target, source);
        }

        if (trafficClass != 0)
        {
            WriteInt(target, ref used, ipv6 ? Libc.IPPROTO_IPV6 : Libc.IPPROTO_IP, ipv6 ? Libc.IPV6_TCLASS : Libc.IP_TOS, trafficClass);
        }

        if (hopLimit != 0)
        {
            WriteInt(target, ref used, ipv6 ? Libc.IPPROTO_IPV6 : Libc.IPPROTO_IP, ipv6 ? Libc.IPV6_HOPLIMIT : Libc.IP_TTL, hopLimit);
        }

        if (segment != 0)
        {
            Span<byte> data = Begin(target, ref used, Libc.IPPROTO_UDP, Libc.UDP_SEGMENT, sizeof(ushort));
            ushort value = (ushort)segment;
            MemoryMarshal.Write(data, in value);
        }

        return used;
    }

    /// <summary>Reads what came with one receive into the train; its Length is set already.</summary>
    internal static void Read(ReadOnlySpan<byte> control, ref DatagramTrain train)
    {
        while (TryTake(ref control, out int level, out int type, out ReadOnlySpan<byte> data))
        {
            ReadOne(level, type, data, ref train);
        }
    }

    /// <summary>NETLINK_LISTEN_ALL_NSID: the namespace that a netlink message is about; untouched where it is the socket's own.</summary>
    internal static void ReadNamespaceId(ReadOnlySpan<byte> control, ref int nsid)
    {
        while (TryTake(ref control, out int level, out int type, out ReadOnlySpan<byte> data))
        {
            if (level == Libc.SOL_NETLINK && type == Libc.NETLINK_LISTEN_ALL_NSID && data.Length >= sizeof(int))
            {
                nsid = MemoryMarshal.Read<int>(data);
            }
        }
    }

    /// <summary>IP_RECVERR and IPV6_RECVERR: struct sock_extended_err (errno, origin, type, code, padding, info, data), if it is a router's word that a datagram was too large.</summary>
    internal static bool TryReadTooLarge(ReadOnlySpan<byte> control, bool ipv6, out int mtu)
    {
        while (TryTake(ref control, out int level, out int type, out ReadOnlySpan<byte> data))
        {
            bool isError = (level, type) == (ipv6 ? (Libc.IPPROTO_IPV6, Libc.IPV6_RECVERR) : (Libc.IPPROTO_IP, Libc.IP_RECVERR));
            if (isError && data.Length >= 16)
            {
                mtu = MemoryMarshal.Read<int>(data[8..]);
                return ipv6
                    ? data[4] == Libc.SO_EE_ORIGIN_ICMP6 && data[5] == Libc.ICMPV6_PKT_TOOBIG
                    : data[4] == Libc.SO_EE_ORIGIN_ICMP && data[5] == Libc.ICMP_DEST_UNREACH && data[6] == Libc.ICMP_FRAG_NEEDED;
            }
        }

        mtu = 0;
        return false;
    }

    private static bool TryTake(ref ReadOnlySpan<byte> control, out int level, out int type, out ReadOnlySpan<byte> data)
    {
        level = 0;
        type = 0;
        data = default;
        if (control.Length < _header)
        {
            return false;
        }

        nuint length = MemoryMarshal.Read<nuint>(control);
        if (length < (nuint)_header || length > (nuint)control.Length)
        {
            return false;
        }

        level = MemoryMarshal.Read<int>(control[_word..]);
        type = MemoryMarshal.Read<int>(control[(_word + 4)..]);
        data = control[_header..(int)length];
        control = control[Math.Min(Align((int)length), control.Length)..];
        return true;
    }

    private static void ReadOne(int level, int type, ReadOnlySpan<byte> data, ref DatagramTrain train)
    {
        switch (level, type)
        {
            // struct in_pktinfo: interface, the local address to answer from, the address in the header.
            case (Libc.IPPROTO_IP, Libc.IP_PKTINFO) when data.Length >= 12:
                train.LocalInterface = MemoryMarshal.Read<int>(data);
                train.LocalAddress = new InetAddress(data.Slice(4, 4));
                break;

            // struct in6_pktinfo: address, interface.
            case (Libc.IPPROTO_IPV6, Libc.IPV6_PKTINFO) when data.Length >= 20:
                train.LocalAddress = new InetAddress(data[..16]);
                train.LocalInterface = MemoryMarshal.Read<int>(data[16..]);
                break;

            // One byte for IPv4, an int for IPv6.
            case (Libc.IPPROTO_IP, Libc.IP_TOS) when data.Length >= 1:
                train.TrafficClass = data[0];
                break;
            case (Libc.IPPROTO_IPV6, Libc.IPV6_TCLASS) when data.Length >= sizeof(int):
                train.TrafficClass = (byte)MemoryMarshal.Read<int>(data);
                break;

            case (Libc.IPPROTO_UDP, Libc.UDP_GRO) when data.Length >= sizeof(int):
                int stride = MemoryMarshal.Read<int>(data);
                train.Stride = stride > 0 && stride < train.Length ? stride : train.Length;
                break;

            case (Libc.IPPROTO_IP, Libc.IP_RECVFRAGSIZE) when data.Length >= sizeof(int):
            case (Libc.IPPROTO_IPV6, Libc.IPV6_RECVFRAGSIZE) when data.Length >= sizeof(int):
                train.FragmentSize = MemoryMarshal.Read<int>(data);
                break;
        }
    }

    private static int WritePktInfo4(Span<byte> target, in InetAddress source)
    {
        int used = 0;
        Span<byte> data = Begin(target, ref used, Libc.IPPROTO_IP, Libc.IP_PKTINFO, 12);
        data.Clear();
        source.CopyTo(data[4..]);
        return used;
    }

    private static int WritePktInfo6(Span<byte> target, in InetAddress source, int sourceInterface)
    {
        int used = 0;
        Span<byte> data = Begin(target, ref used, Libc.IPPROTO_IPV6, Libc.IPV6_PKTINFO, 20);
        source.CopyTo(data);
        int scope = data[0] == 0xfe && (data[1] & 0xc0) == 0x80 ? sourceInterface : 0;
        MemoryMarshal.Write(data[16..], in scope);
        return used;
    }

    private static void WriteInt(Span<byte> target, ref int used, int level, int type, int value) =>
        MemoryMarshal.Write(Begin(target, ref used, level, type, sizeof(int)), in value);

    private static Span<byte> Begin(Span<byte> target, ref int used, int level, int type, int size)
    {
        Span<byte> message = target.Slice(used, Align(_header + size));
        nuint length = (nuint)(_header + size);
        MemoryMarshal.Write(message, in length);
        MemoryMarshal.Write(message[_word..], in level);
        MemoryMarshal.Write(message[(_word + 4)..], in type);
        used += message.Length;
        return message.Slice(_header, size);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Align(int length) => (length + _word - 1) & -_word;
}
