using System.Reflection;
using System.Runtime.InteropServices;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Serilog;
using Serilog.Core;
using Serilog.Extensions.Logging;
using WgSharp.Crypto;
using WgSharp.Linux;

namespace WgSharp;

/// <summary>The arguments, and the host that runs <see cref="TunnelService"/>. Without <c>-f</c> this process only starts the daemon and waits until it is ready.</summary>
internal static class Program
{
    private const int Failure = 1;
    private const int BadUsage = 2;

    public static string Version => typeof(Program).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;

    public static async Task<int> Main(string[] arguments)
    {
        if (ProcessLimits.Prepare() is { } tooLow)
        {
            ProcessLimits.Say($"wgsharp: {tooLow}");
            return Failure;
        }

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

            bool detached = Detach.TakeMarker();
            bool foreground = commandLine.Foreground || Environment.GetEnvironmentVariable("WG_PROCESS_FOREGROUND") == "1";
            return detached || foreground
                ? await ServeAsync(commandLine, detached)
                : Detach.Run(arguments, Console.Error);
        }
        catch (SettingsException wrong)
        {
            Console.Error.WriteLine($"wgsharp: {wrong.Message}");
            return BadUsage;
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine("wgsharp: a signal came before the interface was ready.");
            return Failure;
        }
        catch (Exception refused) when (refused is IOException or SodiumMissingException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"wgsharp: {refused.Message}");
            return Failure;
        }
    }

    private static async Task<int> ServeAsync(CommandLine commandLine, bool detached)
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
            commandLine.InterfaceName, settings, Detach.InheritedDescriptor("WG_TUN_FD"), Detach.InheritedDescriptor("WG_UAPI_FD"));
        Directory.SetCurrentDirectory("/");
        ProcessSpawn.KeepFilesPrivate();
        using Logger logger = CreateLogger(commandLine.InterfaceName, settings, detached);
        using IHost host = BuildHost(order, logger);
        using PosixSignalRegistration hangup = EndOn(PosixSignal.SIGHUP, host);
        await host.StartAsync();
        if (detached)
        {
            Detach.SignalReady();
        }

        await host.WaitForShutdownAsync();
        return host.Services.GetRequiredService<TunnelService>().Failed ? Failure : 0;
    }

    // Nothing but what is used: no configuration files, no file watchers, no console or event log providers.
    private static IHost BuildHost(TunnelOrder order, Logger logger)
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Logging.SetMinimumLevel(LogLevel.Trace);
        builder.Logging.AddProvider(new SerilogLoggerProvider(logger));
        builder.Services.Configure<ConsoleLifetimeOptions>(console => console.SuppressStatusMessages = true);
        builder.Services.AddSingleton(order);
        builder.Services.AddSingleton<TunnelService>();
        builder.Services.AddHostedService(services => services.GetRequiredService<TunnelService>());
        IHost host = builder.Build();
        Microsoft.Extensions.Logging.ILogger log = host.Services.GetRequiredService<ILoggerFactory>().CreateLogger(nameof(Program));
        AppDomain.CurrentDomain.UnhandledException += (_, death) => log.Dying(death.ExceptionObject as Exception);
        return host;
    }

    // Detached, standard output is the journal's stream where there is one, and standard error still leads to the caller.
    private static Logger CreateLogger(string interfaceName, Settings settings, bool detached)
    {
        const int StandardOutput = 1;
        const int StandardError = 2;
        var configuration = new LoggerConfiguration();
        if (settings.LogLevel is not { } level)
        {
            return configuration.CreateLogger();
        }

        ILogEventSink sink = !detached ? new StreamSink(Console.OpenStandardError(), Detach.IsJournal(StandardError), interfaceName)
            : Detach.IsJournal(StandardOutput) ? new StreamSink(Console.OpenStandardOutput(), journal: true, interfaceName)
            : new SyslogSink(SyslogSink.DefaultPath, interfaceName);
        return configuration.MinimumLevel.Is(level).WriteTo.Sink(new RateLimitedSink(sink, TimeProvider.System)).CreateLogger();
    }

    private static PosixSignalRegistration EndOn(PosixSignal signal, IHost host) => PosixSignalRegistration.Create(signal, context =>
    {
        context.Cancel = true;
        host.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();
    });
}
