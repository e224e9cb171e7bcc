using System.Globalization;
using System.Net.Sockets;
using System.Text;
using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp.Status;

/// <summary>Asks daemons what they are doing, by their control sockets.</summary>
internal static class StatusClient
{
    private const string Suffix = ".sock";

    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(10);

    /// <summary>The interfaces that have a control socket.</summary>
    public static IReadOnlyList<string> Names(string directory) => Directory.Exists(directory)
        ? [.. Directory.EnumerateFiles(directory, "*" + Suffix).Select(path => Path.GetFileNameWithoutExtension(path)).Where(name => !name.StartsWith('.')).Order(StringComparer.Ordinal)]
        : [];

    /// <summary>One interface and all of its peers.</summary>
    /// <exception cref="IOException">There is no answer; the message says why, in a sentence.</exception>
    public static InterfaceStatus Ask(string directory, string name)
    {
        string path = Path.Combine(directory, name + Suffix);
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
        {
            ReceiveTimeout = (int)_patience.TotalMilliseconds,
            SendTimeout = (int)_patience.TotalMilliseconds,
        };
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            socket.Send("status=1\n\n"u8);
            using var answer = new StreamReader(new NetworkStream(socket), Encoding.UTF8, detectEncodingFromByteOrderMarks: false, bufferSize: 1 << 16);
            return Read(answer, name);
        }
        catch (Exception refused) when (refused is SocketException or ArgumentOutOfRangeException)
        {
            throw new IOException(Explain(refused as SocketException, name, path), refused);
        }
        catch (IOException late) when (late.InnerException is SocketException)
        {
            throw new IOException($"{name}: its daemon does not answer within {_patience.TotalSeconds:0} s.", late);
        }
    }

    /// <summary>An answer to its errno.</summary>
    /// <exception cref="IOException">It is an error, or not whole.</exception>
    public static InterfaceStatus Read(TextReader answer, string name)
    {
        var status = new InterfaceStatus { Name = name };
        PeerStatus? peer = null;
        bool any = false;
        while (answer.ReadLine() is { Length: > 0 } line)
        {
            int equals = line.IndexOf('=', StringComparison.Ordinal);
            string key = equals < 0 ? line : line[..equals];
            string value = line[(equals + 1)..];
            switch (key)
            {
                case "errno" when value == "0":
                    return status;
                case "errno":
                    throw new IOException(ExplainError(value, name));
                case "public_key":
                    peer = new PeerStatus { PublicKey = StatusLines.Key(value) };
                    status.Peers.Add(peer);
                    status.Tunnel.PeerCount = Math.Max(status.Tunnel.PeerCount, status.Peers.Count);
                    break;
                case var _ when peer is not null:
                    StatusLines.Read(peer, key, value);
                    break;
                default:
                    StatusLines.Read(status, key, value);
                    break;
            }

            any = true;
        }

        throw new IOException(any ? $"{name}: the daemon's answer was cut off." : Older(name));
    }

    private static string ExplainError(string errno, string name) =>
        !int.TryParse(errno, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int number) || Math.Abs(number) is Errno.EINVAL or Errno.EPROTO
            ? Older(name)
            : $"{name}: its daemon answers {Errno.Describe(Math.Abs(number))}.";

    // What wgsharp without this operation says, and others: boringtun the same, wireguard-go nothing.
    private static string Older(string name) =>
        $"{name}: its daemon cannot tell its status; it is an older wgsharp, which the next restart of the interface replaces, or another program. wg show {name} works.";

    private static string Explain(SocketException? refused, string name, string path) => refused?.SocketErrorCode switch
    {
        SocketError.ConnectionRefused => $"{name}: nobody answers at {path}; its daemon has gone.",
        SocketError.AccessDenied => $"{name}: only root may ask its daemon.",
        SocketError.TimedOut or SocketError.WouldBlock => $"{name}: its daemon does not answer within {_patience.TotalSeconds:0} s.",
        null or SocketError.AddressNotAvailable => Directory.Exists($"/sys/class/net/{name}")
            ? $"{name} has no control socket in {Path.GetDirectoryName(path)}: the kernel serves it, or it is no WireGuard interface."
            : $"There is no interface {name}.",
        _ => $"{name}: {path}: {refused.Message}.",
    };
}
