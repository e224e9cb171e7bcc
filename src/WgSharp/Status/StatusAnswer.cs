using System.Text;
using WgSharp.Protocol;

namespace WgSharp.Status;

/// <summary>Where the status of this process's own interface comes from.</summary>
/// <param name="Describe">Everything but the peers.</param>
/// <param name="DescribePeers">The next peers of a walk, see <see cref="Engine.Tunnel.DescribePeers"/>.</param>
internal sealed record StatusSource(Func<InterfaceStatus> Describe, Func<PeerCursor, int, ICollection<PeerStatus>, bool> DescribePeers);

/// <summary>
/// The answer to <c>status=1</c>. Peers are asked for when there is room for what was asked for before: nobody who reads slowly holds more than a
/// portion of them, and however many there are, the control loop is never asked for more at once.
/// </summary>
internal sealed class StatusAnswer(StatusSource source) : IUapiAnswer
{
    /// <summary>Of each peer; who has more has them counted.</summary>
    public const int MostAllowedIps = 256;

    private readonly PeerCursor _cursor = new();
    private IEnumerator<string>? _lines;
    private bool _ended;

    public bool IsComplete { get; private set; }

    public UapiOperation Place => UapiOperation.Status;

    public int Write(Span<byte> buffer)
    {
        _lines ??= StatusLines.Of(source.Describe()).GetEnumerator();
        int written = 0;
        while (!IsComplete && buffer.Length - written >= StatusLines.MaxLine * 2)
        {
            if (_lines.MoveNext())
            {
                written += Encoding.UTF8.GetBytes(_lines.Current, buffer[written..]);
                buffer[written++] = (byte)'\n';
            }
            else if (!_ended)
            {
                NextPortion();
            }
            else
            {
                "errno=0\n\n"u8.CopyTo(buffer[written..]);
                written += "errno=0\n\n"u8.Length;
                IsComplete = true;
            }
        }

        return written;
    }

    public void Dispose() => _lines?.Dispose();

    private void NextPortion()
    {
        var peers = new List<PeerStatus>();
        _ended = !source.DescribePeers(_cursor, MostAllowedIps, peers);
        _lines!.Dispose();
        _lines = peers.SelectMany(StatusLines.Of).GetEnumerator();
    }
}
