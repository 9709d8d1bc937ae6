using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Providers;
using QwixSharp.Providers.Models;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Prequantized;

/// <summary>
/// Turns the tensors of a checkpoint, quantized before, into the state of a model: quantized where the model is, in floating
/// point where it is not.
/// </summary>
internal sealed class PrequantizedParams
{
    private readonly ModelState? _state;
    private readonly string _modelName;
    private readonly Dictionary<string, Tensor> _own;
    private readonly Dictionary<string, Tensor> _parameters;
    private readonly ILookup<string, KeyValuePair<string, QuantizedWeight>>? _weights;

    internal PrequantizedParams(nn.Module model)
    {
        _state = (model as IHasCore)?.Core.State;
        _modelName = (_state?.Model ?? model).GetType().Name;
        _own = model.state_dict();
        _parameters = _state?.Model.state_dict() ?? _own;
        _weights = _state?.Weights.All.ToLookup(w => w.Value.Use.Name);
    }

    internal Dictionary<string, Tensor> Process(IEnumerable<LogicalTensor> tensors, bool allowExtra)
    {
        var result = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        foreach (var tensor in tensors)
        {
            var parameter = _parameters.GetValueOrDefault(tensor.Name);
            var name = parameter is null || _state is null ? tensor.Name : _state.NameOf(parameter, tensor.Name);
            if ((parameter ?? _own.GetValueOrDefault(tensor.Name)) is not { } target)
            {
                if (allowExtra)
                    continue;
                throw new CheckpointException($"{CheckpointException.Quote(tensor.Name)} is not a parameter or buffer of {_modelName}. Give it the model's name by a CheckpointTransform, or set allowExtra. The model has: {string.Join(", ", _parameters.Keys.Take(12))}{(_parameters.Count > 12 ? ", …" : "")}.");
            }

            if (!tensor.Shape.SequenceEqual(target.shape))
                throw new CheckpointException($"Tensor {tensor} is [{string.Join(", ", target.shape)}] in {_modelName}.");
            foreach (var (arrayName, weight) in _weights?[name].Where(w => !result.ContainsKey(w.Key + QwixEntries.QValue)) ?? [])
                AddQuantized(result, tensor, arrayName, weight);
            if (_state is null || !_state.IsReplaced(name))
                result[tensor.Name] = ReadFloat(tensor, target);
        }

        foreach (var tensor in result.Values)
            tensor.MoveToOuterDisposeScope();
        return result;
    }

    private static Tensor ReadFloat(LogicalTensor tensor, Tensor target)
    {
        var values = tensor.ReadFloat(target.is_floating_point() ? target.dtype : null);
        return values.dtype == target.dtype ? values : throw new CheckpointException($"Tensor {tensor} is {target.dtype} in the model.");
    }

    private static void AddQuantized(Dictionary<string, Tensor> result, LogicalTensor tensor, string name, QuantizedWeight weight)
    {
        if (!tensor.IsQuantized)
            throw new CheckpointException($"Tensor {tensor} is not quantized, but the model has {weight.Array} there. Quantize it with Qwix.QuantizeParams, or leave the layer out of the rules.");
        if (weight.Use.Apply is not null)
            throw new CheckpointException($"The model uses {CheckpointException.Quote(tensor.Name)} through a view, {name}, and a tensor quantized before cannot follow it. Leave the layer out of the rules, so that it is dequantized.");
        if (tensor.Quantization is not { } quantization)
            throw new CheckpointException($"Tensor {tensor} is quantized in a way that a model cannot compute with. Leave the layer out of the rules, so that it is dequantized, or quantize its values anew with Qwix.QuantizeParams.");
        var wanted = weight.Array;
        if (quantization.QType != wanted.QType || quantization.HasZeroPoint != wanted.ZeroPoint is not null || !Expands(quantization.ScaleShape, wanted.ScaleShape))
            throw new CheckpointException($"Tensor {tensor} does not fit the model, which has {wanted} there. Quantize the model with the rules of the checkpoint: Qwix.RestoreQuantizationRules.");
        var array = tensor.ReadQuantized();
        result[name + QwixEntries.QValue] = array.Codes;
        result[name + QwixEntries.Scale] = GenericBroadcast.Expand(array.Scale, wanted.ScaleShape).to(wanted.Dtype);
        if (array.ZeroPoint is { } zeroPoint)
            result[name + QwixEntries.ZeroPoint] = GenericBroadcast.Expand(zeroPoint, wanted.ScaleShape);
    }

    /// <summary>Whether scales can be repeated to be those that are wanted: blocks of two axes, or one scale for all, become per-channel.</summary>
    private static bool Expands(IReadOnlyList<long> scaleShape, ReadOnlySpan<long> wanted)
    {
        for (int axis = 0; axis < wanted.Length; axis++)
        {
            if (scaleShape[axis] == 0 ? wanted[axis] != 0 : wanted[axis] % scaleShape[axis] != 0)
                return false;
        }

        return true;
    }
}
