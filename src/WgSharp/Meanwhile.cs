using System.Runtime.ExceptionServices;

namespace WgSharp;

/// <summary>
/// Something that is made on a thread of its own while the start goes on, and that has ended when the start has: a thread pool's thread might not be had.
/// </summary>
/// <typeparam name="T">What is made.</typeparam>
internal sealed class Meanwhile<T> : IDisposable
    where T : class
{
    private readonly Thread _thread;
    private T? _result;
    private ExceptionDispatchInfo? _failure;

    /// <param name="name">The thread's.</param>
    /// <param name="make">What the thread runs.</param>
    /// <exception cref="OutOfMemoryException">The thread could not be made.</exception>
    public Meanwhile(string name, Func<T> make)
    {
        _thread = new Thread(() =>
        {
            try
            {
                _result = make();
            }
            catch (Exception failure)
            {
                _failure = ExceptionDispatchInfo.Capture(failure);
            }
        })
        { IsBackground = true, Name = name };
        _thread.Start();
    }

    /// <summary>Waits until it is made. What its making threw is thrown here, each time.</summary>
    public T Result
    {
        get
        {
            _thread.Join();
            _failure?.Throw();
            return _result!;
        }
    }

    /// <summary>Waits, too, and disposes of what was made.</summary>
    public void Dispose()
    {
        _thread.Join();
        (_result as IDisposable)?.Dispose();
    }
}
