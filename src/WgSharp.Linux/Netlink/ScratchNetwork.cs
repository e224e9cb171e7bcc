using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>
/// A network namespace to try things in: rules and firewalls there are nobody's, and end with it. Programs that are started from within live in it, too.
/// </summary>
public static class ScratchNetwork
{
    /// <summary>Runs it on a thread of its own that has left for a new namespace; both end with it.</summary>
    /// <param name="work">Must not throw.</param>
    /// <returns>0, or the errno where no namespace is to be had (CAP_SYS_ADMIN): then it was not run.</returns>
    /// <exception cref="OutOfMemoryException">There is no thread to be had.</exception>
    public static int Run(Action work)
    {
        int errno = 0;
        var visitor = new Thread(() =>
        {
            if (Libc.unshare(Libc.CLONE_NEWNET) == 0)
            {
                work();
            }
            else
            {
                errno = Marshal.GetLastPInvokeError();
            }
        });
        visitor.Start();
        visitor.Join();
        return errno;
    }
}
