using QwixSharp.Checkpoints.Layouts;

namespace QwixSharp.Checkpoints.Gptq;

/// <summary>
/// Weights as AutoGPTQ and GPT-QModel write them: <c>qweight</c> and <c>qzeros</c> packed into int32, <c>scales</c>, and
/// <c>g_idx</c>, the group of each input.
/// </summary>
internal sealed class GptqLayout : ICheckpointLayout
{
    private const string WeightPart = "qweight";

    public string Name => "gptq";

    public bool Recognizes(Checkpoint checkpoint)
    {
        string? method = new QuantizationConfig(checkpoint).Method;
        return method is null ? checkpoint.Tensors.Any(t => t.Name.EndsWith(".g_idx", StringComparison.Ordinal)) : method == "gptq";
    }

    public IReadOnlyList<LogicalTensor> Read(Checkpoint checkpoint)
    {
        var config = new QuantizationConfig(checkpoint);
        int bits = config.Number("bits") ?? 4;
        if (PackedWords.TypeOf(bits) is null)
            throw config.Unsupported("bits", "2, 4 or 8");
        string format = config.Text("checkpoint_format") ?? "gptq";
        if (format is not ("gptq" or "gptq_v2"))
            throw config.Unsupported("checkpoint_format", "gptq or gptq_v2");
        var settings = new GptqSettings(bits, IsSymmetric: config.Flag("sym") ?? false, ZeroPointBias: format == "gptq" ? 1 : 0);
        return StoredParts.Gather(checkpoint, WeightPart, ["qzeros", "scales", "g_idx"], parts => new GptqWeight(parts, settings));
    }
}

/// <summary>What all weights of a GPTQ checkpoint share.</summary>
/// <param name="Bits">The bits of a code.</param>
/// <param name="IsSymmetric">Whether all zero points are the middle of the range.</param>
/// <param name="ZeroPointBias">What was taken off the zero points before they were stored: 1 in the older format.</param>
internal sealed record GptqSettings(int Bits, bool IsSymmetric, int ZeroPointBias);
