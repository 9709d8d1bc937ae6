using QwixSharp.Checkpoints.Layouts;

namespace QwixSharp.Checkpoints.Awq;

/// <summary>Weights as AutoAWQ writes them for its GEMM kernels: <c>qweight</c> and <c>qzeros</c> packed into int32, and <c>scales</c>.</summary>
internal sealed class AwqLayout : ICheckpointLayout
{
    public string Name => "awq";

    public bool Recognizes(Checkpoint checkpoint) => new QuantizationConfig(checkpoint).Method is { } method
        ? method == "awq"
        : checkpoint.Tensors.Any(t => t.Name.EndsWith(".qweight", StringComparison.Ordinal));

    public IReadOnlyList<LogicalTensor> Read(Checkpoint checkpoint)
    {
        var config = new QuantizationConfig(checkpoint);
        if (config.Number("bits") is not (null or AwqWeight.Bits))
            throw config.Unsupported("bits", "4");
        if (config.Text("version") is { } version && !version.Equals("gemm", StringComparison.OrdinalIgnoreCase))
            throw config.Unsupported("version", "gemm");
        bool hasZeroPoint = config.Flag("zero_point") ?? true;
        return StoredParts.Gather(checkpoint, "qweight", ["qzeros", "scales"], parts => new AwqWeight(parts, hasZeroPoint));
    }
}
