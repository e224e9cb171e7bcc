using System.Buffers.Binary;
using System.Net;
using WgSharp.Engine;
using WgSharp.Engine.Offload;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>Small IP packets, and batches of the shapes that the paths use.</summary>
internal static class Packets
{
    internal static PacketBatch OutboundBatch(int superPackets = 4) =>
        new(superPackets * 66_000, 1024, frames: 64, trains: 0) { ReadCapacity = superPackets * 66_000 };

    internal static PacketBatch InboundBatch(int slots = 8) => new(slots * 65_536, 1024, frames: 64, trains: slots);

    internal static byte[] Payload(int length, int seed = 1)
    {
        byte[] payload = new byte[length];
        new Random(seed).NextBytes(payload);
        return payload;
    }

    /// <summary>A UDP datagram in an IP packet, both checksums right.</summary>
    internal static byte[] Udp(IPEndPoint source, IPEndPoint destination, ReadOnlySpan<byte> payload)
    {
        bool ipv6 = source.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6;
        int header = ipv6 ? 40 : 20;
        byte[] packet = new byte[header + 8 + payload.Length];
        Span<byte> udp = packet.AsSpan(header);
        BinaryPrimitives.WriteUInt16BigEndian(udp, (ushort)source.Port);
        BinaryPrimitives.WriteUInt16BigEndian(udp[2..], (ushort)destination.Port);
        BinaryPrimitives.WriteUInt16BigEndian(udp[4..], (ushort)udp.Length);
        payload.CopyTo(udp[8..]);
        if (ipv6)
        {
            packet[0] = 0x60;
            BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(4), (ushort)udp.Length);
            packet[6] = 17;
            packet[7] = 64;
            source.Address.GetAddressBytes().CopyTo(packet, 8);
            destination.Address.GetAddressBytes().CopyTo(packet, 24);
        }
        else
        {
            packet[0] = 0x45;
            BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(2), (ushort)packet.Length);
            packet[8] = 64;
            packet[9] = 17;
            source.Address.GetAddressBytes().CopyTo(packet, 12);
            destination.Address.GetAddressBytes().CopyTo(packet, 16);
            BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(10), (ushort)~Sum(packet.AsSpan(0, 20), 0));
        }

        uint pseudo = Sum(ipv6 ? packet.AsSpan(8, 32) : packet.AsSpan(12, 8), 17u + (uint)udp.Length);
        ushort checksum = (ushort)~Sum(udp, pseudo);
        BinaryPrimitives.WriteUInt16BigEndian(udp[6..], checksum == 0 ? (ushort)0xffff : checksum);
        return packet;
    }

    /// <summary>Adds a packet as the next frame to be written, cut into slices at the given lengths.</summary>
    internal static void AddFrame(PacketBatch batch, ReadOnlySpan<byte> packet, VirtioNetHeader header = default, params ReadOnlySpan<int> cuts)
    {
        int used = batch.SliceCount == 0 ? 0 : batch.Slices[batch.SliceCount - 1].Offset + batch.Slices[batch.SliceCount - 1].Length;
        packet.CopyTo(batch.Buffer.AsSpan(used));
        int first = batch.SliceCount;
        int at = 0;
        foreach (int cut in cuts)
        {
            batch.Slices[batch.SliceCount++] = new BufferSlice(used + at, cut - at);
            at = cut;
        }

        batch.Slices[batch.SliceCount++] = new BufferSlice(used + at, packet.Length - at);
        batch.Frames[batch.FrameCount++] = new TunFrame { Header = header, Length = packet.Length, FirstSlice = first, SliceCount = batch.SliceCount - first };
    }

    /// <summary>Adds messages of one stride as the next run.</summary>
    internal static void AddRun(PacketBatch batch, ReadOnlySpan<byte> messages, int stride, Endpoint? endpoint, byte trafficClass = 0, bool unsegmented = false)
    {
        int used = batch.RunCount == 0 ? 0 : batch.OutboundRuns[batch.RunCount - 1].Offset + batch.OutboundRuns[batch.RunCount - 1].Length;
        messages.CopyTo(batch.Buffer.AsSpan(used));
        batch.OutboundRuns[batch.RunCount++] = new OutboundRun
        {
            Count = (messages.Length + stride - 1) / stride,
            Offset = used,
            Length = messages.Length,
            Stride = stride,
            Endpoint = endpoint,
            TrafficClass = trafficClass,
            Unsegmented = unsegmented,
        };
    }

    internal static Endpoint Endpoint(string address, int port, string? source = null, uint scope = 0, int sourceInterface = 0) => new(
        new InetEndpoint(InetAddress.From(IPAddress.Parse(address)), (ushort)port, scope),
        source is null ? InetAddress.None : InetAddress.From(IPAddress.Parse(source)),
        sourceInterface);

    private static uint Sum(ReadOnlySpan<byte> bytes, uint sum)
    {
        for (int i = 0; i < bytes.Length; i += 2)
        {
            sum += (uint)(bytes[i] << 8) + (i + 1 < bytes.Length ? bytes[i + 1] : 0u);
        }

        while (sum > 0xffff)
        {
            sum = (sum & 0xffff) + (sum >> 16);
        }

        return sum;
    }
}
