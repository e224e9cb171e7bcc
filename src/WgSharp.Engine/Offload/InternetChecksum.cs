using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace WgSharp.Engine.Offload;

/// <summary>
/// The one's complement checksum of IP, TCP, UDP and ICMP (RFC 1071). All sums and checksums are numbers as
/// <see cref="BinaryPrimitives.ReadUInt16BigEndian"/> reads them. A sum is not complemented and may be more than 16 bits wide:
/// sums of several pieces are added with +, as long as every piece but the last has an even length and nobody adds more than
/// some thousand of them.
/// </summary>
public static class InternetChecksum
{
    /// <summary>The sum of the bytes as 16-bit words; an odd last byte counts as the upper half of a word.</summary>
    public static uint Sum(ReadOnlySpan<byte> data) => FromMemoryOrder(SumInMemoryOrder(data));

    /// <summary>The sum does not care for byte order until its end (RFC 1071, section 2 B): words are added as they lie in memory.</summary>
    private static ulong SumInMemoryOrder(ReadOnlySpan<byte> data)
    {
        ref byte start = ref MemoryMarshal.GetReference(data);
        nuint length = (nuint)data.Length;
        nuint done = 0;
        ulong sum = 0;
        if (Vector512.IsHardwareAccelerated && length >= 64)
        {
            sum = Sum512(ref start, length, ref done);
        }
        else if (Vector256.IsHardwareAccelerated && length >= 32)
        {
            sum = Sum256(ref start, length, ref done);
        }

        if (Vector128.IsHardwareAccelerated && length - done >= 16)
        {
            sum += Sum128(ref start, length, ref done);
        }

        return sum + SumTail(data[(int)done..]);
    }

    /// <summary>Copies and sums in one pass.</summary>
    /// <param name="destination">At least as long as the source; must not overlap it.</param>
    public static uint CopyAndSum(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(destination.Length, source.Length);
        nuint done = 0;
        ulong sum = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            ref byte from = ref MemoryMarshal.GetReference(source);
            ref byte to = ref MemoryMarshal.GetReference(destination);
            nuint length = (nuint)source.Length;
            Vector512<ulong> low = Vector512.Create<ulong>(uint.MaxValue);
            Vector512<ulong> even = Vector512<ulong>.Zero;
            Vector512<ulong> odd = Vector512<ulong>.Zero;
            for (; length - done >= 64; done += 64)
            {
                Vector512<byte> bytes = Vector512.LoadUnsafe(ref from, done);
                bytes.StoreUnsafe(ref to, done);
                even += bytes.AsUInt64() & low;
                odd += bytes.AsUInt64() >>> 32;
            }

            sum = Vector512.Sum(even + odd);
        }

        ReadOnlySpan<byte> rest = source[(int)done..];
        rest.CopyTo(destination[(int)done..]);
        return FromMemoryOrder(sum + SumInMemoryOrder(rest));
    }

    /// <summary>Brings a sum down to 16 bits. Its complement is the checksum; a packet whose checksum is right folds to 0xFFFF.</summary>
    public static ushort Fold(uint sum)
    {
        sum = (sum & 0xFFFF) + (sum >> 16);
        return (ushort)(sum + (sum >> 16));
    }

    /// <summary>The sum of the pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1).</summary>
    /// <param name="addresses">Source and destination as they stand side by side in the IP header: 8 or 32 bytes.</param>
    /// <param name="length">Bytes of transport header and payload.</param>
    public static uint PseudoHeader(ReadOnlySpan<byte> addresses, byte protocol, int length) =>
        Sum(addresses) + protocol + ((uint)length & 0xFFFF) + ((uint)length >> 16);

    /// <summary>Whether the bytes, checksum included, and their pseudo header add up.</summary>
    /// <param name="pseudoHeader">0 where there is none (the IPv4 header, ICMP).</param>
    public static bool Verify(ReadOnlySpan<byte> data, uint pseudoHeader) => Fold(Sum(data) + pseudoHeader) == 0xFFFF;

    /// <summary>The checksum after one 16-bit word at an even offset changed (RFC 1624, equation 3).</summary>
    public static ushort Update(ushort checksum, ushort oldWord, ushort newWord) =>
        (ushort)~Fold((uint)(ushort)~checksum + (ushort)~oldWord + newWord);

    internal static ulong Sum512(ref byte start, nuint length, ref nuint done)
    {
        Vector512<ulong> low = Vector512.Create<ulong>(uint.MaxValue);
        Vector512<ulong> a = Vector512<ulong>.Zero;
        Vector512<ulong> b = Vector512<ulong>.Zero;
        Vector512<ulong> c = Vector512<ulong>.Zero;
        Vector512<ulong> d = Vector512<ulong>.Zero;
        for (; length - done >= 128; done += 128)
        {
            Vector512<ulong> first = Vector512.LoadUnsafe(ref start, done).AsUInt64();
            Vector512<ulong> second = Vector512.LoadUnsafe(ref start, done + 64).AsUInt64();
            a += first & low;
            b += first >>> 32;
            c += second & low;
            d += second >>> 32;
        }

        if (length - done >= 64)
        {
            Vector512<ulong> last = Vector512.LoadUnsafe(ref start, done).AsUInt64();
            a += last & low;
            b += last >>> 32;
            done += 64;
        }

        return Vector512.Sum(a + b + c + d);
    }

    internal static ulong Sum256(ref byte start, nuint length, ref nuint done)
    {
        Vector256<ulong> low = Vector256.Create<ulong>(uint.MaxValue);
        Vector256<ulong> a = Vector256<ulong>.Zero;
        Vector256<ulong> b = Vector256<ulong>.Zero;
        Vector256<ulong> c = Vector256<ulong>.Zero;
        Vector256<ulong> d = Vector256<ulong>.Zero;
        for (; length - done >= 64; done += 64)
        {
            Vector256<ulong> first = Vector256.LoadUnsafe(ref start, done).AsUInt64();
            Vector256<ulong> second = Vector256.LoadUnsafe(ref start, done + 32).AsUInt64();
            a += first & low;
            b += first >>> 32;
            c += second & low;
            d += second >>> 32;
        }

        if (length - done >= 32)
        {
            Vector256<ulong> last = Vector256.LoadUnsafe(ref start, done).AsUInt64();
            a += last & low;
            b += last >>> 32;
            done += 32;
        }

        return Vector256.Sum(a + b + c + d);
    }

    internal static ulong Sum128(ref byte start, nuint length, ref nuint done)
    {
        Vector128<ulong> low = Vector128.Create<ulong>(uint.MaxValue);
        Vector128<ulong> a = Vector128<ulong>.Zero;
        Vector128<ulong> b = Vector128<ulong>.Zero;
        for (; length - done >= 16; done += 16)
        {
            Vector128<ulong> words = Vector128.LoadUnsafe(ref start, done).AsUInt64();
            a += words & low;
            b += words >>> 32;
        }

        return Vector128.Sum(a + b);
    }

    /// <summary>Any length, but meant for what is left behind the vectors.</summary>
    internal static ulong SumTail(ReadOnlySpan<byte> data)
    {
        ulong sum = 0;
        while (data.Length >= 8)
        {
            ulong words = MemoryMarshal.Read<ulong>(data);
            sum += (words & uint.MaxValue) + (words >> 32);
            data = data[8..];
        }

        if (data.Length >= 4)
        {
            sum += MemoryMarshal.Read<uint>(data);
            data = data[4..];
        }

        if (data.Length >= 2)
        {
            sum += MemoryMarshal.Read<ushort>(data);
            data = data[2..];
        }

        if (data.Length == 1)
        {
            sum += BitConverter.IsLittleEndian ? data[0] : (uint)data[0] << 8;
        }

        return sum;
    }

    /// <summary>Folds to 16 bits and turns memory order into network order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static uint FromMemoryOrder(ulong sum)
    {
        sum = (sum & uint.MaxValue) + (sum >> 32);
        sum = (sum & uint.MaxValue) + (sum >> 32);
        sum = (sum & 0xFFFF) + (sum >> 16);
        ushort folded = Fold((uint)sum);
        return BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(folded) : folded;
    }
}
