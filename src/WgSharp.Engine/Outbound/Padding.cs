namespace WgSharp.Engine.Outbound;

/// <summary>To what length an inner packet is padded: what observers see is a multiple of 16 (whitepaper, section 5.4.6).</summary>
/// <param name="Mtu">Bytes: the MTU of the TUN device, which padding does not cross (calculate_skb_padding in the kernel's send.c). 0: not known, always to 16.</param>
/// <param name="Budget">Bytes: the longest inner packet that the path takes whole. Padding does not cross it, so that it is never what makes the outer packet a
/// fragmented one.</param>
internal readonly record struct Padding(int Mtu, int Budget)
{
    private const int Multiple = 16;

    /// <returns>Bytes; never less than <paramref name="length"/>.</returns>
    public int PaddedLength(int length)
    {
        int padded = Mtu <= 0 ? RoundUp(length) : WithinMtu(length);
        return padded <= Budget ? padded : Math.Max(length, Budget);
    }

    private int WithinMtu(int length)
    {
        int lastUnit = length > Mtu ? length % Mtu : length;
        return length - lastUnit + Math.Min(Mtu, RoundUp(lastUnit));
    }

    private static int RoundUp(int length) => (length + Multiple - 1) & -Multiple;
}
