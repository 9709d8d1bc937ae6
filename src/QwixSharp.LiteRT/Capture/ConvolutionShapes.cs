using QwixSharp.Interception;
using QwixSharp.LiteRT.Lowering;
using QwixSharp.Providers.OpMap;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Capture;

/// <summary>
/// The shape of a convolution's result, without running it: libtorch prepares its kernel for each size anew, which takes longer than all the rest
/// of an export.
/// </summary>
internal static class ConvolutionShapes
{
    /// <summary>The shape; null where the operands do not fit: the op itself says so best.</summary>
    internal static long[]? Of(OpCall call, string op)
    {
        long[] shape = ((Tensor)call.Arguments[0]!).shape, kernel = ((Tensor)call.Arguments[1]!).shape;
        bool transposed = op.Contains("transpose", StringComparison.Ordinal);
        int axes = kernel.Length - 2, channel = shape.Length - axes - 1;
        long groups = Setting(0, 1, "groups");
        if (channel is < 0 or > 1 || shape[channel] != (transposed ? kernel[0] : kernel[1] * groups) || kernel[0] % groups != 0)
            return null;
        shape[channel] = transposed ? kernel[1] * groups : kernel[0];
        for (int axis = 0; axis < axes; axis++)
        {
            ref long size = ref shape[channel + 1 + axis];
            long stride = Setting(axis, 1, "stride", "strides"), extent = (Setting(axis, 1, "dilation") * (kernel[axis + 2] - 1)) + 1;
            long padding = Arguments.Named(call, "padding") switch
            {
                Padding.Same => extent - 1,
                Padding.Valid => 0,
                _ => 2 * Setting(axis, 0, "padding"),
            };
            if (!transposed && (size + padding < extent || (stride != 1 && Arguments.Named(call, "padding") is Padding.Same)))
                return null;
            size = transposed ? ((size - 1) * stride) - padding + extent + Setting(axis, 0, "output_padding") : ((size + padding - extent) / stride) + 1;
            if (size <= 0)
                return null;
        }

        return shape;

        long Setting(int axis, long otherwise, params ReadOnlySpan<string> names) => Node.ToLongs(Arguments.Named(call, names)) switch
        {
            null or [] => otherwise,
            [var one] => one,
            var each => each[axis],
        };
    }
}
