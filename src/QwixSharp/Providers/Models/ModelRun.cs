using QwixSharp.Interception;
using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using QwixSharp.Providers.OpMap;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>
/// One forward pass of a quantized model: takes the TorchSharp ops that it sees to the provider whose rule they fall
/// under, and keeps track of views of weights.
/// </summary>
internal sealed class ModelRun(ModelState state) : IModelRun, IDefersOps
{
    private readonly QuantizationProvider[] _providers = [.. state.Providers.Cast<QuantizationProvider>()];
    private readonly Dictionary<(string Path, string Op), int> _counts = [];

    internal ModelState State => state;

    public IDeferredEvaluator? Evaluator { get; private set; }

    public ModulePaths? Paths => state.Paths;

    public bool Wants(OpDescriptor op) => state.SeesEveryOp || OpTable.Find(op) is not null || state.WantsView(op);

    public object? Intercept(in OpCall call) => state.Adapters is null ? Answer(call) : Answer(Freeze(call));

    public void Begin(string method, IReadOnlyList<object?> inputs) => Evaluator = state.Fusion.EvaluatorFor(method);

    public TResult End<TResult>(string method, TResult result) => result;

    public void Dispose()
    {
    }

    private object? Answer(in OpCall call)
    {
        if (OpTable.Find(call.Op) is { } handler)
            return handler(this, call);
        if (WeightViews.Find(state, call) is not { } view)
            return Proceed(call);
        var result = call.Proceed();
        WeightViews.Remember(state, call, view, result);
        return result;
    }

    /// <summary>The call with parameters that no gradient flows to.</summary>
    private OpCall Freeze(in OpCall call)
    {
        object?[] arguments = Array.ConvertAll(call.Arguments, argument => argument switch
        {
            Tensor tensor => state.Frozen(tensor),
            Tensor[] tensors => Array.ConvertAll(tensors, state.Frozen),
            IEnumerable<Tensor> tensors => tensors.Select(state.Frozen).ToList(),
            _ => argument,
        });
        return new OpCall(call.Op, arguments, call.Module, call.ModulePath);
    }

    /// <summary>The provider and site of an op, or null where no rule quantizes it.</summary>
    internal (QuantizationProvider Provider, OpSite Site)? Find(in OpCall call, string opName)
    {
        int count = NextCount(call.ModulePath, opName);
        foreach (var provider in _providers)
        {
            if (provider.Match(call.ModulePath, opName) is not { } rule)
                continue;
            state.MarkMatched(provider);
            if (provider.Handles(rule))
                return (provider, new OpSite(state, rule, call, opName, count));
        }

        return null;
    }

    /// <summary>
    /// A general dot product by the rule it falls under.
    /// </summary>
    /// <returns>The product, or null where no rule quantizes it.</returns>
    internal Tensor? DotGeneral(in OpCall call, Tensor lhs, Tensor rhs, DotDimensionNumbers dimensionNumbers) =>
        Find(call, OpNames.DotGeneral) is { } found
            ? found.Provider.DotGeneral(found.Site, state.Operand(lhs), state.Operand(rhs), dimensionNumbers)
            : null;

    /// <summary>Runs the op as the model wrote it. Parameters whose values were given up are restored for it.</summary>
    internal object? Proceed(in OpCall call)
    {
        object?[]? restored = null;
        List<Tensor> temporary = [];
        for (int i = 0; i < call.Arguments.Length; i++)
        {
            if (call.Arguments[i] is not Tensor argument || state.UseOf(argument) is not { } use)
                continue;
            state.MarkUsedElsewhere(use);
            if (!state.IsReleased(use))
                continue;
            if (!state.IsParameter(argument, use))
                throw new QwixException($"{call.Op.Name} in module \"{call.ModulePath}\" needs the values of a view of parameter \"{use.Name}\", which were given up. Do not call ReleaseOriginalWeights on this model.");
            restored ??= [.. call.Arguments];
            var values = state.Restore(use);
            temporary.Add(values);
            restored[i] = values;
        }

        if (restored is null)
            return AbstractOps.Proceed(call);
        try
        {
            return call.Proceed(restored);
        }
        finally
        {
            temporary.ForEach(t => t.Dispose());
        }
    }

    /// <summary>Counts an op if it is the expected one of its name in its module.</summary>
    internal bool TryCount(string path, string opName, int expected)
    {
        lock (_counts)
        {
            if (_counts.GetValueOrDefault((path, opName)) != expected)
                return false;
            _counts[(path, opName)] = expected + 1;
            return true;
        }
    }

    private int NextCount(string path, string opName)
    {
        lock (_counts)
        {
            int count = _counts.GetValueOrDefault((path, opName));
            _counts[(path, opName)] = count + 1;
            return count;
        }
    }
}
