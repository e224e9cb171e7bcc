using System.Runtime.CompilerServices;

namespace WgSharp.Protocol;

// The window is a ring of 128 words of 64 bits. The word that holds the newest counter and the 127 words before it are remembered; moving on
// clears whole words only, which is why one word's worth of bits is given up (RFC 6479, section 2.2). Positions are counters plus one, so
// that position zero means "nothing arrived yet" and needs no flag.

/// <summary>Sliding window over 64-bit counters (RFC 6479), 8192 bits of which 8128 are usable. One lock per run, held by the caller.</summary>
internal sealed class ReplayWindow
{
    private const int WordCount = Limits.ReplayWindowBits / 64;

    private Words _words;
    private ulong _newest;

    /// <summary>Taken by the caller around the <see cref="TryAccept"/> calls of a run.</summary>
    public Lock Lock { get; } = new();

    /// <summary>Any thread, without the lock: REJECT_AFTER_MESSAGES was reached, nothing more may be accepted.</summary>
    internal bool IsExhausted => Volatile.Read(ref _newest) >= Limits.RejectAfterMessages;

    /// <returns>False for a counter seen before, too old, or at or beyond REJECT_AFTER_MESSAGES.</returns>
    public bool TryAccept(ulong counter)
    {
        if (counter >= Limits.RejectAfterMessages)
        {
            return false;
        }

        // Neither this nor the sum below can overflow: REJECT_AFTER_MESSAGES keeps a window's distance from 2^64.
        ulong position = counter + 1;
        if (position + Limits.ReplayWindowUsable < _newest)
        {
            return false;
        }

        ulong word = position / 64;
        if (position > _newest)
        {
            Advance(_newest / 64, word);
            _newest = position;
        }

        ref ulong bits = ref _words[(int)(word % WordCount)];
        ulong bit = 1UL << (int)(position % 64);
        if ((bits & bit) != 0)
        {
            return false;
        }

        bits |= bit;
        return true;
    }

    private void Advance(ulong from, ulong to)
    {
        if (to - from >= WordCount)
        {
            ((Span<ulong>)_words).Clear();
            return;
        }

        for (ulong word = from + 1; word <= to; word++)
        {
            _words[(int)(word % WordCount)] = 0;
        }
    }

    [InlineArray(WordCount)]
    private struct Words
    {
        private ulong _first;
    }
}
