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
        if (state.WholeArray(name) is { } array)
            return array.Dequantize();
        var value = tensor.detach().contiguous().clone();
        foreach (var (_, part) in state.Weights.All.Where(w => w.Value.Use.Name == name))
            View(value, part.Use, "only a copy of it is quantized").copy_(part.Array.Dequantize());
        if (state.IsReleased(name) && value.isnan().any().item<bool>())
            throw new QwixException($"The values of parameter \"{name}\" were given up, and only parts of it are quantized, so that it cannot be put together again. Merge before ReleaseOriginalWeights.");
        return value;
    }

    private static void Add(Tensor parameter, LoraTarget target, LoraWeights weights)
    {
        var view = View(parameter, target.Use, $"{target.Place} uses a copy of it");
        if (target.Use.Permutation is not null)
            view = view.t();
        try
        {
            view.add_(target.Form.WeightDelta(weights.A, weights.B).to(view.dtype), alpha: weights.Scaling);
        }
        catch (NotSupportedException error)
        {
            throw new QwixException($"The adapter for \"{target.Use.ArrayName}\" cannot be merged: {error.Message}.", error);
        }
    }

    /// <summary>A parameter as an op sees it, but for the order of axes, in the parameter's own memory: what is written to it is written to the parameter.</summary>
    private static Tensor View(Tensor parameter, WeightUse use, string otherwise)
    {
        var view = use.Apply?.Invoke(parameter) ?? parameter.alias();
        return SharesMemory(parameter, view) ? view : throw new QwixException($"Parameter \"{use.ArrayName}\" cannot be merged with its adapter: {otherwise}, not a view.");
    }

    private static bool SharesMemory(Tensor whole, Tensor view)
    {
        nint start = TensorMemory.Address(whole), address = TensorMemory.Address(view);
        return address >= start && address < start + (nint)(whole.NumberOfElements * whole.ElementSize);
    }
}
