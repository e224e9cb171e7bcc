using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Serilog.Core;
using Serilog.Events;
using Serilog.Formatting.Display;

namespace WgSharp;

/// <summary>One event as one text: the message with its values as they are, then the exception.</summary>
internal static class LogText
{
    private static readonly MessageTemplateTextFormatter _formatter = new("{Message:lj}", CultureInfo.InvariantCulture);

    public static string Of(LogEvent logEvent)
    {
        using var text = new StringWriter(CultureInfo.InvariantCulture);
        _formatter.Format(logEvent, text);
        if (logEvent.Exception is { } exception)
        {
            // The trace only where it tells of a mistake of ours.
            text.Write(": ");
            text.Write(logEvent.Level >= LogEventLevel.Error ? exception : exception.Message);
        }

        return text.ToString();
    }

    /// <summary>syslog(3): 3 is an error, 7 a debug message.</summary>
    public static int Severity(LogEventLevel level) => level switch
    {
        LogEventLevel.Fatal => 2,
        LogEventLevel.Error => 3,
        LogEventLevel.Warning => 4,
        LogEventLevel.Information => 6,
        _ => 7,
    };
}

/// <summary>Writes lines to a stream: standard error in the foreground, the journal's under systemd.</summary>
/// <param name="stream">One of the console's: a FileStream would write where it thinks that a shared log file ends.</param>
/// <param name="journal">Lines begin with their severity as sd-daemon(3) wants it, instead of with the time.</param>
internal sealed class StreamSink(Stream stream, bool journal, string interfaceName) : ILogEventSink
{
    private readonly Lock _lock = new();

    public void Emit(LogEvent logEvent)
    {
        string head = journal
            ? string.Create(CultureInfo.InvariantCulture, $"<{LogText.Severity(logEvent.Level)}>")
            : string.Create(CultureInfo.InvariantCulture, $"{logEvent.Timestamp.UtcDateTime:yyyy-MM-ddTHH:mm:ssZ} {logEvent.Level} ");
        byte[] line = Encoding.UTF8.GetBytes($"{head}{interfaceName}: {LogText.Of(logEvent)}\n");
        try
        {
            lock (_lock)
            {
                stream.Write(line);
            }
        }
        catch (IOException)
        {
            // Whoever read this has gone; the tunnel has not.
        }
    }
}

/// <summary>Sends datagrams to /dev/log: whatever logs on this machine, journald included, listens there.</summary>
/// <param name="path"><see cref="DefaultPath"/>, or another one in tests.</param>
internal sealed class SyslogSink(string path, string interfaceName) : ILogEventSink, IDisposable
{
    public const string DefaultPath = "/dev/log";

    private const int DaemonFacility = 3 << 3;

    private readonly UnixDomainSocketEndPoint _log = new(path);
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { Blocking = false };

    public void Emit(LogEvent logEvent)
    {
        int priority = DaemonFacility | LogText.Severity(logEvent.Level);
        string line = string.Create(
            CultureInfo.InvariantCulture, $"<{priority}>wgsharp[{Environment.ProcessId}]: {interfaceName}: {LogText.Of(logEvent)}");
        try
        {
            _socket.SendTo(Encoding.UTF8.GetBytes(line), _log);
        }
        catch (SocketException)
        {
            // Nobody logs here, or it is too busy: the tunnel does not wait for it.
        }
    }

    public void Dispose() => _socket.Dispose();
}

/// <summary>Lets each kind of message through a few times, then at a slow pace, and says how many were left out.</summary>
/// <remarks>What a stranger or a broken network can cause a thousand times a second must not fill a disk.</remarks>
internal sealed class RateLimitedSink(ILogEventSink next, TimeProvider time) : ILogEventSink, IDisposable
{
    /// <summary>Messages of one kind at once.</summary>
    public const int Burst = 20;

    /// <summary>After that, one each.</summary>
    public static readonly TimeSpan Pace = TimeSpan.FromSeconds(1);

    // One entry per template, and templates are constants of the program.
    private readonly Dictionary<string, Bucket> _buckets = [];
    private readonly Lock _lock = new();

    public void Emit(LogEvent logEvent)
    {
        int leftOut;
        lock (_lock)
        {
            if (!Take(logEvent.MessageTemplate.Text, out leftOut))
            {
                return;
            }
        }

        if (leftOut > 0)
        {
            next.Emit(new LogEvent(
                logEvent.Timestamp,
                logEvent.Level,
                exception: null,
                _leftOutTemplate,
                [new LogEventProperty("Count", new ScalarValue(leftOut))]));
        }

        next.Emit(logEvent);
    }

    public void Dispose() => (next as IDisposable)?.Dispose();

    private static readonly MessageTemplate _leftOutTemplate = new Serilog.Parsing.MessageTemplateParser().Parse("{Count} messages like the next one were left out");

    private bool Take(string cause, out int leftOut)
    {
        if (!_buckets.TryGetValue(cause, out Bucket? bucket))
        {
            bucket = new Bucket { Tokens = Burst, Filled = time.GetTimestamp() };
            _buckets.Add(cause, bucket);
        }

        bucket.Tokens = Math.Min(Burst, bucket.Tokens + (time.GetElapsedTime(bucket.Filled) / Pace));
        bucket.Filled = time.GetTimestamp();
        leftOut = 0;
        if (bucket.Tokens < 1)
        {
            bucket.LeftOut++;
            return false;
        }

        bucket.Tokens--;
        (leftOut, bucket.LeftOut) = (bucket.LeftOut, 0);
        return true;
    }

    private sealed class Bucket
    {
        public double Tokens { get; set; }

        public long Filled { get; set; }

        public int LeftOut { get; set; }
    }
}
