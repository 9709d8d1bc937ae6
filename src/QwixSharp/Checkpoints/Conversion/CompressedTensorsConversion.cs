using QwixSharp.Checkpoints.CompressedTensors;
using QwixSharp.Checkpoints.Files;
using QwixSharp.Checkpoints.Quantization;

namespace QwixSharp.Checkpoints.Conversion;

/// <summary>Writes a checkpoint in the layout of compressed-tensors.</summary>
internal static class CompressedTensorsConversion
{
    internal static void Write(Checkpoint source, string folder, IProgress<CheckpointProgress>? progress, CancellationToken cancellation)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        PartialFolder.CheckFree(source, folder);
        var kept = source.LogicalTensors.Where(IsKept).Select(t => t.Name).ToHashSet(StringComparer.Ordinal);
        if (kept.Count == 0)
            throw new CheckpointException($"{CheckpointException.Quote(source.Path)} has no weight in int4, int8 or fp8 that compressed-tensors can hold. Quantize it first.");
        var declared = source.LogicalTensors.Select(t => kept.Contains(t.Name)
            ? new CompressedTensorsTensor(t.Name, t.Shape, CheckpointDtypes.Of(t.Dtype), t.Quantization)
            : new CompressedTensorsTensor(t.Name, t.Shape, new FloatTarget(t, null).Entries[0].Dtype));
        using var writer = new CompressedTensorsWriter(folder, declared, source.Config, Activations(source));
        Work.ForEach(source.LogicalTensors, tensor => Write(writer, tensor, kept.Contains(tensor.Name)), progress, cancellation);
        writer.Complete();
        SideFiles.Copy(source, folder, withConfig: false);
    }

    private static bool IsKept(LogicalTensor tensor) =>
        tensor.Quantization is { } quantization && CompressedTensorsTensor.CanHold(tensor.Name, tensor.Shape, quantization);

    private static void Write(CompressedTensorsWriter writer, LogicalTensor tensor, bool isKept)
    {
        if (isKept)
        {
            using var array = tensor.ReadQuantized();
            writer.Write(tensor.Name, array);
        }
        else
        {
            writer.Write(tensor.Name, tensor.ReadFloat());
        }
    }

    /// <summary>How activations are quantized, where the rules agree about it.</summary>
    private static CompressedTensorsActivations? Activations(Checkpoint source)
    {
        var types = source.Layout.ReadRules(source)?.Where(r => r.WeightQType is not null).Select(r => r.ActQType).Distinct().ToList();
        return types is [{ } qtype] ? new(qtype, IsStatic: false) : null;
    }
}
