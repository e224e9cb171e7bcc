using System.Diagnostics;
using System.Globalization;
using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>How a suspend is noticed. None happens here: what is tested is that none is seen, and that the signal is one that the kernel accepts.</summary>
public sealed class SuspendTests
{
    [Fact]
    public void The_time_suspended_stands_still_while_the_machine_runs()
    {
        TimeSpan most = TimeSpan.Zero;
        for (int i = 0; i < 1000; i++)
        {
            most = SystemClock.Suspended() is var now && now > most ? now : most;
        }

        Assert.InRange((most - SystemClock.Suspended()).TotalMilliseconds, -0.01, 1000);
        Assert.InRange(most, TimeSpan.Zero, TimeSpan.FromSeconds(SystemClock.Now.Nanoseconds / 1e9));
    }

    [Fact]
    public void It_is_the_distance_of_the_two_clocks_that_the_kernel_shows()
    {
        // The runtime's stopwatch is CLOCK_MONOTONIC; /proc/uptime counts CLOCK_BOOTTIME in hundredths, and was read between the two.
        double before = Monotonic();
        double boot = double.Parse(File.ReadAllText("/proc/uptime").Split(' ')[0], CultureInfo.InvariantCulture);
        double after = Monotonic();
        Assert.InRange(SystemClock.Suspended().TotalSeconds, boot - after - 0.02, boot - before + 0.02);
    }

    private static double Monotonic() => Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency;

    [Fact]
    public void The_signal_is_silent_while_the_machine_runs()
    {
        using FileDescriptor signal = ResumeSignal.Create(new KernelFeatures())!;
        Assert.NotNull(signal);
        Assert.False(IsReadable(signal));
        ResumeSignal.Take(signal);
        Assert.False(IsReadable(signal));
    }

    [Fact]
    public void A_waiter_for_wake_ups_meets_its_deadline_beside_the_signal()
    {
        using var waiter = new EpollWaiter(null, null, new KernelFeatures());
        Instant deadline = SystemClock.Now + TimeSpan.FromMilliseconds(20);
        Assert.Equal(Readiness.None, waiter.Wait(deadline));
        Assert.True(SystemClock.Now >= deadline);
    }

    private static unsafe bool IsReadable(FileDescriptor signal)
    {
        var asked = new pollfd { fd = (int)signal.DangerousGetHandle(), events = Libc.POLLIN };
        return Libc.poll(&asked, 1, 0) == 1;
    }
}
