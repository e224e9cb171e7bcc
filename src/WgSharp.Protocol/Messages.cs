namespace WgSharp.Protocol;

/// <summary>The first word of every message, little-endian; its upper 24 bits are zero (whitepaper, section 5.4).</summary>
public enum MessageType : uint
{
    HandshakeInitiation = 1,
    HandshakeResponse = 2,
    CookieReply = 3,
    TransportData = 4,
}

/// <summary>Sizes in bytes of the four messages.</summary>
public static class MessageSize
{
    public const int HandshakeInitiation = 148;
    public const int HandshakeResponse = 92;
    public const int CookieReply = 64;
    public const int TransportHeader = 16;
    public const int Tag = 16;

    /// <summary>A keepalive: header and tag around nothing.</summary>
    public const int Keepalive = TransportHeader + Tag;
}
