using QwixSharp.Arrays;
using QwixSharp.Calibration;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>Quantizes a state dict, whole or in part, as an abstract model says.</summary>
internal static class ParamsQuantizer
{
    internal static Dictionary<string, Tensor> Quantize(IReadOnlyDictionary<string, Tensor> stateDict, IQuantizedModel abstractModel, QuantStats? quantStats, bool allowExtra)
    {
        ArgumentNullException.ThrowIfNull(stateDict);
        ArgumentNullException.ThrowIfNull(abstractModel);
        var state = (abstractModel as IHasCore)?.Core.State ?? throw new ArgumentException("The abstract model must come from Qwix.QuantizeModel.", nameof(abstractModel));
        var plain = state.Model.state_dict();
        var weights = state.Weights.All.ToLookup(w => w.Value.Use.Name);
        var result = new Dictionary<string, Tensor>();
        using var scope = NewDisposeScope();
        foreach (var (name, tensor) in stateDict)
        {
            if (!plain.TryGetValue(name, out var own))
            {
                if (!allowExtra)
                    throw new QwixException($"\"{name}\" is not a parameter or buffer of {state.Model.GetType().Name}. Take it out of the state dict, or set allowExtra. It has: {string.Join(", ", plain.Keys.Take(12))}{(plain.Count > 12 ? ", …" : "")}.");
                continue;
            }

            if (!tensor.shape.SequenceEqual(own.shape))
                throw new QwixException($"Parameter \"{name}\" has the shape [{string.Join(", ", tensor.shape)}], but {state.Model.GetType().Name} has [{string.Join(", ", own.shape)}] there.");
            // Modules may share a parameter: a state dict has it under each of their paths, or under any one of them.
            var parameter = state.NameOf(own, name);
            foreach (var (arrayName, weight) in weights[parameter].Where(w => !result.ContainsKey(w.Key + ".qvalue")))
                Add(result, arrayName, Quantize(arrayName, tensor, weight));
            if (state.IsReplaced(parameter))
                continue;
            if (tensor.is_floating_point() != own.is_floating_point() || (!own.is_floating_point() && tensor.dtype != own.dtype))
                throw new QwixException($"Parameter \"{name}\" is {tensor.dtype}, but {state.Model.GetType().Name} has {own.dtype} there.");
            result[name] = tensor;
        }

        AddScales(result, state, quantStats);
        foreach (var (name, tensor) in result)
        {
            if (!stateDict.ContainsKey(name))
                tensor.MoveToOuterDisposeScope();
        }

        return result;
    }

    private static QArray Quantize(string name, Tensor tensor, QuantizedWeight weight)
    {
        if (!Numerics.Codec.IsQuantizable(tensor.dtype))
            throw new QwixException($"Parameter \"{name}\" is {tensor.dtype} and cannot be quantized: only float16, bfloat16, float32 and float64 can be.");
        if (!NotFinite.IsNowhereIn(tensor))
            throw new QwixException($"Parameter \"{name}\" has NaN or infinite values. Quantize a model whose weights are finite.");
        using var noGrad = no_grad();
        return Quantizer.Quantize(weight.Use.Apply is { } view ? view(tensor) : tensor, weight.How);
    }

    private static void AddScales(Dictionary<string, Tensor> result, ModelState state, QuantStats? quantStats)
    {
        var scales = state.StaticScales.All.ToDictionary(s => s.Key, s => s.Value);
        foreach (var place in quantStats?.Places ?? [])
        {
            if (!scales.TryGetValue(place, out var known))
                throw new QwixException($"There are statistics for \"{place}\", but no activation of the model has a static scale by that name. It has: {string.Join(", ", scales.Keys.Take(12))}. Use the rules that the statistics were gathered with.");
            using var range = quantStats!.GetRange(place);
            var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range, known.QType);
            if (!scale.shape.SequenceEqual(known.Scale.shape) || zeroPoint is null != known.ZeroPoint is null)
                throw new QwixException($"The statistics for \"{place}\" are {Kind(zeroPoint)} of shape [{string.Join(", ", scale.shape)}], but the model's scale there is {Kind(known.ZeroPoint)} of shape [{string.Join(", ", known.Scale.shape)}]. Use the rules that the statistics were gathered with.");
            result[place + "_scale"] = scale;
            if (zeroPoint is not null)
                result[place + "_zero_point"] = zeroPoint;
        }
    }

    private static string Kind(Tensor? zeroPoint) => zeroPoint is null ? "symmetric" : "asymmetric";

    private static void Add(Dictionary<string, Tensor> result, string name, QArray array)
    {
        result[name + ".qvalue"] = array.Codes;
        result[name + ".scale"] = array.Scale;
        if (array.ZeroPoint is not null)
            result[name + ".zero_point"] = array.ZeroPoint;
    }
}
