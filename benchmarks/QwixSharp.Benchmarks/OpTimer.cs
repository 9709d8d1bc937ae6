using System.Diagnostics;
using QwixSharp.Interception;

namespace QwixSharp.Benchmarks;

/// <summary>Times each op that a model calls.</summary>
/// <param name="name">Under which name an op's calls are counted.</param>
internal sealed class OpTimer(Func<OpCall, string> name) : IOpInterceptor
{
    private readonly Dictionary<string, List<double>> _microseconds = [];

    /// <summary>The calls of each op in a run of the model, and the time of all of them: their number times the median.</summary>
    /// <param name="rounds">How often the model was run.</param>
    public Dictionary<string, (int Calls, double Microseconds)> Times(int rounds) =>
        _microseconds.ToDictionary(t => t.Key, t => (t.Value.Count / rounds, t.Value.Order().ElementAt(t.Value.Count / 2) * t.Value.Count / rounds));

    public bool Wants(OpDescriptor op) => true;

    public object? Intercept(in OpCall call)
    {
        var op = name(call);
        if (!_microseconds.TryGetValue(op, out var times))
            _microseconds[op] = times = [];
        var start = Stopwatch.GetTimestamp();
        var result = call.Proceed();
        times.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds);
        return result;
    }
}
