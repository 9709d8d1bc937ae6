using System.Linq.Expressions;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using QwixSharp.Interception;
using QwixSharp.Providers;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Capture;

/// <summary>Runs a model once, in evaluation mode, and keeps what it computes.</summary>
internal static class ModelCapture
{
    /// <param name="model">A module whose inputs are tensors.</param>
    /// <param name="inputs">An example of each input, for shapes and dtypes.</param>
    /// <param name="inputNames">The names of the inputs; the names of the model's parameters where null.</param>
    /// <param name="keeper">Takes the constants of the graph.</param>
    internal static CapturedGraph Run(nn.Module model, IReadOnlyList<Tensor> inputs, IReadOnlyList<string>? inputNames, DisposeScope keeper)
    {
        var entry = FindCall(model, inputs);
        var original = (model as IQuantizedModel)?.Original ?? model;
        var names = inputNames ?? ParameterNames(original, inputs.Count);
        if (names.Count != inputs.Count || names.Distinct().Count() != names.Count)
            throw new ArgumentException($"There must be a name for each of the {inputs.Count} inputs, and no name twice; given are {string.Join(", ", names)}.", nameof(inputNames));
        if (original.named_parameters().FirstOrDefault(p => p.parameter.device_type == DeviceType.META).name is { } abstractName)
            throw new LiteRtException($"The parameter \"{abstractName}\" has no values: it is on the meta device. Load the model's weights first.");
        var recorder = new GraphRecorder(original, keeper);
        var standIns = inputs.Select((x, i) => recorder.AddInput(x, names[i])).ToList();
        var modes = original.modules().Append(original).Select(m => (Module: m, m.training)).ToList();
        using var scope = NewDisposeScope();
        try
        {
            original.eval();
            var result = Run(model, entry, recorder, [.. standIns.Select(s => s.StandIn)]);
            var outputs = Outputs(result).Select(o => (o.Name, recorder.Find(o.Tensor))).ToList();
            return new CapturedGraph([.. standIns.Select(s => s.Captured)], recorder.Nodes, outputs);
        }
        catch (TargetInvocationException error) when (error.InnerException is QwixException inner)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(inner);
            throw;
        }
        catch (TargetInvocationException error) when (error.InnerException is ExternalException or InvalidOperationException or NotImplementedException or NotSupportedException)
        {
            throw new LiteRtException(
                $"The model cannot be exported: after {recorder.LastPlace} it reads values of a tensor that depend on its inputs, or does with it what has no fixed shape "
                + $"({GraphRecorder.FirstLine(error.InnerException)}). A file holds a fixed list of ops: choose by values with torch.where, not with if.", error.InnerException);
        }
        finally
        {
            // A module's train() reaches its children, so parents are restored before these.
            foreach (var (module, training) in modes.AsEnumerable().Reverse().Concat(modes))
            {
                if (module.training != training)
                    module.train(training);
            }
        }
    }

    /// <summary>
    /// Calls a model with its ops going to the recorder: those of a quantized model as it computes them itself, those of any other by a copy
    /// of its code.
    /// </summary>
    private static object? Run(nn.Module model, MethodInfo entry, GraphRecorder recorder, object?[] inputs)
    {
        if (model is IHasCore quantized)
        {
            if (!quantized.Core.State.Providers.Any(p => p is OdmlConversionProvider))
                throw new LiteRtException($"{model.GetType().Name} is quantized by {string.Join(", ", quantized.Core.State.Providers.Select(p => p.GetType().Name))}; a file is made of a floating-point model, or of one that OdmlConversionProvider has quantized. Quantize the original model with new OdmlConversionProvider(rules, model.state_dict(), qat.QuantStats), where qat is that model with OdmlQatProvider, run on some batches in training mode; with ActStaticScale = false in the rules (dynamic ranges), or with a WeightQType alone, no batches are needed.");
            using (ForwardTracer.Enter(recorder))
                return entry.Invoke(model, inputs);
        }

        var copy = MethodRewriter.Default.OpenDelegate(entry, Expression.GetDelegateType([typeof(object), .. MethodShape.Parameters(entry), entry.ReturnType]))
            ?? throw new LiteRtException($"{model.GetType()} cannot be intercepted.");
        using (Interceptor.Enter(model, recorder))
            return copy.DynamicInvoke([model, .. inputs]);
    }

    private static MethodInfo FindCall(nn.Module model, IReadOnlyList<Tensor> inputs)
    {
        for (var type = model.GetType(); type is not null; type = type.BaseType)
        {
            if (!type.IsGenericType || type.Assembly != typeof(torch).Assembly || !type.FullName!.StartsWith("TorchSharp.torch+nn+Module`", StringComparison.Ordinal))
                continue;
            var call = type.GetMethod("call")!;
            var parameters = call.GetParameters();
            if (parameters.Length != inputs.Count)
                throw new ArgumentException($"{model.GetType().Name} has {parameters.Length} inputs; {inputs.Count} examples are given.", nameof(inputs));
            if (parameters.FirstOrDefault(p => p.ParameterType != typeof(Tensor)) is { } other)
                throw new LiteRtException($"Input {other.Position} of {model.GetType().Name} is a {other.ParameterType}. A file's inputs are tensors.");
            return call;
        }

        throw new LiteRtException($"{model.GetType()} is no Module with inputs and a result.");
    }

    private static IReadOnlyList<string> ParameterNames(nn.Module model, int count)
    {
        var forward = model.GetType().GetMethods(BindingFlags.Public | BindingFlags.Instance).FirstOrDefault(m => m.Name == "forward" && m.GetParameters().Length == count);
        return forward is null ? [.. Enumerable.Range(0, count).Select(i => $"input{i}")] : [.. forward.GetParameters().Select(p => p.Name!)];
    }

    private static IEnumerable<(string Name, Tensor Tensor)> Outputs(object? result)
    {
        switch (result)
        {
            case Tensor tensor:
                return [("output", tensor)];
            case IReadOnlyDictionary<string, Tensor> named:
                return named.Select(n => (n.Key, n.Value));
            case IEnumerable<Tensor> tensors:
                return tensors.Select((t, i) => ($"output{i}", t));
            case ITuple tuple:
                return Enumerable.Range(0, tuple.Length).SelectMany(i => Outputs(tuple[i]).Select(o => (tuple.Length == 1 ? o.Name : o.Name.Replace("output", $"output{i}"), o.Tensor)));
            default:
                throw new LiteRtException($"The model's result is a {result?.GetType().ToString() ?? "null"}. A file's outputs are tensors.");
        }
    }
}
