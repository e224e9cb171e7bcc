using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using WgSharp.Protocol;

namespace WgSharp.Peers;

/// <summary>
/// Every UDP port of an address by one raw socket: 10,000 peers need neither 10,000 descriptors nor a wait for them. The kernel knows
/// nothing of these ports, so what it would answer ("port unreachable") has to be kept from leaving by a firewall's rule.
/// </summary>
internal sealed class RawUdp : IDisposable
{
    private const int SolSocket = 1;
    private const int SoReceiveBufferForce = 33;
    private const int HeaderSize = 8;
    private const int MaxIpHeader = 60;

    private readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Raw, ProtocolType.Udp);
    private readonly SocketAddress _hub;
    private readonly byte[] _in = new byte[2048];
    private readonly byte[] _out = new byte[HeaderSize + 2048];

    /// <param name="local">What is sent comes from this address, and only what is sent to it is received.</param>
    public RawUdp(IPAddress local, IPEndPoint hub)
    {
        _socket.Bind(new IPEndPoint(local, 0));
        _socket.Blocking = false;
        _socket.SetRawSocketOption(SolSocket, SoReceiveBufferForce, BitConverter.GetBytes(64 << 20));
        Hub = new InetEndpoint(InetAddress.From(hub.Address), (ushort)hub.Port);
        _hub = new IPEndPoint(hub.Address, 0).Serialize();
    }

    public InetEndpoint Hub { get; }

    /// <summary>One datagram from the hub; valid until the next call.</summary>
    /// <returns>False if nothing came within <paramref name="patience"/>.</returns>
    public bool TryReceive(TimeSpan patience, out ushort port, out Memory<byte> datagram)
    {
        while (true)
        {
            int length = _socket.Receive(_in, SocketFlags.None, out SocketError error);
            if (error == SocketError.Success && IsFromHub(_in.AsSpan(0, length), out int header))
            {
                port = BinaryPrimitives.ReadUInt16BigEndian(_in.AsSpan(header + 2));
                datagram = _in.AsMemory(header + HeaderSize, length - header - HeaderSize);
                return true;
            }

            if (error == SocketError.WouldBlock && !_socket.Poll(patience, SelectMode.SelectRead))
            {
                port = 0;
                datagram = default;
                return false;
            }

            if (error is not (SocketError.Success or SocketError.WouldBlock))
            {
                throw new SocketException((int)error);
            }
        }
    }

    /// <summary>One datagram from one of the ports to the hub.</summary>
    public void Send(ushort port, ReadOnlySpan<byte> datagram)
    {
        Span<byte> message = _out.AsSpan(0, HeaderSize + datagram.Length);
        BinaryPrimitives.WriteUInt16BigEndian(message, port);
        BinaryPrimitives.WriteUInt16BigEndian(message[2..], Hub.Port);
        BinaryPrimitives.WriteUInt16BigEndian(message[4..], (ushort)message.Length);

        // No checksum: UDP over IPv4 may do without.
        message[6..HeaderSize].Clear();
        datagram.CopyTo(message[HeaderSize..]);
        _socket.SendTo(message, SocketFlags.None, _hub);
    }

    public void Dispose() => _socket.Dispose();

    private bool IsFromHub(ReadOnlySpan<byte> packet, out int header)
    {
        header = packet.IsEmpty ? 0 : (packet[0] & 15) * 4;
        return header is >= 20 and <= MaxIpHeader
            && packet.Length >= header + HeaderSize
            && new InetAddress(packet.Slice(12, 4)) == Hub.Address
            && BinaryPrimitives.ReadUInt16BigEndian(packet[header..]) == Hub.Port;
    }
}
