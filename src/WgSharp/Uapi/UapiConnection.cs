using WgSharp.Linux;

namespace WgSharp;

/// <summary>
/// One client, as far as it has come: saying its request, waiting for a place, taking its answer. Each step goes as far as it can
/// without waiting. Buffers are held only while there is something in them, and wiped.
/// </summary>
internal sealed class UapiConnection(UapiServer server, StreamConnection client) : IDisposable
{
    public const int BufferSize = 16 * 1024;

    private const int NotWatched = -1;

    private UapiRequest _request = new(server.Memory);
    private IUapiAnswer? _answer;
    private byte[]? _received;
    private byte[]? _answered;
    private int _receivedCount;
    private int _sent;
    private int _answeredCount;
    private int _number = NotWatched;
    private bool _ended;
    private UapiOperation _place;
    private bool _wantsPlace;
    private bool _closing;

    /// <summary>Closed.</summary>
    public bool IsDone { get; private set; }

    /// <summary>The next request is there already, or a part of it.</summary>
    public bool CanGoOn { get; private set; }

    /// <summary>When the request must be whole, or the piece of the answer taken.</summary>
    public TimeSpan Deadline { get; private set; } = TimeSpan.MaxValue;

    /// <summary>A client that waits for a place is not watched: if it has gone, sending the answer will tell.</summary>
    public void Watch(PollSet poll) => _number = _wantsPlace ? NotWatched : poll.Add(client, forRoom: _answer is not null);

    /// <summary>After the wait.</summary>
    public void Serve(PollSet poll)
    {
        bool ready = CanGoOn || (_number != NotWatched && poll.IsReady(_number));
        if (server.Now >= Deadline && !(ready && _answer is not null))
        {
            GiveUp();
        }
        else if (ready && _answer is not null)
        {
            Send();
        }
        else if (CanGoOn)
        {
            CanGoOn = false;
            Read();
        }
        else if (ready)
        {
            Receive();
        }
    }

    /// <summary>If it waits for a place, it takes one that has become free.</summary>
    public void Resume()
    {
        if (_wantsPlace && !IsDone)
        {
            AnswerLater();
        }
    }

    public void Dispose()
    {
        if (IsDone)
        {
            return;
        }

        IsDone = true;
        client.Dispose();
        _request.Dispose();
        EndAnswer();
        ReturnBuffer(ref _received);
    }

    private void Receive()
    {
        _received ??= server.RentBuffer();
        int received = client.Receive(_received.AsSpan(_receivedCount), out int errno);
        if (received < 0 && errno is not (Errno.EAGAIN or Errno.EINTR))
        {
            Dispose();
            return;
        }

        _receivedCount += Math.Max(received, 0);
        _ended |= received == 0;
        Read();
    }

    private void Read()
    {
        int used = _request.Read(_received.AsSpan(0, _receivedCount), _ended);
        _received.AsSpan(used, _receivedCount - used).CopyTo(_received);
        _received.AsSpan(_receivedCount - used, used).Clear();
        _receivedCount -= used;
        if (_request.IsComplete)
        {
            Answer();
        }
        else if (_request.IsStarted && Deadline == TimeSpan.MaxValue)
        {
            // From its first byte, however many follow. Between two requests a client may take all the time it wants.
            Deadline = server.Now + server.Timeout;
        }

        if (_receivedCount == 0)
        {
            ReturnBuffer(ref _received);
        }
    }

    private void Answer()
    {
        Deadline = TimeSpan.MaxValue;
        if (!_request.IsStarted)
        {
            // wg connects and leaves without a byte before every operation.
            Dispose();
        }
        else if (_request.Error != 0)
        {
            Begin(UapiAnswer.ErrorNumber(_request.Operation, _request.Error));
        }
        else if (_request.Operation == UapiOperation.Set)
        {
            Begin(UapiAnswer.ErrorNumber(UapiOperation.Set, server.Apply(_request.Configuration)));
        }
        else
        {
            AnswerLater();
        }
    }

    private void AnswerLater()
    {
        IUapiAnswer? answer = _request.Operation == UapiOperation.Status ? server.TryStatus() : server.TrySnapshot();
        _wantsPlace = answer is null;
        if (answer is not null)
        {
            _place = answer.Place;
            Begin(answer);
        }
    }

    /// <summary>It took too long: with its request it is told so, with its answer nothing can be said any more.</summary>
    private void GiveUp()
    {
        if (_answer is not null)
        {
            Dispose();
            return;
        }

        _closing = true;
        _receivedCount = 0;
        ReturnBuffer(ref _received);
        Begin(UapiAnswer.ErrorNumber(_request.Operation, Errno.ETIMEDOUT));
    }

    private void Begin(IUapiAnswer answer)
    {
        _answer = answer;
        _request.Dispose();
        _answered = server.RentBuffer();
        _answeredCount = 0;
        _sent = 0;
        Send();
    }

    /// <summary>As much as the client has room for, but one piece at most: then it is the next client's turn.</summary>
    private void Send()
    {
        if (_sent == _answeredCount)
        {
            _answeredCount = _answer!.Write(_answered);
            _sent = 0;
            Deadline = server.Now + server.Timeout;
        }

        int sent = client.Send(_answered.AsSpan(_sent, _answeredCount - _sent), out int errno);
        if (sent < 0 && errno is not (Errno.EAGAIN or Errno.EINTR))
        {
            Dispose();
            return;
        }

        _sent += Math.Max(sent, 0);
        if (_sent == _answeredCount && _answer!.IsComplete)
        {
            EndAnswer();
            BeginNextRequest();
        }
    }

    private void EndAnswer()
    {
        _answer?.Dispose();
        _answer = null;
        ReturnBuffer(ref _answered);
        if (_place != UapiOperation.None)
        {
            server.Return(_place);
            _place = UapiOperation.None;
        }
    }

    private void BeginNextRequest()
    {
        Deadline = TimeSpan.MaxValue;
        if (_closing || (_ended && _receivedCount == 0))
        {
            Dispose();
            return;
        }

        _request = new UapiRequest(server.Memory);
        CanGoOn = _receivedCount > 0;
    }

    private void ReturnBuffer(ref byte[]? buffer)
    {
        if (buffer is not null)
        {
            server.ReturnBuffer(buffer);
            buffer = null;
        }
    }
}
