using QwixSharp.Interception;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>The TorchSharp ops of which others are made here.</summary>
internal static class TorchOps
{
    internal static OpDescriptor Alias { get; } = Of(nameof(Tensor.alias));

    internal static OpDescriptor Clone { get; } = Of(nameof(Tensor.clone));

    internal static OpDescriptor Copy { get; } = Of(nameof(Tensor.copy_), typeof(Tensor), typeof(bool));

    internal static OpDescriptor Sigmoid { get; } = Of(nameof(Tensor.sigmoid));

    internal static OpDescriptor Chunk { get; } = Of(nameof(Tensor.chunk), typeof(long), typeof(long));

    internal static OpDescriptor Multiply { get; } = Of(nameof(Tensor.mul), typeof(Tensor));

    internal static OpDescriptor MultiplyNumber { get; } = Of(nameof(Tensor.mul), typeof(Scalar));

    internal static OpDescriptor DivideNumber { get; } = Of(nameof(Tensor.div), typeof(Scalar), typeof(RoundingMode));

    internal static OpDescriptor Add { get; } = Of(nameof(Tensor.add), typeof(Tensor));

    internal static OpDescriptor Subtract { get; } = Of(nameof(Tensor.sub), typeof(Tensor));

    internal static OpDescriptor Divide { get; } = Of(nameof(Tensor.div), typeof(Tensor), typeof(RoundingMode));

    internal static OpDescriptor Expand { get; } = Of(nameof(Tensor.expand), typeof(long[]), typeof(bool));

    internal static OpDescriptor MatMul { get; } = Of(nameof(Tensor.matmul), typeof(Tensor));

    internal static OpDescriptor Transpose { get; } = Of(nameof(Tensor.transpose), typeof(long), typeof(long));

    internal static OpDescriptor Not { get; } = Of(nameof(Tensor.logical_not));

    internal static OpDescriptor MaskedFill { get; } = Of(nameof(Tensor.masked_fill), typeof(Tensor), typeof(Scalar));

    internal static OpDescriptor Softmax { get; } = Of(nameof(Tensor.softmax), typeof(long), typeof(ScalarType?));

    internal static OpDescriptor Dropout { get; } = OpDescriptor.Of(typeof(nn.functional).GetMethod(nameof(nn.functional.dropout), [typeof(Tensor), typeof(double), typeof(bool), typeof(bool)])!);

    private static OpDescriptor Of(string name, params Type[] parameters) => OpDescriptor.Of(typeof(Tensor).GetMethod(name, parameters)
        ?? throw new QwixException($"TorchSharp's Tensor has no {name} with {parameters.Length} parameters: use the TorchSharp version that QwixSharp was built with."));
}
