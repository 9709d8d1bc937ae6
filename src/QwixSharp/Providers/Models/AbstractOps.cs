using System.Runtime.InteropServices;
using QwixSharp.Interception;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>
/// Runs ops of a model on the meta device. TorchSharp's libtorch lacks many of them there, relu and layer norm among them;
/// such an op is run on zeros on the CPU that take the memory of one number, for the shape of its result.
/// </summary>
internal static class AbstractOps
{
    internal static object? Proceed(in OpCall call)
    {
        try
        {
            return call.Proceed();
        }
        catch (ExternalException) when (call.Arguments.Any(HoldsAbstract))
        {
            using var scope = NewDisposeScope();
            object?[] standIns = [.. call.Arguments.Select(StandIn)];
            return ToMeta(call.Proceed(standIns));
        }
    }

    private static bool HoldsAbstract(object? argument) => argument switch
    {
        Tensor tensor => tensor.device_type == DeviceType.META,
        IEnumerable<Tensor> tensors => tensors.Any(t => t.device_type == DeviceType.META),
        _ => false,
    };

    private static object? StandIn(object? argument) => argument switch
    {
        Tensor tensor => Zeros(tensor),
        Tensor[] tensors => Array.ConvertAll(tensors, Zeros),
        IEnumerable<Tensor> tensors => tensors.Select(Zeros).ToList(),
        Device { type: DeviceType.META } => CPU,
        _ => argument,
    };

    private static Tensor Zeros(Tensor tensor) => tensor.device_type == DeviceType.META
        ? zeros([1], tensor.dtype).expand(tensor.shape)
        : tensor;

    private static object? ToMeta(object? result) => result switch
    {
        Tensor tensor => tensor.to(META).MoveToOuterDisposeScope(),
        Tensor[] tensors => Array.ConvertAll(tensors, t => t.to(META).MoveToOuterDisposeScope()),
        System.Runtime.CompilerServices.ITuple tuple => Activator.CreateInstance(tuple.GetType(), [.. Enumerable.Range(0, tuple.Length).Select(i => ToMeta(tuple[i]))]),
        _ => result,
    };
}
