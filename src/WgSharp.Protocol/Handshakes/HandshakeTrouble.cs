namespace WgSharp.Protocol;

/// <summary>Why there is no session with a peer, as far as that can be told from here.</summary>
internal enum HandshakeTrouble
{
    None,

    /// <summary>The interface has no private key.</summary>
    NoPrivateKey,

    /// <summary>The peer is not known to be anywhere.</summary>
    NoEndpoint,

    /// <summary>The peer's public key has low order: no handshake, ever.</summary>
    WeakKey,

    /// <summary>An initiation did not even leave; there is an error number.</summary>
    SendFailed,

    /// <summary>Initiations were sent, and nothing came back.</summary>
    NoAnswer,

    /// <summary>As <see cref="NoAnswer"/>, and the attempts have ended: the next packet begins them anew.</summary>
    GivenUp,

    /// <summary>Answers to our initiation came, and none was the peer's under this preshared key.</summary>
    AnswerNotAuthentic,

    /// <summary>We have answered the peer's initiation, and it does not go on: the answer was lost, or its preshared key is another one.</summary>
    AnswerNotConfirmed,

    /// <summary>An initiation bears the peer's key and is not the peer's.</summary>
    InitiationForged,

    /// <summary>An initiation of the peer's is not younger than the last one: its clock was set back, or somebody repeats it.</summary>
    InitiationOld,
}

/// <summary>
/// What came of the attempts to get a session with one peer since there was one, for people who ask what is wrong. Decides nothing. Control loop only.
/// </summary>
internal struct HandshakeLog
{
    private Instant _since;
    private Instant _answeredSince;
    private Instant _troubleAt;
    private int _errno;
    private HandshakeTrouble _trouble;
    private bool _givenUp;

    /// <summary>Initiations since the last session.</summary>
    public int Attempts { get; private set; }

    public void NoteInitiation(Instant now)
    {
        _since = Attempts++ == 0 ? now : _since;
        _givenUp = false;
        if (_trouble is HandshakeTrouble.NoPrivateKey or HandshakeTrouble.NoEndpoint or HandshakeTrouble.WeakKey)
        {
            _trouble = HandshakeTrouble.None;
        }
    }

    /// <summary>An initiation of the peer's was answered.</summary>
    public void NoteAnswered(Instant now) => _answeredSince = _answeredSince == default ? now : _answeredSince;

    /// <param name="errno">0: a handshake message has left.</param>
    public void NoteSent(int errno, Instant now)
    {
        if (errno != 0)
        {
            NoteTrouble(HandshakeTrouble.SendFailed, now, errno);
        }
        else if (_trouble == HandshakeTrouble.SendFailed)
        {
            _trouble = HandshakeTrouble.None;
        }
    }

    public void NoteTrouble(HandshakeTrouble trouble, Instant now, int errno = 0) => (_trouble, _troubleAt, _errno) = (trouble, now, errno);

    public void NoteGivenUp() => _givenUp = true;

    /// <summary>There is a session, or nobody wants one any more.</summary>
    public void Clear() => this = default;

    /// <param name="isUnconfirmed">An initiation was answered, and the peer has not gone on.</param>
    public readonly void Describe(PeerStatus status, bool isUnconfirmed, Instant now)
    {
        status.HandshakeAttempts = Attempts;
        status.HandshakeSince = Attempts > 0 ? now - _since : null;
        status.Trouble = _trouble;
        status.TroubleAge = _trouble != HandshakeTrouble.None ? now - _troubleAt : null;
        status.TroubleErrno = _trouble != HandshakeTrouble.None ? _errno : 0;
        if (_trouble != HandshakeTrouble.None)
        {
            return;
        }

        if (isUnconfirmed && _answeredSince != default && _answeredSince.IsOlderThan(Limits.RekeyTimeout, now))
        {
            (status.Trouble, status.TroubleAge) = (HandshakeTrouble.AnswerNotConfirmed, now - _answeredSince);
        }
        else if (Attempts > 0 && _since.IsOlderThan(Limits.RekeyTimeout, now))
        {
            (status.Trouble, status.TroubleAge) = (_givenUp ? HandshakeTrouble.GivenUp : HandshakeTrouble.NoAnswer, status.HandshakeSince);
        }
    }
}
