using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Unicode;

namespace WgSharp.Protocol;

/// <summary>An IPv4 or IPv6 address as a value: compared and copied without allocation. The default value is "no address".</summary>
public readonly struct InetAddress : IEquatable<InetAddress>, IUtf8SpanFormattable
{
    private readonly ulong _high;
    private readonly ulong _low;
    private readonly byte _length;

    /// <param name="bytes">4 bytes (IPv4) or 16 (IPv6), in network order.</param>
    public InetAddress(ReadOnlySpan<byte> bytes)
    {
        switch (bytes.Length)
        {
            case 4:
                _high = BinaryPrimitives.ReadUInt32BigEndian(bytes);
                break;
            case 16:
                _high = BinaryPrimitives.ReadUInt64BigEndian(bytes);
                _low = BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]);
                break;
            default:
                throw new ArgumentException("An address has 4 or 16 bytes.", nameof(bytes));
        }

        _length = (byte)bytes.Length;
    }

    public static InetAddress None => default;

    public bool IsNone => _length == 0;

    public bool IsIPv4 => _length == 4;

    public bool IsIPv6 => _length == 16;

    /// <summary>4, 16, or 0 for none.</summary>
    public int Length => _length;

    /// <summary>Writes <see cref="Length"/> bytes in network order.</summary>
    public void CopyTo(Span<byte> destination)
    {
        if (_length == 4)
        {
            BinaryPrimitives.WriteUInt32BigEndian(destination, (uint)_high);
        }
        else if (_length == 16)
        {
            BinaryPrimitives.WriteUInt64BigEndian(destination, _high);
            BinaryPrimitives.WriteUInt64BigEndian(destination[8..], _low);
        }
    }

    public static InetAddress From(IPAddress address)
    {
        Span<byte> bytes = stackalloc byte[16];
        address.TryWriteBytes(bytes, out int length);
        return new InetAddress(bytes[..length]);
    }

    public IPAddress ToIPAddress()
    {
        Span<byte> bytes = stackalloc byte[16];
        CopyTo(bytes);
        return new IPAddress(bytes[..(IsNone ? 4 : Length)]);
    }

    /// <summary>As <see cref="ToString()"/>, without a string: whoever asks for 10,000 peers would leave as many as garbage.</summary>
    public bool TryFormat(Span<byte> utf8Destination, out int bytesWritten, ReadOnlySpan<char> format, IFormatProvider? provider) => IsIPv4
        ? Utf8.TryWrite(
            utf8Destination,
            CultureInfo.InvariantCulture,
            $"{(byte)(_high >> 24)}.{(byte)(_high >> 16)}.{(byte)(_high >> 8)}.{(byte)_high}",
            out bytesWritten)
        : ToIPAddress().TryFormat(utf8Destination, out bytesWritten);

    public bool Equals(InetAddress other) => _high == other._high && _low == other._low && _length == other._length;

    public override bool Equals(object? obj) => obj is InetAddress other && Equals(other);

    public override int GetHashCode() => HashCode.Combine(_high, _low, _length);

    public override string ToString() => IsNone ? "(none)" : ToIPAddress().ToString();

    public static bool operator ==(InetAddress left, InetAddress right) => left.Equals(right);

    public static bool operator !=(InetAddress left, InetAddress right) => !left.Equals(right);
}

/// <summary>Address, port and, for link-local IPv6, the scope (interface index).</summary>
public readonly record struct InetEndpoint(InetAddress Address, ushort Port, uint ScopeId = 0) : IUtf8SpanFormattable
{
    /// <summary>As <c>wg</c> prints it: <c>192.0.2.1:51820</c>, <c>[2001:db8::1]:51820</c>, <c>[fe80::1%2]:51820</c>.</summary>
    public override string ToString() => Address.IsIPv6
        ? ScopeId != 0 ? $"[{Address}%{ScopeId}]:{Port}" : $"[{Address}]:{Port}"
        : $"{Address}:{Port}";

    /// <summary>As <see cref="ToString()"/>, without a string.</summary>
    public bool TryFormat(Span<byte> utf8Destination, out int bytesWritten, ReadOnlySpan<char> format, IFormatProvider? provider) => !Address.IsIPv6
        ? Utf8.TryWrite(utf8Destination, CultureInfo.InvariantCulture, $"{Address}:{Port}", out bytesWritten)
        : ScopeId != 0
            ? Utf8.TryWrite(utf8Destination, CultureInfo.InvariantCulture, $"[{Address}%{ScopeId}]:{Port}", out bytesWritten)
            : Utf8.TryWrite(utf8Destination, CultureInfo.InvariantCulture, $"[{Address}]:{Port}", out bytesWritten);

    public AddressFamily Family => Address.IsIPv6 ? AddressFamily.InterNetworkV6 : AddressFamily.InterNetwork;
}

/// <summary>
/// Where a peer is: its outer address, and the sticky source, that is the local address and interface it was last heard on.
/// Immutable: replaced as a whole, and only when it differs.
/// </summary>
/// <param name="Remote">The peer's outer address.</param>
/// <param name="Source">The local address to answer from, or none.</param>
/// <param name="SourceInterface">The interface index to answer through, or 0.</param>
internal sealed record Endpoint(InetEndpoint Remote, InetAddress Source = default, int SourceInterface = 0)
{
    private object? _notes;

    /// <summary>Any thread: what the sockets remember of the way there. Opaque here, no part of the value, and gone with the object.</summary>
    public object? Notes
    {
        get => Volatile.Read(ref _notes);
        set => Volatile.Write(ref _notes, value);
    }

    public bool Equals(Endpoint? other) =>
        other is not null && Remote == other.Remote && Source == other.Source && SourceInterface == other.SourceInterface;

    public override int GetHashCode() => HashCode.Combine(Remote, Source, SourceInterface);
}
