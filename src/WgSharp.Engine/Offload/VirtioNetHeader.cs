using System.Runtime.InteropServices;

namespace WgSharp.Engine.Offload;

/// <summary>struct virtio_net_hdr (include/uapi/linux/virtio_net.h): 10 bytes, native byte order, before every packet of a TUN device with IFF_VNET_HDR.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public struct VirtioNetHeader
{
    public const int Size = 10;

    /// <summary>VIRTIO_NET_HDR_F_NEEDS_CSUM: the checksum at CsumStart + CsumOffset covers only the pseudo header so far.</summary>
    public const byte NeedsCsum = 1;

    public const byte GsoNone = 0;
    public const byte GsoTcp4 = 1;
    public const byte GsoTcp6 = 4;
    public const byte GsoUdpL4 = 5;

    /// <summary>VIRTIO_NET_HDR_GSO_ECN: or-ed into the type where the TCP flow has CWR set.</summary>
    public const byte GsoEcn = 0x80;

    public byte Flags;
    public byte GsoType;

    /// <summary>Bytes of IP and transport header.</summary>
    public ushort HdrLen;

    /// <summary>Payload bytes per segment.</summary>
    public ushort GsoSize;

    /// <summary>Where checksumming starts, from the IP header.</summary>
    public ushort CsumStart;

    /// <summary>Where the checksum stands, from CsumStart.</summary>
    public ushort CsumOffset;
}
