using System.Reflection;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Serilog;
using Serilog.Core;
using Serilog.Extensions.Logging;
using WgSharp.Commands;
using WgSharp.Crypto;
using WgSharp.Linux;

namespace WgSharp;

/// <summary>
/// The arguments, and the host that runs <see cref="TunnelService"/>: the main thread starts it, sleeps until a signal or the service ends it, and stops
/// it. Nothing here is left to the thread pool, whose threads might not be had when they are wanted. Without <c>-f</c> this process only starts the
/// daemon and waits until it is ready.
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
        // The doctor tells of it together with all else.
        if (ProcessLimits.Prepare() is { } tooLow && arguments is not ["doctor", ..])
        {
            ProcessLimits.Say($"wgsharp: {tooLow}");
            return Failure;
        }

        try
        {
            if (arguments.Length > 0 && CommandTable.Contains(arguments[0]))
            {
                return CommandTable.Run(arguments);
            }

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
                : ServiceStart.TryRun(commandLine, Say) ?? Detach.Run(arguments, Say);
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
        if (!settings.CoreDumps)
        {
            ProcessLimits.ForbidDumps();
        }

        var order = new TunnelOrder(
            commandLine.InterfaceName, settings, Detach.InheritedDescriptor("WG_TUN_FD"), Detach.InheritedDescriptor("WG_UAPI_FD"), IsService: !detached);
        Directory.SetCurrentDirectory("/");
        ProcessSpawn.KeepFilesPrivate();
        using var signals = new EndSignals();
        QueuedSink? queue = CreateQueue(commandLine.InterfaceName, settings, detached);
        using Logger logger = CreateLogger(queue, settings);
        using var logs = new SerilogLoggerFactory(logger);
        var log = logs.CreateLogger(nameof(Program));
        AppDomain.CurrentDomain.UnhandledException += (_, death) =>
        {
            log.Dying(death.ExceptionObject as Exception);
            queue?.Flush();
        };
        using var service = new TunnelService(order, logs, signals);
        service.Open();
        if (signals.IsPending)
        {
            return End(Failure, "a signal came before the interface was ready.");
        }

        if (detached)
        {
            Detach.SignalReady();
        }

        TellManager(log, ServiceManager.Ready, detached);

        // Who waits for the interface need not wait for this.
        service.ProveAead();
        using IHost host = BuildHost(service);
        host.Start();
        Bundle.OpenWhole();
        MappedFiles.Release();
        signals.Wait();
        TellManager(log, ServiceManager.Stopping, detached);
        host.StopAsync().GetAwaiter().GetResult();
        return service.Failed ? Failure : 0;
    }

    // Unless it is in the background: see ServiceManager.
    private static void TellManager(Microsoft.Extensions.Logging.ILogger log, string state, bool detached)
    {
        if (!detached && ServiceManager.Tell(Environment.GetEnvironmentVariable(ServiceManager.Variable), state) is { } why)
        {
            log.ManagerNotTold(state, why);
        }
    }

    // Nothing but what is used: no configuration files, no file watchers, no time limits, which are timers, and no log: what the host itself has to
    // say is said by whoever catches it, in a sentence.
    private static IHost BuildHost(TunnelService service)
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = Timeout.InfiniteTimeSpan);
        builder.Services.AddSingleton<IHostLifetime, MainThreadLifetime>();
        builder.Services.AddSingleton<IHostedService>(service);
        return builder.Build();
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
        ServiceStart.TellCaller($"wgsharp: {sentence}\n");
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

/// <summary>Signals come as a descriptor that the main thread sleeps on (<see cref="EndSignals"/>): the host's own way is a thread for each.</summary>
internal sealed class MainThreadLifetime : IHostLifetime
{
    public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
