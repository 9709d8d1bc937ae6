using QwixSharp.Arrays;
using QwixSharp.Kernels.Chains;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// Chains of small ops as one pass over float32 tensors on the CPU, without gradients. Results agree with those of the
/// single ops to float32 rounding.
/// </summary>
internal static unsafe class FusedOps
{
    /// <summary>x ÷ √(mean(x², last axis) + ε) · w.</summary>
    /// <param name="x">[…, columns], contiguous.</param>
    /// <param name="shape">Its shape.</param>
    /// <param name="weight">columns elements, contiguous; or null.</param>
    /// <param name="epsilon">ε.</param>
    /// <returns>Of the shape of x; the caller's.</returns>
    internal static Tensor RmsNorm(Tensor x, long[] shape, Tensor? weight, double epsilon)
    {
        var (result, count) = (Result(shape, out long elements), shape[^1]);
        RmsNormKernel.Run(Pointer(x), weight is null ? null : Pointer(weight), Pointer(result), elements / count, count, (float)epsilon, get_num_threads());
        return result;
    }

    /// <summary>silu(gate) · x, of one shape, contiguous.</summary>
    internal static Tensor SiluTimes(Tensor gate, Tensor x, long[] shape)
    {
        var result = Result(shape, out long count);
        ElementwiseKernel.SiluTimes(Pointer(gate), Pointer(x), Pointer(result), count, get_num_threads());
        return result;
    }

    /// <summary>a + b, of one shape, contiguous.</summary>
    internal static Tensor Add(Tensor a, Tensor b, long[] shape)
    {
        var result = Result(shape, out long count);
        ElementwiseKernel.Add(Pointer(a), Pointer(b), Pointer(result), count, get_num_threads());
        return result;
    }

    /// <summary>x · cos + (−x₂, x₁) · sin, with the halves x₁ and x₂ of the last axis.</summary>
    /// <param name="memory">The tensor in whose memory x lies.</param>
    /// <param name="offset">Of x in it, in elements.</param>
    /// <param name="shape">[batch, heads, tokens, size].</param>
    /// <param name="strides">The distances along the axes of x, the last of them 1.</param>
    /// <param name="cos">tokens × size elements, contiguous.</param>
    /// <param name="sin">The same.</param>
    /// <returns>Of the shape of x, contiguous; the caller's.</returns>
    internal static Tensor Rotate(Tensor memory, long offset, long[] shape, long[] strides, Tensor cos, Tensor sin)
    {
        var result = Result(shape, out _);
        var heads = new RotaryShape(shape[0], shape[1], shape[2], shape[3], strides[0], strides[1], strides[2]);
        RotaryKernel.Run(Pointer(memory) + offset, heads, Pointer(cos), Pointer(sin), Pointer(result), get_num_threads());
        return result;
    }

    private static Tensor Result(long[] shape, out long count)
    {
        count = 1;
        foreach (long length in shape)
            count *= length;
        return empty(shape, dtype: ScalarType.Float32);
    }

    private static float* Pointer(Tensor tensor) => (float*)TensorMemory.Address(tensor);
}
