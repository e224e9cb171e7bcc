using System.Buffers.Binary;
using System.Runtime.InteropServices;
using WgSharp.Protocol;

namespace WgSharp.Linux;

/// <summary>
/// struct sockaddr_in and sockaddr_in6 as byte arithmetic: family (host order), port (network order), then the address at 4;
/// or flow label at 4, address at 8, scope at 24.
/// </summary>
internal static class SocketAddress
{
    internal const int IPv4Size = 16;
    internal const int IPv6Size = 28;

    /// <returns>The bytes written: 16 or 28.</returns>
    internal static int Write(Span<byte> target, in InetEndpoint endpoint)
    {
        bool ipv6 = endpoint.Address.IsIPv6;
        int size = ipv6 ? IPv6Size : IPv4Size;
        target[..size].Clear();
        ushort family = ipv6 ? (ushort)Libc.AF_INET6 : (ushort)Libc.AF_INET;
        MemoryMarshal.Write(target, in family);
        BinaryPrimitives.WriteUInt16BigEndian(target[2..], endpoint.Port);
        endpoint.Address.CopyTo(target[(ipv6 ? 8 : 4)..]);
        if (ipv6)
        {
            uint scope = endpoint.ScopeId;
            MemoryMarshal.Write(target[24..], in scope);
        }

        return size;
    }

    /// <summary>The address that is bound for "any address of this family".</summary>
    internal static int WriteAny(Span<byte> target, bool ipv6, ushort port) =>
        Write(target, new InetEndpoint(new InetAddress(stackalloc byte[ipv6 ? 16 : 4]), port));

    internal static InetEndpoint Read(ReadOnlySpan<byte> source, bool ipv6)
    {
        ushort port = BinaryPrimitives.ReadUInt16BigEndian(source[2..]);
        return ipv6
            ? new InetEndpoint(new InetAddress(source.Slice(8, 16)), port, MemoryMarshal.Read<uint>(source[24..]))
            : new InetEndpoint(new InetAddress(source.Slice(4, 4)), port);
    }
}
