using System.Collections.Concurrent;
using QwixSharp.Interception;

namespace QwixSharp.Tests.Interception;

/// <summary>Lets every op through and keeps what it saw.</summary>
internal sealed class RecordingInterceptor : IOpInterceptor
{
    private readonly ConcurrentQueue<(string Op, string Path)> _calls = new();

    internal IReadOnlyList<(string Op, string Path)> Calls => [.. _calls];

    internal IEnumerable<string> Ops => _calls.Select(call => call.Op);

    public bool Wants(OpDescriptor op) => true;

    public object? Intercept(in OpCall call)
    {
        _calls.Enqueue((call.Op.Name, call.ModulePath));
        return call.Proceed();
    }

    internal string[] PathsOf(params string[] ops) => [.. _calls.Where(call => ops.Contains(call.Op.Split('.')[^1])).Select(call => call.Path)];
}
