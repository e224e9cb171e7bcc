namespace WgSharp.Linux.Tests;

/// <summary>Work that sleeps in the kernel gets a thread of its own: the pool of a test run is small.</summary>
internal static class Background
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(30);

    internal static Task<T> Run<T>(Func<T> work) =>
        Task.Factory.StartNew(work, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).WaitAsync(_patience);

    internal static Task Run(Action work) =>
        Task.Factory.StartNew(work, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).WaitAsync(_patience);
}
