using System.Buffers;
using System.Buffers.Text;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using WgSharp.Crypto;
using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp;

/// <summary>
/// The values of UAPI lines, from bytes and without strings: a key that was a string could not be wiped.
/// Every parser takes the whole value or refuses it: no sign, no blank, no rest.
/// </summary>
internal static class UapiValues
{
    private static readonly SearchValues<byte> IPv6Characters = SearchValues.Create("0123456789abcdefABCDEF:."u8);

    /// <summary>64 hex digits of either case.</summary>
    /// <param name="key">32 bytes; zeros where the value is refused.</param>
    public static bool TryParseKey(ReadOnlySpan<byte> value, Span<byte> key)
    {
        if (value.Length != 2 * key.Length || !TryParseHex(value, key))
        {
            CryptographicOperations.ZeroMemory(key);
            return false;
        }

        return true;
    }

    public static bool TryParsePublicKey(ReadOnlySpan<byte> value, out PublicKey key)
    {
        Span<byte> bytes = stackalloc byte[PublicKey.Size];
        bool parsed = TryParseKey(value, bytes);
        key = new PublicKey(bytes);
        return parsed;
    }

    /// <summary>Decimal digits only.</summary>
    public static bool TryParseNumber(ReadOnlySpan<byte> value, uint maximum, out uint number)
    {
        number = 0;
        return !value.IsEmpty
            && char.IsAsciiDigit((char)value[0])
            && Utf8Parser.TryParse(value, out number, out int consumed)
            && consumed == value.Length
            && number <= maximum;
    }

    /// <summary><c>192.0.2.1:51820</c>, <c>[2001:db8::1]:51820</c>, <c>[fe80::1%eth0]:51820</c> or with the interface's index.</summary>
    public static bool TryParseEndpoint(ReadOnlySpan<byte> value, out InetEndpoint endpoint)
    {
        endpoint = default;
        int colon = value.LastIndexOf((byte)':');
        if (colon < 0 || !TryParseNumber(value[(colon + 1)..], ushort.MaxValue, out uint port))
        {
            return false;
        }

        ReadOnlySpan<byte> host = value[..colon];
        InetAddress address;
        uint scope = 0;
        if (host.Length > 2 && host[0] == '[' && host[^1] == ']')
        {
            if (!TryParseScopedIPv6(host[1..^1], out address, out scope))
            {
                return false;
            }

            address = Unmapped(address);
        }
        else if (!TryParseIPv4(host, out address))
        {
            return false;
        }

        endpoint = new InetEndpoint(address, (ushort)port, scope);
        return true;
    }

    /// <summary><c>10.0.0.0/8</c>, <c>2001:db8::/32</c>, with host bits masked off; a leading minus means removal.</summary>
    public static bool TryParseAllowedIp(ReadOnlySpan<byte> value, out AllowedIpChange change)
    {
        change = default;
        bool remove = value.StartsWith("-"u8);
        value = remove ? value[1..] : value;
        int slash = value.IndexOf((byte)'/');
        if (slash < 0
            || !(TryParseIPv4(value[..slash], out InetAddress address) || TryParseIPv6(value[..slash], out address))
            || !TryParseNumber(value[(slash + 1)..], (uint)address.Length * 8, out uint length))
        {
            return false;
        }

        change = new AllowedIpChange(IpPrefix.Of(address, (int)length), remove);
        return true;
    }

    // Constant-time in the digits: no branch and no table index depends on them.
    private static bool TryParseHex(ReadOnlySpan<byte> digits, Span<byte> bytes)
    {
        int invalid = 0;
        for (int i = 0; i < bytes.Length; i++)
        {
            int high = Nibble(digits[2 * i]);
            int low = Nibble(digits[(2 * i) + 1]);
            invalid |= high | low;
            bytes[i] = (byte)((high << 4) | (low & 0xf));
        }

        return invalid >= 0;
    }

    // -1 (all bits set) for anything but a hex digit.
    private static int Nibble(int digit)
    {
        int number = digit - '0';
        int isNumber = ~(number | (9 - number)) >> 31;
        int letter = (digit | 0x20) - 'a';
        int isLetter = ~(letter | (5 - letter)) >> 31;
        return (number & isNumber) | ((letter + 10) & isLetter) | ~(isNumber | isLetter);
    }

    // Four decimal numbers without leading zeros, as inet_pton: IPAddress would also take 127.1, 0x7f.1 and octal.
    private static bool TryParseIPv4(ReadOnlySpan<byte> text, out InetAddress address)
    {
        address = default;
        Span<byte> bytes = stackalloc byte[4];
        for (int i = 0; i < 4; i++)
        {
            int end = i < 3 ? text.IndexOf((byte)'.') : text.Length;
            if (end is < 1 or > 3 || (end > 1 && text[0] == '0') || !TryParseNumber(text[..end], byte.MaxValue, out uint number))
            {
                return false;
            }

            bytes[i] = (byte)number;
            text = i < 3 ? text[(end + 1)..] : [];
        }

        address = new InetAddress(bytes);
        return true;
    }

    private static bool TryParseIPv6(ReadOnlySpan<byte> text, out InetAddress address)
    {
        const int LongestText = 45;
        address = default;
        if (text.Length > LongestText
            || !text.Contains((byte)':')
            || text.ContainsAnyExcept(IPv6Characters)
            || !IPAddress.TryParse(text, out IPAddress? parsed))
        {
            return false;
        }

        address = InetAddress.From(parsed);
        return true;
    }

    // The IPv6 socket speaks IPv6 only: ::ffff:192.0.2.1 is reached as the IPv4 address that it stands for.
    private static InetAddress Unmapped(InetAddress address)
    {
        IPAddress mapped = address.ToIPAddress();
        return mapped.IsIPv4MappedToIPv6 ? InetAddress.From(mapped.MapToIPv4()) : address;
    }

    private static bool TryParseScopedIPv6(ReadOnlySpan<byte> text, out InetAddress address, out uint scope)
    {
        int percent = text.IndexOf((byte)'%');
        scope = 0;
        if (!TryParseIPv6(percent < 0 ? text : text[..percent], out address))
        {
            return false;
        }

        if (percent >= 0)
        {
            ReadOnlySpan<byte> zone = text[(percent + 1)..];
            if (!TryParseNumber(zone, int.MaxValue, out scope))
            {
                scope = zone.Contains((byte)0) ? 0 : InterfaceIndex.Of(Encoding.UTF8.GetString(zone));
            }

            return scope != 0;
        }

        return true;
    }
}
