using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Serilog.Core;
using Serilog.Events;
using Serilog.Formatting.Display;
using WgSharp.Linux;

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
/// <remarks>Waits for the reader, as <see cref="SyslogSink"/> does: behind a <see cref="QueuedSink"/>.</remarks>
/// <param name="stream">A <see cref="DescriptorStream"/>, or another one in tests.</param>
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

/// <summary>
/// Hands events to a thread that writes them: whoever has something to say never waits for whoever reads it, be it a pipe that nobody reads
/// or a journal that was stopped. What does not fit is left out and counted, and the count is told when there is room again.
/// </summary>
internal sealed class QueuedSink : ILogEventSink, IDisposable
{
    /// <summary>Events that wait to be written.</summary>
    public const int Capacity = 256;

    // For what is said last: the end of a daemon must not wait for a reader either.
    private static readonly TimeSpan _patienceAtTheEnd = TimeSpan.FromMilliseconds(200);

    private static readonly MessageTemplate _leftOutTemplate =
        new Serilog.Parsing.MessageTemplateParser().Parse("{Count} messages were left out here, because nobody read them");

    private readonly ILogEventSink _next;
    private readonly Thread _writer;

    /// <summary>Guards all below; pulsed when something was put in, or all was written.</summary>
    private readonly object _gate = new();
    private readonly Queue<LogEvent> _waiting = new(Capacity);
    private int _leftOut;
    private bool _writing;
    private bool _ending;

    /// <param name="next">May block; owned.</param>
    public QueuedSink(ILogEventSink next)
    {
        _next = next;
        _writer = new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "wg-log" };
        _writer.Start();
    }

    public void Emit(LogEvent logEvent)
    {
        lock (_gate)
        {
            // Where some were left out, the place is for saying so, and the next one's is its own.
            if (_ending || _waiting.Count + (_leftOut > 0 ? 1 : 0) >= Capacity)
            {
                _leftOut++;
                return;
            }

            TellWhatWasLeftOut();
            _waiting.Enqueue(logEvent);
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Waits until everything was written, but no longer than a fifth of a second.</summary>
    /// <returns>Whether it was.</returns>
    public bool Flush()
    {
        long begin = Stopwatch.GetTimestamp();
        lock (_gate)
        {
            while (_waiting.Count > 0 || _writing)
            {
                TimeSpan left = _patienceAtTheEnd - Stopwatch.GetElapsedTime(begin);
                if (left <= TimeSpan.Zero || !Monitor.Wait(_gate, left))
                {
                    return false;
                }
            }

            return true;
        }
    }

    /// <summary>A writer that is stuck in its reader is left to the end of the process.</summary>
    public void Dispose()
    {
        bool written = Flush();
        lock (_gate)
        {
            if (_ending)
            {
                return;
            }

            _ending = true;
            Monitor.PulseAll(_gate);
        }

        if (written)
        {
            _writer.Join();
            (_next as IDisposable)?.Dispose();
        }
    }

    private void Run()
    {
        while (TryTake(out LogEvent? logEvent))
        {
            _next.Emit(logEvent);
        }
    }

    private bool TryTake([NotNullWhen(true)] out LogEvent? logEvent)
    {
        lock (_gate)
        {
            _writing = false;
            Monitor.PulseAll(_gate);
            while (_waiting.Count == 0 && _leftOut == 0 && !_ending)
            {
                Monitor.Wait(_gate);
            }

            if (_waiting.Count == 0)
            {
                TellWhatWasLeftOut();
            }

            _writing = _waiting.TryDequeue(out logEvent);
            return _writing;
        }
    }

    private void TellWhatWasLeftOut()
    {
        if (_leftOut > 0)
        {
            _waiting.Enqueue(new LogEvent(
                DateTimeOffset.UtcNow, LogEventLevel.Warning, exception: null, _leftOutTemplate, [new LogEventProperty("Count", new ScalarValue(_leftOut))]));
            _leftOut = 0;
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
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);

    /// <summary>Whether somebody listens there.</summary>
    public static bool Answers(string path)
    {
        if (FileIdentity.OfTarget(path) is not { IsSocket: true })
        {
            return false;
        }

        using var probe = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

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
            // Nobody logs here.
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
