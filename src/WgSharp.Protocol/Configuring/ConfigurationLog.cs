using System.Buffers.Binary;
using System.Security.Cryptography;
using WgSharp.Crypto;

namespace WgSharp.Protocol;

// What a successor of this process has to know, written down as it happens, so that nobody has to be asked for it when this process is dead:
//
//   log      magic (7 bytes), version (1), generation (8), records
//   record   length of the payload (4), kind (1), payload, checksum over kind, payload and the record's place (8)
//
//   device   what a `set` operation said of the interface: private key, port, mark, replace_peers
//   peer     what it said of one peer; or where a peer has been found, as a `set` with update_only would say it
//   memory   the last handshake with a peer, and what protects against replays of older ones
//   commit   everything before it belongs together and stands
//
// A log only grows: what is behind the last commit, torn or not, was never applied, and is not read. It begins with a description of the whole
// device, and when it has become much longer than that another log takes its place, with the next generation. All numbers are little-endian. It lies
// in memory of this machine and dies with it; nothing in it comes from a stranger, so the checksum is there for torn writes, not for forgeries.

/// <summary>What is kept of a peer that no configuration says. Control loop only.</summary>
internal readonly record struct PeerMemory(PublicKey PublicKey, UnixTime LastHandshake, Tai64n LatestSent, Tai64n LatestReceived);

/// <summary>Takes bytes that belong behind those that it took before.</summary>
internal delegate void AppendBytes(ReadOnlySpan<byte> bytes);

internal static class ConfigurationFormat
{
    public const byte Version = 1;
    public const int HeaderSize = 16;
    public const int Frame = 4 + 1 + 8;

    /// <summary>A peer with more comes in several records.</summary>
    public const int MostAllowedIps = 1024;

    public const int MaxPayload = 256 + (MostAllowedIps * AllowedIpSize);
    public const int AllowedIpSize = 2 + 16;

    private static readonly SipHash _checksum = new("wgsharp, records"u8);

    public static ReadOnlySpan<byte> Magic => "wgsharp"u8;

    /// <param name="place">Of the record in its log.</param>
    /// <param name="body">Kind and payload.</param>
    public static ulong Checksum(long place, ReadOnlySpan<byte> body) => _checksum.Hash(body) ^ (ulong)place;
}

internal enum RecordKind : byte
{
    None,
    Device,
    Peer,
    Memory,
    Commit,
}

[Flags]
internal enum DeviceFields : byte
{
    None = 0,
    PrivateKey = 1,
    RemovePrivateKey = 2,
    ListenPort = 4,
    Fwmark = 8,
    ReplacePeers = 16,
}

[Flags]
internal enum PeerFields : byte
{
    None = 0,
    Remove = 1,
    UpdateOnly = 2,
    PresharedKey = 4,
    Endpoint = 8,
    Keepalive = 16,
    ReplaceAllowedIps = 32,
}

/// <summary>Writes records, in portions of up to 64 KiB. What it has written of keys is wiped when it was handed on.</summary>
internal sealed class ConfigurationWriter
{
    private const int Capacity = 1 << 16;

    private readonly byte[] _buffer = GC.AllocateArray<byte>(Capacity, pinned: true);
    private readonly AppendBytes _append;
    private long _place;
    private int _used;
    private int _record;

    /// <param name="append">Is given whole records, one after the other.</param>
    public ConfigurationWriter(AppendBytes append) => _append = append;

    /// <summary>Nothing of what was written is left here.</summary>
    internal bool IsWiped => !_buffer.AsSpan().ContainsAnyExcept((byte)0);

    /// <summary>What follows goes into a new log.</summary>
    public void Begin(ulong generation)
    {
        _place = 0;
        ConfigurationFormat.Magic.CopyTo(_buffer);
        _buffer[7] = ConfigurationFormat.Version;
        BinaryPrimitives.WriteUInt64LittleEndian(_buffer.AsSpan(8), generation);
        _used = ConfigurationFormat.HeaderSize;
    }

    /// <summary>All of a <c>set</c> operation.</summary>
    public void Write(DeviceConfiguration configuration)
    {
        WriteDevice(
            configuration.PrivateKey, configuration.RemovePrivateKey, configuration.ListenPort, configuration.Fwmark, configuration.ReplacePeers);
        foreach (PeerConfiguration peer in configuration.Peers)
        {
            PeerFields fields = peer.Remove ? PeerFields.Remove : PeerFields.None;
            fields |= peer.UpdateOnly ? PeerFields.UpdateOnly : PeerFields.None;
            fields |= peer.ReplaceAllowedIps ? PeerFields.ReplaceAllowedIps : PeerFields.None;
            WritePeer(peer.PublicKey, fields, peer.PresharedKey, peer.Endpoint, peer.PersistentKeepaliveInterval, peer.AllowedIps);
        }
    }

    /// <summary>What was written since the last commit stands from now on, and has been handed on.</summary>
    public void Commit()
    {
        Begin(RecordKind.Commit);
        End();
        Flush();
    }

    internal void WriteDevice(PrivateKey? key, bool removeKey, ushort? port, uint? mark, bool replacePeers)
    {
        DeviceFields fields = key is null ? DeviceFields.None : DeviceFields.PrivateKey;
        fields |= removeKey ? DeviceFields.RemovePrivateKey : DeviceFields.None;
        fields |= port is null ? DeviceFields.None : DeviceFields.ListenPort;
        fields |= mark is null ? DeviceFields.None : DeviceFields.Fwmark;
        fields |= replacePeers ? DeviceFields.ReplacePeers : DeviceFields.None;
        if (fields == DeviceFields.None)
        {
            return;
        }

        Begin(RecordKind.Device);
        Byte((byte)fields);
        if (key is not null)
        {
            Bytes(key.Span);
        }

        if (port is { } number)
        {
            Number16(number);
        }

        if (mark is { } value)
        {
            Number32(value);
        }

        End();
    }

    /// <param name="fields">Remove, UpdateOnly and ReplaceAllowedIps; the others follow from what is given.</param>
    internal void WritePeer(
        in PublicKey publicKey, PeerFields fields, PresharedKey? presharedKey, InetEndpoint? endpoint, ushort? keepalive, IList<AllowedIpChange> allowedIps)
    {
        fields |= presharedKey is null ? PeerFields.None : PeerFields.PresharedKey;
        fields |= endpoint is null ? PeerFields.None : PeerFields.Endpoint;
        fields |= keepalive is null ? PeerFields.None : PeerFields.Keepalive;
        int next = 0;
        do
        {
            Begin(RecordKind.Peer);
            Bytes(publicKey.Span);
            Byte((byte)fields);
            if (fields.HasFlag(PeerFields.PresharedKey))
            {
                Bytes(presharedKey!.Span);
            }

            if (fields.HasFlag(PeerFields.Endpoint))
            {
                Endpoint(endpoint!.Value);
            }

            if (fields.HasFlag(PeerFields.Keepalive))
            {
                Number16(keepalive!.Value);
            }

            int count = Math.Min(allowedIps.Count - next, ConfigurationFormat.MostAllowedIps);
            Number16((ushort)count);
            for (int last = next + count; next < last; next++)
            {
                AllowedIpChange change = allowedIps[next];
                Byte((byte)((change.Remove ? 0x80 : 0) | change.Prefix.Address.Length));
                Byte(change.Prefix.Length);
                Address(change.Prefix.Address);
            }

            End();

            // The rest of the allowed IPs joins the first of them.
            fields &= PeerFields.UpdateOnly;
        }
        while (next < allowedIps.Count);
    }

    internal void WriteMemory(in PeerMemory memory)
    {
        Begin(RecordKind.Memory);
        Bytes(memory.PublicKey.Span);
        Number64((ulong)memory.LastHandshake.Nanoseconds);
        foreach (Tai64n timestamp in (ReadOnlySpan<Tai64n>)[memory.LatestSent, memory.LatestReceived])
        {
            timestamp.WriteTo(Take(Tai64n.Size));
        }

        End();
    }

    private void Begin(RecordKind kind)
    {
        if (Capacity - _used < ConfigurationFormat.MaxPayload + ConfigurationFormat.Frame)
        {
            Flush();
        }

        _record = _used;
        _used += 4;
        Byte((byte)kind);
    }

    private void End()
    {
        ReadOnlySpan<byte> body = _buffer.AsSpan((_record + 4).._used);
        BinaryPrimitives.WriteUInt32LittleEndian(_buffer.AsSpan(_record), (uint)body.Length - 1);
        Number64(ConfigurationFormat.Checksum(_place + _record, body));
    }

    private void Flush()
    {
        Span<byte> written = _buffer.AsSpan(0, _used);
        try
        {
            _append(written);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(written);
            _place += _used;
            _used = 0;
        }
    }

    private Span<byte> Take(int length)
    {
        _used += length;
        return _buffer.AsSpan(_used - length, length);
    }

    private void Byte(byte value) => Take(1)[0] = value;

    private void Bytes(ReadOnlySpan<byte> bytes) => bytes.CopyTo(Take(bytes.Length));

    private void Number16(ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(Take(2), value);

    private void Number32(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Take(4), value);

    private void Number64(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Take(8), value);

    private void Address(in InetAddress address) => address.CopyTo(Take(address.Length));

    private void Endpoint(in InetEndpoint endpoint)
    {
        Byte((byte)endpoint.Address.Length);
        Address(endpoint.Address);
        Number16(endpoint.Port);
        Number32(endpoint.ScopeId);
    }
}

/// <summary>What a log says, as far as it was committed: configurations to be applied one after the other, and what is remembered of peers. Owns the keys.</summary>
internal sealed class SavedConfiguration : IDisposable
{
    private readonly List<DeviceConfiguration> _steps = [new()];
    private readonly Dictionary<PublicKey, PeerMemory> _memories = [];

    private SavedConfiguration(ulong generation) => Generation = generation;

    /// <summary>Of two logs, the one with the greater number is the younger.</summary>
    public ulong Generation { get; }

    /// <summary>To be applied in this order.</summary>
    public IReadOnlyList<DeviceConfiguration> Steps => _steps;

    internal IReadOnlyCollection<PeerMemory> Memories => _memories.Values;

    /// <returns>Null if it is no log, or one of another version, or nothing in it was committed.</returns>
    public static SavedConfiguration? Read(ReadOnlySpan<byte> log)
    {
        if (log.Length < ConfigurationFormat.HeaderSize || !log.StartsWith(ConfigurationFormat.Magic) || log[7] != ConfigurationFormat.Version)
        {
            return null;
        }

        // Once to find the end of what stands, once to read it.
        int end = 0;
        for (int place = ConfigurationFormat.HeaderSize; TryTake(log, ref place, out RecordKind kind, out _);)
        {
            end = kind == RecordKind.Commit ? place : end;
        }

        var saved = new SavedConfiguration(BinaryPrimitives.ReadUInt64LittleEndian(log[8..]));
        for (int place = ConfigurationFormat.HeaderSize; place < end && TryTake(log, ref place, out RecordKind kind, out RecordReader payload);)
        {
            saved.Take(kind, ref payload);
        }

        if (end != 0)
        {
            return saved;
        }

        saved.Dispose();
        return null;
    }

    public void Dispose()
    {
        foreach (DeviceConfiguration step in _steps)
        {
            step.PrivateKey?.Dispose();
            foreach (PeerConfiguration peer in step.Peers)
            {
                peer.PresharedKey?.Dispose();
            }
        }
    }

    private static bool TryTake(ReadOnlySpan<byte> log, ref int place, out RecordKind kind, out RecordReader payload)
    {
        kind = RecordKind.None;
        payload = default;
        ReadOnlySpan<byte> rest = log[place..];
        if (rest.Length < ConfigurationFormat.Frame)
        {
            return false;
        }

        uint length = BinaryPrimitives.ReadUInt32LittleEndian(rest);
        if (length > ConfigurationFormat.MaxPayload || length > rest.Length - ConfigurationFormat.Frame)
        {
            return false;
        }

        ReadOnlySpan<byte> body = rest.Slice(4, (int)length + 1);
        if (BinaryPrimitives.ReadUInt64LittleEndian(rest[(4 + body.Length)..]) != ConfigurationFormat.Checksum(place, body))
        {
            return false;
        }

        kind = (RecordKind)body[0];
        payload = new RecordReader(body[1..]);
        place += (int)length + ConfigurationFormat.Frame;
        return true;
    }

    private void Take(RecordKind kind, ref RecordReader payload)
    {
        switch (kind)
        {
            case RecordKind.Device:
                TakeDevice(ref payload);
                break;
            case RecordKind.Peer:
                _steps[^1].Peers.Add(ReadPeer(ref payload));
                break;
            case RecordKind.Memory:
                var memory = new PeerMemory(
                    payload.PublicKey(), new UnixTime((long)payload.Number64()), Tai64n.Read(payload.Take(Tai64n.Size)), Tai64n.Read(payload.Take(Tai64n.Size)));
                _memories[memory.PublicKey] = memory;
                break;
        }
    }

    private void TakeDevice(ref RecordReader payload)
    {
        var fields = (DeviceFields)payload.Byte();

        // Within a step peers come last, so whoever replaces them all begins another; and so does each new key, since the peer that has it goes.
        DeviceConfiguration step = _steps[^1];
        bool setsKey = (fields & (DeviceFields.PrivateKey | DeviceFields.RemovePrivateKey)) != DeviceFields.None;
        if ((step.Peers.Count > 0 && (setsKey || fields.HasFlag(DeviceFields.ReplacePeers))) || (setsKey && (step.PrivateKey is not null || step.RemovePrivateKey)))
        {
            step = new DeviceConfiguration();
            _steps.Add(step);
        }

        step.ReplacePeers |= fields.HasFlag(DeviceFields.ReplacePeers);
        if (fields.HasFlag(DeviceFields.PrivateKey))
        {
            step.PrivateKey = new PrivateKey(payload.Take(PrivateKey.Size));
        }

        step.RemovePrivateKey |= fields.HasFlag(DeviceFields.RemovePrivateKey);
        step.ListenPort = fields.HasFlag(DeviceFields.ListenPort) ? payload.Number16() : step.ListenPort;
        step.Fwmark = fields.HasFlag(DeviceFields.Fwmark) ? payload.Number32() : step.Fwmark;
    }

    private static PeerConfiguration ReadPeer(ref RecordReader payload)
    {
        PublicKey key = payload.PublicKey();
        var fields = (PeerFields)payload.Byte();
        var peer = new PeerConfiguration
        {
            PublicKey = key,
            Remove = fields.HasFlag(PeerFields.Remove),
            UpdateOnly = fields.HasFlag(PeerFields.UpdateOnly),
            ReplaceAllowedIps = fields.HasFlag(PeerFields.ReplaceAllowedIps),
            PresharedKey = fields.HasFlag(PeerFields.PresharedKey) ? new PresharedKey(payload.Take(PresharedKey.Size)) : null,
            Endpoint = fields.HasFlag(PeerFields.Endpoint) ? payload.Endpoint() : null,
            PersistentKeepaliveInterval = fields.HasFlag(PeerFields.Keepalive) ? payload.Number16() : null,
        };
        for (int left = payload.Number16(); left > 0; left--)
        {
            byte kind = payload.Byte();
            byte length = payload.Byte();
            peer.AllowedIps.Add(new AllowedIpChange(new IpPrefix(new InetAddress(payload.Take(kind & 0x7f)), length), Remove: (kind & 0x80) != 0));
        }

        return peer;
    }
}

/// <summary>Takes a payload apart, in the order in which it was written.</summary>
internal ref struct RecordReader(ReadOnlySpan<byte> rest)
{
    private ReadOnlySpan<byte> _rest = rest;

    public ReadOnlySpan<byte> Take(int length)
    {
        ReadOnlySpan<byte> taken = _rest[..length];
        _rest = _rest[length..];
        return taken;
    }

    public byte Byte() => Take(1)[0];

    public ushort Number16() => BinaryPrimitives.ReadUInt16LittleEndian(Take(2));

    public uint Number32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(4));

    public ulong Number64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(8));

    public PublicKey PublicKey() => new(Take(Crypto.PublicKey.Size));

    public InetEndpoint Endpoint()
    {
        var address = new InetAddress(Take(Byte()));
        return new InetEndpoint(address, Number16(), Number32());
    }
}
