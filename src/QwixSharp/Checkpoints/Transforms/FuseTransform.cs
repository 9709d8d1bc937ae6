using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Transforms;

/// <summary>Joins tensors along an axis.</summary>
internal sealed class FuseTransform(IReadOnlyList<NamePattern> parts, NamePattern whole, int axis) : CheckpointTransform
{
    private protected override IEnumerable<LogicalTensor> Transform(IReadOnlyList<LogicalTensor> tensors)
    {
        var byName = tensors.ToDictionary(t => t.Name, StringComparer.Ordinal);
        foreach (var tensor in tensors)
        {
            int index = parts.TakeWhile(p => p.Match(tensor.Name) is null).Count();
            if (index == parts.Count)
                yield return tensor;
            else if (Find(byName, tensor, parts[index].Match(tensor.Name)!) is var found && index == 0)
                yield return new FusedTensor(whole.Fill(parts[0].Match(tensor.Name)!), found, axis);
        }
    }

    private LogicalTensor[] Find(Dictionary<string, LogicalTensor> tensors, LogicalTensor tensor, string text)
    {
        if (parts.FirstOrDefault(p => !tensors.ContainsKey(p.Fill(text))) is { } missing)
            throw new CheckpointException($"Tensor {CheckpointException.Quote(tensor.Name)} is to be joined with {CheckpointException.Quote(missing.Fill(text))}, which is not there.");
        LogicalTensor[] found = [.. parts.Select(p => tensors[p.Fill(text)])];
        if (found.FirstOrDefault(f => !FitsTo(found[0], f)) is { } unfit)
            throw new CheckpointException($"Tensors {found[0]} and {unfit} cannot be joined along axis {axis}.");
        return found;
    }

    private bool FitsTo(LogicalTensor first, LogicalTensor other) =>
        axis < first.Shape.Count && other.Shape.Count == first.Shape.Count && other.IsQuantized == first.IsQuantized
        && first.Shape.Zip(other.Shape).Select((s, i) => i == axis || s.First == s.Second).All(same => same);

    private sealed class FusedTensor : DerivedTensor
    {
        private readonly LogicalTensor[] _parts;
        private readonly int _axis;

        internal FusedTensor(string name, LogicalTensor[] parts, int axis) : base(name, Joined([.. parts.Select(p => p.Shape)], axis), parts)
        {
            _parts = parts;
            _axis = axis;
            Quantization = Join([.. parts.Select(p => p.Quantization)]);
        }

        /// <summary>Null where the parts are quantized in ways that one array cannot have.</summary>
        public override TensorQuantization? Quantization { get; }

        public override QArray ReadQuantized()
        {
            if (Quantization is not { } quantization)
                throw new InvalidOperationException($"The parts of the tensor {this} are quantized in different ways: one array cannot have them all.");
            using var scope = NewDisposeScope();
            var arrays = _parts.Select(p => p.ReadQuantized()).ToList();
            var codes = CodePacking.Pack(cat([.. arrays.Select(a => a.GetQValue())], _axis), quantization.QType);
            bool expand = ScaleAxis.CommonTile(arrays.Select(a => (a.Shape[_axis], a.ScaleShape[_axis]))) is null;
            Tensor JoinScales(Func<QArray, Tensor> part) => cat([.. arrays.Select(a => expand ? ScaleAxis.Expand(part(a), _axis, a.Shape[_axis]) : part(a))], _axis);
            return new QArray(quantization.QType, [.. Shape], codes, JoinScales(a => a.Scale), quantization.HasZeroPoint ? JoinScales(a => a.ZeroPoint!) : null).MoveToOuterDisposeScope();
        }

        public override Tensor ReadFloat(ScalarType? dtype = null)
        {
            using var scope = NewDisposeScope();
            return cat([.. _parts.Select(p => p.ReadFloat(dtype ?? Dtype))], _axis).MoveToOuterDisposeScope();
        }

        private TensorQuantization? Join(TensorQuantization?[] parts)
        {
            if (parts[0] is not { } first || parts.Any(p => p is null || p.QType != first.QType || p.HasZeroPoint != first.HasZeroPoint || !SameBeside(p.ScaleShape, first.ScaleShape)))
                return null;
            long[] scaleShape = Joined([.. parts.Select(p => p!.ScaleShape)], _axis);
            if (ScaleAxis.CommonTile(parts.Select((p, i) => (_parts[i].Shape[_axis], p!.ScaleShape[_axis]))) is null)
                scaleShape[_axis] = Shape[_axis];
            return first with { ScaleShape = scaleShape };
        }

        private bool SameBeside(IReadOnlyList<long> a, IReadOnlyList<long> b) => a.Zip(b).Select((s, i) => i == _axis || s.First == s.Second).All(same => same);

        private static long[] Joined(IReadOnlyList<IReadOnlyList<long>> shapes, int axis)
        {
            long[] joined = [.. shapes[0]];
            joined[axis] = shapes.Sum(s => s[axis]);
            return joined;
        }
    }
}
