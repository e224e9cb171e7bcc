using System.Net.Sockets;
using System.Text;

namespace WgSharp.Tests;

/// <summary>The other end of the socket: what wg does, and what it would never do.</summary>
internal sealed class UapiClient : IDisposable
{
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    public UapiClient(string path) => _socket.Connect(new UnixDomainSocketEndPoint(path));

    public Socket Socket => _socket;

    public async Task SendAsync(string text)
    {
        ReadOnlyMemory<byte> bytes = Encoding.UTF8.GetBytes(text);
        while (!bytes.IsEmpty)
        {
            bytes = bytes[await _socket.SendAsync(bytes)..];
        }
    }

    /// <summary>One answer, up to its blank line, or what came before the end of the stream.</summary>
    public async Task<string> ReceiveAsync()
    {
        var text = new StringBuilder();
        byte[] next = new byte[1];
        while (!text.ToString(Math.Max(0, text.Length - 2), Math.Min(2, text.Length)).Equals("\n\n", StringComparison.Ordinal)
            && await _socket.ReceiveAsync(next) == 1)
        {
            text.Append((char)next[0]);
        }

        return text.ToString();
    }

    /// <summary>Everything up to the end of the stream; a reset (the other end had not read everything) is one, too.</summary>
    public async Task<string> ReceiveAllAsync()
    {
        using var text = new MemoryStream();
        byte[] buffer = new byte[65536];
        try
        {
            int received;
            while ((received = await _socket.ReceiveAsync(buffer)) > 0)
            {
                text.Write(buffer, 0, received);
            }
        }
        catch (SocketException reset) when (reset.SocketErrorCode == SocketError.ConnectionReset)
        {
            return Encoding.UTF8.GetString(text.ToArray());
        }

        return Encoding.UTF8.GetString(text.ToArray());
    }

    public async Task<string> AskAsync(string text)
    {
        await SendAsync(text);
        return await ReceiveAsync();
    }

    public void Dispose() => _socket.Dispose();
}
