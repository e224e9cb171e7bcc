using System.Text;
using WgSharp.Linux;

namespace WgSharp.Status;

/// <summary>
/// A terminal that shows the same thing anew, in place, on its other screen, which full-screen programs use: what stood there before comes back at the end. Where it
/// is no terminal, one look follows the other.
/// </summary>
internal sealed class Screen : IDisposable
{
    private const int StandardOutput = 1;

    // xterm's control sequences: the other screen, the cursor; home, the rest of the line, the rest of the screen.
    private const string Enter = "\u001b[?1049h\u001b[?25l";
    private const string Leave = "\u001b[?25h\u001b[?1049l";
    private const string Home = "\u001b[H";
    private const string EraseLine = "\u001b[K";
    private const string EraseRest = "\u001b[J";

    private readonly DescriptorStream _output = new(StandardOutput);
    private readonly bool _isTerminal;

    public Screen(bool isTerminal)
    {
        _isTerminal = isTerminal;
        if (isTerminal)
        {
            Write(Enter);
        }
    }

    /// <param name="rows">What does not fit is left out.</param>
    public void Show(IReadOnlyList<string> lines, int rows)
    {
        // The last line without an end: it would scroll.
        Write(_isTerminal
            ? Home + string.Join(EraseLine + "\n", lines.Take(rows)) + EraseLine + EraseRest
            : string.Concat(lines.Append(string.Empty).Select(line => line + "\n")));
    }

    public void Dispose()
    {
        if (_isTerminal)
        {
            try
            {
                Write(Leave);
            }
            catch (IOException)
            {
                // The terminal has gone, and with it what was to be restored.
            }
        }

        _output.Dispose();
    }

    private void Write(string text) => _output.Write(Encoding.UTF8.GetBytes(text));
}
