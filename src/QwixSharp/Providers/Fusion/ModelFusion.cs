using System.Collections.Concurrent;
using QwixSharp.Interception;
using QwixSharp.Interception.Deferred;
using QwixSharp.Providers.Models;

namespace QwixSharp.Providers.Fusion;

/// <summary>Decides whether ops of a quantized model are deferred and computed together.</summary>
internal sealed class ModelFusion(ModelState state)
{
    private readonly ConcurrentDictionary<string, bool> _covered = new();
    private readonly FusionEvaluator _evaluator = new(state);

    /// <summary>Whether all of the providers allow it. Training needs every op at its place; the first run only learns.</summary>
    private bool IsAllowed => !state.IsLearning && state.Adapters is null
        && state.Providers.All(p => p is PtqProvider { FusesOps: true });

    /// <summary>What computes the deferred ops of a run; null where none are deferred.</summary>
    /// <param name="method">The method of the model that is called.</param>
    internal IDeferredEvaluator? EvaluatorFor(string method) => IsAllowed && _covered.GetOrAdd(method, IsCovered) ? _evaluator : null;

    /// <summary>Whether interception sees all of the model's code: what it does not see might change a tensor unnoticed.</summary>
    private bool IsCovered(string method) => Interceptor.Inspect(state.Model, QuantizedCore.FindMethod(state.Model, method)).IsComplete;
}
