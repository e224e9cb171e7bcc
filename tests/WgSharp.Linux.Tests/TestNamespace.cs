using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace WgSharp.Linux.Tests;

/// <summary>
/// A network namespace of its own, entered by one thread that runs what it is given. It has no name and lives as long as the thread
/// and its descriptor: a test that is killed leaves nothing behind. Needs root, and says so by failing.
/// </summary>
internal sealed partial class TestNamespace : IDisposable
{
    private const int CLONE_NEWNET = 0x40000000;
    private const int CLONE_NEWNS = 0x00020000;
    private const ulong MS_REC = 0x4000;
    private const ulong MS_PRIVATE = 0x40000;

    private readonly BlockingCollection<Action> _work = [];
    private readonly Thread _thread;
    private readonly FileDescriptor _descriptor = null!;

    internal TestNamespace()
    {
        _thread = new Thread(Serve) { IsBackground = true, Name = "test namespace" };
        _thread.Start();
        _descriptor = Run(() =>
        {
            Assert.True(unshare(CLONE_NEWNET) == 0, $"These tests need root: unshare: {Errno.Describe(Marshal.GetLastPInvokeError())}");
            return FileDescriptor.Required(Libc.open("/proc/thread-self/ns/net", Libc.O_RDONLY | Libc.O_CLOEXEC, 0), "open ns/net");
        });
        Ip("link set lo up");
    }

    /// <summary>A path that <c>ip link set … netns</c> takes.</summary>
    internal string Path => $"/proc/{Environment.ProcessId}/fd/{_descriptor.DangerousGetHandle()}";

    internal T Run<T>(Func<T> action)
    {
        T result = default!;
        Run(() => { result = action(); });
        return result;
    }

    internal void Run(Action action)
    {
        ExceptionDispatchInfo? failure = null;
        using var done = new ManualResetEventSlim();
        _work.Add(() =>
        {
            try
            {
                action();
            }
            catch (Exception exception)
            {
                failure = ExceptionDispatchInfo.Capture(exception);
            }
            finally
            {
                done.Set();
            }
        });
        done.Wait();
        failure?.Throw();
    }

    /// <summary>Runs ip(8) in the namespace; a child inherits it from the thread that starts it.</summary>
    internal string Ip(string arguments) => Command("ip", arguments);

    internal string Command(string program, string arguments) => Run(() =>
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { UseShellExecute = false, RedirectStandardError = true, RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} {arguments}: {errors}");
        return output;
    });

    /// <summary>Adds an IPv6 address on a link that is up and awaits its local route: the kernel installs that a little later, on a work queue.</summary>
    internal void AddIPv6(string prefix, string device)
    {
        Ip($"address add {prefix} dev {device} nodad");
        var waited = Stopwatch.StartNew();
        while (!Ip("-6 route show table local").Contains($"local {prefix.Split('/')[0]} dev {device}", StringComparison.Ordinal))
        {
            // Each look is a process: pause enough.
            Assert.True(waited.Elapsed < TimeSpan.FromSeconds(20), $"no local route to {prefix} on {device}");
        }
    }

    internal int IndexOf(string device) => int.Parse(Ip($"-o link show {device}").Split(':')[0]);

    /// <summary>A cable, up0 at both ends: 10.8.0.1, fd08::1 and fe80::1 here, 10.8.0.2, fd08::2 and fe80::2 there.</summary>
    internal void Connect(TestNamespace far, int mtu)
    {
        Ip($"link add up0 mtu {mtu} type veth peer name up0 mtu {mtu} netns {far.Path}");
        int host = 1;
        foreach (TestNamespace side in (TestNamespace[])[this, far])
        {
            side.Ip("link set up0 addrgenmode none");
            side.Ip("link set up0 up");
            side.Ip($"address add 10.8.0.{host}/24 dev up0");
            side.AddIPv6($"fd08::{host}/64", "up0");
            side.AddIPv6($"fe80::{host}/64", "up0");
            host++;
        }
    }

    /// <summary>
    /// Puts an empty file system over a directory, for this thread only. (It gets a mount namespace of its own; its children inherit it.)
    /// </summary>
    internal void Cover(string directory, ulong flags = 0) => Run(() =>
    {
        Assert.Equal(0, unshare(CLONE_NEWNS));
        Assert.Equal(0, mount("none", "/", "none", MS_REC | MS_PRIVATE, 0));
        Assert.Equal(0, mount("none", directory, "tmpfs", flags, 0));
    });

    /// <summary>From here on the thread is nobody, without capabilities. (The C library would change every thread; the bare call does not.)</summary>
    internal void DropPrivileges() => Run(() =>
    {
        nint setresuid = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 117 : 147;
        Assert.Equal(0, syscall(setresuid, 65534, 65534, 65534));
    });

    internal void Sysctl(string path, string value) => Run(() => File.WriteAllText("/proc/sys/" + path, value));

    public void Dispose()
    {
        if (_work.IsAddingCompleted)
        {
            return;
        }

        _work.CompleteAdding();
        _thread.Join();
        _descriptor.Dispose();
    }

    private void Serve()
    {
        foreach (Action action in _work.GetConsumingEnumerable())
        {
            action();
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int unshare(int flags);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int mount(string source, string target, string type, ulong flags, nint data);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint syscall(nint number, nint first, nint second, nint third);
}
