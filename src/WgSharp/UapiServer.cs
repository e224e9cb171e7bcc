using System.Net.Sockets;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp;

/// <summary>What the UAPI does to the tunnel, and how patient it is. The seam that its tests use.</summary>
/// <param name="Configure">Applies a configuration and returns when it stands.</param>
/// <param name="Snapshot">A copy of everything, which the answer owns.</param>
/// <param name="Timeout">For a request from its first byte to its last, and for each piece of an answer to be taken.</param>
internal sealed record UapiOperations(Action<DeviceConfiguration> Configure, Func<DeviceSnapshot> Snapshot, TimeSpan Timeout)
{
    public static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(30);
}

/// <summary>
/// Serves the UAPI on a listening socket: any number of operations per connection, many connections at once. Each connection
/// parses and prints on its own; only the applying itself meets the others, on the tunnel's control loop.
/// </summary>
internal sealed class UapiServer : IAsyncDisposable
{
    /// <summary>Further ones wait in the backlog until one ends.</summary>
    public const int MaxConnections = 256;

    // Every get holds a snapshot until its client has read it: with 100,000 peers that is 40 MB each.
    private const int MaxSnapshots = 4;

    /// <summary>Over all connections; 100,000 peers with four allowed IPs each fit.</summary>
    public const long RequestMemory = 64 << 20;

    // Out of descriptors there is nothing to wait for: whoever closes one does not tell.
    private static readonly TimeSpan PauseAfterRefusal = TimeSpan.FromMilliseconds(100);

    private readonly Socket _listener;
    private readonly UapiOperations _operations;
    private readonly ILogger _log;
    private readonly UapiBudget _budget = new(RequestMemory);
    private readonly SemaphoreSlim _free = new(MaxConnections, MaxConnections);
    private readonly SemaphoreSlim _snapshots = new(MaxSnapshots, MaxSnapshots);
    private readonly CancellationTokenSource _stop = new();

    /// <param name="listener">Stays the caller's.</param>
    public UapiServer(Socket listener, UapiOperations operations, ILogger log)
    {
        _listener = listener;
        _operations = operations;
        _log = log;
        Completion = AcceptAsync();
    }

    /// <summary>Faults if connections can no longer be accepted.</summary>
    public Task Completion { get; }

    /// <summary>Accepts no more, and ends what is under way.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        await _stop.CancelAsync();
        await Completion.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        for (int i = 0; i < MaxConnections; i++)
        {
            await _free.WaitAsync();
        }

        _free.Dispose();
        _snapshots.Dispose();
    }

    private async Task AcceptAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            bool accepted = false;
            try
            {
                await _free.WaitAsync(_stop.Token);
            }
            catch (OperationCanceledException)
            {
                return;
            }

            try
            {
                Socket client = await _listener.AcceptAsync(_stop.Token);
                accepted = true;
                _ = ServeAsync(client);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (SocketException refused) when (refused.SocketErrorCode is SocketError.ConnectionAborted or SocketError.TooManyOpenSockets)
            {
                _log.AcceptFailed(refused.Message);
                await Task.Delay(PauseAfterRefusal, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            finally
            {
                if (!accepted)
                {
                    _free.Release();
                }
            }
        }
    }

    private async Task ServeAsync(Socket client)
    {
        try
        {
            using (client)
            {
                // wg connects and leaves without a byte before every operation: no buffer is made for that.
                await client.ReceiveAsync(Memory<byte>.Empty, _stop.Token);
                var connection = new Connection(this, client);
                while (await connection.ServeOneAsync())
                {
                }
            }
        }
        catch (Exception ended) when (ended is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // The client left, or was too slow, or the daemon ends: nobody is there to be told.
        }
        catch (Exception failure)
        {
            _log.ConnectionFailed(failure);
        }
        finally
        {
            _free.Release();
        }
    }

    /// <returns>0, or the positive error number of what could not be done.</returns>
    private int Apply(DeviceConfiguration configuration)
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

    /// <summary>One client: a buffer for what it says, another for what it is told, both wiped as soon as they were used.</summary>
    private sealed class Connection(UapiServer server, Socket client)
    {
        private readonly byte[] _received = GC.AllocateUninitializedArray<byte>(BufferSize, pinned: true);
        private readonly byte[] _answered = GC.AllocateUninitializedArray<byte>(BufferSize, pinned: true);
        private int _count;
        private bool _ended;

        private const int BufferSize = 16 * 1024;

        /// <returns>False when the client is done.</returns>
        public async Task<bool> ServeOneAsync()
        {
            using var request = new UapiRequest(server._budget);
            if (!await ReceiveAsync(request))
            {
                await SendAsync(UapiAnswer.ErrorNumber(request.Operation, Errno.ETIMEDOUT));
                return false;
            }

            if (!request.IsStarted)
            {
                return false;
            }

            if (request.Error != 0)
            {
                await SendAsync(UapiAnswer.ErrorNumber(request.Operation, request.Error));
            }
            else if (request.Operation == UapiOperation.Set)
            {
                await SendAsync(UapiAnswer.ErrorNumber(UapiOperation.Set, server.Apply(request.Configuration)));
            }
            else
            {
                await AnswerGetAsync();
            }

            return !_ended || _count > 0;
        }

        /// <returns>False if it did not come in time.</returns>
        private async Task<bool> ReceiveAsync(UapiRequest request)
        {
            using var slow = CancellationTokenSource.CreateLinkedTokenSource(server._stop.Token);
            bool hurried = false;
            try
            {
                while (!Consume(request))
                {
                    // Between two requests a client may take all the time it wants.
                    if (request.IsStarted && !hurried)
                    {
                        slow.CancelAfter(server._operations.Timeout);
                        hurried = true;
                    }

                    int received = await client.ReceiveAsync(_received.AsMemory(_count), slow.Token);
                    _count += received;
                    _ended = received == 0;
                }

                return true;
            }
            catch (OperationCanceledException) when (!server._stop.IsCancellationRequested)
            {
                CryptographicOperations.ZeroMemory(_received);
                return false;
            }
        }

        private bool Consume(UapiRequest request)
        {
            int used = request.Read(_received.AsSpan(0, _count), _ended);
            _received.AsSpan(used, _count - used).CopyTo(_received);
            CryptographicOperations.ZeroMemory(_received.AsSpan(_count - used, used));
            _count -= used;
            return request.IsComplete;
        }

        private async Task AnswerGetAsync()
        {
            await server._snapshots.WaitAsync(server._stop.Token);
            try
            {
                await SendAsync(UapiAnswer.Of(server._operations.Snapshot()));
            }
            finally
            {
                server._snapshots.Release();
            }
        }

        private async Task SendAsync(UapiAnswer answer)
        {
            using (answer)
            {
                while (!answer.IsComplete)
                {
                    int length = answer.Write(_answered);
                    try
                    {
                        await SendAllAsync(_answered.AsMemory(0, length));
                    }
                    finally
                    {
                        CryptographicOperations.ZeroMemory(_answered.AsSpan(0, length));
                    }
                }
            }
        }

        private async Task SendAllAsync(ReadOnlyMemory<byte> bytes)
        {
            using var slow = CancellationTokenSource.CreateLinkedTokenSource(server._stop.Token);
            slow.CancelAfter(server._operations.Timeout);
            while (!bytes.IsEmpty)
            {
                bytes = bytes[await client.SendAsync(bytes, slow.Token)..];
            }
        }
    }
}
