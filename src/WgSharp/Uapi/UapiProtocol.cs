using System.Security.Cryptography;
using WgSharp.Crypto;
using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp;

// The text protocol of the UAPI socket, as https://www.wireguard.com/xplatform/ describes it and wg speaks it:
//
//   set=1\n  key=value\n ...  \n        ->  errno=N\n\n       N is 0 or NEGATIVE: wg negates what it reads (ipc-uapi.h, userspace_set_device)
//   get=1\n  \n                         ->  key=value\n ... errno=N\n\n    N is 0 or POSITIVE: here wg does not
//   status=1\n  \n                      ->  as get; ours alone, for wgsharp status (Status/StatusLines.cs)
//
// A request is read to its blank line even after an error: wg writes all of it before it reads, and would die of SIGPIPE.
// Nothing is applied before the whole of it was understood.

/// <summary>Which operation a request asks for.</summary>
internal enum UapiOperation
{
    /// <summary>Not known yet, or neither get nor set.</summary>
    None,

    Get,
    Set,

    /// <summary>What <c>wgsharp status</c> asks.</summary>
    Status,
}

/// <summary>One request: takes bytes as they arrive, line by line, until its blank line or the end of the stream.</summary>
internal sealed class UapiRequest(UapiMemory memory) : IDisposable
{
    /// <summary>Far above the longest line that means something (an endpoint with a scope).</summary>
    public const int MaxLine = 1024;

    private PeerConfiguration? _peer;
    private bool _skippingLine;
    private int _peersTaken;
    private int _allowedIpsTaken;

    /// <summary>A byte of it was seen.</summary>
    public bool IsStarted { get; private set; }

    public bool IsComplete { get; private set; }

    public UapiOperation Operation { get; private set; }

    /// <summary>The first thing that was wrong (positive), or 0.</summary>
    public int Error { get; private set; }

    /// <summary>Only with <see cref="UapiOperation.Set"/> and without an error.</summary>
    public DeviceConfiguration Configuration { get; } = new();

    /// <summary>Reads whole lines up to the end of the request; what follows belongs to the next one.</summary>
    /// <param name="endOfStream">Nothing will follow: stands for the blank line.</param>
    /// <returns>How many bytes were used. The rest, less than <see cref="MaxLine"/> of an unfinished line, is to be given again with what follows.</returns>
    public int Read(ReadOnlySpan<byte> bytes, bool endOfStream)
    {
        IsStarted |= !bytes.IsEmpty;
        int used = 0;
        while (!IsComplete)
        {
            ReadOnlySpan<byte> rest = bytes[used..];
            int length = rest.IndexOf((byte)'\n');
            if (length >= 0)
            {
                AcceptLine(rest[..length]);
                used += length + 1;
                continue;
            }

            if (rest.Length > MaxLine || (endOfStream && !rest.IsEmpty))
            {
                // Too long, or cut off: half a line could still look like a good one (10.0.0.0/2 of 10.0.0.0/24).
                Fail(rest.Length > MaxLine ? Errno.EINVAL : Errno.EPROTO);
                _skippingLine = true;
                used = bytes.Length;
            }

            if (endOfStream)
            {
                IsComplete = true;
            }

            break;
        }

        return used;
    }

    /// <summary>What is not applied any more is wiped.</summary>
    public void Dispose()
    {
        WipeConfiguration();
        memory.Return(_peersTaken, _allowedIpsTaken);
        (_peersTaken, _allowedIpsTaken) = (0, 0);
    }

    private void AcceptLine(ReadOnlySpan<byte> line)
    {
        if (_skippingLine)
        {
            _skippingLine = false;
            return;
        }

        if (line.IsEmpty)
        {
            IsComplete = true;
            if (Operation == UapiOperation.None)
            {
                Fail(Errno.EPROTO);
            }

            return;
        }

        if (Error != 0)
        {
            return;
        }

        int equals = line.IndexOf((byte)'=');
        if (equals < 0 || line.Length > MaxLine)
        {
            Fail(equals < 0 ? Errno.EPROTO : Errno.EINVAL);
            return;
        }

        ReadOnlySpan<byte> key = line[..equals];
        ReadOnlySpan<byte> value = line[(equals + 1)..];
        bool understood = Operation switch
        {
            UapiOperation.None => AcceptOperation(key, value),
            UapiOperation.Set when key.SequenceEqual("public_key"u8) => AcceptPeer(value),
            UapiOperation.Set when _peer is null => AcceptDeviceKey(key, value),
            UapiOperation.Set => AcceptPeerKey(_peer, key, value),
            _ => false,
        };
        if (!understood)
        {
            Fail(Errno.EINVAL);
        }
    }

    private bool AcceptOperation(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        if (key.SequenceEqual("set"u8))
        {
            Operation = UapiOperation.Set;
        }
        else if (key.SequenceEqual("get"u8))
        {
            Operation = UapiOperation.Get;
        }
        else if (key.SequenceEqual("status"u8))
        {
            Operation = UapiOperation.Status;
        }

        return Operation != UapiOperation.None && value.SequenceEqual("1"u8);
    }

    private bool AcceptDeviceKey(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        uint number;
        switch (key)
        {
            case var _ when key.SequenceEqual("private_key"u8):
                return AcceptPrivateKey(value);
            case var _ when key.SequenceEqual("listen_port"u8):
                Configuration.ListenPort = UapiValues.TryParseNumber(value, ushort.MaxValue, out number) ? (ushort)number : null;
                return Configuration.ListenPort is not null;
            case var _ when key.SequenceEqual("fwmark"u8):
                Configuration.Fwmark = UapiValues.TryParseNumber(value, uint.MaxValue, out number) ? number : null;
                return Configuration.Fwmark is not null;
            case var _ when key.SequenceEqual("replace_peers"u8):
                Configuration.ReplacePeers = true;
                return IsTrue(value);
            default:
                return false;
        }
    }

    private bool AcceptPrivateKey(ReadOnlySpan<byte> value)
    {
        Span<byte> bytes = stackalloc byte[PrivateKey.Size];
        bool parsed = UapiValues.TryParseKey(value, bytes);
        if (parsed)
        {
            Configuration.PrivateKey?.Dispose();
            Configuration.RemovePrivateKey = CryptographicOperations.FixedTimeEquals(bytes, stackalloc byte[PrivateKey.Size]);
            Configuration.PrivateKey = Configuration.RemovePrivateKey ? null : new PrivateKey(bytes);
        }

        CryptographicOperations.ZeroMemory(bytes);
        return parsed;
    }

    // Every peer starts from nothing: what was said of the one before it ends here.
    private bool AcceptPeer(ReadOnlySpan<byte> value)
    {
        if (!UapiValues.TryParsePublicKey(value, out PublicKey key))
        {
            return false;
        }

        if (TakeMemory(peers: 1, allowedIps: 0))
        {
            _peer = new PeerConfiguration { PublicKey = key };
            Configuration.Peers.Add(_peer);
        }

        return true;
    }

    private bool AcceptPeerKey(PeerConfiguration peer, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("allowed_ip"u8):
                return AcceptAllowedIp(peer, value);
            case var _ when key.SequenceEqual("preshared_key"u8):
                return AcceptPresharedKey(peer, value);
            case var _ when key.SequenceEqual("endpoint"u8):
                peer.Endpoint = UapiValues.TryParseEndpoint(value, out InetEndpoint endpoint) ? endpoint : null;
                return peer.Endpoint is not null;
            case var _ when key.SequenceEqual("persistent_keepalive_interval"u8):
                peer.PersistentKeepaliveInterval = UapiValues.TryParseNumber(value, ushort.MaxValue, out uint seconds) ? (ushort)seconds : null;
                return peer.PersistentKeepaliveInterval is not null;
            case var _ when key.SequenceEqual("replace_allowed_ips"u8):
                peer.ReplaceAllowedIps = true;
                peer.AllowedIps.Clear();
                return IsTrue(value);
            case var _ when key.SequenceEqual("update_only"u8):
                peer.UpdateOnly = true;
                return IsTrue(value);
            case var _ when key.SequenceEqual("remove"u8):
                peer.Remove = true;
                return IsTrue(value);
            case var _ when key.SequenceEqual("protocol_version"u8):
                return value.SequenceEqual("1"u8);
            default:
                return false;
        }
    }

    private bool AcceptAllowedIp(PeerConfiguration peer, ReadOnlySpan<byte> value)
    {
        if (!UapiValues.TryParseAllowedIp(value, out AllowedIpChange change))
        {
            return false;
        }

        if (TakeMemory(peers: 0, allowedIps: 1))
        {
            peer.AllowedIps.Add(change);
        }

        return true;
    }

    private static bool AcceptPresharedKey(PeerConfiguration peer, ReadOnlySpan<byte> value)
    {
        Span<byte> bytes = stackalloc byte[PresharedKey.Size];
        bool parsed = UapiValues.TryParseKey(value, bytes);
        if (parsed)
        {
            peer.PresharedKey?.Dispose();
            peer.PresharedKey = new PresharedKey(bytes);
        }

        CryptographicOperations.ZeroMemory(bytes);
        return parsed;
    }

    private static bool IsTrue(ReadOnlySpan<byte> value) => value.SequenceEqual("true"u8);

    private bool TakeMemory(int peers, int allowedIps)
    {
        if (!memory.TryTake(peers, allowedIps))
        {
            Fail(Errno.ENOMEM);
            return false;
        }

        _peersTaken += peers;
        _allowedIpsTaken += allowedIps;
        return true;
    }

    // The first error stands; what was understood before it will never be applied.
    private void Fail(int errno)
    {
        if (Error == 0)
        {
            Error = errno;
            WipeConfiguration();
        }
    }

    private void WipeConfiguration()
    {
        _peer = null;
        Configuration.PrivateKey?.Dispose();
        Configuration.PrivateKey = null;
        foreach (PeerConfiguration peer in Configuration.Peers)
        {
            peer.PresharedKey?.Dispose();
        }

        Configuration.Peers.Clear();
    }
}
