using System.Diagnostics;
using System.Net.Sockets;
using System.Reflection;

namespace WgSharp.Tests;

/// <summary>The executable as a user starts it: needs root, makes a TUN interface whose link stays down.</summary>
public sealed class DaemonTests : IDisposable
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(1);

    private readonly string _interface = $"wgt{Environment.ProcessId % 10_000_000}{(char)('a' + (Environment.TickCount64 % 26))}";
    private readonly List<Process> _started = [];

    private string SocketPath => $"/var/run/wireguard/{_interface}.sock";

    public void Dispose()
    {
        if (Directory.Exists($"/sys/class/net/{_interface}"))
        {
            Run("ip", "link", "del", _interface);
        }

        _started.ForEach(process => process.Dispose());
    }

    [Fact]
    public void The_command_returns_when_everything_stands_and_the_daemon_has_left_its_caller()
    {
        (int status, string output) = Daemon(_interface);

        Assert.Equal((0, string.Empty), (status, output));
        string link = Run("ip", "-o", "link", "show", _interface).Output;
        Assert.Contains("mtu 1420", link, StringComparison.Ordinal);
        Assert.DoesNotContain(",UP", link, StringComparison.Ordinal);
        Assert.Equal(Convert.ToInt32("600", 8), (int)File.GetUnixFileMode(SocketPath));
        using (var client = new UapiClient(SocketPath))
        {
            Assert.True(client.Socket.Connected);
        }

        int daemon = DaemonProcess();
        Assert.Equal("/", File.ResolveLinkTarget($"/proc/{daemon}/cwd", returnFinalTarget: false)!.FullName);
        string[] stat = File.ReadAllText($"/proc/{daemon}/stat").Split(") ")[^1].Split(' ');
        Assert.Equal(daemon.ToString(), stat[3]);
        Assert.All(["0", "1", "2"], standard => Assert.Equal("/dev/null", File.ResolveLinkTarget($"/proc/{daemon}/fd/{standard}", returnFinalTarget: false)!.FullName));
    }

    [Fact]
    public async Task A_whole_configuration_comes_back()
    {
        Assert.Equal(0, Daemon(_interface).Status);
        using var client = new UapiClient(SocketPath);
        string peer = $"public_key={UapiRequests.KeyA}\npreshared_key={UapiRequests.KeyB}\n";

        Assert.Equal("errno=0\n\n", await client.AskAsync(
            $"set=1\nprivate_key={UapiRequests.KeyB}\nlisten_port=0\nfwmark=7\n{peer}endpoint=192.0.2.1:7\nallowed_ip=10.1.2.3/16\n\n"));
        string shown = await client.AskAsync("get=1\n\n");

        Assert.Contains("fwmark=7\n" + peer + "protocol_version=1\nendpoint=192.0.2.1:7\nlast_handshake_time_sec=0\n", shown, StringComparison.Ordinal);
        Assert.EndsWith("persistent_keepalive_interval=0\nallowed_ip=10.1.0.0/16\nerrno=0\n\n", shown, StringComparison.Ordinal);
    }

    [Fact]
    public void Deleting_the_socket_ends_the_daemon()
    {
        Assert.Equal(0, Daemon(_interface).Status);

        File.Delete(SocketPath);

        Await(() => !Directory.Exists($"/sys/class/net/{_interface}"));
    }

    [Fact]
    public void Deleting_the_interface_ends_the_daemon_and_takes_the_socket_along()
    {
        Assert.Equal(0, Daemon(_interface).Status);

        Run("ip", "link", "del", _interface);

        Await(() => !File.Exists(SocketPath));
    }

    [Theory]
    [InlineData("TERM")]
    [InlineData("INT")]
    [InlineData("HUP")]
    public void A_signal_ends_the_daemon(string signal)
    {
        Assert.Equal(0, Daemon(_interface).Status);

        Run("kill", "-" + signal, DaemonProcess().ToString());

        Await(() => !File.Exists(SocketPath) && !Directory.Exists($"/sys/class/net/{_interface}"));
    }

    [Fact]
    public void A_second_daemon_for_the_same_interface_is_refused_in_one_sentence()
    {
        Assert.Equal(0, Daemon(_interface).Status);

        (int status, string output) = Daemon(_interface);

        Assert.Equal(1, status);
        Assert.StartsWith("wgsharp: ", output, StringComparison.Ordinal);
        Assert.Contains(_interface, output, StringComparison.Ordinal);
        Assert.Single(output.TrimEnd('\n').Split('\n'));
    }

    [Fact]
    public void In_the_foreground_it_says_what_it_found_and_ends_with_success()
    {
        Process daemon = Start([_interface, "--foreground", "--disable=gso,tso"]);
        string? line = daemon.StandardError.ReadLine();
        Run("kill", "-TERM", daemon.Id.ToString());

        Assert.True(daemon.WaitForExit(Long));
        Assert.Equal(0, daemon.ExitCode);
        Assert.Contains("tun vnet_hdr", line, StringComparison.Ordinal);
        Assert.Contains("gso-", line, StringComparison.Ordinal);
        Assert.Contains("tso4-", line, StringComparison.Ordinal);
        Assert.Contains("| aead ", line, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(2, "is missing")]
    [InlineData(2, "no option --nonsense", "--nonsense", "wgt0")]
    [InlineData(2, "needs a value", "wgt0", "--threads")]
    [InlineData(2, "'many'", "wgt0", "--threads=many")]
    [InlineData(1, "cannot be the name of an interface", "a/b")]
    [InlineData(1, "cannot be the name of an interface", "wgt%d")]
    [InlineData(1, "cannot be the name of an interface", "this-is-too-long-for-a-name")]
    [InlineData(1, "is not a TUN device", "lo")]
    public void What_cannot_be_is_said_before_the_command_returns(int expected, string sentence, params string[] arguments)
    {
        (int status, string output) = Daemon(arguments);

        Assert.Equal(expected, status);
        Assert.Contains(sentence, output, StringComparison.Ordinal);
        Assert.Single(output.TrimEnd('\n').Split('\n'));
    }

    [Fact]
    public void A_stale_socket_is_no_obstacle()
    {
        Directory.CreateDirectory("/var/run/wireguard");
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            dead.Bind(new UnixDomainSocketEndPoint(SocketPath + ".dead"));
            File.Move(SocketPath + ".dead", SocketPath);
        }

        Assert.Equal((0, string.Empty), Daemon(_interface));
    }

    private static string Executable => typeof(DaemonTests).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(data => data.Key == "Daemon").Value!;

    private static void Await(Func<bool> condition) => Assert.True(SpinWait.SpinUntil(condition, Long));

    private static (int Status, string Output) Run(string program, params string[] arguments) => Finish(Process.Start(Redirected(program, arguments))!);

    private (int Status, string Output) Daemon(params string[] arguments) => Finish(Start(arguments));

    private Process Start(string[] arguments)
    {
        Process process = Process.Start(Redirected(Executable, arguments))!;
        _started.Add(process);
        return process;
    }

    private static (int Status, string Output) Finish(Process process)
    {
        // To the end of both streams: they end only when nobody holds them any more.
        string output = process.StandardOutput.ReadToEnd() + process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }

    private static ProcessStartInfo Redirected(string program, string[] arguments) =>
        new(program, arguments) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };

    private int DaemonProcess() => Directory.GetDirectories("/proc")
        .Select(directory => int.TryParse(Path.GetFileName(directory), out int process) ? process : 0)
        .First(process => process != 0 && CommandLineOf(process) is [_, var name, _] && name == _interface);

    private static string[] CommandLineOf(int process)
    {
        try
        {
            return File.ReadAllText($"/proc/{process}/cmdline").Split('\0');
        }
        catch (IOException)
        {
            return [];
        }
    }
}
