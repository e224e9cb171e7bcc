using Microsoft.Extensions.Logging;

namespace WgSharp;

/// <summary>What the daemon around the tunnel has to say. Never a key.</summary>
internal static partial class DaemonLog
{
    [LoggerMessage(Level = LogLevel.Information, Message = "{Interface}: wgsharp {Version} is up: {Features}")]
    public static partial void Started(this ILogger log, string @interface, string version, string features);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Interface}: stopping: {Reason}")]
    public static partial void Stopping(this ILogger log, string @interface, string reason);

    [LoggerMessage(Level = LogLevel.Critical, Message = "{Interface}: {Part} failed, the daemon ends")]
    public static partial void PartFailed(this ILogger log, Exception failure, string @interface, string part);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Path}: its deletion will not end the daemon, inotify is not to be had: {Reason}")]
    public static partial void CannotWatch(this ILogger log, string path, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Configuration refused: {Reason}")]
    public static partial void ConfigurationRefused(this ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "A control connection was not accepted: {Reason}")]
    public static partial void AcceptFailed(this ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "A control connection failed")]
    public static partial void ConnectionFailed(this ILogger log, Exception failure);
}
