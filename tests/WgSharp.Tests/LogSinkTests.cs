using System.Globalization;
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
    public void A_reader_that_does_not_read_holds_up_nobody_and_is_told_later_how_much_it_missed()
    {
        var stuck = new StuckSink();
        using (var queue = new QueuedSink(stuck))
        using (Logger log = Log(queue))
        {
            log.Information("{Number}", "first");
            stuck.Reached.Wait();
            for (int i = 0; i < QueuedSink.Capacity + 7; i++)
            {
                log.Information("{Number}", i);
            }

            Assert.False(queue.Flush());
            stuck.ReadOn();
            Assert.True(queue.Flush());
            log.Information("{Number}", "last");
        }

        IEnumerable<string> taken = Enumerable.Range(0, QueuedSink.Capacity).Select(i => $"{i}");
        Assert.Equal(["first", .. taken, "7 messages were left out here, because nobody read them", "last"], stuck.Lines);
    }

    [Fact]
    public async Task What_was_left_out_is_told_before_the_next_message_that_finds_room()
    {
        using var reader = new AnonymousPipeServerStream(PipeDirection.In);
        using var writer = new AnonymousPipeClientStream(PipeDirection.Out, reader.ClientSafePipeHandle);
        using var queue = new QueuedSink(new StreamSink(writer, journal: true, "wgt0"));
        using Logger log = Log(queue);
        string large = new('x', 4000);
        for (int i = 0; i < 1000; i++)
        {
            log.Information("{Number} {Large}", i, large);
        }

        // Each count stands where they are missing: the writer may find room in the pipe now and then while the others are still coming.
        using var text = new StreamReader(reader);
        int next = 0;
        int leftOut = 0;
        while (next < 1000)
        {
            string line = (await text.ReadLineAsync())!;
            if (line.Contains(large, StringComparison.Ordinal))
            {
                Assert.StartsWith($"<6>wgt0: {next++} ", line, StringComparison.Ordinal);
                continue;
            }

            int count = int.Parse(line.Split(' ')[1], CultureInfo.InvariantCulture);
            Assert.Equal($"<4>wgt0: {count} messages were left out here, because nobody read them", line);
            leftOut += count;
            next += count;
        }

        Assert.Equal(1000, next);
        Assert.InRange(leftOut, 1, 1000 - QueuedSink.Capacity);
    }

    [Fact]
    public void Syslog_is_there_while_somebody_listens()
    {
        using var directory = new TemporaryDirectory();
        string path = Path.Combine(directory.Path, "log");
        Assert.False(SyslogSink.Answers(path));
        using (var daemon = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified))
        {
            daemon.Bind(new UnixDomainSocketEndPoint(path + ".new"));
            File.Move(path + ".new", path);
            Assert.True(SyslogSink.Answers(path));
        }

        // Its file is still there.
        Assert.True(File.Exists(path));
        Assert.False(SyslogSink.Answers(path));
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

    private sealed class StuckSink : ILogEventSink, IDisposable
    {
        private readonly ManualResetEventSlim _reader = new();

        public ManualResetEventSlim Reached { get; } = new();

        public List<string> Lines { get; } = [];

        public void ReadOn() => _reader.Set();

        public void Emit(LogEvent logEvent)
        {
            Reached.Set();
            _reader.Wait();
            Lines.Add(LogText.Of(logEvent));
        }

        public void Dispose()
        {
            _reader.Dispose();
            Reached.Dispose();
        }
    }
}
