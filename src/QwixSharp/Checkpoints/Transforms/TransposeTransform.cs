using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Transforms;

/// <summary>Exchanges two axes.</summary>
internal sealed class TransposeTransform(NamePattern pattern, int axis1, int axis2) : CheckpointTransform
{
    private protected override IEnumerable<LogicalTensor> Transform(IReadOnlyList<LogicalTensor> tensors) =>
        tensors.Select(t => pattern.Match(t.Name) is null ? t : Exchange(t));

    private TransposedTensor Exchange(LogicalTensor tensor) => Math.Max(axis1, axis2) < tensor.Shape.Count
        ? new TransposedTensor(tensor, axis1, axis2)
        : throw new CheckpointException($"Tensor {tensor} has no axis {Math.Max(axis1, axis2)} that could be exchanged.");

    private static long[] Exchanged(IReadOnlyList<long> shape, int axis1, int axis2)
    {
        long[] exchanged = [.. shape];
        (exchanged[axis1], exchanged[axis2]) = (exchanged[axis2], exchanged[axis1]);
        return exchanged;
    }

    private sealed class TransposedTensor(LogicalTensor source, int axis1, int axis2) : DerivedTensor(source.Name, Exchanged(source.Shape, axis1, axis2), source)
    {
        public override TensorQuantization? Quantization =>
            source.Quantization is { } q ? q with { ScaleShape = Exchanged(q.ScaleShape, axis1, axis2) } : null;

        public override QArray ReadQuantized()
        {
            using var array = source.ReadQuantized();
            return array.SwapAxes(axis1, axis2);
        }

        public override Tensor ReadFloat(ScalarType? dtype = null)
        {
            using var scope = NewDisposeScope();
            return source.ReadFloat(dtype).transpose(axis1, axis2).contiguous().MoveToOuterDisposeScope();
        }
    }
}
