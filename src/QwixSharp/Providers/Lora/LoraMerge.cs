using QwixSharp.Arrays;
using QwixSharp.Providers.Models;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Lora;

/// <summary>Merges an adapter into the floating-point weights of its base.</summary>
internal static class LoraMerge
{
    internal static Dictionary<string, Tensor> Merge(ModelState state, LoraAdapter adapter, IReadOnlyDictionary<string, LoraTarget> targets)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var result = new Dictionary<string, Tensor>();
        var merged = new Dictionary<string, Tensor>();
        foreach (var (path, tensor) in state.Model.state_dict())
        {
            // Modules that share a parameter have it under several paths.
            string name = state.NameOf(tensor, path);
            if (!merged.TryGetValue(name, out var value))
                merged[name] = value = Base(state, name, tensor);
            result[path] = value;
        }

        foreach (var (path, weights) in adapter.Weights)
            Add(merged[targets[path].Use.Name], targets[path], weights);
        foreach (var value in merged.Values)
            value.MoveToOuterDisposeScope();
        return result;
    }

    /// <summary>A copy of a parameter or buffer, of the numbers that the model computes with.</summary>
    private static Tensor Base(ModelState state, string name, Tensor tensor)
    {
        var value = state.WholeArray(name) is { } array ? array.Dequantize()
            : state.IsReleased(name) ? throw new QwixException($"The values of parameter \"{name}\" were given up, and only parts of it are quantized, so that it cannot be put together again. Merge before ReleaseOriginalWeights.")
            : tensor.detach().clone();
        return value;
    }

    private static void Add(Tensor parameter, LoraTarget target, LoraWeights weights)
    {
        var use = target.Use;
        // The view shares the parameter's memory, so that adding to it adds to the parameter.
        var view = use.Apply?.Invoke(parameter) ?? (use.Permutation is null ? parameter.alias() : parameter.t());
        if (!SharesMemory(parameter, view))
            throw new QwixException($"The adapter for \"{use.ArrayName}\" cannot be merged: {target.Place} uses a copy of the parameter, not a view.");
        try
        {
            view.add_(target.Form.WeightDelta(weights.A, weights.B).to(view.dtype), alpha: weights.Scaling);
        }
        catch (NotSupportedException error)
        {
            throw new QwixException($"The adapter for \"{use.ArrayName}\" cannot be merged: {error.Message}.", error);
        }
    }

    private static bool SharesMemory(Tensor whole, Tensor view)
    {
        nint start = TensorMemory.Address(whole), address = TensorMemory.Address(view);
        return address >= start && address < start + (nint)(whole.NumberOfElements * whole.ElementSize);
    }
}
