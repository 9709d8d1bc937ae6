using QwixSharp.Arrays;
using QwixSharp.Kernels.Attention;
using QwixSharp.Kernels.Chains;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// Chains of small ops as one pass over float32 tensors on the CPU, without gradients. Results agree with those of the
/// single ops to float32 rounding.
/// </summary>
internal static unsafe class FusedOps
{
    private const long MostHeadSize = 512;

    /// <summary>x ÷ √(mean(x², last axis) + ε) · w.</summary>
    /// <param name="x">[…, columns], contiguous.</param>
    /// <param name="weight">columns elements, contiguous; or null.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="result">Of the shape of x, contiguous; written.</param>
    internal static void RmsNorm(StridedTensor x, StridedTensor? weight, double epsilon, nint result)
    {
        long count = x.Shape[^1];
        RmsNormKernel.Run((float*)x.Address, weight is null ? null : (float*)weight.Address, (float*)result, x.Count / count, count, (float)epsilon, get_num_threads());
        GC.KeepAlive(weight);
        GC.KeepAlive(x);
    }

    /// <summary>The layer norm of x, or of x + added, along the last axis.</summary>
    /// <param name="x">[…, columns], contiguous.</param>
    /// <param name="added">Of the same shape, contiguous; or null.</param>
    /// <param name="shape">Its shape.</param>
    /// <param name="weight">columns elements, contiguous; or null.</param>
    /// <param name="bias">The same; null where the weight is.</param>
    /// <param name="epsilon">ε.</param>
    /// <returns>Of the shape of x; the caller's.</returns>
    internal static Tensor LayerNorm(Tensor x, Tensor? added, long[] shape, Tensor? weight, Tensor? bias, double epsilon)
    {
        var (result, count) = (Result(shape, out long elements), shape[^1]);
        LayerNormKernel.Run(Pointer(x), PointerOrNull(added), PointerOrNull(weight), PointerOrNull(bias), Pointer(result), elements / count, count, (float)epsilon, get_num_threads());
        return result;

        static float* PointerOrNull(Tensor? tensor) => tensor is null ? null : Pointer(tensor);
    }

    /// <summary>silu(gate) · x, all of one shape, contiguous.</summary>
    internal static void SiluTimes(StridedTensor gate, StridedTensor x, nint result)
    {
        ElementwiseKernel.SiluTimes((float*)gate.Address, (float*)x.Address, (float*)result, x.Count, get_num_threads());
        GC.KeepAlive(gate);
        GC.KeepAlive(x);
    }

    /// <summary>a + b, all of one shape, contiguous.</summary>
    internal static void Add(StridedTensor a, StridedTensor b, nint result)
    {
        ElementwiseKernel.Add((float*)a.Address, (float*)b.Address, (float*)result, a.Count, get_num_threads());
        GC.KeepAlive(a);
        GC.KeepAlive(b);
    }

    /// <summary>x · cos + (−x₂, x₁) · sin, with the halves x₁ and x₂ of the last axis.</summary>
    /// <param name="x">[batch, heads, tokens, size], whose last axis has no gaps.</param>
    /// <param name="cos">tokens × size elements, contiguous.</param>
    /// <param name="sin">The same.</param>
    /// <param name="result">Of the shape of x, contiguous; written.</param>
    internal static void Rotate(StridedTensor x, StridedTensor cos, StridedTensor sin, nint result)
    {
        long[] shape = x.Shape, strides = x.Strides;
        var heads = new RotaryShape(shape[0], shape[1], shape[2], shape[3], strides[0], strides[1], strides[2]);
        RotaryKernel.Run((float*)x.Address, heads, (float*)cos.Address, (float*)sin.Address, (float*)result, get_num_threads());
        GC.KeepAlive(x);
        GC.KeepAlive(cos);
        GC.KeepAlive(sin);
    }

    /// <summary>Whether <see cref="Attention"/> can serve sizes.</summary>
    /// <param name="scores">[batch, heads, queries, keys].</param>
    /// <param name="size">The elements of a query and a key.</param>
    /// <param name="valueSize">The elements of a value.</param>
    internal static bool CanAttend(long[] scores, long size, long valueSize) =>
        FloatAttention.IsSupported && scores is [var batch, var heads, var queries, > 0 and <= FloatAttention.MostKeys]
        && batch * heads * queries is > 0 and <= int.MaxValue && size is > 0 and <= MostHeadSize && valueSize > 0 && valueSize % FloatAttention.ValueGroup == 0;

    /// <summary>softmax(q · kᵀ · scale + bias) · v, of operands [batch, heads, tokens, size] whose last axis has no gaps.</summary>
    /// <param name="queries">q.</param>
    /// <param name="keys">k.</param>
    /// <param name="values">v.</param>
    /// <param name="bias">[batch, heads, queries, keys]; or null.</param>
    /// <param name="scale">What scores are multiplied by.</param>
    /// <param name="shape">The shape of the result.</param>
    /// <param name="strides">Where [batch, heads, queries, size] lie in it.</param>
    /// <returns>The caller's.</returns>
    internal static Tensor Attention(StridedTensor queries, StridedTensor keys, StridedTensor values, StridedTensor? bias, float scale, long[] shape, long[] strides)
    {
        var result = Result(shape, out _);
        var sizes = new FloatAttentionShape((int)queries.Shape[0], (int)queries.Shape[1], (int)queries.Shape[2], (int)keys.Shape[2], (int)queries.Shape[3], (int)values.Shape[3]);
        FloatAttention.Run(sizes, Heads(queries), Heads(keys), Heads(values), bias is null ? default : Heads(bias), scale, Heads(new(result, 0, shape, strides)), get_num_threads());
        return result;

        static HeadTensor Heads(StridedTensor tensor) => new(tensor.Address, tensor.Strides[0], tensor.Strides[1], tensor.Strides[2]);
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
