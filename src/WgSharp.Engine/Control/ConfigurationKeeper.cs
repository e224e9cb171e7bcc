using Microsoft.Extensions.Logging;
using WgSharp.Protocol;

namespace WgSharp.Engine.Control;

/// <summary>
/// Writes down what a successor of this process would need (ConfigurationLog.cs says how it looks): every configuration when it was applied, before whoever asked for it is
/// answered; what becomes of peers by themselves (endpoints, sessions) in one go, ten times a second at most: who dies in between has a successor that looks for a peer where it was before. Each of that costs what has
/// changed, however many peers there are. When the log has become twice as long as a description of everything, that takes its place. Control loop only.
/// </summary>
internal sealed class ConfigurationKeeper
{
    /// <summary>Below that nobody counts.</summary>
    private const long Little = 64 * 1024;

    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(100);

    private readonly Device _device;
    private readonly IConfigurationStore _store;
    private readonly ILogger _log;
    private readonly ConfigurationWriter _writer;
    private ulong _generation;
    private long _described;
    private ushort _port;
    private Instant _next;
    private bool _isLost = true;

    public ConfigurationKeeper(Device device, IConfigurationStore store, ILogger log)
    {
        _device = device;
        _store = store;
        _log = log;
        _writer = new ConfigurationWriter(store.Append);
    }

    /// <summary>Never, while there is nothing to write.</summary>
    public Instant WritesAt => _device.HasNotes && !_isLost ? _next : Instant.Never;

    /// <summary>The device is as it is to be kept.</summary>
    /// <param name="generation">Of the first log; those that follow count on.</param>
    public void Begin(ulong generation)
    {
        _generation = generation;
        _isLost = false;
        Keep(Describe);
    }

    /// <summary>It was applied.</summary>
    public void NoteConfigured(DeviceConfiguration configuration) => Keep(() =>
    {
        _writer.Write(configuration);
        _writer.Commit();
        _port = configuration.ListenPort ?? _port;
    });

    /// <summary>The sockets were opened, perhaps on a port that nobody had asked for.</summary>
    public void NotePort()
    {
        if (_device.ListenPort != _port)
        {
            Keep(() =>
            {
                _writer.Write(new DeviceConfiguration { ListenPort = _device.ListenPort });
                _writer.Commit();
                _port = _device.ListenPort;
            });
        }
    }

    /// <summary>Of peers that moved, or have a new session; if it is time for that.</summary>
    /// <param name="atOnce">There will be no other time.</param>
    public void WriteNotes(Instant now, bool atOnce = false)
    {
        if (!_device.HasNotes || _isLost || (now < _next && !atOnce))
        {
            return;
        }

        _next = now + Period;
        Keep(() =>
        {
            _device.WriteNotes(_writer);
            _writer.Commit();
        });
    }

    private void Keep(Action write)
    {
        if (_isLost)
        {
            return;
        }

        try
        {
            write();
            if (_store.Length > (2 * _described) + Little)
            {
                Describe();
            }
        }
        catch (IOException refused)
        {
            _isLost = true;
            _store.Abandon();
            Log.NotKept(_log, refused.Message);
        }
    }

    private void Describe()
    {
        _store.Begin();
        _writer.Begin(_generation++);
        _device.Describe(_writer);
        _writer.Commit();
        _store.Replace();
        _described = _store.Length;
        _port = _device.ListenPort;
    }
}
