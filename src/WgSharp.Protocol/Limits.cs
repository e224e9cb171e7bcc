namespace WgSharp.Protocol;

/// <summary>The whitepaper's constants (section 6.1 and its table), under their own names; where it has none, the kernel's (messages.h).</summary>
internal static class Limits
{
    public const ulong RekeyAfterMessages = 1UL << 60;
    public const ulong RejectAfterMessages = ulong.MaxValue - ReplayWindowUsable - 1;
    public const int ReplayWindowBits = 8192;

    /// <summary>COUNTER_WINDOW_SIZE: the bits less one redundant word.</summary>
    public const ulong ReplayWindowUsable = ReplayWindowBits - 64;
    public const int MaxTimerHandshakes = 90 / 5;
    public const int MaxStagedPackets = 128;
    public const int InitiationsPerSecond = 50;
    public const int MaxPeers = 1 << 20;

    public static readonly TimeSpan RekeyAfterTime = TimeSpan.FromSeconds(120);
    public static readonly TimeSpan RejectAfterTime = TimeSpan.FromSeconds(180);
    public static readonly TimeSpan RekeyTimeout = TimeSpan.FromSeconds(5);
    public static readonly TimeSpan RekeyAttemptTime = TimeSpan.FromSeconds(90);
    public static readonly TimeSpan KeepaliveTimeout = TimeSpan.FromSeconds(10);

    /// <summary>REKEY_TIMEOUT_JITTER_MAX_JIFFIES: up to a third of a second is added to a retransmission.</summary>
    public static readonly TimeSpan RekeyTimeoutJitterMax = TimeSpan.FromMilliseconds(333);
    public static readonly TimeSpan CookieSecretMaxAge = TimeSpan.FromSeconds(120);
    public static readonly TimeSpan CookieSecretLatency = TimeSpan.FromSeconds(5);
}
