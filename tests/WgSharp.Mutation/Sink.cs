using Xunit.Abstractions;

namespace WgSharp.Mutation;

/// <param name="take">False: no further test need be run.</param>
internal sealed class Sink(Func<IMessageSinkMessage, bool> take) : IMessageSink
{
    public bool OnMessage(IMessageSinkMessage message) => take(message);
}

/// <summary>One test after the other, on the caller's word.</summary>
internal sealed class Options : ITestFrameworkDiscoveryOptions, ITestFrameworkExecutionOptions
{
    private readonly Dictionary<string, object?> _values = new(StringComparer.Ordinal)
    {
        ["xunit.execution.DisableParallelization"] = true,
        ["xunit.execution.SynchronousMessageReporting"] = true,
        ["xunit.discovery.SynchronousMessageReporting"] = true,
        ["xunit.discovery.PreEnumerateTheories"] = true,
    };

    public TValue GetValue<TValue>(string name) => _values.TryGetValue(name, out object? value) ? (TValue)value! : default!;

    public void SetValue<TValue>(string name, TValue value) => _values[name] = value;
}
