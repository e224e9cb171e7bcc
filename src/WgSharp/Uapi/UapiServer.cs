using System.Net.Sockets;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using WgSharp.Linux;
using WgSharp.Protocol;
using WgSharp.Status;

namespace WgSharp;

/// <summary>What the UAPI does to the tunnel, and how patient it is. The seam that its tests use.</summary>
/// <param name="Configure">Applies a configuration and returns when it stands.</param>
/// <param name="Snapshot">A copy of everything, which the answer owns.</param>
/// <param name="HasRoom">Whether so many bytes more fit into memory.</param>
/// <param name="Timeout">For a request from its first byte to its last, and for each piece of an answer to be taken.</param>
/// <param name="Time">By which that is measured.</param>
internal sealed record UapiOperations(
    Action<DeviceConfiguration> Configure, Func<DeviceSnapshot> Snapshot, Func<long, bool> HasRoom, TimeSpan Timeout, TimeProvider Time)
{
    public static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(30);

    /// <summary>Null: nobody is told.</summary>
    public StatusSource? Status { get; init; }
}

/// <summary>
/// Serves the UAPI on a listening socket: any number of operations per connection, many connections at once. One thread, made at the start,
/// goes round all of them and never waits for a single one: who is slow, or says nothing, holds up nobody.
/// </summary>
internal sealed class UapiServer : IDisposable
{
    /// <summary>Further ones wait in the backlog until one ends.</summary>
    public const int MaxConnections = 256;

    // Every get holds a snapshot until its client has read it: with 100,000 peers that is 40 MB each.
    private const int MaxSnapshots = 4;

    // A status holds little, but whoever fills its client's buffer with megabytes would keep wg waiting for its turns.
    private const int MaxStatuses = 8;

    /// <summary>Over all connections; 100,000 peers with four allowed IPs each fit.</summary>
    public const long RequestMemory = 64 << 20;

    // A client has one for what it says, or one for what it is told.
    private const int KeptBuffers = 8;

    // Out of descriptors or memory there is nothing to wait for: whoever gives some back does not tell.
    private static readonly TimeSpan PauseAfterRefusal = TimeSpan.FromMilliseconds(100);

    private readonly Socket _listener;
    private readonly UapiOperations _operations;
    private readonly ILogger _log;
    private readonly PollSet _poll = new(MaxConnections + 1);
    private readonly List<UapiConnection> _connections = [];
    private readonly Stack<byte[]> _buffers = new();
    private readonly TaskCompletionSource _completion = new();
    private readonly Thread _thread;
    private int _snapshots;
    private int _statuses;
    private TimeSpan _acceptAgain = TimeSpan.MinValue;
    private volatile bool _stopping;

    /// <param name="listener">Stays the caller's; becomes non-blocking.</param>
    public UapiServer(Socket listener, UapiOperations operations, ILogger log)
    {
        _listener = listener;
        _listener.Blocking = false;
        _operations = operations;
        _log = log;
        Memory = new UapiMemory(RequestMemory, operations.HasRoom);
        _thread = new Thread(Run) { IsBackground = true, Name = "wg-uapi" };
        _thread.Start();
    }

    /// <summary>Faults if connections can no longer be accepted; on the server's thread, which must not be kept.</summary>
    public Task Completion => _completion.Task;

    public UapiMemory Memory { get; }

    /// <summary>What <see cref="UapiConnection.Deadline"/> is compared with.</summary>
    public TimeSpan Now => _operations.Time.GetElapsedTime(0);

    public TimeSpan Timeout => _operations.Timeout;

    /// <summary>Accepts no more, and ends what is under way. Not to be called by an operation.</summary>
    public void Dispose()
    {
        if (_stopping)
        {
            return;
        }

        _stopping = true;
        _poll.Wake();
        _thread.Join();
        _poll.Dispose();
    }

    /// <returns>0, or the positive error number of what could not be done.</returns>
    public int Apply(DeviceConfiguration configuration)
    {
        const int LargestErrno = 4095;
        try
        {
            _operations.Configure(configuration);
            return 0;
        }
        catch (ConfigurationException impossible)
        {
            _log.ConfigurationRefused(impossible.Message);
            return Errno.ENOMEM;
        }
        catch (IOException refused)
        {
            _log.ConfigurationRefused(refused.Message);
            return refused.HResult is > 0 and <= LargestErrno ? refused.HResult : Errno.EIO;
        }
    }

    /// <returns>Null if there are as many as there may be; <see cref="Return"/> makes room.</returns>
    public UapiAnswer? TrySnapshot()
    {
        if (_snapshots == MaxSnapshots)
        {
            return null;
        }

        UapiAnswer answer;
        try
        {
            answer = UapiAnswer.Of(_operations.Snapshot());
        }
        catch (ConfigurationException impossible)
        {
            _log.ConfigurationRefused(impossible.Message);
            return UapiAnswer.ErrorNumber(UapiOperation.Get, Errno.ENOMEM);
        }

        _snapshots++;
        return answer;
    }

    /// <returns>As <see cref="TrySnapshot"/>.</returns>
    public IUapiAnswer? TryStatus()
    {
        if (_operations.Status is not { } source)
        {
            return UapiAnswer.ErrorNumber(UapiOperation.Status, Errno.EINVAL);
        }

        if (_statuses == MaxStatuses)
        {
            return null;
        }

        _statuses++;
        return new StatusAnswer(source);
    }

    /// <summary>An answer has ended that had one of the places.</summary>
    public void Return(UapiOperation place)
    {
        if (place == UapiOperation.Status)
        {
            _statuses--;
        }
        else
        {
            _snapshots--;
        }
    }

    /// <summary>A buffer for one connection, as long as it needs one.</summary>
    public byte[] RentBuffer() =>
        _buffers.TryPop(out byte[]? buffer) ? buffer : GC.AllocateUninitializedArray<byte>(UapiConnection.BufferSize, pinned: true);

    /// <summary>Wipes it.</summary>
    public void ReturnBuffer(byte[] buffer)
    {
        CryptographicOperations.ZeroMemory(buffer);
        if (_buffers.Count < KeptBuffers)
        {
            _buffers.Push(buffer);
        }
    }

    private void Run()
    {
        try
        {
            while (!_stopping)
            {
                int listener = Watch();
                _poll.Wait(Patience());
                Serve();
                if (listener >= 0 && _poll.IsReady(listener))
                {
                    Accept();
                }
            }

            _completion.SetResult();
        }
#pragma warning disable CA1031 // Whatever it is, the daemon ends with it, loudly.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            _completion.SetException(failure);
        }
        finally
        {
            _connections.ForEach(connection => connection.Dispose());
            _connections.Clear();
        }
    }

    /// <returns>The number of the listener; -1 while no connection is to be accepted.</returns>
    private int Watch()
    {
        _poll.Clear();
        foreach (UapiConnection connection in _connections)
        {
            connection.Watch(_poll);
        }

        return _connections.Count < MaxConnections && Now >= _acceptAgain ? _poll.Add(_listener.SafeHandle) : -1;
    }

    /// <returns>For poll: milliseconds until a deadline, rounded up.</returns>
    private int Patience()
    {
        TimeSpan next = Now < _acceptAgain ? _acceptAgain : TimeSpan.MaxValue;
        foreach (UapiConnection connection in _connections)
        {
            next = connection.CanGoOn ? TimeSpan.Zero : connection.Deadline < next ? connection.Deadline : next;
        }

        return next == TimeSpan.MaxValue ? -1 : (int)Math.Ceiling(Math.Clamp((next - Now).TotalMilliseconds, 0, int.MaxValue));
    }

    private void Serve()
    {
        for (int i = 0; i < _connections.Count && !_stopping; i++)
        {
            Take(_connections[i], static (connection, poll) => connection.Serve(poll));
        }

        // Who was waiting for a place may have it now.
        for (int i = 0; i < _connections.Count && (_snapshots < MaxSnapshots || _statuses < MaxStatuses) && !_stopping; i++)
        {
            Take(_connections[i], static (connection, _) => connection.Resume());
        }

        _connections.RemoveAll(connection => connection.IsDone);
    }

    private void Take(UapiConnection connection, Action<UapiConnection, PollSet> step)
    {
        try
        {
            step(connection, _poll);
        }
        catch (ObjectDisposedException)
        {
            // The tunnel has ended, and the daemon is about to.
            connection.Dispose();
        }
#pragma warning disable CA1031 // Of this one client; the others are served on.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            connection.Dispose();
            _log.ConnectionFailed(failure);
        }
    }

    /// <summary>One at a time: the next turn of the loop takes the next one.</summary>
    private void Accept()
    {
        StreamConnection? client = StreamConnection.Accept(_listener.SafeHandle, out int errno);
        if (client is not null)
        {
            _connections.Add(new UapiConnection(this, client));
            return;
        }

        switch (errno)
        {
            case Errno.EAGAIN or Errno.EINTR:
                break;
            case Errno.EBADF or Errno.EINVAL or Errno.ENOTSOCK or Errno.EFAULT or Errno.EOPNOTSUPP:
                throw new IOException($"accept4: {Errno.Describe(errno)}.", errno);
            default:
                // Of that connection, or of the machine at this moment (accept(2) names a dozen): none is the end.
                _log.AcceptFailed(Errno.Describe(errno));
                _acceptAgain = Now + PauseAfterRefusal;
                break;
        }
    }
}
