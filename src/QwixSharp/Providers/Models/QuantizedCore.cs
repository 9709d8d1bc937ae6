using System.Reflection;
using System.Runtime.ExceptionServices;
using QwixSharp.Arrays;
using QwixSharp.Interception;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>What the quantized modules of all numbers of inputs share.</summary>
internal sealed class QuantizedCore : IDisposable
{
    private readonly nn.Module _wrapper;
    private readonly Action _clearWrapper;
    private readonly Lock _refreshing = new();

    /// <param name="state">The state of the model.</param>
    /// <param name="wrapper">The module that users hold.</param>
    /// <param name="clearWrapper">Empties the wrapper's tables of parameters, buffers and children, without disposing these.</param>
    internal QuantizedCore(ModelState state, nn.Module wrapper, Action clearWrapper)
    {
        State = state;
        _wrapper = wrapper;
        _clearWrapper = clearWrapper;
    }

    internal ModelState State { get; }

    internal IReadOnlyDictionary<string, QArray> Weights => State.Weights.All.ToDictionary(w => w.Key, w => w.Value.Array);

    /// <summary>Runs the model's copied code, with its ops going to the provider.</summary>
    internal TResult Run<TResult>(Func<TResult> call, ReadOnlySpan<object?> inputs, string method = "forward")
    {
        using var run = State.Providers[^1].StartRun(State);
        run.Begin(method, [.. inputs]);
        TResult result;
        using (Interceptor.Enter(State.Model, run))
            result = call();
        return run.End(method, result);
    }

    /// <summary>Runs any public method of the model.</summary>
    internal TResult Invoke<TResult>(string name, object?[] arguments)
    {
        var method = FindMethod(State.Model, name, arguments.Length);
        var types = method.GetParameters().Select(p => p.ParameterType).Prepend(typeof(object)).Append(method.ReturnType).ToArray();
        var copy = MethodRewriter.Default.OpenDelegate(method, System.Linq.Expressions.Expression.GetDelegateType(types))
            ?? throw new QwixException($"{State.Model.GetType()}.{name} cannot be intercepted: it must not be async.");
        try
        {
            return Run(() => (TResult)copy.DynamicInvoke([State.Model, .. arguments])!, arguments, name);
        }
        catch (TargetInvocationException error)
        {
            ExceptionDispatchInfo.Throw(error.InnerException!);
            throw;
        }
    }

    internal static MethodInfo FindMethod(nn.Module model, string name, int parameters = -1) =>
        model.GetType().GetMethods(BindingFlags.Public | BindingFlags.Instance)
            .FirstOrDefault(m => m.Name == name && !m.ContainsGenericParameters && (parameters < 0 || m.GetParameters().Length == parameters))
        ?? throw new QwixException($"{model.GetType()} has no public method \"{name}\"{(parameters < 0 ? "" : $" with {parameters} parameters")}.");

    /// <summary>Makes the wrapper hold what the model holds now.</summary>
    internal void Refresh()
    {
        lock (_refreshing)
        {
            ClearWrapper();
            QuantizedState.Fill(_wrapper, State.Model, "", State);
        }
    }

    /// <summary>From now on, what a later run quantizes for the first time is shown by the wrapper too.</summary>
    internal void FollowAdditions()
    {
        State.Weights.Added += Refresh;
        State.StaticScales.Added += Refresh;
        State.Statistics.Added += Refresh;
        if (State.Adapters is { } adapters)
            adapters.Changed += Refresh;
    }

    /// <summary>The buffers of weights that the model's root holds itself.</summary>
    internal IEnumerable<(string Name, Tensor Buffer)> OwnBuffers() => QuantizedState.Buffers(QuantizedState.ArraysOf(State.Model, "", State));

    internal void ReleaseOriginalWeights()
    {
        State.Release();
        State.Weights.Compact();
        Refresh();
        FreedMemory.GiveBack();
    }

    internal nn.Module Move(Device? device, ScalarType? dtype, bool nonBlocking)
    {
        if (device is not null)
            State.Model.to(device, non_blocking: nonBlocking);
        if (dtype is { } wanted)
            State.Model.to(wanted, non_blocking: nonBlocking);
        State.Move(device, dtype);
        Refresh();
        return _wrapper;
    }

    internal (IList<string> Missing, IList<string> Unexpected) LoadStateDict(Dictionary<string, Tensor> source, bool strict, IList<string>? skip)
    {
        var result = StateLoading.Load(State, _wrapper.state_dict(), source, strict, skip ?? []);
        State.Relocate();
        Refresh();
        return result;
    }

    /// <summary>Frees what is the quantized model's alone; the user's module stays as it is.</summary>
    public void Dispose()
    {
        ClearWrapper();
        State.Dispose();
    }

    private void ClearWrapper()
    {
        var mirrors = _wrapper.named_children().Select(c => c.module).ToList();
        _clearWrapper();
        mirrors.ForEach(m => m.Dispose());
    }
}
