using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using WgSharp.Linux;
using WgSharp.Protocol;
using WgSharp.Status;

namespace WgSharp.Metrics;

/// <summary>What the metrics are made of.</summary>
/// <param name="MostPeers">How many peers have metrics of their own.</param>
/// <param name="HasRoom">Whether so many bytes more fit into memory.</param>
/// <param name="Time">By which clients are hurried.</param>
internal sealed record MetricsOperations(StatusSource Source, int MostPeers, Func<long, bool> HasRoom, TimeProvider Time);

/// <summary>
/// Serves the metrics over HTTP. One thread, made at the start, which only exists where metrics are asked for; it waits for no client and is waited for by
/// nobody. Whoever is slow pays for it himself: there are few places, and the one who has been there longest makes room.
/// </summary>
internal sealed class MetricsServer : IDisposable
{
    public const int MaxConnections = 16;

    // Each holds what it tells of up to metrics_peers peers.
    private const int MaxAnswers = 2;

    /// <summary>What a peer takes while it is told of.</summary>
    private const int PeerPrice = 400;

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Who asks again within that time is told the same: to walk through all peers is what costs something.</summary>
    private static readonly TimeSpan Fresh = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan PauseAfterRefusal = TimeSpan.FromMilliseconds(100);

    private readonly Socket _listener;
    private readonly MetricsOperations _operations;
    private readonly ILogger _log;
    private readonly string? _path;
    private readonly FileIdentity? _identity;
    private readonly PollSet _poll = new(MaxConnections + 1);
    private readonly List<MetricsConnection> _connections = [];
    private readonly Thread _thread;
    private TimeSpan _acceptAgain = TimeSpan.MinValue;
    private InterfaceStatus? _latest;
    private TimeSpan _latestUntil;
    private int _answers;
    private volatile bool _stopping;

    /// <exception cref="IOException">The address cannot be had.</exception>
    public MetricsServer(MetricsAddress address, MetricsOperations operations, ILogger log)
    {
        _operations = operations;
        _log = log;
        _path = address.Path;
        _listener = Listen(address);
        _identity = _path is null ? null : FileIdentity.OfPath(_path);
        EndPoint = _listener.LocalEndPoint!;
        _thread = new Thread(Run) { IsBackground = true, Name = "wg-metrics" };
        _thread.Start();
    }

    public System.Net.EndPoint EndPoint { get; }

    /// <summary>What <see cref="MetricsConnection.Deadline"/> is compared with.</summary>
    public TimeSpan Now => _operations.Time.GetElapsedTime(0);

    /// <summary>Accepts no more, and ends what is under way.</summary>
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
        _listener.Dispose();
        if (_path is not null && _identity is not null && FileIdentity.OfPath(_path) == _identity)
        {
            File.Delete(_path);
        }
    }

    /// <returns>Null if there are as many under way as there may be.</returns>
    public MetricsText? TryBegin()
    {
        if (_answers == MaxAnswers)
        {
            return null;
        }

        if (_latest is null)
        {
            _latest = Collect();
            _latestUntil = Now + Fresh;
        }

        _answers++;
        return new MetricsText([_latest]);
    }

    public void End() => _answers--;

    private static Socket Listen(MetricsAddress address)
    {
        var listener = new Socket(
            address.EndPoint.AddressFamily, SocketType.Stream, address.Path is null ? ProtocolType.Tcp : ProtocolType.Unspecified)
        { Blocking = false };
        try
        {
            if (address.Path is not null)
            {
                if (!Directory.Exists(Path.GetDirectoryName(address.Path)))
                {
                    throw new IOException($"there is no directory {Path.GetDirectoryName(address.Path)}");
                }

                RemoveStale(address.Path, address.EndPoint);
            }

            listener.Bind(address.EndPoint);
            if (address.Path is not null)
            {
                File.SetUnixFileMode(address.Path, OwnerOnly);
            }

            listener.Listen();
            return listener;
        }
        catch (Exception refused) when (refused is SocketException or UnauthorizedAccessException or IOException)
        {
            listener.Dispose();
            throw refused as IOException ?? new IOException(refused is SocketException { SocketErrorCode: SocketError.AddressAlreadyInUse }
                ? "it is taken (EADDRINUSE); each interface needs an address of its own, in /etc/wgsharp/INTERFACE.conf"
                : refused.Message, refused);
        }
    }

    // What a daemon that was killed has left: nobody answers there.
    private static void RemoveStale(string path, System.Net.EndPoint endpoint)
    {
        if (FileIdentity.OfPath(path) is not { IsSocket: true })
        {
            return;
        }

        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
        { Blocking = false };
        try
        {
            probe.Connect(endpoint);
        }
        catch (SocketException refused) when (refused.SocketErrorCode == SocketError.ConnectionRefused)
        {
            File.Delete(path);
        }
        catch (SocketException)
        {
            // Somebody is there: to bind will say so.
        }
    }

    private InterfaceStatus Collect()
    {
        InterfaceStatus status = _operations.Source.Describe();
        int most = _operations.HasRoom((long)Math.Min(_operations.MostPeers, status.Tunnel.PeerCount) * PeerPrice) ? _operations.MostPeers : 0;
        var cursor = new PeerCursor();
        bool more = true;
        while (more && !_stopping)
        {
            var portion = new List<PeerStatus>();
            more = _operations.Source.DescribePeers(cursor, 0, portion);
            foreach (PeerStatus peer in portion)
            {
                status.Count(peer);
                if (status.Peers.Count < most)
                {
                    status.Peers.Add(peer);
                }
            }
        }

        return status;
    }

    private void Run()
    {
        try
        {
            while (!_stopping)
            {
                int listener = Watch();
                _poll.Wait(Patience());
                _latest = Now < _latestUntil ? _latest : null;
                Serve();
                if (listener >= 0 && _poll.IsReady(listener))
                {
                    Accept();
                }
            }
        }
        catch (ObjectDisposedException)
        {
            // The tunnel has ended, and the daemon is about to.
        }
#pragma warning disable CA1031 // Nobody's tunnel is to end because of its metrics.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            _log.MetricsFailed(failure);
        }
        finally
        {
            _connections.ForEach(connection => connection.Dispose());
        }
    }

    private int Watch()
    {
        _poll.Clear();
        foreach (MetricsConnection connection in _connections)
        {
            connection.Watch(_poll);
        }

        return Now >= _acceptAgain ? _poll.Add(_listener.SafeHandle) : -1;
    }

    private int Patience()
    {
        TimeSpan next = Now < _acceptAgain ? _acceptAgain : TimeSpan.MaxValue;
        next = _latest is not null && _latestUntil < next ? _latestUntil : next;
        foreach (MetricsConnection connection in _connections)
        {
            next = connection.Deadline < next ? connection.Deadline : next;
        }

        return next == TimeSpan.MaxValue ? -1 : (int)Math.Ceiling(Math.Clamp((next - Now).TotalMilliseconds, 0, int.MaxValue));
    }

    private void Serve()
    {
        foreach (MetricsConnection connection in _connections)
        {
            connection.Serve(_poll);
        }

        _connections.RemoveAll(connection => connection.IsDone);
    }

    private void Accept()
    {
        StreamConnection? client = StreamConnection.Accept(_listener.SafeHandle, out int errno);
        if (client is null)
        {
            _acceptAgain = errno is Errno.EAGAIN or Errno.EINTR ? _acceptAgain : Now + PauseAfterRefusal;
            return;
        }

        if (_connections.Count == MaxConnections)
        {
            // In the order in which they came.
            _connections[0].Dispose();
            _connections.RemoveAt(0);
        }

        _connections.Add(new MetricsConnection(this, client));
    }
}
