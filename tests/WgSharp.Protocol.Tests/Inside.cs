namespace WgSharp.Protocol.Tests;

/// <summary>What tests of whole tunnels need to see or set inside a device. Those stand in the engine's tests, to which the protocol shows what is public.</summary>
internal static class Inside
{
    /// <summary>Receiver indices alive: handshakes under way and keypairs.</summary>
    public static int IndexCount(this Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        return device.IndexCount;
    }

    /// <summary>Peers that the timers will look at.</summary>
    public static int DeadlineCount(this Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        return device.DeadlineCount;
    }

    public static bool IsInitiationOut(this Peer peer)
    {
        ArgumentNullException.ThrowIfNull(peer);
        return peer.HandshakeIfAny is { IsInitiationOut: true };
    }

    public static long RxBytes(this Peer peer)
    {
        ArgumentNullException.ThrowIfNull(peer);
        return peer.RxBytes;
    }

    public static bool IsWiped(this Keypair keypair)
    {
        ArgumentNullException.ThrowIfNull(keypair);
        return keypair.IsWiped;
    }

    /// <summary>As after so many messages.</summary>
    public static void SetSendCounter(this Keypair keypair, ulong counter)
    {
        ArgumentNullException.ThrowIfNull(keypair);
        keypair.SetSendCounter(counter);
    }
}
