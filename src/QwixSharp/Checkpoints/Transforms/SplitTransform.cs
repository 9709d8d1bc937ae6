using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Transforms;

/// <summary>Cuts tensors along an axis.</summary>
internal sealed class SplitTransform(NamePattern whole, IReadOnlyList<NamePattern> parts, IReadOnlyList<long>? lengths, int axis) : CheckpointTransform
{
    private protected override IEnumerable<LogicalTensor> Transform(IReadOnlyList<LogicalTensor> tensors) =>
        tensors.SelectMany(t => whole.Match(t.Name) is { } text ? Cut(t, text) : [t]);

    private IEnumerable<LogicalTensor> Cut(LogicalTensor tensor, string text)
    {
        long length = axis < tensor.Shape.Count ? tensor.Shape[axis] : 0;
        if (length == 0 || (lengths is null ? length % parts.Count != 0 : lengths.Sum() != length))
            throw new CheckpointException($"Tensor {tensor} cannot be cut along axis {axis} into {(lengths is null ? $"{parts.Count} equal parts" : $"parts of {string.Join(", ", lengths)}")}.");
        long start = 0;
        foreach (var (pattern, i) in parts.Select((p, i) => (p, i)))
        {
            long count = lengths?[i] ?? (length / parts.Count);
            yield return new PartTensor(tensor, pattern.Fill(text), axis, start, count);
            start += count;
        }
    }

    private static long[] With(IReadOnlyList<long> shape, int axis, long length)
    {
        long[] changed = [.. shape];
        changed[axis] = length;
        return changed;
    }

    private sealed class PartTensor(LogicalTensor source, string name, int axis, long start, long count) : DerivedTensor(name, With(source.Shape, axis, count), source)
    {
        public override TensorQuantization? Quantization => source.Quantization is { } q
            ? q with { ScaleShape = With(q.ScaleShape, axis, Scales(q.ScaleShape[axis])?.Count ?? count) }
            : null;

        public override QArray ReadQuantized()
        {
            using var scope = NewDisposeScope();
            var array = source.ReadQuantized();
            var codes = CodePacking.Pack(array.GetQValue().narrow(axis, start, count).contiguous(), array.QType);
            return new QArray(array.QType, [.. Shape], codes, CutScales(array.Scale), array.ZeroPoint is { } zeroPoint ? CutScales(zeroPoint) : null).MoveToOuterDisposeScope();
        }

        public override Tensor ReadFloat(ScalarType? dtype = null)
        {
            using var scope = NewDisposeScope();
            // Of a view the whole would stay in memory.
            return source.ReadFloat(dtype).narrow(axis, start, count).clone().MoveToOuterDisposeScope();
        }

        private Tensor CutScales(Tensor scale) => Scales(scale.shape[axis]) is var (first, scales)
            ? scale.narrow(axis, first, scales).clone()
            : ScaleAxis.Expand(scale, axis, source.Shape[axis]).narrow(axis, start, count).clone();

        private (long Start, long Count)? Scales(long scales) => ScaleAxis.Range(source.Shape[axis], scales, start, count);
    }
}
