namespace WgSharp.Engine.Offload;

/// <summary>Offsets and flags of the TCP header (RFC 9293, section 3.1).</summary>
internal static class Tcp
{
    public const byte Protocol = 6;
    public const int MinHeaderSize = 20;
    public const int SequenceOffset = 4;

    /// <summary>The byte whose upper half counts the header's 32-bit words.</summary>
    public const int DataOffsetOffset = 12;
    public const int FlagsOffset = 13;
    public const int ChecksumOffset = 16;

    public const byte Fin = 0x01;
    public const byte Syn = 0x02;
    public const byte Rst = 0x04;
    public const byte Psh = 0x08;
    public const byte Urg = 0x20;
    public const byte Cwr = 0x80;
}

/// <summary>Offsets of the UDP header (RFC 768).</summary>
internal static class Udp
{
    public const byte Protocol = 17;
    public const int HeaderSize = 8;
    public const int DestinationPortOffset = 2;
    public const int LengthOffset = 4;
    public const int ChecksumOffset = 6;
}
