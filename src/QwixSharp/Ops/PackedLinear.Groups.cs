using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>Several linear layers of one input, such as those of queries, keys and values.</summary>
internal sealed partial class PackedLinear
{
    [ThreadStatic]
    private static ProductPart[]? _parts;

    /// <summary>Whether two layers quantize an input alike, so that <see cref="TryComputeGroup(Tensor, ReadOnlySpan{PackedLinear}, ReadOnlySpan{Tensor?}, Span{Tensor})"/> quantizes it once.</summary>
    /// <param name="other">The other layer.</param>
    internal bool CanGroupWith(PackedLinear other) =>
        ActBits != 0 && ActBits == other.ActBits && ScalePerTile == other.ScalePerTile
        && Weight is { } weight && other.Weight is { } its && ProductPart.CanGroup(weight, its);

    /// <summary>
    /// Computes x · wᵀ + b of several layers, bit for bit what each computes alone. Where they quantize x alike it is quantized
    /// once, and all of them are one parallel region; else they are computed one after another.
    /// </summary>
    /// <param name="input">[…, in].</param>
    /// <param name="layers">The layers; one at least.</param>
    /// <param name="biases">[out] of each layer, or null.</param>
    /// <param name="results">Receives […, out] of each layer, the caller's.</param>
    /// <returns>False, with nothing made, where one of them needs the general way.</returns>
    internal static bool TryComputeGroup(Tensor input, ReadOnlySpan<PackedLinear> layers, ReadOnlySpan<Tensor?> biases, Span<Tensor> results)
    {
        if (!CanRead(input))
            return false;
        using var copy = input.is_contiguous() ? null : input.contiguous();
        return TryComputeGroup(StridedTensor.Of(copy ?? input), layers, biases, results);
    }

    /// <summary><see cref="TryComputeGroup(Tensor, ReadOnlySpan{PackedLinear}, ReadOnlySpan{Tensor?}, Span{Tensor})"/> of a view without gaps.</summary>
    /// <param name="input">[…, in], contiguous.</param>
    /// <param name="layers">The layers; one at least.</param>
    /// <param name="biases">[out] of each layer, or null.</param>
    /// <param name="results">Receives […, out] of each layer, the caller's.</param>
    /// <returns>False, with nothing made, where one of them needs the general way.</returns>
    internal static bool TryComputeGroup(StridedTensor input, ReadOnlySpan<PackedLinear> layers, ReadOnlySpan<Tensor?> biases, Span<Tensor> results)
    {
        if (!CanRead(input.Base))
            return false;
        for (int i = 0; i < layers.Length; i++)
        {
            if (!CanAdd(biases[i]) || layers[i].ResultShape(input.Shape) is not { } resultShape)
            {
                foreach (var result in results[..i])
                    result.Dispose();
                return false;
            }

            results[i] = empty(resultShape, dtype: ScalarType.Float32);
        }

        long rows = 1;
        foreach (long length in input.Shape.AsSpan(0, input.Shape.Length - 1))
            rows *= length;
        var x = new FloatInput(input.Address, layers[0].Weight!.Depth, (int)rows);
        if (layers.Length > 1 && AllAlike(layers))
        {
            var parts = Parts(layers, biases, results);
            MatMul.Dynamic(x, parts, get_num_threads(), layers[0].ActBits, layers[0].ScalePerTile);
            parts.Clear();
            return true;
        }

        for (int i = 0; i < layers.Length; i++)
            layers[i].Compute(x, Output(results[i], layers[i].Weight!, biases[i]));
        return true;
    }

    /// <summary>
    /// Computes x · wᵀ + b of several layers from the codes of x, which an op before them has made with
    /// <see cref="RowQuantizer"/>: with the layers' <see cref="ActBits"/>, and a scale for each row or, where
    /// <see cref="ScalePerTile"/> is set, each tile of it. The result is then the same as from x itself.
    /// </summary>
    /// <param name="codes">x, of the source <see cref="QuantizedSource.Codes"/>.</param>
    /// <param name="layers">Layers that <see cref="CanGroupWith">quantize alike</see>, of live weights; one at least.</param>
    /// <param name="biases">[out] of each layer as contiguous float32, or null.</param>
    /// <param name="results">[…, out] of each layer as contiguous float32; written.</param>
    internal static void ComputeGroup(in QuantizedInput codes, ReadOnlySpan<PackedLinear> layers, ReadOnlySpan<Tensor?> biases, ReadOnlySpan<Tensor> results)
    {
        var parts = Parts(layers, biases, results);
        MatMul.Quantized(codes, parts, get_num_threads());
        parts.Clear();
    }

    private static bool AllAlike(ReadOnlySpan<PackedLinear> layers)
    {
        foreach (var layer in layers)
        {
            if (!layer.CanGroupWith(layers[0]))
                return false;
        }

        return true;
    }

    private static Span<ProductPart> Parts(ReadOnlySpan<PackedLinear> layers, ReadOnlySpan<Tensor?> biases, ReadOnlySpan<Tensor> results)
    {
        if (_parts is null || _parts.Length < layers.Length)
            _parts = new ProductPart[layers.Length];
        for (int i = 0; i < layers.Length; i++)
        {
            var weight = layers[i].Weight!;
            _parts[i] = new ProductPart(weight, Output(results[i], weight, biases[i]));
        }

        return _parts.AsSpan(0, layers.Length);
    }
}
