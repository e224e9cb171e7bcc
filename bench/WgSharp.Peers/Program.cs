using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using WgSharp.Crypto;
using WgSharp.Peers;
using WgSharp.Protocol;

// The peers of a hub, as many as are wanted, on as many UDP ports of one address. Writes the hub's configuration, says "ready", answers
// until every peer has a session or the time is over, and prints one line of JSON. Times in it are milliseconds since 1970.

const int FirstPort = 10_001;
if (args.Length != 6)
{
    Console.Error.WriteLine("usage: WgSharp.Peers COUNT SEED ADDRESS HUB-ADDRESS:PORT HUB-CONFIGURATION-FILE SECONDS");
    return 2;
}

int count = int.Parse(args[0], CultureInfo.InvariantCulture);
ulong seed = ulong.Parse(args[1], CultureInfo.InvariantCulture);
IPAddress address = IPAddress.Parse(args[2]);
using var udp = new RawUdp(address, IPEndPoint.Parse(args[3]));
TimeSpan patience = TimeSpan.FromSeconds(double.Parse(args[5], CultureInfo.InvariantCulture));

using PrivateKey hubKey = KeyOf(seed, 0);
PublicKey hub = X25519.PublicKeyOf(hubKey);
var peers = new AnsweringPeer[count];
WriteConfiguration();
WarmUp();
Console.WriteLine("ready");
Serve();
return 0;

void WriteConfiguration()
{
    var text = new StringBuilder();
    text.Append(CultureInfo.InvariantCulture, $"[Interface]\nPrivateKey = {Convert.ToBase64String(hubKey.Span)}\nListenPort = {udp.Hub.Port}\n");
    Moment now = Now();
    for (int i = 0; i < count; i++)
    {
        PrivateKey key = KeyOf(seed, i + 1);
        text.Append(
            CultureInfo.InvariantCulture,
            $"[Peer]\nPublicKey = {X25519.PublicKeyOf(key)}\nEndpoint = {address}:{FirstPort + i}\nAllowedIPs = 10.128.{i >> 8}.{i & 255}/32\nPersistentKeepalive = 25\n");
        peers[i] = new AnsweringPeer(key, hub, now);
    }

    File.WriteAllText(args[4], text.ToString());
}

void Serve()
{
    Span<byte> reply = stackalloc byte[MessageSize.HandshakeInitiation];
    long begin = Stopwatch.GetTimestamp();
    long? firstInitiation = null;
    long? allAt = null;
    TimeSpan idle = Environment.CpuUsage.TotalTime;
    int sessions = 0;
    TimeSpan left;
    while (sessions < count && (left = patience - Stopwatch.GetElapsedTime(begin)) > TimeSpan.Zero)
    {
        if (!udp.TryReceive(left, out ushort port, out Memory<byte> datagram) || port < FirstPort || port >= FirstPort + count)
        {
            continue;
        }

        firstInitiation ??= UnixMilliseconds();
        AnsweringPeer peer = peers[port - FirstPort];
        bool had = peer.HasSession;
        int length = peer.Take(datagram.Span, udp.Hub, Now(), reply);
        if (length > 0)
        {
            udp.Send(port, reply[..length]);
        }

        sessions += peer.HasSession && !had ? 1 : 0;
    }

    if (sessions == count)
    {
        allAt = UnixMilliseconds();
    }

    Console.WriteLine(JsonSerializer.Serialize(new Dictionary<string, long?>(StringComparer.Ordinal)
    {
        ["peers"] = count,
        ["sessions"] = sessions,
        ["began_with_keepalive"] = peers.Count(peer => peer.BeganWithKeepalive),
        ["answered"] = peers.Sum(peer => peer.Answered),
        ["retransmissions"] = peers.Sum(peer => Math.Max(0, peer.Answered - 1)),
        ["cookie_replies"] = peers.Sum(peer => peer.CookieReplies),
        ["first_at"] = firstInitiation,
        ["all_at"] = allAt,
        ["processor_ms"] = (long)(Environment.CpuUsage.TotalTime - idle).TotalMilliseconds,
    }));
}

// The first handshakes of a process are slow: these are nobody's.
void WarmUp()
{
    using PrivateKey key = KeyOf(seed, count + 1);
    Moment start = Now();
    using var initiator = new Device(RandomNumberGenerator.Fill);
    var configuration = new DeviceConfiguration { PrivateKey = hubKey };
    configuration.Peers.Add(new PeerConfiguration { PublicKey = X25519.PublicKeyOf(key), Endpoint = udp.Hub });
    initiator.Apply(configuration, start);
    initiator.LinkUp(start);
    using var responder = new AnsweringPeer(key, hub, start);
    Span<byte> message = stackalloc byte[MessageSize.HandshakeInitiation];
    Span<byte> reply = stackalloc byte[MessageSize.HandshakeInitiation];
    for (int i = 1; i <= 100; i++)
    {
        // Ten seconds apart: beyond every limit on how often one may shake hands.
        var moment = new Moment(start.Now + (TimeSpan.FromSeconds(10) * i), new UnixTime(start.Wall.Nanoseconds + (i * 10_000_000_000)));
        Peer peer = initiator.Peers.First();
        bool begun = initiator.TryCreateInitiation(peer, retry: false, moment, message);
        int length = responder.Take(message, udp.Hub, moment, reply);
        HandshakeOutcome outcome = initiator.Handle(reply[..length], new HandshakeOrigin(udp.Hub), underLoad: false, moment, message).Outcome;
        if (!begun || outcome != HandshakeOutcome.SessionEstablished)
        {
            throw new InvalidOperationException("A handshake with oneself failed.");
        }

        Keypair keypair = peer.Keypairs.Sending!;
        keypair.TryReserve(1, moment.Now, out ulong counter);
        TransportData.WriteHeader(message, keypair.RemoteIndex, counter);
        keypair.SendKey.Seal(message, [new AeadPacket { Offset = MessageSize.TransportHeader, Length = 0, Counter = counter }]);
        responder.Take(message[..MessageSize.Keepalive], udp.Hub, moment, reply);
    }

    if (!responder.BeganWithKeepalive)
    {
        throw new InvalidOperationException("A keepalive of one's own could not be opened.");
    }
}

static PrivateKey KeyOf(ulong seed, int number)
{
    Span<byte> text = stackalloc byte[12];
    BinaryPrimitives.WriteUInt64LittleEndian(text, seed);
    BinaryPrimitives.WriteInt32LittleEndian(text[8..], number);
    return new PrivateKey(SHA256.HashData(text));
}

static long UnixMilliseconds() => DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();

static Moment Now() => new(
    new Instant((long)(Stopwatch.GetTimestamp() * (1e9 / Stopwatch.Frequency))),
    new UnixTime((DateTime.UtcNow - DateTime.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick));
