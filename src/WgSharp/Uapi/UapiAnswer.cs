using System.Globalization;
using System.Text.Unicode;
using WgSharp.Protocol;

namespace WgSharp;

/// <summary>The answer to a request, piece by piece. One thread.</summary>
internal interface IUapiAnswer : IDisposable
{
    bool IsComplete { get; }

    /// <summary>The operation of whose few places it has one.</summary>
    UapiOperation Place { get; }

    /// <summary>Writes as many whole pieces as fit.</summary>
    /// <param name="buffer">At least <see cref="UapiAnswer.MaxPiece"/> and <see cref="Status.StatusLines.MaxLine"/> bytes, twice.</param>
    /// <returns>Bytes written.</returns>
    int Write(Span<byte> buffer);
}

/// <summary>
/// The answer to a request, written piece by piece into a buffer of any size: a device with 130,000 allowed IPs needs
/// no more memory for its text than one with none. Keys go from bytes to hex digits, never through a string.
/// </summary>
internal sealed class UapiAnswer : IUapiAnswer
{
    /// <summary>More than the longest piece: everything of a peer but its allowed IPs.</summary>
    public const int MaxPiece = 640;

    private readonly DeviceSnapshot? _device;
    private readonly int _errno;
    private int _nextPeer;
    private int _nextAllowedIp;
    private bool _deviceWritten;

    private UapiAnswer(DeviceSnapshot? device, int errno)
    {
        _device = device;
        _errno = errno;
        _deviceWritten = device is null;
    }

    public bool IsComplete { get; private set; }

    /// <summary>It keeps a copy of the device.</summary>
    public UapiOperation Place => _device is not null ? UapiOperation.Get : UapiOperation.None;

    /// <summary>To <c>set</c>, or a <c>get</c> that failed.</summary>
    /// <param name="operation">Decides the sign.</param>
    /// <param name="errno">As in C, positive; 0 for success.</param>
    public static UapiAnswer ErrorNumber(UapiOperation operation, int errno) => new(null, operation == UapiOperation.Set ? -errno : errno);

    /// <summary>To <c>get</c>.</summary>
    /// <param name="device">Owned and wiped by the answer.</param>
    public static UapiAnswer Of(DeviceSnapshot device) => new(device, 0);

    /// <summary>Writes as many whole pieces as fit.</summary>
    /// <param name="buffer">At least <see cref="MaxPiece"/> bytes.</param>
    /// <returns>Bytes written.</returns>
    public int Write(Span<byte> buffer)
    {
        int written = 0;
        while (!IsComplete && buffer.Length - written >= MaxPiece)
        {
            written += WritePiece(buffer[written..]);
        }

        return written;
    }

    public void Dispose()
    {
        _device?.PrivateKey?.Dispose();
        for (int i = 0; i < (_device?.Peers.Count ?? 0); i++)
        {
            _device!.Peers[i].PresharedKey?.Dispose();
        }
    }

    private int WritePiece(Span<byte> buffer)
    {
        if (!_deviceWritten)
        {
            _deviceWritten = true;
            return WriteDevice(_device!, buffer);
        }

        if (_device is null || _nextPeer == _device.Peers.Count)
        {
            IsComplete = true;
            Utf8.TryWrite(buffer, CultureInfo.InvariantCulture, $"errno={_errno}\n\n", out int length);
            return length;
        }

        PeerSnapshot peer = _device.Peers[_nextPeer];
        int pieceLength;
        if (_nextAllowedIp == 0)
        {
            pieceLength = WritePeer(peer, buffer);
        }
        else
        {
            IpPrefix prefix = peer.AllowedIps[_nextAllowedIp - 1];
            Utf8.TryWrite(buffer, CultureInfo.InvariantCulture, $"allowed_ip={prefix.Address}/{prefix.Length}\n", out pieceLength);
        }

        if (_nextAllowedIp++ == peer.AllowedIps.Count)
        {
            _nextAllowedIp = 0;
            _nextPeer++;
        }

        return pieceLength;
    }

    private static int WriteDevice(DeviceSnapshot device, Span<byte> buffer)
    {
        int written = 0;
        if (device.PrivateKey is { } privateKey)
        {
            written += WriteKey("private_key="u8, privateKey.Span, buffer);
        }

        if (device.ListenPort != 0)
        {
            written += WriteNumber("listen_port="u8, device.ListenPort, buffer[written..]);
        }

        if (device.Fwmark != 0)
        {
            written += WriteNumber("fwmark="u8, device.Fwmark, buffer[written..]);
        }

        return written;
    }

    private static int WritePeer(PeerSnapshot peer, Span<byte> buffer)
    {
        const long NanosecondsPerSecond = 1_000_000_000;
        int written = WriteKey("public_key="u8, peer.PublicKey.Span, buffer);
        written += WriteKey("preshared_key="u8, peer.PresharedKey is { } key ? key.Span : stackalloc byte[32], buffer[written..]);
        written += WriteNumber("protocol_version="u8, 1, buffer[written..]);
        if (peer.Endpoint is { } endpoint)
        {
            Utf8.TryWrite(buffer[written..], CultureInfo.InvariantCulture, $"endpoint={endpoint}\n", out int length);
            written += length;
        }

        written += WriteNumber("last_handshake_time_sec="u8, peer.LastHandshake.Nanoseconds / NanosecondsPerSecond, buffer[written..]);
        written += WriteNumber("last_handshake_time_nsec="u8, peer.LastHandshake.Nanoseconds % NanosecondsPerSecond, buffer[written..]);
        written += WriteNumber("tx_bytes="u8, peer.TxBytes, buffer[written..]);
        written += WriteNumber("rx_bytes="u8, peer.RxBytes, buffer[written..]);
        written += WriteNumber("persistent_keepalive_interval="u8, peer.PersistentKeepaliveInterval, buffer[written..]);
        return written;
    }

    private static int WriteNumber(ReadOnlySpan<byte> name, long number, Span<byte> buffer)
    {
        name.CopyTo(buffer);
        number.TryFormat(buffer[name.Length..], out int digits);
        buffer[name.Length + digits] = (byte)'\n';
        return name.Length + digits + 1;
    }

    private static int WriteKey(ReadOnlySpan<byte> name, ReadOnlySpan<byte> key, Span<byte> buffer)
    {
        name.CopyTo(buffer);
        Convert.TryToHexStringLower(key, buffer[name.Length..], out int digits);
        buffer[name.Length + digits] = (byte)'\n';
        return name.Length + digits + 1;
    }
}
