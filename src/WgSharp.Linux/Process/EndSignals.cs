using System.Runtime.InteropServices;

namespace WgSharp.Linux;

/// <summary>
/// The signals that ask a daemon to end, as a descriptor that its main thread sleeps on. They must have been blocked before the runtime made
/// its first thread (<see cref="ProcessSpawn"/> sees to it): the runtime itself would answer a signal with a new thread, which
/// a full control group refuses.
/// </summary>
public sealed unsafe class EndSignals : IDisposable
{
    private static readonly int[] _numbers = [SigHup, SigInt, SigQuit, SigTerm];

    private readonly FileDescriptor _signals;
    private readonly FileDescriptor _wake;

    private const int SigHup = 1;
    private const int SigInt = 2;
    private const int SigQuit = 3;
    private const int SigTerm = 15;

    /// <exception cref="IOException">No descriptors left.</exception>
    public EndSignals()
    {
        byte* signals = stackalloc byte[LibcProcess.OpaqueSize];
        Fill(signals);
        foreach (int number in _numbers)
        {
            // nohup and a shell's background jobs: what was ignored stays so.
            if (IsIgnored(number))
            {
                _ = LibcProcess.sigdelset(signals, number);
            }
        }

        _signals = FileDescriptor.Required(LibcProcess.signalfd(-1, signals, LibcProcess.SFD_CLOEXEC), "signalfd");
        _wake = FileDescriptor.Required(Libc.eventfd(0, Libc.O_CLOEXEC | Libc.O_NONBLOCK), "eventfd");
    }

    /// <summary>A signal has come.</summary>
    public bool IsPending => Poll(timeout: 0);

    /// <summary>Sleeps until a signal comes, or somebody calls <see cref="Wake"/>.</summary>
    public void Wait() => Poll(timeout: -1);

    /// <summary>Any thread.</summary>
    public void Wake()
    {
        ulong one = 1;
        Libc.write(_wake, &one, sizeof(ulong));
    }

    public void Dispose()
    {
        _signals.Dispose();
        _wake.Dispose();
    }

    /// <summary>In the calling thread; a program that it becomes has them blocked from the start.</summary>
    internal static void Block()
    {
        byte* signals = stackalloc byte[LibcProcess.OpaqueSize];
        Fill(signals);
        _ = LibcProcess.sigprocmask(LibcProcess.SIG_BLOCK, signals, null);
    }

    /// <param name="signals">A sigset_t.</param>
    internal static void Fill(byte* signals)
    {
        _ = LibcProcess.sigemptyset(signals);
        foreach (int number in _numbers)
        {
            _ = LibcProcess.sigaddset(signals, number);
        }
    }

    // The handler is the first member of struct sigaction.
    private static bool IsIgnored(int number)
    {
        byte* action = stackalloc byte[LibcProcess.OpaqueSize];
        return LibcProcess.sigaction(number, null, action) == 0 && *(nint*)action == LibcProcess.SIG_IGN;
    }

    private bool Poll(int timeout)
    {
        pollfd* both = stackalloc pollfd[2];
        both[0] = new pollfd { fd = (int)_signals.DangerousGetHandle(), events = Libc.POLLIN };
        both[1] = new pollfd { fd = (int)_wake.DangerousGetHandle(), events = Libc.POLLIN };
        while (Libc.poll(both, 2, timeout) < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR)
        {
            // Some other signal: sleep on.
        }

        return both[0].revents != 0;
    }
}
