using System.Text;
using WgSharp.Linux;

namespace WgSharp.Metrics;

/// <summary>One client of the metrics: says its request, takes its answer, and is waited for until it has closed. Each step goes as far as it can without waiting.</summary>
internal sealed class MetricsConnection : IDisposable
{
    private const int PieceSize = 16 * 1024;

    /// <summary>For the request, and again for the whole answer: a scrape may take ten seconds, by default.</summary>
    public static readonly TimeSpan Timeout = TimeSpan.FromSeconds(10);

    /// <summary>Until it has closed, so that the end of the answer is not lost with what it may have said beyond its request.</summary>
    private static readonly TimeSpan Farewell = TimeSpan.FromSeconds(1);

    private readonly MetricsServer _server;
    private readonly StreamConnection _client;
    private byte[] _buffer = new byte[HttpRequest.MaxLength];
    private int _count;
    private int _sent;
    private bool _ended;
    private MetricsText? _text;
    private State _state = State.Listening;
    private int _number;

    public MetricsConnection(MetricsServer server, StreamConnection client)
    {
        _server = server;
        _client = client;
        Deadline = server.Now + Timeout;
    }

    private enum State
    {
        Listening,
        Answering,
        Leaving,
        Done,
    }

    public bool IsDone => _state == State.Done;

    public TimeSpan Deadline { get; private set; }

    public void Watch(PollSet poll) => _number = poll.Add(_client, forRoom: _state == State.Answering);

    /// <summary>After the wait.</summary>
    public void Serve(PollSet poll)
    {
        if (_server.Now >= Deadline)
        {
            Dispose();
        }
        else if (poll.IsReady(_number))
        {
            Step();
        }
    }

    public void Dispose()
    {
        if (_state != State.Done)
        {
            _state = State.Done;
            EndText();
            _client.Dispose();
        }
    }

    private void Step()
    {
        switch (_state)
        {
            case State.Listening:
                Receive();
                break;
            case State.Answering:
                Send();
                break;
            case State.Leaving:
                Leave();
                break;
        }
    }

    private void Receive()
    {
        int received = _client.Receive(_buffer.AsSpan(_count), out int errno);
        if (received < 0)
        {
            DisposeUnless(errno);
            return;
        }

        _count += received;
        _ended = received == 0;
        if (_count == 0)
        {
            Dispose();
            return;
        }

        HttpVerdict verdict = HttpRequest.Judge(_buffer.AsSpan(0, _count), _ended);
        if (verdict != HttpVerdict.Incomplete)
        {
            Answer(verdict);
        }
    }

    private void Answer(HttpVerdict verdict)
    {
        _text = verdict == HttpVerdict.Metrics ? _server.TryBegin() : null;
        (string status, string body) = verdict switch
        {
            HttpVerdict.Metrics when _text is null => ("503 Service Unavailable\r\nRetry-After: 1", "Others are being answered.\n"),
            HttpVerdict.Metrics or HttpVerdict.Head => ("200 OK", string.Empty),
            HttpVerdict.NotFound => ("404 Not Found", "There is /metrics.\n"),
            HttpVerdict.MethodNotAllowed => ("405 Method Not Allowed\r\nAllow: GET, HEAD", "There is GET.\n"),
            HttpVerdict.TooLong => ("431 Request Header Fields Too Large", "Too long.\n"),
            HttpVerdict.VersionNotSupported => ("505 HTTP Version Not Supported", "HTTP/1.1, please.\n"),
            _ => ("400 Bad Request", "That is no request.\n"),
        };
        string type = verdict is HttpVerdict.Metrics or HttpVerdict.Head ? MetricsText.ContentType : "text/plain; charset=utf-8";

        // How long it will be is not known before it was said: it ends with the connection.
        _buffer = new byte[PieceSize];
        _count = Encoding.ASCII.GetBytes($"HTTP/1.1 {status}\r\nContent-Type: {type}\r\nConnection: close\r\n\r\n{body}", _buffer);
        _sent = 0;
        _state = State.Answering;
        Deadline = _server.Now + Timeout;
        Send();
    }

    private void Send()
    {
        if (_sent == _count)
        {
            _count = _text?.Write(_buffer) ?? 0;
            _sent = 0;
        }

        int sent = _count == 0 ? 0 : _client.Send(_buffer.AsSpan(_sent, _count - _sent), out int errno) is >= 0 and var taken ? taken : Refused(errno);
        _sent += sent;
        if (_state == State.Answering && _sent == _count && (_text is null || _text.IsComplete))
        {
            EndText();
            _client.EndSending();
            _state = State.Leaving;
            Deadline = _server.Now + Farewell;
        }
    }

    private void Leave()
    {
        int received = _client.Receive(_buffer, out int errno);
        if (received == 0)
        {
            Dispose();
        }
        else if (received < 0)
        {
            DisposeUnless(errno);
        }
    }

    private int Refused(int errno)
    {
        DisposeUnless(errno);
        return 0;
    }

    private void DisposeUnless(int errno)
    {
        if (errno is not (Errno.EAGAIN or Errno.EINTR))
        {
            Dispose();
        }
    }

    private void EndText()
    {
        if (_text is not null)
        {
            _text = null;
            _server.End();
        }
    }
}
