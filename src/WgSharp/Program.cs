using System.Reflection;
using System.Text;
using Serilog;
using Serilog.Core;
using Serilog.Extensions.Logging;
using WgSharp.Crypto;
using WgSharp.Linux;

namespace WgSharp;

/// <summary>
/// The arguments, and the main thread of the daemon: it puts <see cref="TunnelService"/> together, sleeps until a signal or the service ends it,
/// and takes it apart. Without <c>-f</c> this process only starts the daemon and waits until it is ready.
/// </summary>
internal static class Program
{
    private const int Failure = 1;
    private const int BadUsage = 2;

    private const int StandardOutput = 1;
    private const int StandardError = 2;

    public static string Version => typeof(Program).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;

    public static int Main(string[] arguments)
    {
        try
        {
            var commandLine = CommandLine.Parse(arguments);
            switch (commandLine.Action)
            {
                case CommandAction.ShowVersion:
                    Console.WriteLine($"wgsharp {Version}");
                    return 0;
                case CommandAction.ShowHelp:
                    Console.WriteLine($"{CommandLine.Usage}\n{Settings.Explain()}");
                    return 0;
            }

            Origin origin = Detach.TakeMarker();
            if (origin != Origin.Caller)
            {
                return Serve(commandLine, detached: origin == Origin.Detached);
            }

            return commandLine.Foreground || Environment.GetEnvironmentVariable("WG_PROCESS_FOREGROUND") == "1"
                ? Detach.StartAgain(arguments)
                : Detach.Run(arguments, Say);
        }
        catch (SettingsException wrong)
        {
            return End(BadUsage, wrong.Message);
        }
        catch (Exception full) when (full is OutOfMemoryException or TypeInitializationException { InnerException: OutOfMemoryException })
        {
            // What Thread.Start throws, too: of our own, or of the socket class's one.
            return End(Failure, Tasks.WhyNoMore() ?? "there is too little memory, or there are too few processes and threads to be had (ulimit -u, pids.max).");
        }
        catch (IOException refused) when (refused.HResult == Errno.EAGAIN)
        {
            return End(Failure, Tasks.WhyNoMore() ?? refused.Message);
        }
        catch (Exception refused) when (refused is IOException or SodiumMissingException or UnauthorizedAccessException)
        {
            return End(Failure, refused.Message);
        }
    }

    private static int Serve(CommandLine commandLine, bool detached)
    {
        NativeHeap.UseOneArena();
        InterfaceName.Check(commandLine.InterfaceName);
        Settings settings = Settings.Read(
            Settings.DefaultDirectory, commandLine.InterfaceName, Environment.GetEnvironmentVariables(), commandLine.Settings);
        var order = new TunnelOrder(
            commandLine.InterfaceName, settings, Detach.InheritedDescriptor("WG_TUN_FD"), Detach.InheritedDescriptor("WG_UAPI_FD"));
        Directory.SetCurrentDirectory("/");
        ProcessSpawn.KeepFilesPrivate();
        using var signals = new EndSignals();
        QueuedSink? queue = CreateQueue(commandLine.InterfaceName, settings, detached);
        using Logger logger = CreateLogger(queue, settings);
        using var logs = new SerilogLoggerFactory(logger);
        Microsoft.Extensions.Logging.ILogger log = logs.CreateLogger(nameof(Program));
        AppDomain.CurrentDomain.UnhandledException += (_, death) =>
        {
            log.Dying(death.ExceptionObject as Exception);
            queue?.Flush();
        };
        using var service = new TunnelService(order, logs, signals.Wake);
        service.Start();
        if (signals.IsPending)
        {
            return End(Failure, "a signal came before the interface was ready.");
        }

        if (detached)
        {
            Detach.SignalReady();
        }

        service.TellWhatWasFound();
        signals.Wait();
        service.Dispose();
        return service.Failed ? Failure : 0;
    }

    // Detached, standard output is what the caller lends for the log, or /dev/null; standard error still leads to the caller.
    private static QueuedSink? CreateQueue(string interfaceName, Settings settings, bool detached)
    {
        bool journal = Detach.IsJournal(detached ? StandardOutput : StandardError);
        bool syslog = detached && !journal && SyslogSink.Answers(SyslogSink.DefaultPath);
        if (detached && (syslog || settings.LogLevel is null))
        {
            ProcessSpawn.ForgetOutput();
        }

        if (settings.LogLevel is null)
        {
            return null;
        }

        return new QueuedSink(syslog
            ? new SyslogSink(SyslogSink.DefaultPath, interfaceName)
            : new StreamSink(new DescriptorStream(detached ? StandardOutput : StandardError), journal, interfaceName));
    }

    /// <param name="queue">Owned by the logger.</param>
    private static Logger CreateLogger(QueuedSink? queue, Settings settings)
    {
        var configuration = new LoggerConfiguration();
        return queue is null || settings.LogLevel is not { } level
            ? configuration.CreateLogger()
            : configuration.MinimumLevel.Is(level).WriteTo.Sink(new RateLimitedSink(queue, TimeProvider.System)).CreateLogger();
    }

    private static int End(int status, string sentence)
    {
        Say($"wgsharp: {sentence}\n");
        return status;
    }

    private static void Say(string text)
    {
        using var error = new DescriptorStream(StandardError);
        try
        {
            error.Write(Encoding.UTF8.GetBytes(text));
        }
        catch (IOException)
        {
            // Nobody wants to hear it; the status remains.
        }
    }
}
