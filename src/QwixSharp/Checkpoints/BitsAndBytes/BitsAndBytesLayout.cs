using QwixSharp.Checkpoints.Layouts;

namespace QwixSharp.Checkpoints.BitsAndBytes;

/// <summary>
/// Weights as bitsandbytes writes them in 4 bits: a flat <c>weight</c> with two codes a byte, beside it <c>absmax</c>,
/// <c>quant_map</c>, their <c>nested_</c> kin where the scales are quantized too, and a JSON text in a tensor that describes it all.
/// </summary>
internal sealed class BitsAndBytesLayout : ICheckpointLayout
{
    private const string StateMark = ".quant_state.bitsandbytes__";

    public string Name => "bitsandbytes";

    public bool Recognizes(Checkpoint checkpoint) => new QuantizationConfig(checkpoint).Method is { } method
        ? method == "bitsandbytes"
        : checkpoint.Tensors.Any(t => t.Name.Contains(StateMark, StringComparison.Ordinal));

    public IReadOnlyList<LogicalTensor> Read(Checkpoint checkpoint)
    {
        if (checkpoint.Tensors.FirstOrDefault(t => t.Name.EndsWith(".SCB", StringComparison.Ordinal)) is { } int8)
            throw new CheckpointException($"{CheckpointException.Quote(checkpoint.Path)} has {int8}: bitsandbytes' 8-bit weights are not read, only 4-bit ones.");
        var logical = new List<LogicalTensor>();
        var taken = new HashSet<string>(StringComparer.Ordinal);
        foreach (var state in checkpoint.Tensors.Where(t => t.Name.Contains(StateMark, StringComparison.Ordinal)))
        {
            var weight = new BitsAndBytesWeight(checkpoint, state.Name[..state.Name.IndexOf(StateMark, StringComparison.Ordinal)], BitsAndBytesState.Read(checkpoint, state));
            logical.Add(weight);
            foreach (var part in weight.Stored)
            {
                if (!taken.Add(part.Name))
                    throw new CheckpointException($"{CheckpointException.Quote(checkpoint.Path)} describes the weight {CheckpointException.Quote(weight.Name)} twice.");
            }
        }

        logical.AddRange(checkpoint.Tensors.Where(t => !taken.Contains(t.Name)).Select(t => new PlainTensor(checkpoint, t)));
        return logical;
    }
}
