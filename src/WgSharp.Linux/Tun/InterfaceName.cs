using System.Text;

namespace WgSharp.Linux;

/// <summary>The kernel's rules for the name of an interface (dev_valid_name in net/core/dev.c), and its 16-byte form.</summary>
public static unsafe class InterfaceName
{
    /// <exception cref="TunException">The kernel would refuse the name, or create another one.</exception>
    public static void Check(string name)
    {
        if (name.Length == 0)
        {
            throw TunException.Name(name, "it is empty");
        }

        if (Encoding.UTF8.GetByteCount(name) >= ifreq.IFNAMSIZ)
        {
            throw TunException.Name(name, "it is longer than 15 bytes");
        }

        if (name is "." or "..")
        {
            throw TunException.Name(name, "it is the name of a directory");
        }

        Span<byte> bytes = stackalloc byte[ifreq.IFNAMSIZ];
        foreach (byte letter in bytes[..Encoding.UTF8.GetBytes(name, bytes)])
        {
            // The kernel's isspace knows Latin-1: 0xa0 is its no-break space. A zero byte would cut the name short.
            if (letter is 0 or (byte)'/' or (byte)':' or (byte)' ' or (>= 9 and <= 13) or 0xa0)
            {
                throw TunException.Name(name, "it contains a slash, a colon or white space");
            }

            // %d would make the kernel count up to a free name: not the exact one.
            if (letter == (byte)'%')
            {
                throw TunException.Name(name, "it contains a percent sign");
            }
        }
    }

    internal static void Write(string name, ref ifreq request)
    {
        fixed (byte* field = request.ifr_name)
        {
            var bytes = new Span<byte>(field, ifreq.IFNAMSIZ);
            bytes.Clear();
            Encoding.UTF8.GetBytes(name, bytes[..^1]);
        }
    }

    internal static string Read(ref ifreq request)
    {
        fixed (byte* field = request.ifr_name)
        {
            var bytes = new ReadOnlySpan<byte>(field, ifreq.IFNAMSIZ);
            int end = bytes.IndexOf((byte)0);
            return Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
        }
    }
}
