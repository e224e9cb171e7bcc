using System.IO.Pipes;
using System.Net.Sockets;
using System.Text;
using Serilog;
using Serilog.Core;
using Serilog.Events;
using Serilog.Extensions.Logging;

namespace WgSharp.Tests;

public class LogSinkTests
{
    [Fact]
    public void Each_kind_of_message_has_its_own_allowance()
    {
        var kept = new KeepingSink();
        var time = new ManualTime();
        using Logger log = Log(new RateLimitedSink(kept, time));

        for (int i = 0; i < 1000; i++)
        {
            log.Information("A stranger {Number}", i);
        }

        log.Information("Something else");

        Assert.Equal(RateLimitedSink.Burst + 1, kept.Lines.Count);
        Assert.Equal("Something else", kept.Lines[^1]);
    }

    [Fact]
    public void What_was_left_out_is_counted_as_soon_as_there_is_room_again()
    {
        var kept = new KeepingSink();
        var time = new ManualTime();
        using Logger log = Log(new RateLimitedSink(kept, time));
        for (int i = 0; i < RateLimitedSink.Burst + 7; i++)
        {
            log.Information("A stranger {Number}", i);
        }

        time.Now += RateLimitedSink.Pace;
        log.Information("A stranger {Number}", "again");
        log.Information("A stranger {Number}", "too soon");

        Assert.Equal(["7 messages like the next one were left out", "A stranger again"], kept.Lines[RateLimitedSink.Burst..]);
    }

    [Fact]
    public void A_line_tells_when_and_about_which_interface()
    {
        string line = Written(journal: false, log => log.Warning("The {Thing} is {State}", "port", "taken"));

        Assert.Matches("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z Warning wgt0: The port is taken\n$", line);
    }

    [Fact]
    public void In_the_journal_a_line_begins_with_its_severity()
    {
        Assert.Equal("<3>wgt0: bad\n", Written(journal: true, log => log.Error("bad")));
        Assert.Equal("<6>wgt0: good\n", Written(journal: true, log => log.Information("good")));
    }

    [Fact]
    public void The_source_generated_messages_come_out_as_they_are_written()
    {
        string line = Written(journal: true, log =>
        {
            using var provider = new SerilogLoggerProvider(log);
            provider.CreateLogger("test").ConfigurationRefused("the port is taken");
        });

        Assert.Equal("<4>wgt0: Configuration refused: the port is taken\n", line);
    }

    [Fact]
    public void A_reader_that_has_gone_stops_nobody()
    {
        using var reader = new AnonymousPipeServerStream(PipeDirection.In);
        using var writer = new AnonymousPipeClientStream(PipeDirection.Out, reader.ClientSafePipeHandle);
        using Logger log = Log(new StreamSink(writer, journal: false, "wgt0"));
        reader.Dispose();

        log.Information("to nobody");
    }

    [Fact]
    public void Syslog_gets_facility_severity_process_and_interface()
    {
        using var directory = new TemporaryDirectory();
        string path = Path.Combine(directory.Path, "log");
        using var daemon = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        daemon.Bind(new UnixDomainSocketEndPoint(path));
        using var sink = new SyslogSink(path, "wgt0");
        using Logger log = Log(sink);

        log.Warning("The {Thing} is taken", "port");

        byte[] buffer = new byte[1000];
        Assert.Equal($"<28>wgsharp[{Environment.ProcessId}]: wgt0: The port is taken", Encoding.UTF8.GetString(buffer, 0, daemon.Receive(buffer)));
    }

    [Fact]
    public void Without_syslog_nothing_happens()
    {
        using var sink = new SyslogSink("/nonexistent/log", "wgt0");
        using Logger log = Log(sink);

        log.Warning("to nobody");
    }

    private static string Written(bool journal, Action<Logger> write)
    {
        using var stream = new MemoryStream();
        using Logger log = Log(new StreamSink(stream, journal, "wgt0"));
        write(log);
        return Encoding.UTF8.GetString(stream.ToArray());
    }

    private static Logger Log(ILogEventSink sink) => new LoggerConfiguration().WriteTo.Sink(sink).CreateLogger();

    private sealed class KeepingSink : ILogEventSink
    {
        public List<string> Lines { get; } = [];

        public void Emit(LogEvent logEvent) => Lines.Add(LogText.Of(logEvent));
    }

    private sealed class ManualTime : TimeProvider
    {
        public TimeSpan Now { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now.Ticks;
    }
}
