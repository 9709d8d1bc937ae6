using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Transforms;

/// <summary>A tensor made of others; what it does not say otherwise is the first one's.</summary>
internal abstract class DerivedTensor(string name, ReadOnlySpan<long> shape, params IReadOnlyList<LogicalTensor> sources)
    : LogicalTensor(name, shape, [.. sources.SelectMany(s => s.Stored)])
{
    public override string Description => sources[0].Description;

    public override bool IsQuantized => sources[0].IsQuantized;

    public override ScalarType Dtype => sources[0].Dtype;
}
