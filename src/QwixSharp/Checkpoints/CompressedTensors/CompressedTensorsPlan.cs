using QwixSharp.Numerics;

namespace QwixSharp.Checkpoints.CompressedTensors;

/// <summary>The schemes of a checkpoint that will be written, and the scheme of each weight.</summary>
internal sealed class CompressedTensorsPlan
{
    private readonly List<CompressedTensorsScheme> _schemes = [];
    private readonly Dictionary<string, int> _schemeOf = new(StringComparer.Ordinal);

    /// <param name="weights">The quantized weights.</param>
    internal CompressedTensorsPlan(IEnumerable<CompressedTensorsTensor> weights)
    {
        // One tile may be a channel or a group that is as long: weights with many tiles say which, and the others follow.
        foreach (var weight in weights.OrderByDescending(w => w.Quantization!.ScaleShape[1]).ThenByDescending(w => w.Quantization!.ScaleShape[0]))
        {
            int index = _schemes.FindIndex(s => Fits(s, weight));
            if (index < 0)
            {
                index = _schemes.Count;
                _schemes.Add(CompressedTensorsScheme.Of([.. weight.Shape], weight.Quantization!));
            }

            _schemeOf[weight.Module] = index;
        }
    }

    /// <summary>The schemes.</summary>
    internal IReadOnlyList<CompressedTensorsScheme> Schemes => _schemes;

    /// <summary>The scheme of a module's weight.</summary>
    internal CompressedTensorsScheme For(string module) => _schemes[_schemeOf[module]];

    /// <summary>The modules of a scheme.</summary>
    internal IEnumerable<string> ModulesOf(CompressedTensorsScheme scheme) => _schemeOf.Where(p => _schemes[p.Value] == scheme).Select(p => p.Key);

    /// <summary>
    /// The format of a scheme, by which vLLM picks its kernels: integers are packed where only weights are quantized, and
    /// where codes are smaller than a byte.
    /// </summary>
    internal static string FormatOf(CompressedTensorsScheme scheme, CompressedTensorsActivations? activations) =>
        scheme.QType.Kind != QTypeKind.Integer ? "float-quantized"
        : activations is null || scheme.QType.Bits < 8 ? "pack-quantized"
        : "int-quantized";

    private static bool Fits(CompressedTensorsScheme scheme, CompressedTensorsTensor weight)
    {
        var quantization = weight.Quantization!;
        return scheme.QType == quantization.QType && scheme.IsSymmetric != quantization.HasZeroPoint
            && scheme.ScaleShape([.. weight.Shape]) == (quantization.ScaleShape[0], quantization.ScaleShape[1]);
    }
}
