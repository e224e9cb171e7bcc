using Microsoft.Extensions.Logging;

namespace WgSharp;

/// <summary>What the daemon around the tunnel has to say. Never a key.</summary>
internal static partial class DaemonLog
{
    [LoggerMessage(Level = LogLevel.Information, Message = "wgsharp {Version}: {Features}")]
    public static partial void Started(this ILogger log, string version, string features);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Refusal}")]
    public static partial void FeatureMissing(this ILogger log, string refusal);

    [LoggerMessage(Level = LogLevel.Information, Message = "Not all keys can be locked into memory (RLIMIT_MEMLOCK): {Reason}; they may be written to swap")]
    public static partial void KeysNotLocked(this ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "The daemon ends: {Reason}")]
    public static partial void Stopping(this ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Critical, Message = "The daemon ends, because of a failure of {Part}")]
    public static partial void PartFailed(this ILogger log, Exception failure, string part);

    [LoggerMessage(Level = LogLevel.Critical, Message = "The daemon dies")]
    public static partial void Dying(this ILogger log, Exception? failure);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Deleting {Path} will not end the daemon, the kernel refuses to watch it: {Reason}")]
    public static partial void CannotWatch(this ILogger log, string path, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The service manager was not told {State}: {Reason}")]
    public static partial void ManagerNotTold(this ILogger log, string state, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Taken over from the process before: the interface, {Peers} peers, {Sessions} of them with a session, which is made anew")]
    public static partial void TakenOver(this ILogger log, int peers, int sessions);

    [LoggerMessage(
        Level = LogLevel.Error,
        Message = "Started more than {Starts} times within {Seconds} s: what was configured may be the cause and is not taken over once more; configure the interface anew "
            + "(wg-quick down and up, or systemctl stop and start {Unit}), and please report what the journal says before this")]
    public static partial void NotTakenOver(this ILogger log, int starts, int seconds, string unit);

    [LoggerMessage(Level = LogLevel.Information, Message = "The interface of the process before was deleted, so it is made anew, without its configuration: {Reason}")]
    public static partial void InterfaceWasDeleted(this ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "After a crash or a restart the interface will be made anew, systemd does not keep it: {Reason}")]
    public static partial void NotKept(this ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Configuration refused: {Reason}")]
    public static partial void ConfigurationRefused(this ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "A control connection was not accepted: {Reason}")]
    public static partial void AcceptFailed(this ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Metrics are not served on {Address}: {Reason}")]
    public static partial void MetricsRefused(this ILogger log, string address, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Metrics are not served any more")]
    public static partial void MetricsFailed(this ILogger log, Exception failure);

    [LoggerMessage(Level = LogLevel.Error, Message = "A control connection failed")]
    public static partial void ConnectionFailed(this ILogger log, Exception failure);
}
