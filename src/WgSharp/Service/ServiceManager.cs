using System.Net.Sockets;
using System.Text;

namespace WgSharp;

/// <summary>
/// sd_notify(3): what a unit of Type=notify waits for, one datagram to the socket that $NOTIFY_SOCKET names. Only the daemon in the foreground has
/// something to say there: one in the background was started by somebody who may be a service himself, and it is not this daemon that makes him ready.
/// </summary>
internal static class ServiceManager
{
    public const string Variable = "NOTIFY_SOCKET";
    public const string Ready = "READY=1";
    public const string Stopping = "STOPPING=1";

    /// <summary>Says it to whoever started this process, if he asked for it.</summary>
    /// <param name="socket">The value of <see cref="Variable"/>: a path, or the name of an abstract socket after an @.</param>
    /// <returns>Null, or why it was not heard.</returns>
    public static string? Tell(string? socket, string state)
    {
        if (string.IsNullOrEmpty(socket))
        {
            return null;
        }

        if (socket[0] is not ('/' or '@'))
        {
            return $"{Variable} is '{socket}', neither a path nor the name of an abstract socket.";
        }

        try
        {
            var manager = new UnixDomainSocketEndPoint(socket[0] == '@' ? '\0' + socket[1..] : socket);
            using var datagrams = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
            datagrams.SendTo(Encoding.UTF8.GetBytes(state), manager);
            return null;
        }
        catch (Exception refused) when (refused is SocketException or ArgumentOutOfRangeException)
        {
            return $"{Variable} ({socket}): {refused.Message}";
        }
    }
}
