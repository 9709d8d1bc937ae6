using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Layouts;

/// <summary>A quantized tensor in this project's own layout.</summary>
internal sealed class QwixTensor : LogicalTensor
{
    private readonly Checkpoint _checkpoint;

    /// <exception cref="CheckpointException">A stored tensor is missing, or is not as the description says.</exception>
    internal QwixTensor(Checkpoint checkpoint, string name, QwixTensorInfo info)
        : base(name, [.. info.Shape], Parts(checkpoint, name))
    {
        _checkpoint = checkpoint;
        Info = info;
        var scale = Stored[1];
        CheckScale(scale);
        Quantization = new TensorQuantization(info.QType, scale.Shape, Stored.Count > 2);
        Dtype = info.Dtype ?? scale.Dtype.Carrier();
        var expected = QwixEntries.Of(name, info.QType, [.. info.Shape], [.. scale.Shape], scale.Dtype.Carrier(), Quantization.HasZeroPoint);
        foreach (var (stored, wanted) in Stored.Zip(expected))
        {
            // Bytes are also how programs without small floats store these.
            if (!stored.Shape.SequenceEqual(wanted.Shape) || stored.Dtype.Carrier() != wanted.Dtype.Carrier())
                throw Fault($"is {stored}, but {info.QType} for the shape [{string.Join(", ", info.Shape)}] needs {wanted}");
        }
    }

    public override string Description => $"{Quantization!.QType}{(Quantization.HasZeroPoint ? ", asymmetric" : "")}, scales {Stored[1].TypeName} [{string.Join(", ", Quantization.ScaleShape)}]";

    public override bool IsQuantized => true;

    public override TensorQuantization? Quantization { get; }

    public override ScalarType Dtype { get; }

    internal QwixTensorInfo Info { get; }

    public override QArray ReadQuantized()
    {
        using var scope = NewDisposeScope();
        var parts = Stored.Select(s => _checkpoint.Read(s.Name)).ToList();
        try
        {
            return new QArray(Info.QType, [.. Shape], parts[0], parts[1].to(Dtype), parts.ElementAtOrDefault(2)).MoveToOuterDisposeScope();
        }
        catch (ArgumentException error)
        {
            throw new CheckpointException($"Tensor {CheckpointException.Quote(Name)} of {CheckpointException.Quote(_checkpoint.Path)} cannot be read: {error.Message}", error);
        }
    }

    public override Tensor ReadFloat(ScalarType? dtype = null)
    {
        using var scope = NewDisposeScope();
        return ReadQuantized().Dequantize().to(dtype ?? Dtype).MoveToOuterDisposeScope();
    }

    private static IReadOnlyList<TensorEntry> Parts(Checkpoint checkpoint, string name)
    {
        foreach (var part in new[] { QwixEntries.QValue, QwixEntries.Scale })
        {
            if (!checkpoint.Contains(name + part))
                throw new CheckpointException($"{CheckpointException.Quote(checkpoint.Path)} says that it has the quantized tensor {CheckpointException.Quote(name)}, but it lacks {CheckpointException.Quote(name + part)}.");
        }

        string[] names = [name + QwixEntries.QValue, name + QwixEntries.Scale, name + QwixEntries.ZeroPoint];
        return [.. names.Where(checkpoint.Contains).Select(checkpoint.Entry)];
    }

    private void CheckScale(TensorEntry scale)
    {
        bool divides = scale.Shape.Count == Shape.Count && scale.Shape.Zip(Shape).All(a => a.First <= 0 ? a.Second == 0 : a.Second % a.First == 0);
        if (!scale.Dtype.IsQuantizable() || !divides)
            throw Fault($"is {scale}, which is no scale for the shape [{string.Join(", ", Shape)}]");
    }

    private CheckpointException Fault(string what) => new($"A part of the tensor {CheckpointException.Quote(Name)} of {CheckpointException.Quote(_checkpoint.Path)} {what}.");
}
