using System.Buffers;

namespace WgSharp.Metrics;

/// <summary>What is to be answered to what a client of the metrics has said so far.</summary>
internal enum HttpVerdict
{
    /// <summary>Not whole yet.</summary>
    Incomplete,

    /// <summary>GET /metrics.</summary>
    Metrics,

    /// <summary>HEAD /metrics.</summary>
    Head,

    /// <summary>GET / or something else.</summary>
    NotFound,

    MethodNotAllowed,
    BadRequest,
    TooLong,
    VersionNotSupported,
}

/// <summary>As much of HTTP/1.1 (RFC 9112) as one resource needs: the request line is understood, header fields are looked at for their form alone.</summary>
internal static class HttpRequest
{
    /// <summary>Bytes, of the request line and all fields.</summary>
    public const int MaxLength = 8192;

    // RFC 9110, section 5.6.2
    private static readonly SearchValues<byte> _token = SearchValues.Create("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"u8);

    // What a target may have: nothing that could end a line, or is not ASCII.
    private static readonly SearchValues<byte> _target = SearchValues.Create("!\"$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"u8);

    /// <param name="received">From the first byte on; a body does not belong to it.</param>
    /// <param name="ended">Nothing will follow.</param>
    public static HttpVerdict Judge(ReadOnlySpan<byte> received, bool ended)
    {
        ReadOnlySpan<byte> rest = received;
        HttpVerdict verdict = HttpVerdict.Incomplete;
        for (int number = 0; ; number++)
        {
            int length = rest.IndexOf((byte)'\n');
            if (length < 0)
            {
                return received.Length >= MaxLength ? HttpVerdict.TooLong : ended ? HttpVerdict.BadRequest : HttpVerdict.Incomplete;
            }

            ReadOnlySpan<byte> line = rest[..length];
            line = line.EndsWith("\r"u8) ? line[..^1] : line;
            rest = rest[(length + 1)..];
            if (number == 0)
            {
                verdict = JudgeLine(line);
            }
            else if (line.IsEmpty)
            {
                return verdict;
            }
            else if (!IsField(line))
            {
                return HttpVerdict.BadRequest;
            }

            if (verdict == HttpVerdict.BadRequest)
            {
                return verdict;
            }
        }
    }

    private static HttpVerdict JudgeLine(ReadOnlySpan<byte> line)
    {
        int first = line.IndexOf((byte)' ');
        int last = line.LastIndexOf((byte)' ');
        if (first <= 0 || last == first || line[..first].ContainsAnyExcept(_token))
        {
            return HttpVerdict.BadRequest;
        }

        ReadOnlySpan<byte> method = line[..first];
        ReadOnlySpan<byte> target = line[(first + 1)..last];
        ReadOnlySpan<byte> version = line[(last + 1)..];
        if (target.IsEmpty || target.ContainsAnyExcept(_target) || !version.StartsWith("HTTP/"u8))
        {
            return HttpVerdict.BadRequest;
        }

        if (!version.SequenceEqual("HTTP/1.1"u8) && !version.SequenceEqual("HTTP/1.0"u8))
        {
            return HttpVerdict.VersionNotSupported;
        }

        bool isGet = method.SequenceEqual("GET"u8);
        if (!isGet && !method.SequenceEqual("HEAD"u8))
        {
            return HttpVerdict.MethodNotAllowed;
        }

        int query = target.IndexOf((byte)'?');
        return !(query < 0 ? target : target[..query]).SequenceEqual("/metrics"u8) ? HttpVerdict.NotFound
            : isGet ? HttpVerdict.Metrics
            : HttpVerdict.Head;
    }

    // A name and a colon, with nothing between them; what follows is no business of ours, but for control characters.
    private static bool IsField(ReadOnlySpan<byte> line)
    {
        int colon = line.IndexOf((byte)':');
        return colon > 0 && !line[..colon].ContainsAnyExcept(_token) && !line[(colon + 1)..].ContainsAnyInRange((byte)0, (byte)8) && !line.Contains((byte)'\r');
    }
}
