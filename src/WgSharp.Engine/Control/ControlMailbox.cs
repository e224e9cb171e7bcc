using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;
using WgSharp.Protocol;

namespace WgSharp.Engine.Control;

/// <summary>How other threads get something done on the control loop, and wait for it: requests of a person at <c>wg</c>, changes of the link.</summary>
internal sealed class ControlMailbox(IWaiter waiter)
{
    private readonly ConcurrentQueue<Command> _commands = new();
    private volatile bool _isClosed;

    /// <summary>Any thread: somebody waits for an answer.</summary>
    public bool IsEmpty => _commands.IsEmpty;

    /// <summary>Any thread: runs <paramref name="action"/> on the loop and returns its result, or throws what it threw.</summary>
    /// <exception cref="ObjectDisposedException">The loop has ended.</exception>
    public T Invoke<T>(Func<Moment, T> action)
    {
        T result = default!;
        var command = new Command(moment => result = action(moment));
        _commands.Enqueue(command);
        waiter.Wake();
        if (_isClosed)
        {
            // The loop may have looked for the last time; a command that it did take is completed by it.
            command.Fail(new ObjectDisposedException(nameof(Tunnel)));
        }

        command.Wait();
        return result;
    }

    /// <summary>Control loop: does the oldest request.</summary>
    /// <returns>False if there was none.</returns>
    public bool TryExecute(Moment moment)
    {
        if (!_commands.TryDequeue(out Command? command))
        {
            return false;
        }

        command.Execute(moment);
        return true;
    }

    /// <summary>The loop ends: whoever waits is told, and whoever comes.</summary>
    public void Close()
    {
        _isClosed = true;
        while (_commands.TryDequeue(out Command? command))
        {
            command.Fail(new ObjectDisposedException(nameof(Tunnel)));
        }
    }

    private sealed class Command(Action<Moment> action)
    {
        private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _taken;

        public void Execute(Moment moment)
        {
            if (Interlocked.Exchange(ref _taken, 1) != 0)
            {
                return;
            }

            try
            {
                action(moment);
                _done.SetResult();
            }
#pragma warning disable CA1031 // Whatever it is, it belongs to the caller who waits for the answer.
            catch (Exception e)
#pragma warning restore CA1031
            {
                _done.SetException(e);
            }
        }

        public void Fail(Exception exception)
        {
            if (Interlocked.Exchange(ref _taken, 1) == 0)
            {
                _done.SetException(exception);
            }
        }

        public void Wait()
        {
            try
            {
                _done.Task.Wait();
            }
            catch (AggregateException e)
            {
                ExceptionDispatchInfo.Throw(e.InnerException!);
            }
        }
    }
}
