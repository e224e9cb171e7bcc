using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>What there is to know of a terminal by who only writes to it; the console's own class would set it up for reading, too.</summary>
public static unsafe partial class Terminal
{
    // <asm-generic/ioctls.h>
    private const nuint TIOCGWINSZ = 0x5413;

    /// <returns>False if it is none: a file, a pipe.</returns>
    /// <param name="columns">80 where the terminal does not know.</param>
    /// <param name="rows">24 where it does not.</param>
    public static bool TrySize(int descriptor, out int columns, out int rows)
    {
        winsize size;
        bool isTerminal = ioctl(descriptor, TIOCGWINSZ, &size) == 0;
        columns = isTerminal && size.ws_col > 0 ? size.ws_col : 80;
        rows = isTerminal && size.ws_row > 0 ? size.ws_row : 24;
        return isTerminal;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ioctl(int descriptor, nuint request, void* argument);

#pragma warning disable CS8981, CS0649 // All lower case: the name that the manual page uses; the kernel writes it.
    /// <summary>&lt;asm-generic/termios.h&gt;, 8 bytes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct winsize
    {
        public ushort ws_row;
        public ushort ws_col;
        public ushort ws_xpixel;
        public ushort ws_ypixel;
    }
#pragma warning restore CS8981, CS0649
}
