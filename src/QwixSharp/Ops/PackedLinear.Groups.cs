using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>Several linear layers of one input, such as those of queries, keys and values.</summary>
internal sealed partial class PackedLinear
{
    [ThreadStatic]
    private static ProductPart[]? _parts;

    /// <summary>Whether two layers quantize an input alike, so that a group of them quantizes it once.</summary>
    /// <param name="other">The other layer.</param>
    internal bool CanGroupWith(PackedLinear other) =>
        ActBits != 0 && ActBits == other.ActBits && ScalePerTile == other.ScalePerTile
        && Weight is { } weight && other.Weight is { } its && ProductPart.CanGroup(weight, its);

    /// <summary>Whether <see cref="ComputeGroup(StridedTensor, ReadOnlySpan{PackedLinear}, ReadOnlySpan{Tensor?}, ReadOnlySpan{nint})"/> can serve layers; if not, only the general way can.</summary>
    /// <param name="input">[…, in].</param>
    /// <param name="layers">The layers; one at least.</param>
    /// <param name="biases">[out] of each layer, or null.</param>
    internal static bool CanComputeGroup(StridedTensor input, ReadOnlySpan<PackedLinear> layers, ReadOnlySpan<Tensor?> biases)
    {
        if (!input.IsContiguous || (input.Base is { } tensor && !CanRead(tensor)) || input.Count is 0 or > int.MaxValue)
            return false;
        for (int i = 0; i < layers.Length; i++)
        {
            if (!CanAdd(biases[i]) || input.Shape is not [.., var depth] || layers[i].Weight?.Depth != depth)
                return false;
        }

        return true;
    }

    /// <summary>
    /// Computes x · wᵀ + b of several layers, bit for bit what each computes alone. Where they quantize x alike it is quantized
    /// once, and all of them are one parallel region; else they are computed one after another.
    /// </summary>
    /// <param name="input">[…, in], contiguous.</param>
    /// <param name="layers">The layers, which <see cref="CanComputeGroup">can be computed</see>.</param>
    /// <param name="biases">[out] of each layer, or null.</param>
    /// <param name="results">Where […, out] of each layer lies without gaps; written.</param>
    internal static void ComputeGroup(StridedTensor input, ReadOnlySpan<PackedLinear> layers, ReadOnlySpan<Tensor?> biases, ReadOnlySpan<nint> results)
    {
        int depth = layers[0].Weight!.Depth;
        var x = new FloatInput(input.Address, depth, (int)(input.Count / depth));
        if (layers.Length > 1 && AllAlike(layers))
        {
            var parts = Parts(layers, biases, results);
            MatMul.Dynamic(x, parts, get_num_threads(), layers[0].ActBits, layers[0].ScalePerTile);
            parts.Clear();
        }
        else
        {
            for (int i = 0; i < layers.Length; i++)
                layers[i].Compute(x, Output(results[i], layers[i].Weight!, biases[i]));
        }

        GC.KeepAlive(input);
    }

    /// <summary>
    /// Computes x · wᵀ + b of several layers from the codes of x, which an op before them has made with
    /// <see cref="RowQuantizer"/>: with the layers' <see cref="ActBits"/>, and a scale for each row or, where
    /// <see cref="ScalePerTile"/> is set, each tile of it. The result is then the same as from x itself.
    /// </summary>
    /// <param name="codes">x, of the source <see cref="QuantizedSource.Codes"/>.</param>
    /// <param name="layers">Layers that <see cref="CanGroupWith">quantize alike</see>, of live weights; one at least.</param>
    /// <param name="biases">[out] of each layer as contiguous float32, or null.</param>
    /// <param name="results">Where […, out] of each layer lies without gaps; written.</param>
    internal static void ComputeGroup(in QuantizedInput codes, ReadOnlySpan<PackedLinear> layers, ReadOnlySpan<Tensor?> biases, ReadOnlySpan<nint> results)
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

    private static Span<ProductPart> Parts(ReadOnlySpan<PackedLinear> layers, ReadOnlySpan<Tensor?> biases, ReadOnlySpan<nint> results)
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
