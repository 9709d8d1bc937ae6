using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Lora;

/// <summary>
/// A convolution: A is a kernel like the weight's with the rank as its output features, B mixes these into the output's
/// features at every place.
/// </summary>
internal sealed class ConvolutionForm(ConvolutionCall convolution, long[] kernelShape) : LoraForm
{
    private readonly long _groups = convolution.Groups;
    private readonly long _outputFeatures = convolution.Transposed ? kernelShape[1] * convolution.Groups : kernelShape[0];

    internal override long LargestRank => Math.Min(Product(ShapeA(1)), _outputFeatures);

    internal override LoraLayout Layout => convolution.Transposed ? LoraLayout.Other : LoraLayout.Convolution;

    internal override long[] ShapeA(long rank) => convolution.Transposed
        ? [kernelShape[0], Math.Max(1, rank / _groups), .. kernelShape[2..]]
        : [rank, .. kernelShape[1..]];

    internal override long[] ShapeB(long rank) => [rank, _outputFeatures];

    internal override string? FaultOf(long rank) => rank % _groups == 0 ? null : $"the convolution has {_groups} groups, which must divide the rank {rank}";

    internal override Tensor Delta(Tensor x, Tensor a, Tensor b)
    {
        using var scope = NewDisposeScope();
        var down = Convolve(x, a, convolution);
        long[] ones = [.. convolution.Strides.Select(_ => 1L)];
        var mix = b.t().reshape([_outputFeatures, b.shape[0], .. ones]);
        var pointwise = new ConvolutionCall(ones, [.. ones.Select(_ => (0L, 0L))], ones, 1, false, [.. ones.Select(_ => 0L)]);
        return Convolve(down, mix, pointwise).MoveToOuterDisposeScope();
    }

    internal override Tensor WeightDelta(Tensor a, Tensor b)
    {
        if (_groups > 1)
            throw new NotSupportedException("the convolution has groups, and B mixes them, which no kernel with groups does");
        using var scope = NewDisposeScope();
        var delta = convolution.Transposed
            ? einsum("irk,ro->iok", a.flatten(2), b)
            : b.t().matmul(a.flatten(1));
        return delta.reshape(kernelShape).MoveToOuterDisposeScope();
    }

    /// <summary>A convolution on numbers.</summary>
    internal static Tensor Convolve(Tensor x, Tensor kernel, ConvolutionCall c) => c.Transposed
        ? TransposedConvolution.Compute(x, kernel, c)
        : ConvGeneralOp.Compute(x, kernel, c.Strides, ConvPadding.Explicit([.. c.Padding]), null, c.Dilation, null, (int)c.Groups, 1, null);
}
