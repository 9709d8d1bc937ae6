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
        if (op.StartsWith("conv", StringComparison.Ordinal) && ConvolutionShapes.Of(call, op) is { } shape)
            return empty(shape, dtype: ((Tensor)call.Arguments[0]!).dtype, device: META).MoveToOuterDisposeScope();
        bool meta = Abstract.Contains(op), written = OpKinds.IsInPlace(op) || OpKinds.IsMarkedInPlace(call);
        object?[] arguments = [.. call.Arguments.Select(a => StandIn(a, meta, written))];
        return ToMeta(call.Proceed(arguments));
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
