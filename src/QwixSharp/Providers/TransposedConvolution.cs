using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>Transposed convolutions, computed on dequantized numbers.</summary>
internal static class TransposedConvolution
{
    /// <summary>The convolution of two operands, each dequantized where need be.</summary>
    internal static Tensor Compute(Operand input, Operand kernel, ConvolutionCall c)
    {
        using var scope = NewDisposeScope();
        Tensor x = input.Dequantize(), w = kernel.Dequantize();
        long[] strides = [.. c.Strides], dilation = [.. c.Dilation], padding = [.. c.Padding.Select(p => p.Low)], outputPadding = [.. c.OutputPadding];
        var result = strides.Length switch
        {
            1 => nn.functional.conv_transpose1d(x, w, null, strides[0], padding[0], outputPadding[0], dilation[0], c.Groups),
            2 => nn.functional.conv_transpose2d(x, w, null, strides, padding, outputPadding, dilation, c.Groups),
            _ => nn.functional.conv_transpose3d(x, w, null, strides, padding, outputPadding, dilation, c.Groups),
        };
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>The gradient of the input: a convolution of the result's gradient.</summary>
    internal static Tensor InputGradient(Tensor gradient, Operand kernel, ConvolutionCall c)
    {
        using var scope = NewDisposeScope();
        return ConvGeneralOp.Compute(gradient, kernel.Dequantize(), c.Strides, ConvPadding.Explicit([.. c.Padding]), null, c.Dilation, null, (int)c.Groups, 1, null).MoveToOuterDisposeScope();
    }

    /// <summary>A tensor of the result's shape on the meta device, for which libtorch has no convolution.</summary>
    internal static Tensor Abstract(Tensor input, Tensor kernel, ConvolutionCall c)
    {
        List<long> shape = [input.shape[0], kernel.shape[1] * c.Groups];
        for (int i = 0; i < c.Strides.Count; i++)
        {
            long span = (c.Dilation[i] * (kernel.shape[i + 2] - 1)) + 1;
            shape.Add(((input.shape[i + 2] - 1) * c.Strides[i]) - c.Padding[i].Low - c.Padding[i].High + span + c.OutputPadding[i]);
        }

        return empty([.. shape], input.dtype, META);
    }
}
