using System.Diagnostics;
using System.Net.Sockets;
using System.Reflection;
using System.Text;

namespace WgSharp.Tests;

/// <summary>The executable as a user starts it, in namespaces of its own: needs root, makes a TUN interface.</summary>
public sealed class DaemonTests : IDisposable
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(1);

    private readonly string _interface = "wgt0";
    private readonly TestMachine _machine = new();

    private string SocketPath => _machine.PathOf($"/run/wireguard/{_interface}.sock");

    private bool HasInterface => Directory.Exists(_machine.PathOf($"/sys/class/net/{_interface}"));

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void The_command_returns_when_everything_stands_and_the_daemon_has_left_its_caller()
    {
        (int status, string output) = Daemon(_interface);

        Assert.Equal((0, string.Empty), (status, output));
        string link = _machine.Run("ip", "-o", "link", "show", _interface).Output;
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

        // The caller is told first, for it waits.
        Assert.All(["0", "1", "2"], standard => Await(() => File.ResolveLinkTarget($"/proc/{daemon}/fd/{standard}", returnFinalTarget: false)?.FullName == "/dev/null"));
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

        Await(() => !HasInterface);
    }

    [Fact]
    public void Deleting_the_interface_ends_the_daemon_and_takes_the_socket_along()
    {
        Assert.Equal(0, Daemon(_interface).Status);

        _machine.Run("ip", "link", "del", _interface);

        Await(() => !File.Exists(SocketPath));
    }

    [Theory]
    [InlineData("TERM")]
    [InlineData("INT")]
    [InlineData("HUP")]
    public void A_signal_ends_the_daemon(string signal)
    {
        Assert.Equal(0, Daemon(_interface).Status);

        Signal(signal, DaemonProcess());

        Await(() => !File.Exists(SocketPath) && !HasInterface);
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
        Process daemon = _machine.Start(Executable, _interface, "--foreground", "--disable=gso,tso");
        string? line = daemon.StandardError.ReadLine();
        Signal("TERM", DaemonProcess());

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

    [Theory]
    [InlineData("get=1\n\n")]
    [InlineData("set=1\nlisten_port=51820\n\n")]
    public void A_request_finds_the_link_as_it_was_announced_before(string request)
    {
        Assert.Equal(0, Daemon(_interface).Status);
        using var client = new UapiClient(SocketPath);
        int daemon = DaemonProcess();
        for (int round = 0; round < 5; round++)
        {
            _machine.Run("ip", "link", "set", _interface, "down");
            AskAndWait(client, "get=1\n\n");
            Assert.Empty(OpenPorts(daemon));

            // While the daemon stands still there is more and more news of its link, the last of it that it is up, and then a request. It must not
            // take the request for the first of all: when it has answered, its sockets are open.
            Signal("STOP", daemon);
            string news = string.Concat(Enumerable.Range(0, 40).Select(i => $"link set {_interface} mtu {1300 + i}\n"));
            _machine.RunInput("ip", $"{news}link set {_interface} up\n", "-batch", "-");
            client.Socket.Send(Encoding.ASCII.GetBytes(request));
            Signal("CONT", daemon);
            AskAndWait(client, string.Empty);
            Assert.NotEmpty(OpenPorts(daemon));
        }
    }

    [Fact]
    public void A_stale_socket_is_no_obstacle()
    {
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            dead.Bind(new UnixDomainSocketEndPoint(SocketPath + ".dead"));
            File.Move(SocketPath + ".dead", SocketPath);
        }

        Assert.Equal((0, string.Empty), Daemon(_interface));
    }

    private static string Executable => typeof(DaemonTests).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(data => data.Key == "Daemon").Value!;

    private static void Await(Func<bool> condition) => Assert.True(SpinWait.SpinUntil(condition, Long));

    private static void Signal(string signal, int process)
    {
        using Process kill = Process.Start("kill", ["-" + signal, process.ToString()]);
        kill.WaitForExit();
        Assert.Equal(0, kill.ExitCode);
    }

    private (int Status, string Output) Daemon(params string[] arguments) => _machine.Run(Executable, arguments);

    /// <summary>As it is called from outside.</summary>
    private int DaemonProcess() => _machine.Processes().First(process => CommandLineOf(process) is [_, var name, ..] && name == _interface);

    /// <summary>Without a thread that would have to be woken first.</summary>
    private static void AskAndWait(UapiClient client, string request)
    {
        client.Socket.Send(Encoding.ASCII.GetBytes(request));
        byte[] answer = new byte[4096];
        int received = 0;
        while (!answer.AsSpan(0, received).EndsWith("\n\n"u8))
        {
            int more = client.Socket.Receive(answer, received, answer.Length - received, SocketFlags.None);
            Assert.NotEqual(0, more);
            received += more;
        }

        Assert.EndsWith("errno=0\n\n", Encoding.ASCII.GetString(answer, 0, received), StringComparison.Ordinal);
    }

    /// <summary>proc_net(5): the second column ends in the port, in hexadecimal.</summary>
    private static int[] OpenPorts(int process) =>
        [.. File.ReadLines($"/proc/{process}/net/udp").Skip(1).Select(line => Convert.ToInt32(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1].Split(':')[1], 16))];

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
