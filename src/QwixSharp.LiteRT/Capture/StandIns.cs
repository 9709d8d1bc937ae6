using System.Runtime.CompilerServices;
using QwixSharp.Interception;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Capture;

/// <summary>
/// Runs an op for the shape and dtype of its result. Matrix products are run on the meta device, where nothing is computed. Not all ops can be:
/// TorchSharp's libtorch lacks many there, and TorchSharp lets some of these end the process. The others are run on zeros.
/// </summary>
internal static class StandIns
{
    private static readonly HashSet<string> Abstract = ["linear", "matmul", "bmm"];

    /// <summary>The result, as tensors without values.</summary>
    internal static object? Run(in OpCall call, string op)
    {
        using var scope = NewDisposeScope();
        if (op.StartsWith("conv", StringComparison.Ordinal) && Convolution(call, op) is { } shape)
            return empty(shape, dtype: ((Tensor)call.Arguments[0]!).dtype, device: META).MoveToOuterDisposeScope();
        bool meta = Abstract.Contains(op), written = OpKinds.IsInPlace(op) || OpKinds.IsMarkedInPlace(call);
        object?[] arguments = [.. call.Arguments.Select(a => StandIn(a, meta, written))];
        return ToMeta(call.Proceed(arguments));
    }

    /// <summary>
    /// The shape of a convolution's result, by one of a single channel in each group, which costs little. Null where channels do not fit: the
    /// op itself says so best.
    /// </summary>
    private static long[]? Convolution(in OpCall call, string op)
    {
        Tensor input = (Tensor)call.Arguments[0]!, weight = (Tensor)call.Arguments[1]!;
        long groups = (long)call.Arguments[Array.FindIndex(call.Op.Method.GetParameters(), p => p.Name == "groups")]!;
        bool transposed = op.Contains("transpose", StringComparison.Ordinal);
        int channel = (int)(input.dim() - weight.dim()) + 1;
        long[] shape = input.shape, kernel = [groups, 1, .. weight.shape[2..]];
        if (channel < 0 || shape[channel] != (transposed ? weight.shape[0] : weight.shape[1] * groups))
            return null;
        shape[channel] = groups;
        var result = (Tensor)call.Proceed([zeros(shape, input.dtype), zeros(kernel, weight.dtype), null, .. call.Arguments[3..]])!;
        shape = result.shape;
        shape[channel] = transposed ? weight.shape[1] * groups : weight.shape[0];
        return shape;
    }

    private static object? StandIn(object? argument, bool meta, bool written) => argument switch
    {
        Tensor tensor => StandIn(tensor, meta, written),
        Tensor[] tensors => Array.ConvertAll(tensors, t => StandIn(t, meta, written)),
        IEnumerable<Tensor> tensors => tensors.Select(t => StandIn(t, meta, written)).ToList(),
        TensorIndex[] indices => Array.ConvertAll(indices, i => IndexParts.TensorOf(i) is { } tensor ? TensorIndex.Tensor(StandIn(tensor, meta, written)) : i),
        Device => CPU,
        _ => argument,
    };

    private static Tensor StandIn(Tensor tensor, bool meta, bool written)
    {
        bool isMeta = tensor.device_type == DeviceType.META;
        if (meta)
            return isMeta ? tensor : empty(tensor.shape, dtype: tensor.dtype, device: META);
        if (isMeta)
            return zeros(tensor.shape, tensor.dtype);
        return written ? tensor.detach().clone() : tensor.device_type == DeviceType.CPU ? tensor : tensor.cpu();
    }

    private static object? ToMeta(object? result) => result switch
    {
        Tensor tensor => empty(tensor.shape, dtype: tensor.dtype, device: META).MoveToOuterDisposeScope(),
        Tensor[] tensors => Array.ConvertAll(tensors, t => (Tensor)ToMeta(t)!),
        IEnumerable<Tensor> tensors => tensors.Select(t => (Tensor)ToMeta(t)!).ToList(),
        ITuple tuple => Activator.CreateInstance(tuple.GetType(), [.. Enumerable.Range(0, tuple.Length).Select(i => ToMeta(tuple[i]))]),
        _ => result,
    };
}
