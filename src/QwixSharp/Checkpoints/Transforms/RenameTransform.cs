using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Transforms;

/// <summary>Gives tensors other names.</summary>
internal sealed class RenameTransform(Func<string, string> rename) : CheckpointTransform
{
    private protected override IEnumerable<LogicalTensor> Transform(IReadOnlyList<LogicalTensor> tensors) =>
        tensors.Select(t => rename(t.Name) is var name && name == t.Name ? t : new RenamedTensor(t, name));

    private sealed class RenamedTensor(LogicalTensor source, string name) : DerivedTensor(name, [.. source.Shape], source)
    {
        public override TensorQuantization? Quantization => source.Quantization;

        public override QArray ReadQuantized() => source.ReadQuantized();

        public override Tensor ReadFloat(ScalarType? dtype = null) => source.ReadFloat(dtype);
    }
}
