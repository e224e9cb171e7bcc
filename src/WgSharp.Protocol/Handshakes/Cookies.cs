using System.Buffers.Binary;
using System.Security.Cryptography;
using WgSharp.Crypto;

namespace WgSharp.Protocol;

// mac1 shows that the sender knows our public key, mac2 that it owns its source address: under load, a responder answers with a cookie instead of
// doing Diffie-Hellman, and only who received that cookie can make mac2 (whitepaper, section 5.4.4 and 5.4.7; the kernel's cookie.c). Both
// sides stand in one file because they must agree byte for byte.

/// <summary>What the two MACs of a handshake message are worth.</summary>
internal enum MacVerdict
{
    /// <summary>mac1 is wrong: silence.</summary>
    Invalid,

    /// <summary>mac1 is right; mac2 was not looked at, or is wrong while under load: a cookie reply is earned then.</summary>
    ValidWithoutCookie,

    /// <summary>Both are right, but the source sends too many handshakes: silence.</summary>
    ValidButRateLimited,

    /// <summary>Both are right.</summary>
    Valid,
}

/// <summary>The two keys that follow from a public key (whitepaper, section 5.4.4).</summary>
internal static class CookieKeys
{
    public static void DeriveMac1Key(PublicKey publicKey, Span<byte> key) => Blake2s.Hash("mac1----"u8, publicKey.Span, key);

    public static void DeriveCookieKey(PublicKey publicKey, Span<byte> key) => Blake2s.Hash("cookie--"u8, publicKey.Span, key);
}

/// <summary>The responder's side: checks mac1 and mac2, makes cookie replies. Control loop only, but for what says otherwise.</summary>
internal sealed class CookieChecker : IDisposable
{
    private readonly FillRandom _random;
    private readonly HandshakeRateLimiter _rateLimiter;
    private readonly byte[] _mac1Key = new byte[Blake2s.HashSize];
    private readonly byte[] _cookieKey = new byte[Blake2s.HashSize];

    /// <summary>Written by the control loop, read by any thread; null without an identity.</summary>
    private volatile MacKey? _mac1;

    /// <summary>Written by the control loop, read by any thread; null until the first cookie.</summary>
    private volatile CookieSecret? _secret;

    public CookieChecker(FillRandom random)
    {
        _random = random;
        _rateLimiter = new HandshakeRateLimiter(random);
    }

    public HandshakeRateLimiter RateLimiter => _rateLimiter;

    /// <summary>Both keys follow from our own public key.</summary>
    public void SetPublicKey(PublicKey publicKey)
    {
        CookieKeys.DeriveMac1Key(publicKey, _mac1Key);
        CookieKeys.DeriveCookieKey(publicKey, _cookieKey);
        _mac1 = new MacKey(_mac1Key);
    }

    /// <summary>No identity: nobody knows our public key.</summary>
    public void ForgetPublicKey() => _mac1 = null;

    /// <summary>Any thread: mac1 of up to <see cref="MacKey.Lanes"/> messages of one length at once.</summary>
    public void CheckMac1(ReadOnlySpan<byte> buffer, ReadOnlySpan<int> offsets, int length, Span<bool> valid)
    {
        if (_mac1 is not { } key)
        {
            valid[..offsets.Length].Clear();
            return;
        }

        Span<byte> macs = stackalloc byte[MacKey.Lanes * Blake2s.MacSize];
        key.Compute(buffer, offsets, Macs.BeforeMac1(buffer.Slice(offsets[0], length)).Length, macs);
        for (int i = 0; i < offsets.Length; i++)
        {
            ReadOnlySpan<byte> mac1 = Macs.Mac1(buffer.Slice(offsets[i], length));
            valid[i] = CryptographicOperations.FixedTimeEquals(mac1, macs.Slice(i * Blake2s.MacSize, Blake2s.MacSize));
        }
    }

    /// <summary>Any thread: whether mac2 proves that the sender owns its address. A cookie of a secret that is due to change proves nothing.</summary>
    public bool HasMac2(ReadOnlySpan<byte> message, in InetEndpoint source, Instant now)
    {
        ReadOnlySpan<byte> mac2 = Macs.Mac2(message);
        if (_secret is not { } secret || secret.IsOld(now) || !WireMessage.HasCookie(message))
        {
            return false;
        }

        Span<byte> cookie = stackalloc byte[Blake2s.MacSize];
        Span<byte> mac = stackalloc byte[Blake2s.MacSize];
        secret.MakeCookie(source, cookie);
        Blake2s.Mac(cookie, Macs.BeforeMac2(message), mac);
        CryptographicOperations.ZeroMemory(cookie);
        return CryptographicOperations.FixedTimeEquals(mac, mac2);
    }

    /// <param name="message">An initiation or a response, whole.</param>
    public MacVerdict Check(ReadOnlySpan<byte> message, in InetEndpoint source, bool underLoad, Instant now)
    {
        Span<byte> mac = stackalloc byte[Blake2s.MacSize];
        Blake2s.Mac(_mac1Key, Macs.BeforeMac1(message), mac);
        if (!CryptographicOperations.FixedTimeEquals(mac, Macs.Mac1(message)))
        {
            return MacVerdict.Invalid;
        }

        if (!underLoad)
        {
            return MacVerdict.ValidWithoutCookie;
        }

        if (!HasMac2(message, source, now))
        {
            return MacVerdict.ValidWithoutCookie;
        }

        return _rateLimiter.Allow(source.Address, now) ? MacVerdict.Valid : MacVerdict.ValidButRateLimited;
    }

    /// <summary>Writes a cookie reply of 64 bytes for a message whose mac1 was right.</summary>
    public void CreateReply(ReadOnlySpan<byte> message, uint senderIndex, in InetEndpoint source, Instant now, Span<byte> reply)
    {
        var writer = new CookieReply.Writer(reply, senderIndex);
        Span<byte> cookie = stackalloc byte[Blake2s.MacSize];
        Secret(now).MakeCookie(source, cookie);
        _random(writer.Nonce);
        XChaCha20Poly1305.Seal(_cookieKey, writer.Nonce, cookie, Macs.Mac1(message), writer.SealedCookie);
        CryptographicOperations.ZeroMemory(cookie);
    }

    public void Dispose() => _secret?.Dispose();

    private CookieSecret Secret(Instant now)
    {
        CookieSecret? secret = _secret;
        if (secret is null || secret.IsOld(now))
        {
            _secret = new CookieSecret(_random, now);
            secret?.Dispose();
        }

        return _secret!;
    }
}

/// <summary>What cookies are made with for two minutes. Any thread; one that still reads it while it is wiped finds a cookie wrong that is not.</summary>
internal sealed class CookieSecret : IDisposable
{
    private readonly SecretMemory _bytes = new(Blake2s.HashSize);
    private readonly Instant _birth;

    public CookieSecret(FillRandom random, Instant now)
    {
        random(_bytes.Span);
        _birth = now;
    }

    public bool IsOld(Instant now) => _birth.IsOlderThan(Limits.CookieSecretMaxAge, now);

    /// <summary>A MAC over source address and port: whoever shares an address behind a NAT shares no cookie.</summary>
    public void MakeCookie(in InetEndpoint source, Span<byte> cookie)
    {
        Span<byte> bytes = stackalloc byte[16 + sizeof(ushort)];
        int length = source.Address.Length;
        source.Address.CopyTo(bytes);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[length..], source.Port);
        Blake2s.Mac(_bytes.Span, bytes[..(length + sizeof(ushort))], cookie);
    }

    public void Dispose() => _bytes.Dispose();
}

/// <summary>The initiator's side, one per peer: writes mac1 and mac2, keeps the peer's latest cookie. Control loop only.</summary>
internal sealed class CookieMaker : IDisposable
{
    /// <summary>A cookie is given up a little before its secret changes (COOKIE_SECRET_MAX_AGE - COOKIE_SECRET_LATENCY).</summary>
    private static readonly TimeSpan CookieLifetime = Limits.CookieSecretMaxAge - Limits.CookieSecretLatency;

    private readonly PublicKey _peer;
    private readonly SentMac _initiation = new();
    private readonly SentMac _response = new();
    private readonly SecretMemory _cookie = new(Blake2s.MacSize);
    private Instant _cookieBirth;
    private bool _hasCookie;

    public CookieMaker(PublicKey peer) => _peer = peer;

    /// <summary>Writes both MACs into the last 32 bytes of an initiation or response; mac2 is zero where no fresh cookie is known.</summary>
    public void AddMacs(Span<byte> message, Instant now)
    {
        Span<byte> key = stackalloc byte[Blake2s.HashSize];
        CookieKeys.DeriveMac1Key(_peer, key);
        Span<byte> mac1 = Macs.Mac1(message);
        Blake2s.Mac(key, Macs.BeforeMac1(message), mac1);
        (message.Length == MessageSize.HandshakeInitiation ? _initiation : _response).Remember(mac1);

        if (_hasCookie && !_cookieBirth.IsOlderThan(CookieLifetime, now))
        {
            Blake2s.Mac(_cookie.Span, Macs.BeforeMac2(message), Macs.Mac2(message));
        }
        else
        {
            Macs.Mac2(message).Clear();
        }
    }

    /// <summary>Takes a cookie reply to the last initiation or to the last response that was sent; one reply per message.</summary>
    /// <returns>False if none is awaited, or it answers something else.</returns>
    public bool TryConsume(CookieReply reply, Instant now) => TryConsume(reply, _initiation, now) || TryConsume(reply, _response, now);

    public void Dispose()
    {
        _cookie.Dispose();
        _hasCookie = false;
    }

    private bool TryConsume(CookieReply reply, SentMac sent, Instant now)
    {
        if (!sent.AwaitsReply)
        {
            return false;
        }

        Span<byte> key = stackalloc byte[Blake2s.HashSize];
        CookieKeys.DeriveCookieKey(_peer, key);
        Span<byte> cookie = stackalloc byte[Blake2s.MacSize];
        if (!XChaCha20Poly1305.TryOpen(key, reply.Nonce, reply.SealedCookie, sent.Mac1, cookie))
        {
            return false;
        }

        cookie.CopyTo(_cookie.Span);
        CryptographicOperations.ZeroMemory(cookie);
        _cookieBirth = now;
        _hasCookie = true;
        sent.AwaitsReply = false;
        return true;
    }

    /// <summary>What a cookie reply must refer to. An initiation may be out while a response is sent, and either may be answered so.</summary>
    private sealed class SentMac
    {
        private readonly byte[] _mac1 = new byte[Blake2s.MacSize];

        public bool AwaitsReply { get; set; }

        public ReadOnlySpan<byte> Mac1 => _mac1;

        public void Remember(ReadOnlySpan<byte> mac1)
        {
            mac1.CopyTo(_mac1);
            AwaitsReply = true;
        }
    }
}
