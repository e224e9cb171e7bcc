namespace WgSharp.Protocol;

// What is known of the paths to the peers. Control loop only.

internal sealed partial class Device
{
    /// <summary>After anything that may have moved the path's deadline.</summary>
    public void PlanPath(Peer peer) => Plan(peer);

    /// <summary>An address in the tunnel that is the peer's alone: a /32 or /128 of its allowed IPs.</summary>
    public bool TryFindHost(Peer peer, bool isIPv4, out InetAddress host)
    {
        foreach (IpPrefix prefix in _allowedIpsTable.PrefixesOf(peer))
        {
            if (prefix.Address.IsIPv4 == isIPv4 && prefix.Length == (isIPv4 ? 32 : 128))
            {
                host = prefix.Address;
                return true;
            }
        }

        host = InetAddress.None;
        return false;
    }

    /// <summary>Whether the peer may send from this address, and is sent what goes there.</summary>
    public bool IsBehind(Peer peer, in InetAddress address)
    {
        Span<byte> bytes = stackalloc byte[address.Length];
        address.CopyTo(bytes);
        return ReferenceEquals(AllowedIps.Lookup(bytes), peer);
    }
}
