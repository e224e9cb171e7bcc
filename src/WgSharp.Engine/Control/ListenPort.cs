using Microsoft.Extensions.Logging;
using WgSharp.Protocol;

namespace WgSharp.Engine.Control;

/// <summary>
/// The sockets' port and mark: open while the link is up, and tried again while it is up and the port is taken. What is wanted stands in the
/// device; what is open, here. Control loop only.
/// </summary>
internal sealed class ListenPort(IUdpSocket udp, Device device, TunnelLink link, ILogger log)
{
    private static readonly TimeSpan Retry = TimeSpan.FromSeconds(5);

    private bool _isOpen;

    /// <summary>When a port that was taken is tried again; Never if it is open, or the link down.</summary>
    public Instant RetryAt { get; private set; } = Instant.Never;

    /// <summary>Link up, or <see cref="RetryAt"/>. The kernel module refuses to bring the link up if the port is taken. Here the link is up already: say so, and try again while it is.</summary>
    public void Open(Instant now)
    {
        try
        {
            ushort port = udp.Open(device.ListenPort, device.Fwmark);
            device.SetListenPort(port);
            _isOpen = true;
            RetryAt = Instant.Never;
            Log.LinkUp(log, link.Mtu, port);
        }
        catch (IOException e)
        {
            if (RetryAt == Instant.Never)
            {
                Log.PortRefused(log, device.ListenPort, e.Message);
            }

            RetryAt = now + Retry;
        }
    }

    /// <summary>Link down.</summary>
    public void Close()
    {
        RetryAt = Instant.Never;
        _isOpen = false;
        udp.Close();
    }

    /// <summary>Applies the whole of a configuration, or nothing: what can fail (the port) comes first.</summary>
    /// <exception cref="IOException">The port cannot be opened; nothing has changed.</exception>
    /// <exception cref="ConfigurationException">It cannot be applied.</exception>
    public void Configure(DeviceConfiguration configuration, Moment moment)
    {
        ushort port = configuration.ListenPort ?? device.ListenPort;
        uint mark = configuration.Fwmark ?? device.Fwmark;
        bool movesPort = configuration.ListenPort is { } wanted && (wanted != device.ListenPort || (device.LinkIsUp && !_isOpen));
        if (movesPort && device.LinkIsUp)
        {
            port = udp.Open(port, mark);
            _isOpen = true;
            RetryAt = Instant.Never;
        }
        else if (!device.LinkIsUp && configuration.ListenPort is > 0)
        {
            // Whoever asks learns it now; when the link comes up, nobody would wait for an answer.
            udp.Try(port, mark);
        }

        bool movesMark = mark != device.Fwmark;
        if (movesMark && _isOpen)
        {
            udp.SetMark(mark);
        }

        device.Apply(configuration, moment);
        if (movesPort)
        {
            device.SetListenPort(port);
        }

        if (movesPort || movesMark)
        {
            device.ForgetSources();
        }
    }
}
