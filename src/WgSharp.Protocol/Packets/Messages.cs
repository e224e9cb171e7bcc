using System.Buffers.Binary;
using WgSharp.Crypto;

namespace WgSharp.Protocol;

// The four messages as they lie on the wire (whitepaper, section 5.4; the kernel's messages.h). Each view checks type word and length once,
// when it is made; the offsets stand here and nowhere else. All integers are little-endian and nothing is aligned. A view for reading looks at
// what a stranger sent, its Writer lays a new message out in a caller's buffer.

/// <summary>The first word of every message, little-endian; its upper 24 bits are zero (whitepaper, section 5.4).</summary>
internal enum MessageType : uint
{
    /// <summary>None of the four.</summary>
    Invalid = 0,

    HandshakeInitiation = 1,
    HandshakeResponse = 2,
    CookieReply = 3,
    TransportData = 4,
}

/// <summary>Sizes in bytes of the four messages.</summary>
internal static class MessageSize
{
    public const int HandshakeInitiation = 148;
    public const int HandshakeResponse = 92;
    public const int CookieReply = 64;
    public const int TransportHeader = 16;
    public const int Tag = 16;

    /// <summary>What transport data adds to its content: header and tag.</summary>
    public const int TransportOverhead = TransportHeader + Tag;

    /// <summary>A keepalive: header and tag around nothing.</summary>
    public const int Keepalive = TransportOverhead;
}

/// <summary>Tells the four messages apart.</summary>
internal static class WireMessage
{
    internal const int TypeSize = 4;

    /// <summary>The message's type if type word and length fit together, else Invalid. Transport data may have any length from a keepalive's up.</summary>
    public static MessageType Classify(ReadOnlySpan<byte> datagram)
    {
        if (datagram.Length < TypeSize)
        {
            return MessageType.Invalid;
        }

        MessageType type = (MessageType)BinaryPrimitives.ReadUInt32LittleEndian(datagram);
        bool fits = type switch
        {
            MessageType.HandshakeInitiation => datagram.Length == MessageSize.HandshakeInitiation,
            MessageType.HandshakeResponse => datagram.Length == MessageSize.HandshakeResponse,
            MessageType.CookieReply => datagram.Length == MessageSize.CookieReply,
            MessageType.TransportData => datagram.Length >= MessageSize.Keepalive,
            _ => false,
        };
        return fits ? type : MessageType.Invalid;
    }

    /// <summary>Whether there is anything in mac2: without a cookie it is all zeros.</summary>
    /// <param name="message">A whole initiation or response.</param>
    public static bool HasCookie(ReadOnlySpan<byte> message) => Macs.Mac2(message).IndexOfAnyExcept((byte)0) >= 0;
}

/// <summary>Handshake initiation, 148 bytes (whitepaper, section 5.4.2): type, sender, ephemeral, sealed static, sealed timestamp, mac1, mac2.</summary>
internal readonly ref struct HandshakeInitiation
{
    private const int SenderIndexAt = 4;
    private const int EphemeralAt = 8;
    private const int SealedStaticAt = EphemeralAt + PublicKey.Size;
    private const int SealedTimestampAt = SealedStaticAt + PublicKey.Size + MessageSize.Tag;
    private const int SealedTimestampSize = Tai64n.Size + MessageSize.Tag;

    private readonly ReadOnlySpan<byte> _bytes;

    private HandshakeInitiation(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    public static bool TryParse(ReadOnlySpan<byte> datagram, out HandshakeInitiation message)
    {
        bool fits = WireMessage.Classify(datagram) == MessageType.HandshakeInitiation;
        message = fits ? new HandshakeInitiation(datagram) : default;
        return fits;
    }

    public uint SenderIndex => BinaryPrimitives.ReadUInt32LittleEndian(_bytes[SenderIndexAt..]);

    public ReadOnlySpan<byte> Ephemeral => _bytes.Slice(EphemeralAt, PublicKey.Size);

    public ReadOnlySpan<byte> SealedStatic => _bytes.Slice(SealedStaticAt, PublicKey.Size + MessageSize.Tag);

    public ReadOnlySpan<byte> SealedTimestamp => _bytes.Slice(SealedTimestampAt, SealedTimestampSize);

    internal readonly ref struct Writer
    {
        private readonly Span<byte> _bytes;

        public Writer(Span<byte> destination, uint senderIndex)
        {
            _bytes = destination[..MessageSize.HandshakeInitiation];
            BinaryPrimitives.WriteUInt32LittleEndian(_bytes, (uint)MessageType.HandshakeInitiation);
            BinaryPrimitives.WriteUInt32LittleEndian(_bytes[SenderIndexAt..], senderIndex);
        }

        public Span<byte> Ephemeral => _bytes.Slice(EphemeralAt, PublicKey.Size);

        public Span<byte> SealedStatic => _bytes.Slice(SealedStaticAt, PublicKey.Size + MessageSize.Tag);

        public Span<byte> SealedTimestamp => _bytes.Slice(SealedTimestampAt, SealedTimestampSize);
    }
}

/// <summary>Handshake response, 92 bytes (whitepaper, section 5.4.3): type, sender, receiver, ephemeral, sealed nothing, mac1, mac2.</summary>
internal readonly ref struct HandshakeResponse
{
    private const int SenderIndexAt = 4;
    private const int ReceiverIndexAt = 8;
    private const int EphemeralAt = 12;
    private const int SealedNothingAt = EphemeralAt + PublicKey.Size;

    private readonly ReadOnlySpan<byte> _bytes;

    private HandshakeResponse(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    public static bool TryParse(ReadOnlySpan<byte> datagram, out HandshakeResponse message)
    {
        bool fits = WireMessage.Classify(datagram) == MessageType.HandshakeResponse;
        message = fits ? new HandshakeResponse(datagram) : default;
        return fits;
    }

    public uint SenderIndex => BinaryPrimitives.ReadUInt32LittleEndian(_bytes[SenderIndexAt..]);

    public uint ReceiverIndex => BinaryPrimitives.ReadUInt32LittleEndian(_bytes[ReceiverIndexAt..]);

    public ReadOnlySpan<byte> Ephemeral => _bytes.Slice(EphemeralAt, PublicKey.Size);

    public ReadOnlySpan<byte> SealedNothing => _bytes.Slice(SealedNothingAt, MessageSize.Tag);

    internal readonly ref struct Writer
    {
        private readonly Span<byte> _bytes;

        public Writer(Span<byte> destination, uint senderIndex, uint receiverIndex)
        {
            _bytes = destination[..MessageSize.HandshakeResponse];
            BinaryPrimitives.WriteUInt32LittleEndian(_bytes, (uint)MessageType.HandshakeResponse);
            BinaryPrimitives.WriteUInt32LittleEndian(_bytes[SenderIndexAt..], senderIndex);
            BinaryPrimitives.WriteUInt32LittleEndian(_bytes[ReceiverIndexAt..], receiverIndex);
        }

        public Span<byte> Ephemeral => _bytes.Slice(EphemeralAt, PublicKey.Size);

        public Span<byte> SealedNothing => _bytes.Slice(SealedNothingAt, MessageSize.Tag);
    }
}

/// <summary>The last 32 bytes of an initiation or response (whitepaper, section 5.4.4): mac1 over all before it, mac2 over all before that.</summary>
internal static class Macs
{
    private const int Mac1FromEnd = 2 * Blake2s.MacSize;
    private const int Mac2FromEnd = Blake2s.MacSize;

    public static ReadOnlySpan<byte> BeforeMac1(ReadOnlySpan<byte> message) => message[..^Mac1FromEnd];

    public static ReadOnlySpan<byte> BeforeMac2(ReadOnlySpan<byte> message) => message[..^Mac2FromEnd];

    public static ReadOnlySpan<byte> Mac1(ReadOnlySpan<byte> message) => message[^Mac1FromEnd..^Mac2FromEnd];

    public static ReadOnlySpan<byte> Mac2(ReadOnlySpan<byte> message) => message[^Mac2FromEnd..];

    public static Span<byte> Mac1(Span<byte> message) => message[^Mac1FromEnd..^Mac2FromEnd];

    public static Span<byte> Mac2(Span<byte> message) => message[^Mac2FromEnd..];
}

/// <summary>Cookie reply, 64 bytes (whitepaper, section 5.4.7): type, receiver, nonce, sealed cookie.</summary>
internal readonly ref struct CookieReply
{
    private const int ReceiverIndexAt = 4;
    private const int NonceAt = 8;
    private const int SealedCookieAt = NonceAt + XChaCha20Poly1305.NonceSize;
    private const int SealedCookieSize = Blake2s.MacSize + MessageSize.Tag;

    private readonly ReadOnlySpan<byte> _bytes;

    private CookieReply(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    public static bool TryParse(ReadOnlySpan<byte> datagram, out CookieReply message)
    {
        bool fits = WireMessage.Classify(datagram) == MessageType.CookieReply;
        message = fits ? new CookieReply(datagram) : default;
        return fits;
    }

    public uint ReceiverIndex => BinaryPrimitives.ReadUInt32LittleEndian(_bytes[ReceiverIndexAt..]);

    public ReadOnlySpan<byte> Nonce => _bytes.Slice(NonceAt, XChaCha20Poly1305.NonceSize);

    public ReadOnlySpan<byte> SealedCookie => _bytes.Slice(SealedCookieAt, SealedCookieSize);

    internal readonly ref struct Writer
    {
        private readonly Span<byte> _bytes;

        public Writer(Span<byte> destination, uint receiverIndex)
        {
            _bytes = destination[..MessageSize.CookieReply];
            BinaryPrimitives.WriteUInt32LittleEndian(_bytes, (uint)MessageType.CookieReply);
            BinaryPrimitives.WriteUInt32LittleEndian(_bytes[ReceiverIndexAt..], receiverIndex);
        }

        public Span<byte> Nonce => _bytes.Slice(NonceAt, XChaCha20Poly1305.NonceSize);

        public Span<byte> SealedCookie => _bytes.Slice(SealedCookieAt, SealedCookieSize);
    }
}

/// <summary>Transport data (whitepaper, section 5.4.6): type, receiver, counter, sealed packet.</summary>
internal readonly ref struct TransportData
{
    private const int ReceiverIndexAt = 4;
    private const int CounterAt = 8;

    private readonly ReadOnlySpan<byte> _bytes;

    private TransportData(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    public static bool TryParse(ReadOnlySpan<byte> datagram, out TransportData message)
    {
        bool fits = WireMessage.Classify(datagram) == MessageType.TransportData;
        message = fits ? new TransportData(datagram) : default;
        return fits;
    }

    public uint ReceiverIndex => BinaryPrimitives.ReadUInt32LittleEndian(_bytes[ReceiverIndexAt..]);

    public ulong Counter => BinaryPrimitives.ReadUInt64LittleEndian(_bytes[CounterAt..]);

    /// <summary>Content and tag.</summary>
    public ReadOnlySpan<byte> Sealed => _bytes[MessageSize.TransportHeader..];

    /// <param name="destination">At least 16 bytes.</param>
    public static void WriteHeader(Span<byte> destination, uint receiverIndex, ulong counter)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, (uint)MessageType.TransportData);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[ReceiverIndexAt..], receiverIndex);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[CounterAt..], counter);
    }
}
