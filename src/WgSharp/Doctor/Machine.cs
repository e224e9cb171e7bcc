using System.ComponentModel;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using WgSharp.Crypto;
using WgSharp.Linux;

namespace WgSharp.Doctor;

/// <summary>The machine that this process runs on.</summary>
internal sealed class Machine : IMachine
{
    // The runtime's own errno for what a managed socket was refused is in NativeErrorCode.
    private const int SOL_SOCKET = 1;
    private const int SO_MARK = 36;
    private const int IPPROTO_IP = 0;
    private const int IPPROTO_IPV6 = 41;
    private const int IP_MTU = 14;
    private const int IPV6_MTU = 24;

    public DateTimeOffset Now => DateTimeOffset.UtcNow;

    public string Self => Environment.ProcessPath ?? "wgsharp";

    public string? Read(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllText(path) : null;
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    public bool Exists(string path) => Path.Exists(path);

    public DateTimeOffset? Written(string path) => File.Exists(path) ? new DateTimeOffset(File.GetLastWriteTimeUtc(path), TimeSpan.Zero) : null;

    public int WriteErrno(string path)
    {
        try
        {
            File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite).Dispose();
            return 0;
        }
        catch (FileNotFoundException)
        {
            return Errno.ENOENT;
        }
        catch (DirectoryNotFoundException)
        {
            return Errno.ENOENT;
        }
        catch (UnauthorizedAccessException)
        {
            return Errno.EACCES;
        }
        catch (IOException refused)
        {
            return refused.HResult;
        }
    }

    public IReadOnlyList<string> Entries(string directory)
    {
        try
        {
            return Directory.Exists(directory) ? [.. Directory.GetFileSystemEntries(directory).Order(StringComparer.Ordinal)] : [];
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    public string? LinkTarget(string path)
    {
        try
        {
            return new FileInfo(path).LinkTarget;
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    public string? Variable(string name) => Environment.GetEnvironmentVariable(name);

    // One pipe for both, so that nothing is read twice and nobody waits: a shell joins them. What it reads fits into a pipe.
    public ProgramResult Run(string program, IReadOnlyList<string> arguments, string input = "")
    {
        if (Programs.Find(this, program) is not { } path)
        {
            return new ProgramResult(ProgramResult.NotThere, $"{program}: not found");
        }

        var start = new ProcessStartInfo("/bin/sh", ["-c", "exec \"$0\" \"$@\" 2>&1", path, .. arguments])
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        start.Environment["LC_ALL"] = "C";
        start.Environment["WG_HIDE_KEYS"] = "always";
        try
        {
            using Process process = Process.Start(start)!;
            Feed(process, input);
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return new ProgramResult(process.ExitCode, output);
        }
        catch (Win32Exception refused)
        {
            return new ProgramResult(ProgramResult.NotThere, $"{program}: {refused.Message}");
        }
    }

    public ProgramResult? RunApart(string program, IReadOnlyList<string> arguments, string input = "")
    {
        ProgramResult? result = null;
        Exception? failed = null;
        _ = ScratchNetwork.Run(() =>
        {
            try
            {
                result = Run(program, arguments, input);
            }
            catch (IOException refused)
            {
                failed = refused;
            }
        });
        return failed is null ? result : throw failed;
    }

    public int TryPort(int port, bool ipv6)
    {
        try
        {
            using var socket = new Socket(ipv6 ? AddressFamily.InterNetworkV6 : AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            if (ipv6)
            {
                socket.DualMode = false;
            }

            socket.Bind(new IPEndPoint(ipv6 ? IPAddress.IPv6Any : IPAddress.Any, port));
            return 0;
        }
        catch (SocketException refused)
        {
            return refused.NativeErrorCode;
        }
    }

    // A connected datagram socket sends nothing, and knows its route.
    public int? RouteMtu(IPAddress address, uint mark)
    {
        bool ipv6 = address.AddressFamily == AddressFamily.InterNetworkV6;
        Span<byte> mtu = stackalloc byte[sizeof(int)];
        try
        {
            using var socket = new Socket(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            if (mark != 0)
            {
                socket.SetRawSocketOption(SOL_SOCKET, SO_MARK, BitConverter.GetBytes(mark));
            }

            socket.Connect(address, 9);
            _ = socket.GetRawSocketOption(ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_MTU : IP_MTU, mtu);
            return BitConverter.ToInt32(mtu);
        }
        catch (SocketException)
        {
            return null;
        }
    }

    public bool RefusesConnections(string socket)
    {
        try
        {
            using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            probe.Connect(new UnixDomainSocketEndPoint(socket));
            return false;
        }
        catch (SocketException refused)
        {
            return refused.SocketErrorCode == SocketError.ConnectionRefused;
        }
    }

    public TunTrial TryTun() => TunProbe.Try();

    public string? WhyNoSodium()
    {
        try
        {
            SodiumLibrary.Load();
            return null;
        }
        catch (SodiumMissingException missing)
        {
            return missing.Message;
        }
    }

    // As many secrets as a daemon of that many peers has at most: keypairs, handshakes, preshared and static-static keys. A few MiB tell as much as all.
    public string? WhyNotLocked(int peers)
    {
        const int SecretsOfPeer = 12;
        const int Enough = 4096;
        var secrets = new List<SecretMemory>();
        try
        {
            for (int i = 0; i < (Math.Min(peers, Enough) + 1) * SecretsOfPeer && SecretMemory.LockRefusal is null; i++)
            {
                secrets.Add(new SecretMemory(32 << (i % 3)));
            }

            return SecretMemory.LockRefusal;
        }
        catch (SodiumMissingException)
        {
            return null;
        }
        finally
        {
            secrets.ForEach(secret => secret.Dispose());
        }
    }

    public string? WhyLimitsTooLow() => ProcessLimits.Prepare();

    public string? WhyNoTasks() => Tasks.WhyNoMore();

    // What this process uses is given back before a daemon comes.
    public long MemoryRoom()
    {
        long room = new ControlGroups().MemoryRoom();
        string? own = Read("/proc/self/status")?.Split('\n').FirstOrDefault(line => line.StartsWith("RssAnon:", StringComparison.Ordinal));
        string[] words = own?.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries) ?? [];
        return room < long.MaxValue && words.Length > 1 && long.TryParse(words[1], out long kibibytes) ? room + (kibibytes << 10) : room;
    }

    public Settings SettingsOf(string interfaceName) =>
        Settings.Read(Settings.DefaultDirectory, interfaceName, Environment.GetEnvironmentVariables(), []);

    private static void Feed(Process process, string input)
    {
        try
        {
            process.StandardInput.Write(input);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // It did not want to read to the end; its status tells.
        }
    }
}
