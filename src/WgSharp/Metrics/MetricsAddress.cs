using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace WgSharp.Metrics;

/// <summary>
/// Where metrics are served: a loopback address with a port, or a unix socket. Nothing else, because whoever reads them learns who the peers are and
/// where: what others are to see of that is for a proxy to decide, which knows passwords.
/// </summary>
/// <param name="Path">Null for a loopback address.</param>
internal sealed record MetricsAddress(EndPoint EndPoint, string? Path)
{
    private const string UnixPrefix = "unix:";

    // sizeof(sockaddr_un.sun_path), with the zero behind it.
    private const int LongestPath = 107;

    /// <summary><c>127.0.0.1:9586</c>, <c>[::1]:9586</c> or <c>unix:/run/wgsharp/wg0.metrics</c>.</summary>
    /// <param name="reason">A sentence about what it is not.</param>
    public static bool TryParse(string text, [NotNullWhen(true)] out MetricsAddress? address, out string reason)
    {
        address = null;
        reason = string.Empty;
        if (text.StartsWith(UnixPrefix, StringComparison.Ordinal))
        {
            string path = text[UnixPrefix.Length..];
            if (!path.StartsWith('/') || Encoding.UTF8.GetByteCount(path) > LongestPath)
            {
                reason = $"'{path}' is not the path of a unix socket: it begins with / and has {LongestPath} bytes at most.";
                return false;
            }

            address = new MetricsAddress(new UnixDomainSocketEndPoint(path), path);
            return true;
        }

        // IPEndPoint would take a bare ::1 or 127.1, and port 0.
        if (!text.Contains(':', StringComparison.Ordinal) || !IPEndPoint.TryParse(text, out IPEndPoint? endpoint) || endpoint.Port == 0 || endpoint.ToString() != text)
        {
            reason = $"'{text}' is not an address for metrics; 127.0.0.1:9586, [::1]:9586 and unix:/PATH are.";
            return false;
        }

        if (!IPAddress.IsLoopback(endpoint.Address))
        {
            reason = $"metrics are served on this machine alone, and {endpoint.Address} is not a loopback address: take 127.0.0.1:{endpoint.Port}, and a proxy in front of it if others are to read them.";
            return false;
        }

        address = new MetricsAddress(endpoint, null);
        return true;
    }

    public override string ToString() => Path is null ? EndPoint.ToString()! : UnixPrefix + Path;
}
