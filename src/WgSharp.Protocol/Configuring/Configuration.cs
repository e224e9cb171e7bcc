using WgSharp.Crypto;

namespace WgSharp.Protocol;

/// <summary>What one <c>set</c> operation asks for; null means "leave as it is". Parsed whole before anything is applied.</summary>
public sealed class DeviceConfiguration
{
    /// <summary>An all-zero key removes the private key.</summary>
    public PrivateKey? PrivateKey { get; set; }

    /// <summary>True if the private key is to be removed (all zeros were given: clamping would hide that).</summary>
    public bool RemovePrivateKey { get; set; }

    public ushort? ListenPort { get; set; }

    /// <summary>0 turns the mark off.</summary>
    public uint? Fwmark { get; set; }

    /// <summary>Remove every peer before the peers below are applied.</summary>
    public bool ReplacePeers { get; set; }

    /// <summary>In the order they were given; a key may occur more than once.</summary>
    public IList<PeerConfiguration> Peers { get; } = [];
}

/// <summary>What one <c>set</c> operation asks for a peer.</summary>
public sealed class PeerConfiguration
{
    public required PublicKey PublicKey { get; init; }

    public bool Remove { get; set; }

    /// <summary>Only if the peer exists already.</summary>
    public bool UpdateOnly { get; set; }

    /// <summary>All zeros clear it.</summary>
    public PresharedKey? PresharedKey { get; set; }

    public InetEndpoint? Endpoint { get; set; }

    /// <summary>Seconds; 0 turns it off.</summary>
    public ushort? PersistentKeepaliveInterval { get; set; }

    public bool ReplaceAllowedIps { get; set; }

    public IList<AllowedIpChange> AllowedIps { get; } = [];
}

/// <summary>An address with its prefix length; bits behind the prefix are zero.</summary>
public readonly record struct IpPrefix(InetAddress Address, byte Length)
{
    /// <summary>Masks the host bits.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The length is beyond 32 or 128.</exception>
    public static IpPrefix Of(InetAddress address, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, address.Length * 8);
        Span<byte> bytes = stackalloc byte[16];
        address.CopyTo(bytes);
        for (int bit = length; bit < address.Length * 8; bit++)
        {
            bytes[bit / 8] &= (byte)~(0x80 >> (bit % 8));
        }

        return new IpPrefix(new InetAddress(bytes[..address.Length]), (byte)length);
    }

    public override string ToString() => $"{Address}/{Length}";
}

/// <summary>One <c>allowed_ip=</c> line; with a leading minus it removes the prefix if this peer owns exactly it.</summary>
public readonly record struct AllowedIpChange(IpPrefix Prefix, bool Remove);

/// <summary>What <c>get</c> shows: a copy, independent of the living device.</summary>
/// <param name="PrivateKey">A copy that the caller disposes; null if none is set.</param>
/// <param name="Peers">In order of insertion.</param>
public sealed record DeviceSnapshot(PrivateKey? PrivateKey, ushort ListenPort, uint Fwmark, IReadOnlyList<PeerSnapshot> Peers);

/// <summary>One peer as <c>get</c> shows it.</summary>
/// <param name="PresharedKey">A copy that the caller disposes; null if none is set.</param>
/// <param name="LastHandshake">Wall-clock time, 0 if never.</param>
public sealed record PeerSnapshot(
    PublicKey PublicKey,
    PresharedKey? PresharedKey,
    InetEndpoint? Endpoint,
    UnixTime LastHandshake,
    long RxBytes,
    long TxBytes,
    ushort PersistentKeepaliveInterval,
    IReadOnlyList<IpPrefix> AllowedIps);
